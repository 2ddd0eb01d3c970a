import type { Limit } from "./limit.ts";
import { dayShape, minuteShape, RateWindow } from "./rate-window.ts";

/** What is left of one limit. */
export interface Standing {
  readonly limit: number;
  readonly remaining: number;
  /** Until all of the limit is there again, if nobody takes any. */
  readonly resetMs: number;
}

/**
 * What is taken of one limit. An amount that is larger than the whole limit counts as the limit: it is let through when
 * nothing else was taken.
 */
export interface Counter {
  /** The newest; its amount may have changed since the counter was made. */
  limit: Limit;
  /** Takings that are not over; a counter that has any is not forgotten. */
  open: number;
  /**
   * @param alone whether no store can be asked any more
   * @returns 0 when the amount can be taken now; `unknown` when a store has to be asked; otherwise milliseconds to wait
   */
  waitMs(nowMs: number, amount: number, alone?: boolean): number;
  /** Takes, whether or not there is room. @returns what was counted: the amount, or the limit when that is less */
  take(nowMs: number, amount: number): number;
  /** Corrects what was taken at `takenMs` to what was used; of a place nothing is used once it is free. */
  settle(nowMs: number, takenMs: number, taken: number, used: number): void;
  standing(nowMs: number): Standing;
  /** Whether nothing is taken, so that the counter can be made anew without loss. */
  idle(nowMs: number): boolean;
}

/** What `waitMs` says when nobody here knows. */
export const unknown = -1;

/** Who waits for an open call to end cannot know for how long; a second is what clients wait by themselves. */
export const placeWaitMs = 1_000;

/** A limit that this process counts by itself. */
export function createLocalCounter(limit: Limit): Counter {
  return limit.kind === "concurrent" ? new PlaceCounter(limit) : new WindowCounter(limit);
}

class WindowCounter implements Counter {
  limit: Limit;
  open = 0;
  private readonly window: RateWindow;

  constructor(limit: Limit) {
    this.limit = limit;
    this.window = new RateWindow(limit.window === "day" ? dayShape : minuteShape);
  }

  waitMs(nowMs: number, amount: number): number {
    const limit = this.limit.amount;
    return this.window.waitMs(nowMs, Math.min(amount, limit), limit);
  }

  take(nowMs: number, amount: number): number {
    const taken = Math.min(amount, this.limit.amount);
    this.window.add(nowMs, taken);
    return taken;
  }

  settle(nowMs: number, takenMs: number, taken: number, used: number): void {
    this.window.settle(nowMs, takenMs, taken, used);
  }

  standing(nowMs: number): Standing {
    const limit = this.limit.amount;
    return { limit, remaining: this.window.remaining(nowMs, limit), resetMs: this.window.resetMs(nowMs) };
  }

  idle(nowMs: number): boolean {
    return this.window.idle(nowMs);
  }
}

class PlaceCounter implements Counter {
  limit: Limit;
  open = 0;
  private taken = 0;

  constructor(limit: Limit) {
    this.limit = limit;
  }

  waitMs(): number {
    return this.taken < this.limit.amount ? 0 : placeWaitMs;
  }

  take(): number {
    this.taken += 1;
    return 1;
  }

  settle(_nowMs: number, _takenMs: number, taken: number, used: number): void {
    this.taken -= taken - used;
  }

  standing(): Standing {
    const limit = this.limit.amount;
    return { limit, remaining: Math.max(0, limit - this.taken), resetMs: this.taken === 0 ? 0 : placeWaitMs };
  }

  idle(): boolean {
    return this.taken === 0;
  }
}
