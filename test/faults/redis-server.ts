import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram, freePorts } from "weir/local-servers";
import { startProgram } from "./server-program.ts";

/** A Redis server that can be killed, stopped, emptied and started again under its address. */
export interface RedisServer {
  readonly url: string;
  /** With what it had written to its file, which is all that it has acknowledged. */
  start(): Promise<void>;
  kill(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  /** Stops it where it is; `resume` lets it go on. */
  pause(): void;
  resume(): void;
  /** Forgets everything while it runs. */
  flush(): Promise<void>;
  /** Loses its file. Only while it is down. */
  empty(): void;
  close(): Promise<void>;
}

/** Starts a Redis server in a folder of its own. */
export async function createRedisServer(): Promise<RedisServer> {
  const program = findProgram("redis-server");
  if (program === undefined)
    throw new Error("these tests need redis-server on PATH (Debian: apt-get install redis-server)");
  const folder = mkdtempSync(join(tmpdir(), "weir-redis-"));
  const [port = 0] = await freePorts(1);
  // What was written outlives the process without fsync, and a server that waits for a busy disk answers nobody meanwhile.
  const options = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "yes", appendfsync: "no" };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  let child: ChildProcess | undefined;
  const server: RedisServer = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      child = await startProgram(program, args, async () => (await ask(port, "PING")) === "+PONG");
    },
    async kill(signal) {
      const dying = child;
      child = undefined;
      if (dying === undefined || dying.exitCode !== null) return;
      const ended = once(dying, "exit");
      dying.kill(signal);
      await ended;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    async flush() {
      const answer = await ask(port, "FLUSHALL");
      if (answer !== "+OK") throw new Error(`Redis was not emptied: ${answer}`);
    },
    empty: () => rmSync(join(folder, "appendonlydir"), { recursive: true, force: true }),
    async close() {
      child?.kill("SIGCONT");
      await server.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

/** One command. @returns the first line of the answer; undefined when there is none */
function ask(port: number, command: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`));
    const end = (answer?: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => end());
    socket.once("error", () => end());
    socket.once("close", () => end());
    socket.once("data", (data) => end(data.toString().split("\r\n")[0]));
  });
}
