/** How a window is cut: what was taken is kept by slot, and leaves with its slot. */
export interface WindowShape {
  /** Milliseconds of one slot. */
  readonly slotMs: number;
  /** Slots that cover the window once. */
  readonly slots: number;
}

/** 60 seconds: an amount leaves 60 to 61 s after it was taken. */
export const minuteShape: WindowShape = { slotMs: 1_000, slots: 60 };
/** 24 hours: an amount leaves 24 h to 24 h 15 min after it was taken. */
export const dayShape: WindowShape = { slotMs: 900_000, slots: 96 };

/**
 * What was taken in the last so many milliseconds, by slot, so that in no span of that length more is taken than the limit
 * says: there is no burst beside it. An amount leaves at the end of the slot that its span ends in. Amounts are whole
 * numbers; times are monotonic, in milliseconds.
 */
export class RateWindow {
  private readonly slotMs: number;
  /** The slot that is being filled, and those that cover the window whole. */
  private readonly slotCount: number;
  private readonly amounts: Float64Array;
  /** Number of the newest slot, counted from time 0. */
  private newest = 0;
  /** Number of the newest slot that something was taken in. */
  private lastTaken = 0;
  private sum = 0;

  constructor({ slotMs, slots }: WindowShape) {
    this.slotMs = slotMs;
    this.slotCount = slots + 1;
    this.amounts = new Float64Array(this.slotCount);
  }

  /** @returns 0 when an amount fits now, otherwise the milliseconds until it would if nobody took any; more than the limit never fits */
  waitMs(nowMs: number, amount: number, limit: number): number {
    this.advance(nowMs);
    if (this.sum + amount <= limit) return 0;
    let left = this.sum;
    for (let slot = Math.max(0, this.newest - this.slotCount + 1); slot <= this.newest; slot++) {
      left -= this.amounts[slot % this.slotCount] as number;
      if (left + amount <= limit) return (slot + this.slotCount) * this.slotMs - nowMs;
    }
    return this.slotMs * (this.slotCount - 1);
  }

  /** Counts an amount as of now, whether or not it fits. */
  add(nowMs: number, amount: number): void {
    this.advance(nowMs);
    if (amount === 0) return;
    const index = this.newest % this.slotCount;
    this.amounts[index] = (this.amounts[index] as number) + amount;
    this.sum += amount;
    this.lastTaken = this.newest;
  }

  /**
   * Corrects what was taken at `takenMs`: what was not used goes back to the slot that it was taken in, if that still
   * counts; what was used beyond it counts as of now, even past the limit.
   */
  settle(nowMs: number, takenMs: number, taken: number, used: number): void {
    if (used >= taken) {
      this.add(nowMs, used - taken);
      return;
    }
    this.advance(nowMs);
    const slot = Math.floor(takenMs / this.slotMs);
    if (slot <= this.newest - this.slotCount) return;
    const index = slot % this.slotCount;
    const back = Math.min(taken - used, this.amounts[index] as number);
    this.amounts[index] = (this.amounts[index] as number) - back;
    this.sum -= back;
  }

  /** What the window holds, the oldest first: how long ago it was taken, at least, and how much. */
  parts(nowMs: number): (readonly [ageMs: number, amount: number])[] {
    this.advance(nowMs);
    const parts: (readonly [number, number])[] = [];
    for (let slot = Math.max(0, this.newest - this.slotCount + 1); slot <= this.newest; slot++) {
      const amount = this.amounts[slot % this.slotCount] as number;
      if (amount > 0) parts.push([Math.max(0, Math.floor(nowMs - (slot + 1) * this.slotMs)), amount]);
    }
    return parts;
  }

  /** What could be taken now. */
  remaining(nowMs: number, limit: number): number {
    this.advance(nowMs);
    return Math.max(0, limit - this.sum);
  }

  /** Milliseconds until all of the limit could be taken, if nobody took any. */
  resetMs(nowMs: number): number {
    this.advance(nowMs);
    return this.sum === 0 ? 0 : (this.lastTaken + this.slotCount) * this.slotMs - nowMs;
  }

  idle(nowMs: number): boolean {
    this.advance(nowMs);
    return this.sum === 0;
  }

  private advance(nowMs: number): void {
    const slot = Math.floor(nowMs / this.slotMs);
    if (slot <= this.newest) return;
    if (slot - this.newest >= this.slotCount) {
      this.amounts.fill(0);
      this.sum = 0;
    } else {
      for (let next = this.newest + 1; next <= slot; next++) {
        const index = next % this.slotCount;
        this.sum -= this.amounts[index] as number;
        this.amounts[index] = 0;
      }
    }
    this.newest = slot;
  }
}
