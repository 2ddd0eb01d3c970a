import type { Clock } from "@weir/kit/clock";

/** Waits of open streams that follow changes, all of which one call wakes. */
export interface Waiting {
  /** Waits until something changed here, the delay has passed, the call has ended, or following is over. */
  wait(delayMs: number, signal: AbortSignal): Promise<void>;
  /** Something changed here. */
  wakeAll(): void;
  /** The service begins to stop: streams end in good order, and those who follow call another instance. */
  end(): void;
  /** Whether `end` was called. */
  readonly isOver: boolean;
}

export function createWaiting(clock: Clock): Waiting {
  /** One entry for each open stream. */
  const wakers = new Set<() => void>();
  let isOver = false;
  const wakeAll = () => {
    for (const wake of wakers) wake();
  };
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
        if (signal.aborted || isOver) finish();
      }),
    wakeAll,
    end() {
      isOver = true;
      wakeAll();
    },
    get isOver() {
      return isOver;
    },
  };
}
