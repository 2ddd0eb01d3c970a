import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { ResponseStore } from "./response-store.ts";

export interface SweeperDependencies {
  readonly store: Pick<ResponseStore, "sweep">;
  readonly clock: Clock;
  readonly log: Log;
}

const intervalMs = 60_000;
/** Small, so that nobody waits for long behind one; PGlite does one thing at a time. */
const batchCount = 200;
/** The next round takes what this one leaves. */
const batchesMax = 50;

/** Deletes what has expired in a store once a minute, in small batches. Several processes may do so at once. */
export function startSweeper({ store, clock, log }: SweeperDependencies): { stop(): void } {
  let stopped = false;
  let cancelTimer = clock.after(intervalMs, round);

  function round(): void {
    sweep()
      .catch((error: unknown) => log.warn({ error }, "expired rows could not be deleted; trying again later"))
      .finally(() => {
        if (!stopped) cancelTimer = clock.after(intervalMs, round);
      });
  }

  async function sweep(): Promise<void> {
    for (let count = 0; count < batchesMax && !stopped; count++) {
      if ((await store.sweep(batchCount)) < batchCount) return;
    }
  }

  return {
    stop() {
      stopped = true;
      cancelTimer();
    },
  };
}
