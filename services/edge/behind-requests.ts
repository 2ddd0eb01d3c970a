import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";

/** What gathers behind the requests and is told to another service, every so often and all together. */
export interface BehindRequests {
  /** There is something to send: it leaves within an interval. */
  schedule(): void;
  /** Sends what there is, once more, and nothing after it. Never rejects. */
  close(): Promise<void>;
}

export interface BehindRequestsDeps {
  readonly intervalMs: number;
  /** Whether anything waits to be sent. */
  readonly isWaiting: () => boolean;
  /** Sends what waits; what it could not send waits on. Runs once at a time; when it rejects it runs again after an interval. */
  readonly sendAll: () => Promise<void>;
  /** What the log says when it begins to fail; it says so once until it has succeeded again. */
  readonly awayText: string;
  readonly clock: Clock;
  readonly log: Log;
}

export function createBehindRequests(deps: BehindRequestsDeps): BehindRequests {
  const { intervalMs, isWaiting, sendAll, awayText, clock, log } = deps;
  let sending: Promise<void> | undefined;
  let cancelTimer: (() => void) | undefined;
  let isClosed = false;
  let isAway = false;

  function schedule(): void {
    if (cancelTimer !== undefined || isClosed) return;
    cancelTimer = clock.after(intervalMs, () => {
      cancelTimer = undefined;
      void send();
    });
  }

  /** Never rejects. */
  function send(): Promise<void> {
    sending ??= sendAll()
      .then(
        () => {
          isAway = false;
        },
        (error: unknown) => {
          if (!isAway) log.warn({ error }, awayText);
          isAway = true;
        },
      )
      .finally(() => {
        sending = undefined;
        if (isWaiting()) schedule();
      });
    return sending;
  }

  return {
    schedule,
    async close() {
      isClosed = true;
      cancelTimer?.();
      await sending;
      if (isWaiting()) await send();
    },
  };
}
