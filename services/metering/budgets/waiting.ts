import type { Clock } from "@weir/kit/clock";

/** Waits of open streams, all of which one call ends. */
export interface Waiting {
  /** Waits until something changed here, the delay has passed, or the call has ended. */
  wait(delayMs: number, signal: AbortSignal): Promise<void>;
  wakeAll(): void;
}

export function createWaiting(clock: Clock): Waiting {
  /** One entry for each open stream. */
  const wakers = new Set<() => void>();
  return {
    wait: (delayMs, signal) =>
      new Promise((resolve) => {
        const finish = () => {
          wakers.delete(finish);
          signal.removeEventListener("abort", finish);
          cancelTimer();
          resolve();
        };
        const cancelTimer = clock.after(delayMs, finish);
        wakers.add(finish);
        signal.addEventListener("abort", finish);
        if (signal.aborted) finish();
      }),
    wakeAll() {
      for (const wake of wakers) wake();
    },
  };
}
