import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";

/** Bounds the calls to one provider. First come, first served. */
export interface CallLimit {
  /**
   * Takes a place; give it back with `leave`.
   * @param waitMs longest wait for it
   * @returns undefined when there was one at once
   * @throws WeirError OVERLOADED, now or later, when too many wait already or the wait is over; CallCancelled when the
   *   signal fires
   */
  enter(bounds: CallBounds, waitMs: number, signal: () => AbortSignal): Promise<void> | undefined;
  leave(): void;
  readonly calls: number;
  readonly waiting: number;
}

export interface CallBounds {
  readonly callsMax: number;
  readonly queueMax: number;
}

const retryAfterMs = 1_000;

export function createCallLimit(clock: Clock): CallLimit {
  let calls = 0;
  // The bounds that came last hold: they are those of the newest configuration.
  let callsMax = 0;
  const queue = new Set<() => void>(); // in order of arrival

  function wait(waitMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancelTimer = clock.after(waitMs, () => give(overloaded));
      const onAbort = () => give(() => new CallCancelled());
      const admit = () => {
        calls += 1;
        give(undefined);
      };
      function give(failure: (() => Error) | undefined): void {
        queue.delete(admit);
        cancelTimer();
        signal.removeEventListener("abort", onAbort);
        if (failure === undefined) resolve();
        else reject(failure());
      }
      signal.addEventListener("abort", onAbort, { once: true });
      queue.add(admit);
    });
  }

  return {
    enter(bounds, waitMs, signal) {
      callsMax = bounds.callsMax;
      if (calls < callsMax && queue.size === 0) {
        calls += 1;
        return undefined;
      }
      if (queue.size >= bounds.queueMax) throw overloaded();
      return wait(waitMs, signal());
    },
    leave() {
      calls -= 1;
      for (const admit of queue) {
        if (calls >= callsMax) break;
        admit();
      }
    },
    get calls() {
      return calls;
    },
    get waiting() {
      return queue.size;
    },
  };
}

function overloaded(): WeirError {
  return new WeirError(ErrorReason.OVERLOADED, {
    text: "Too many calls to this provider are under way; retry after the delay in Retry-After.",
    retryAfterMs,
  });
}
