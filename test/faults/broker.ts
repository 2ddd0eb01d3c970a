import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findProgram, freePorts } from "weir/local-servers";
import { startProgram } from "./server-program.ts";

/** A NATS server that can be killed, emptied, set back and started again under its address. */
export interface Broker {
  readonly url: string;
  readonly port: number;
  start(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Stops it where it is, as a machine that is out of memory does; `resume` lets it go on. */
  pause(): void;
  resume(): void;
  /** Forgets everything it has stored. Only while it is down. */
  empty(): void;
  /** Copies what it has stored. Only while it is down. */
  save(name: string): void;
  /** Puts a copy in the place of what it has stored, if there is one of this name. Only while it is down. */
  restore(name: string): boolean;
  close(): Promise<void>;
}

/** Starts a NATS server with JetStream in a folder of its own. */
export async function createBroker(): Promise<Broker> {
  const program = findProgram("nats-server");
  if (program === undefined)
    throw new Error("these tests need nats-server on PATH (Debian: apt-get install nats-server)");
  const folder = mkdtempSync(join(tmpdir(), "weir-broker-"));
  const store = join(folder, "store");
  const [port = 0] = await freePorts(1);
  let child: ChildProcess | undefined;
  const broker: Broker = {
    url: `nats://127.0.0.1:${port}`,
    port,
    async start() {
      child = await startProgram(program, ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", store], () =>
        greets(port),
      );
    },
    async kill() {
      const dying = child;
      child = undefined;
      if (dying === undefined || dying.exitCode !== null) return;
      const ended = once(dying, "exit");
      dying.kill("SIGKILL");
      await ended;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    empty: () => rmSync(store, { recursive: true, force: true }),
    save(name) {
      rmSync(join(folder, name), { recursive: true, force: true });
      if (existsSync(store)) cpSync(store, join(folder, name), { recursive: true });
    },
    restore(name) {
      if (!existsSync(join(folder, name))) return false;
      rmSync(store, { recursive: true, force: true });
      cpSync(join(folder, name), store, { recursive: true });
      return true;
    },
    async close() {
      child?.kill("SIGCONT");
      await broker.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await broker.start();
  return broker;
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (good: boolean) => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(1000, () => end(false));
    socket.once("error", () => end(false));
    socket.once("data", () => end(true));
  });
}
