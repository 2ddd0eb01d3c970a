import type { Clock } from "@weir/kit/clock";

/** A clock that moves when the test says so. */
export interface ManualClock extends Clock {
  /** Moves on, and makes the calls that become due, in order. */
  advance(ms: number): void;
  /** Calls that wait. */
  readonly waiting: number;
}

export function createManualClock(startMs = 1_000_000): ManualClock {
  let nowMs = startMs;
  const waiting = new Set<{ atMs: number; call: () => void }>();
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, call) {
      const entry = { atMs: nowMs + delayMs, call };
      waiting.add(entry);
      return () => waiting.delete(entry);
    },
    advance(ms) {
      const endMs = nowMs + ms;
      for (;;) {
        const next = [...waiting].filter((entry) => entry.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        waiting.delete(next);
        nowMs = Math.max(nowMs, next.atMs);
        next.call();
      }
      nowMs = endMs;
    },
    get waiting() {
      return waiting.size;
    },
  };
}
