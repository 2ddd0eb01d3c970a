import type { Log } from "./log.ts";

export interface LifecycleOptions {
  readonly log: Log & { flush?(): void };
  /** For all steps together. Default 60 s. Then the process exits with code 1. */
  readonly totalTimeoutMs?: number;
  /** Whether a lost IPC channel, a sign that the parent is gone, stops the process. Default true. */
  readonly exitWithParent?: boolean;
}

/** One step of an orderly stop. Its signal fires when its time is up; the next step begins then in any case. */
export type DrainStep = (signal: AbortSignal) => Promise<void> | void;

export interface Lifecycle {
  /** Adds a step. Steps run one after another in the order in which they were added, each within its own time. */
  onStop(name: string, timeoutMs: number, step: DrainStep): void;
  /** Stops as a signal would. Called again half a second later or more, it exits at once. */
  stop(why: string): void;
  /** Whether a stop has begun: readiness is over. */
  readonly stopping: boolean;
}

/** Ctrl-C below npm arrives twice, from the terminal and from npm; signals this close are one. */
const sameSignalMs = 500;

/**
 * Watches over the end of a process. SIGTERM, SIGINT and a parent that is gone run the steps and exit with code 0, or 1
 * when a step failed or was late; a later second signal exits at once. An error that nobody caught is logged and exits with
 * code 1 without running the steps: the state is unknown then, and what must survive is on disk already.
 */
export function createLifecycle(options: LifecycleOptions): Lifecycle {
  const { log, totalTimeoutMs = 60_000, exitWithParent = true } = options;
  const steps: { name: string; timeoutMs: number; step: DrainStep }[] = [];
  let stopping = false;
  let stoppingSince = 0;
  let exited = false;

  const exit = (code: number) => {
    if (exited) return;
    exited = true;
    log.flush?.();
    process.exit(code);
  };

  const drain = async () => {
    let clean = true;
    for (const { name, timeoutMs, step } of steps) {
      const outcome = await runStep(step, timeoutMs);
      if (outcome === "done") {
        log.debug({ step: name }, "stop: step done");
        continue;
      }
      clean = false;
      if (outcome === "late") log.warn({ step: name, timeout_ms: timeoutMs }, "stop: step took too long");
      else log.error({ step: name, error: outcome.thrown }, "stop: step failed");
    }
    log.info({ clean }, "stopped");
    exit(clean ? 0 : 1);
  };

  const stop = (why: string) => {
    if (stopping) {
      if (performance.now() - stoppingSince < sameSignalMs) return;
      log.warn({ why }, "stopping at once");
      exit(1);
      return;
    }
    stopping = true;
    stoppingSince = performance.now();
    log.info({ why }, "stopping");
    // Not unref'd: a drain that waits for nothing alive must still end.
    setTimeout(() => {
      if (!exited) log.error({ timeout_ms: totalTimeoutMs }, "stop: not done in time");
      exit(1);
    }, totalTimeoutMs);
    void drain();
  };

  const crash = (kind: string) => (thrown: unknown) => {
    log.error({ error: thrown, kind }, "an error that nobody caught ends the process");
    exit(1);
  };

  process.on("SIGTERM", () => stop("SIGTERM"));
  process.on("SIGINT", () => stop("SIGINT"));
  process.on("uncaughtException", crash("uncaughtException"));
  process.on("unhandledRejection", crash("unhandledRejection"));
  if (exitWithParent) {
    // During a stop a channel that closes is the parent leaving as well, not a second signal.
    process.on("disconnect", () => {
      if (!stopping) stop("parent gone");
    });
  }

  return {
    onStop: (name, timeoutMs, step) => void steps.push({ name, timeoutMs, step }),
    stop,
    get stopping() {
      return stopping;
    },
  };
}

async function runStep(step: DrainStep, timeoutMs: number): Promise<"done" | "late" | { thrown: unknown }> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<"late">((resolve) => {
    timer = setTimeout(() => {
      late.abort();
      resolve("late");
    }, timeoutMs);
  });
  const work = (async () => step(late.signal))().then(
    () => "done" as const,
    (thrown: unknown) => ({ thrown }),
  );
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
