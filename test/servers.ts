import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import pg from "pg";

/** A real server for tests. */
export interface TestServer {
  readonly url: string;
  /** For people: what it is, of which version, and where it came from. */
  readonly description: string;
  /** Ends the server and removes its folder; does nothing to a server that was given by the environment. */
  stop(): Promise<void>;
}

/** Says which program is missing and how to get it. */
export class ServerMissing extends Error {
  override readonly name = "ServerMissing";
}

interface Program {
  readonly name: string;
  /** Debian's package. */
  readonly debian: string;
  readonly elsewhere: string;
  /** The variable that names a server to use instead. */
  readonly variable: string;
}

const programs = {
  postgres: {
    name: "postgres",
    debian: "postgresql",
    elsewhere: "https://www.postgresql.org/download/",
    variable: "WEIR_TEST_POSTGRES_URL",
  },
  nats: {
    name: "nats-server",
    debian: "nats-server",
    elsewhere: "https://github.com/nats-io/nats-server/releases",
    variable: "WEIR_TEST_NATS_URL",
  },
  redis: {
    name: "redis-server",
    debian: "redis-server",
    elsewhere: "https://redis.io/docs/latest/operate/oss_and_stack/install/",
    variable: "WEIR_TEST_REDIS_URL",
  },
} as const satisfies Record<string, Program>;

const startMs = 30_000;

/** Postgres: the one of WEIR_TEST_POSTGRES_URL, else a private cluster in a temporary folder. */
export async function startPostgres(): Promise<TestServer> {
  const given = process.env[programs.postgres.variable];
  if (given !== undefined) return describePostgres(given, `given by ${programs.postgres.variable}`, async () => {});
  const binary = findProgram(programs.postgres);
  const folder = mkdtempSync(join(tmpdir(), "weir-postgres-"));
  try {
    const owner = serverUser();
    if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    const cluster = join(folder, "cluster");
    execFileSync(
      join(binary, "..", "initdb"),
      ["--pgdata", cluster, "--username", "weir", "--auth", "trust", "--encoding", "UTF8", "--no-sync"],
      { ...owner, cwd: folder, env: serverEnv(), stdio: "pipe" },
    );
    const started = await retryingPorts((port) => {
      // Without fsync a crash of the machine could cost the cluster, which only lives as long as the tests.
      const settings = ["fsync=off", "full_page_writes=off", "listen_addresses=127.0.0.1", "max_connections=200"];
      const args = ["-D", cluster, "-p", String(port), "-k", folder, ...settings.flatMap((setting) => ["-c", setting])];
      const child = spawn(binary, args, { ...owner, cwd: folder, env: serverEnv(), stdio: ["ignore", "pipe", "pipe"] });
      const url = `postgres://weir@127.0.0.1:${port}/postgres`;
      return { child, url, ready: () => canQuery(url) };
    });
    return await describePostgres(started.url, `private cluster of ${binary}`, () =>
      end(started.child, "SIGINT", folder),
    );
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/**
 * NATS with JetStream: the one of WEIR_TEST_NATS_URL, else a private server in a temporary folder.
 * @param shared false: a private server wherever the program is installed
 */
export async function startNats({ shared = true }: { shared?: boolean } = {}): Promise<TestServer> {
  const given = process.env[programs.nats.variable];
  if (given !== undefined && (shared || lookFor(programs.nats) === undefined)) {
    return { url: given, description: `NATS, given by ${programs.nats.variable}`, stop: async () => {} };
  }
  const binary = findProgram(programs.nats);
  const folder = mkdtempSync(join(tmpdir(), "weir-nats-"));
  try {
    const started = await retryingPorts((port) => {
      const file = join(folder, "nats.conf");
      const store = `{ store_dir: ${JSON.stringify(join(folder, "store"))}, max_file_store: 1GB }`;
      writeFileSync(file, `listen: "127.0.0.1:${port}"\njetstream: ${store}\n`);
      const child = spawn(binary, ["-c", file], { stdio: ["ignore", "pipe", "pipe"] });
      return { child, url: `nats://127.0.0.1:${port}`, ready: () => greets(port, "", "INFO ") };
    });
    const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).trim();
    const description = `NATS (${version}), private server of ${binary}`;
    return { url: started.url, description, stop: () => end(started.child, "SIGTERM", folder) };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Redis: the one of WEIR_TEST_REDIS_URL, else a private server. */
export async function startRedis(): Promise<TestServer> {
  const given = process.env[programs.redis.variable];
  if (given !== undefined) {
    return { url: given, description: `Redis, given by ${programs.redis.variable}`, stop: async () => {} };
  }
  const binary = findProgram(programs.redis);
  const folder = mkdtempSync(join(tmpdir(), "weir-redis-"));
  try {
    const started = await retryingPorts((port) => {
      const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
      const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
      return { child, url: `redis://127.0.0.1:${port}`, ready: () => greets(port, "PING\r\n", "+PONG") };
    });
    const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).trim();
    const description = `Redis (${version}), private server of ${binary}`;
    return { url: started.url, description, stop: () => end(started.child, "SIGTERM", folder) };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** A database of its own for one test file. */
export async function createDatabase(serverUrl: string): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `weir_test_${process.pid}_${Math.random().toString(36).slice(2, 10)}`;
  await withClient(serverUrl, (client) => client.query(`CREATE DATABASE ${name}`));
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const drop = async () => {
    await withClient(serverUrl, (client) => client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  };
  return { url: url.href, drop };
}

async function describePostgres(url: string, origin: string, stop: () => Promise<void>): Promise<TestServer> {
  const result = await withClient(url, (client) => client.query<{ server_version: string }>("SHOW server_version"));
  return { url, description: `Postgres ${result.rows[0]?.server_version}, ${origin}`, stop };
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on("error", () => {});
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** Finds a program, on Debian installing its package when it can. @throws ServerMissing */
function findProgram(program: Program): string {
  const found = lookFor(program);
  if (found !== undefined) return found;
  const debian = existsSync("/etc/debian_version");
  if (debian && process.getuid?.() === 0) {
    process.stderr.write(`test: installing Debian's package ${program.debian}\n`);
    // Without this, Debian makes and starts a cluster that no test uses.
    mkdirSync("/etc/postgresql-common", { recursive: true });
    const clusters = "/etc/postgresql-common/createcluster.conf";
    if (!existsSync(clusters)) writeFileSync(clusters, "create_main_cluster = false\n");
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    try {
      execFileSync("/usr/bin/apt-get", ["update", "-qq"], { env, stdio: "pipe" });
      const args = ["install", "-y", "-qq", "--no-install-recommends", program.debian];
      execFileSync("/usr/bin/apt-get", args, { env, stdio: "pipe" });
    } catch {
      // The next look says what is missing.
    }
  }
  const installed = lookFor(program);
  if (installed !== undefined) return installed;
  const how = debian ? `apt-get install ${program.debian}` : program.elsewhere;
  throw new ServerMissing(
    `the tests need ${program.name}, which is neither on PATH nor in Debian's folders.\n` +
      `Get it (${how}), or set ${program.variable} to the URL of a running one.`,
  );
}

function lookFor(program: Program): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  // Debian keeps daemons off the PATH of users.
  folders.push("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin");
  const versions = "/usr/lib/postgresql";
  if (program.name === "postgres" && existsSync(versions)) {
    const newest = readdirSync(versions).toSorted((a, b) => Number(b) - Number(a));
    folders.unshift(...newest.map((version) => join(versions, version, "bin")));
  }
  return folders.map((folder) => join(folder, program.name)).find((path) => existsSync(path));
}

/** Postgres refuses to run as root: then it runs as the user that its package made. */
function serverUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const entry = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  if (entry === null) throw new ServerMissing("Postgres does not run as root, and there is no user `postgres`");
  return { uid: Number(entry[1]), gid: Number(entry[2]) };
}

/** Without variables that would change where Postgres' programs look. */
function serverEnv(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !name.startsWith("PG"));
  return { ...Object.fromEntries(entries), LC_ALL: "C.UTF-8" };
}

interface Starting {
  readonly child: ChildProcess;
  readonly url: string;
  ready(): Promise<boolean>;
}

/** Starts a server on a free port; tries another when somebody else was quicker. */
async function retryingPorts(start: (port: number) => Starting): Promise<Starting> {
  for (let attempt = 1; ; attempt++) {
    const starting = start(await freePort());
    let output = "";
    let ended = false;
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    };
    starting.child.stdout?.on("data", keep);
    starting.child.stderr?.on("data", keep);
    starting.child.once("error", (error) => {
      output += error.message;
      ended = true;
    });
    starting.child.once("exit", () => {
      ended = true;
    });
    const deadline = performance.now() + startMs;
    while (!ended && performance.now() < deadline) {
      if (await starting.ready()) {
        running.add(starting.child);
        starting.child.once("exit", () => running.delete(starting.child));
        return starting;
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    starting.child.kill("SIGKILL");
    if (attempt === 3) throw new Error(`a server did not start:\n${output}`);
  }
}

// However this process ends, the servers that it started end too.
const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGINT");
});

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

async function canQuery(url: string): Promise<boolean> {
  return withClient(url, (client) => client.query("SELECT 1")).then(
    () => true,
    () => false,
  );
}

function greets(port: number, say: string, expected: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const settle = (good: boolean) => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(1000, () => settle(false));
    socket.once("error", () => settle(false));
    socket.once("connect", () => socket.write(say));
    socket.once("data", (data) => settle(data.toString().startsWith(expected)));
  });
}

function end(child: ChildProcess, signal: NodeJS.Signals, folder: string): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      rmSync(folder, { recursive: true, force: true });
      resolve();
    };
    const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
    if (child.exitCode !== null || child.signalCode !== null) {
      finish();
      return;
    }
    child.once("exit", finish);
    child.kill(signal);
  });
}
