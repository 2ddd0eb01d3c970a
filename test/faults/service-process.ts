import { dirname, join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { type Supervised, supervise } from "weir/supervisor";

/** A process of Weir that is started again at once whenever it ends. */
export interface ServiceProcess {
  readonly name: string;
  /** Everything that it has printed lately. */
  output(): string;
  pid(): number;
  /** Does nothing between two lives. */
  signal(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): void;
  /** How often it has begun. */
  starts(): number;
  /** Resolves when it has said that it is ready, since it last began. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

const main = join(dirname(dirname(import.meta.dirname)), "services/weir/main.ts");
const keeping = join(import.meta.dirname, "compile-cache.ts");
const readyMs = 60_000;

/** Runs `weir serve <services>`. */
export function runService(
  name: string,
  services: readonly string[],
  env: Readonly<Record<string, string>>,
  cwd: string,
): ServiceProcess {
  let output = "";
  let starts = 0;
  let isReady = false;
  let supervised: Supervised;
  const plan = {
    name,
    command: process.execPath,
    args: ["--import", keeping, main, "serve", services.join(",")],
    env: {
      PATH: process.env["PATH"],
      HOME: cwd,
      NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
      WEIR_LOG_LEVEL: "warn",
      WEIR_TRACE_RATIO: "0",
      ...env,
    },
    cwd,
    tethered: true,
  };
  const launch = (): void => {
    const life = ++starts;
    isReady = false;
    supervised = supervise(plan, {
      clock: systemClock,
      restart: false,
      onLine: (_, line) => (output = `${output}${line}\n`.slice(-20_000)),
      // What a process said before it died may be heard after that.
      onMessage: () => (isReady ||= life === starts),
      onExit: launch,
    });
  };
  launch();
  return {
    name,
    output: () => output,
    pid: () => supervised.pid() ?? 0,
    signal(signal) {
      const pid = supervised.pid();
      if (pid !== undefined) process.kill(pid, signal);
    },
    starts: () => starts,
    async ready() {
      const deadline = performance.now() + readyMs;
      while (!isReady) {
        if (performance.now() > deadline)
          throw new Error(`${name} is not ready after ${readyMs / 1000} s; it said:\n${output.slice(-4000)}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    stop: () => supervised.stop(15_000),
  };
}
