import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { findProgram, freePorts } from "weir/local-servers";
import { startProgram } from "./server-program.ts";

/** A Postgres server that can be killed and started again under its address, with its data. */
export interface DatabaseServer {
  readonly url: string;
  /** Folder that the server may write to. */
  folder(name: string): string;
  start(): Promise<void>;
  /** Every process of it ends at once, without a checkpoint: SIGQUIT, which Postgres calls an immediate shutdown. */
  crash(): Promise<void>;
  /** SIGKILL for one of its sessions: the server ends all others and recovers from its log. Resolves when they have ended. */
  killSession(): Promise<void>;
  close(): Promise<void>;
}

/** How long a server may take to end its sessions after one was killed. */
const endMs = 20_000;

/** Starts a cluster of its own, which writes to disk what it commits. */
export async function createDatabaseServer(): Promise<DatabaseServer> {
  const program = findProgram("postgres");
  if (program === undefined) throw new Error("these tests need Postgres (Debian: apt-get install postgresql)");
  const root = mkdtempSync(join(tmpdir(), "weir-database-"));
  const owner = process.getuid?.() === 0 ? postgresUser() : undefined;
  const folder = (name: string) => {
    const path = join(root, name);
    mkdirSync(path, { recursive: true });
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
    return path;
  };
  if (owner !== undefined) chownSync(root, owner.uid, owner.gid);
  chmodSync(root, 0o700);
  const cluster = join(root, "cluster");
  const env = { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" };
  const settings = { ...owner, cwd: root, env, stdio: "pipe" } as const;
  const init = ["--pgdata", cluster, "--username", "weir", "--auth", "trust", "--encoding", "UTF8", "--no-sync"];
  execFileSync(join(program, "..", "initdb"), init, settings);
  const [port = 0] = await freePorts(1);
  const url = `postgres://weir@127.0.0.1:${port}/postgres`;
  let child: ChildProcess | undefined;
  const answers = async (): Promise<boolean> => {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1000 });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query("SELECT 1");
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => undefined); // the server may be gone again
    }
  };
  const server: DatabaseServer = {
    url,
    folder,
    async start() {
      const options = ["listen_addresses=127.0.0.1", "max_connections=100", "restart_after_crash=on"];
      const args = ["-D", cluster, "-p", String(port), "-k", root, ...options.flatMap((option) => ["-c", option])];
      child = await startProgram(program, args, answers, settings);
    },
    async crash() {
      const dying = child;
      child = undefined;
      if (dying === undefined || dying.exitCode !== null) return;
      const ended = once(dying, "exit");
      dying.kill("SIGQUIT");
      await ended;
    },
    async killSession() {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: endMs });
      client.on("error", () => {});
      await client.connect();
      const ended = new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("the server goes on although a session was killed")), endMs);
        client.once("end", () => {
          clearTimeout(timer);
          resolve();
        });
      });
      // Its own only if there is no other.
      const { rows } = await client.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'weir'
         ORDER BY pid = pg_backend_pid() LIMIT 1`,
      );
      for (const { pid } of rows) process.kill(pid, "SIGKILL");
      await ended;
    },
    async close() {
      await server.crash();
      rmSync(root, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

/** Postgres refuses to run as root: then it runs as the user that its package made. */
function postgresUser(): { uid: number; gid: number } {
  const entry = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  if (entry === null) throw new Error("Postgres does not run as root, and there is no user `postgres`");
  return { uid: Number(entry[1]), gid: Number(entry[2]) };
}
