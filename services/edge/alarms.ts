import type { Clock } from "@weir/kit/clock";

/** Something that may become due. Setting `dueMs` is all it takes to set, move or clear the alarm. */
export interface Alarm {
  /** On the clock's monotonic scale; Infinity: not set. */
  dueMs: number;
  /** Called when `dueMs` has passed, after it was set to Infinity. May set it again. Must not throw. */
  ring(): void;
}

/**
 * Alarms of all open requests behind one timer. They ring up to `resolutionMs` late, and moving one is an assignment:
 * a stream may move its alarm with every chunk.
 */
export interface Alarms {
  /** Monotonic time, as of the last look at the clock: up to `resolutionMs` old while any alarm is kept. */
  readonly nowMs: number;
  /** How late the timer fired of late, in milliseconds: how long this process lets its events wait. */
  readonly lagMs: number;
  add(alarm: Alarm): void;
  delete(alarm: Alarm): void;
  close(): void;
}

const resolutionMs = 100;
/** Weight of the newest look in `lagMs`: one pause does not count for much, several in a row do. */
const lagWeight = 0.25;

export function createAlarms(clock: Clock): Alarms {
  const alarms = new Set<Alarm>();
  let nowMs = clock.monotonic();
  let lagMs = 0;
  let cancel: (() => void) | undefined;
  let closed = false;

  function arm(): void {
    cancel = clock.after(resolutionMs, look);
  }

  function look(): void {
    cancel = undefined;
    const before = nowMs;
    nowMs = clock.monotonic();
    lagMs += (Math.max(0, nowMs - before - resolutionMs) - lagMs) * lagWeight;
    for (const alarm of alarms) {
      if (alarm.dueMs > nowMs) continue;
      alarm.dueMs = Number.POSITIVE_INFINITY;
      alarm.ring();
    }
    if (alarms.size > 0 && !closed) arm();
  }

  return {
    get nowMs() {
      return nowMs;
    },
    get lagMs() {
      return lagMs;
    },
    add(alarm) {
      alarms.add(alarm);
      if (cancel !== undefined || closed) return;
      nowMs = clock.monotonic();
      arm();
    },
    delete(alarm) {
      alarms.delete(alarm);
    },
    close() {
      closed = true;
      cancel?.();
      cancel = undefined;
      alarms.clear();
    },
  };
}
