import { spawn } from "node:child_process";
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { createHash } from "node:crypto";
import { OperatorError } from "./operator-error.ts";

/** Where a program is; undefined when it is not installed. Looks along PATH, then where Debian hides it. */
export function findProgram(name: string, path = process.env["PATH"] ?? ""): string | undefined {
  const hidden = [
    "/usr/sbin",
    "/usr/local/sbin",
    ...globSync("/usr/lib/postgresql/*/bin").toSorted(byVersion).toReversed(),
  ];
  return [...path.split(delimiter), ...hidden]
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return statSync(file).isFile();
      } catch {
        return false;
      }
    });
}

function byVersion(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}

/** Ports that were free a moment ago, each different. The loopback address only. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<Server>((resolve, reject) => {
          const server = createServer();
          server.once("error", reject);
          server.listen(0, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Whether a port of the loopback address can be opened now. Port 0 always can. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** Resolves when something accepts connections at a port of this machine. @throws Error after the time */
export async function waitForPort(port: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!signal.aborted) {
    if (await accepts(port)) return;
    if (performance.now() > end) throw new OperatorError(`nothing answers on port ${port} after ${timeoutMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("given up");
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", timeout: 1_000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
    socket.once("timeout", () => end(false));
  });
}

/** A Postgres cluster of our own: its folder, and the user that must run it. */
export interface LocalPostgres {
  readonly folder: string;
  readonly program: string;
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
}

/**
 * Makes a Postgres cluster in a folder, with one database, unless it is there already. Postgres refuses to run as root: then
 * it runs as the system's user `postgres`, in /var/lib/weir when that user cannot enter the folder.
 * @throws Error that names the fix
 */
export async function preparePostgres(
  wantedFolder: string,
  login: { readonly user: string; readonly password: string; readonly database: string },
): Promise<LocalPostgres> {
  const initdb = findProgram("initdb");
  const program = findProgram("postgres");
  if (initdb === undefined || program === undefined) {
    throw new OperatorError(
      "Postgres is not installed: run `apt-get install postgresql`, or set WEIR_DATABASE_URL to a server of yours",
    );
  }
  const user = process.getuid?.() === 0 ? systemUser("postgres") : undefined;
  if (process.getuid?.() === 0 && user === undefined) {
    throw new OperatorError("Postgres does not run as root, and there is no user `postgres`: run as another user");
  }
  let folder = wantedFolder;
  if (user !== undefined && !othersCanEnter(dirname(wantedFolder))) {
    const mark = createHash("sha256").update(wantedFolder).digest("hex").slice(0, 12);
    folder = join(systemFolder, `postgres-${mark}`);
    mkdirSync(systemFolder, { recursive: true });
    // Whatever the umask is: to be passed through, not to be read.
    chmodSync(systemFolder, 0o711);
  }
  if (existsSync(join(folder, "PG_VERSION")) && existsSync(join(folder, "weir.ready")))
    return { folder, program, user };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const common = ["--pgdata", folder, "--username", login.user, "--encoding", "UTF8", "--no-locale"];
  if (!existsSync(join(folder, "PG_VERSION"))) {
    const passwordFile = `${folder}.password`;
    writeFileSync(passwordFile, login.password, { mode: 0o600 });
    try {
      if (user !== undefined) chownSync(passwordFile, user.uid, user.gid);
      await runProgram(initdb, [...common, "--auth", "scram-sha-256", "--pwfile", passwordFile], "", user);
    } finally {
      rmSync(passwordFile, { force: true });
    }
  }
  const create = `CREATE DATABASE "${login.database.replaceAll('"', '""')}";\n`;
  await runProgram(program, ["--single", "-D", folder, "postgres"], create, user);
  await runProgram("/bin/sh", ["-c", 'cat > "$0"', join(folder, "weir.ready")], "", user);
  return { folder, program, user };
}

const systemFolder = "/var/lib/weir";

function systemUser(name: string): { uid: number; gid: number } | undefined {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((text) => text.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

/** Whether users who are neither owner nor in the group can pass every folder on the way. */
function othersCanEnter(folder: string): boolean {
  for (let path = folder; ; path = dirname(path)) {
    if (existsSync(path) && (statSync(path).mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}

const outputCharsMax = 4_000;

function runProgram(
  program: string,
  args: readonly string[],
  input: string,
  user: { readonly uid: number; readonly gid: number } | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...user, cwd: "/", stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    const keep = (data: Buffer) => {
      output = (output + data.toString()).slice(-outputCharsMax);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => child.kill("SIGKILL"), 120_000);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`${program} failed:\n${output}`));
    });
    // A program that ends before it has read everything says why on its other streams.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}
