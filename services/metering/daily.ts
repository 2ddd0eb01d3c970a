import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";

export interface DailyJob {
  /** For the log. */
  readonly name: string;
  /** Idempotent. @param isStopped to be asked between its steps */
  readonly run: (isStopped: () => boolean) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

const dayMs = 86_400_000;
/** After a failure: somebody's long query was in the way, or the server was away. */
const retryMs = 600_000;

/** Runs a job now and every day, never twice at once. */
export function startDaily({ name, run, clock, log }: DailyJob): { stop(): void } {
  let stopped = false;
  let cancelTimer = () => {};
  round();

  function round(): void {
    run(() => stopped)
      .then(
        () => dayMs,
        (error: unknown) => {
          log.warn({ job: name, error }, "a daily job failed; trying again later");
          return retryMs;
        },
      )
      .then((delayMs) => {
        if (!stopped) cancelTimer = clock.after(delayMs, round);
      })
      .catch((error: unknown) => log.error({ job: name, error }, "a daily job is no longer done"));
  }

  return {
    stop() {
      stopped = true;
      cancelTimer();
    },
  };
}
