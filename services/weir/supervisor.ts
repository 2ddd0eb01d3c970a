import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Clock } from "@weir/kit/clock";

/** A process to keep running. */
export interface ProcessPlan {
  /** For people: `pool`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Runs as this user; only root can. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Whether it gets a channel that breaks when this process ends, however it ends. Only for Node processes. */
  readonly tethered?: boolean;
}

export interface SupervisorOptions {
  readonly clock: Clock;
  /** Gets each line of output. */
  readonly onLine: (name: string, line: string) => void;
  /** Gets each message that a tethered process sends. */
  readonly onMessage?: (name: string, message: unknown) => void;
  /** Told of each end that was not asked for. `restartMs`: when it starts again; undefined: it does not. */
  readonly onExit?: (name: string, how: string, restartMs: number | undefined) => void;
  /** Whether a process that ends is started again. Default true. */
  readonly restart?: boolean;
}

export interface Supervised {
  /** Of the process that runs now; undefined between two. */
  pid(): number | undefined;
  /** Asks the process to end; kills it when it does not within the time. Resolves when it is gone. */
  stop(timeoutMs: number): Promise<void>;
}

const backoffMinMs = 200;
const backoffMaxMs = 10_000;
/** A process that ran this long starts with the shortest pause again. */
const steadyMs = 30_000;

/** Starts a process, passes its output on, and starts it again, after a growing pause, whenever it ends by itself. */
export function supervise(plan: ProcessPlan, options: SupervisorOptions): Supervised {
  const { clock } = options;
  let child: ChildProcess | undefined;
  let stopping = false;
  let backoffMs = backoffMinMs;
  let cancelRestart = () => {};

  const start = (): void => {
    const startMs = clock.monotonic();
    const started = spawn(plan.command, plan.args, {
      cwd: plan.cwd,
      env: { ...plan.env },
      stdio: plan.tethered === true ? ["ignore", "pipe", "pipe", "ipc"] : ["ignore", "pipe", "pipe"],
      // Ctrl-C at a terminal reaches the whole foreground group: children must end in our order, not all at once.
      detached: true,
      ...plan.user,
    });
    child = started;
    for (const stream of [started.stdout, started.stderr]) {
      if (stream) createInterface({ input: stream }).on("line", (line) => options.onLine(plan.name, line));
    }
    started.on("message", (message) => options.onMessage?.(plan.name, message));
    let ended = false;
    const onEnd = (how: string): void => {
      if (ended) return;
      ended = true;
      child = undefined;
      if (stopping) return;
      if (options.restart === false) {
        options.onExit?.(plan.name, how, undefined);
        return;
      }
      if (clock.monotonic() - startMs >= steadyMs) backoffMs = backoffMinMs;
      options.onExit?.(plan.name, how, backoffMs);
      cancelRestart = clock.after(backoffMs, start);
      backoffMs = Math.min(backoffMs * 2, backoffMaxMs);
    };
    started.on("error", (error) => {
      if (started.pid === undefined) onEnd(`could not start: ${error.message}`);
    });
    started.on("exit", (code, signal) => onEnd(signal === null ? `exit code ${code}` : `signal ${signal}`));
  };

  start();
  return {
    pid: () => child?.pid,
    stop(timeoutMs) {
      stopping = true;
      cancelRestart();
      const last = child;
      if (last?.pid === undefined) return Promise.resolve();
      return new Promise((resolve) => {
        const cancelKill = clock.after(timeoutMs, () => last.kill("SIGKILL"));
        last.once("exit", () => {
          cancelKill();
          resolve();
        });
        last.kill("SIGTERM");
      });
    },
  };
}
