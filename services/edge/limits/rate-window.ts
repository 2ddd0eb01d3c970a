/** The span that a limit counts over. */
export const windowMs = 60_000;
const slotMs = 1_000;
/** The slot that is being filled, and those that cover the last minute whole. */
const slotCount = windowMs / slotMs + 1;

/**
 * What was taken in the last minute, by second, so that in no 60 seconds more is taken than the limit says: there is no
 * burst beside it. An amount leaves the window 60 to 61 seconds after it was taken. Amounts are whole numbers; times
 * are monotonic, in milliseconds.
 */
export class RateWindow {
  private readonly amounts = new Float64Array(slotCount);
  /** Number of the newest slot, counted from time 0. */
  private newest = 0;
  /** Number of the newest slot that something was taken in. */
  private lastTaken = 0;
  private sum = 0;

  /**
   * Takes an amount if the window has room. More than the limit can never fit and counts as the limit.
   * @returns 0 when it was taken, otherwise the milliseconds until it would fit if nobody else took any
   */
  take(nowMs: number, amount: number, limit: number): number {
    this.advance(nowMs);
    const wanted = Math.min(amount, limit);
    if (this.sum + wanted > limit) return this.waitMs(nowMs, wanted, limit);
    this.add(wanted);
    return 0;
  }

  /**
   * Corrects what was taken at `takenMs`: what was not used goes back to the second that it was taken in, if that still
   * counts; what was used beyond it counts as of now, even past the limit.
   */
  settle(nowMs: number, takenMs: number, taken: number, used: number): void {
    this.advance(nowMs);
    if (used >= taken) {
      this.add(used - taken);
      return;
    }
    const slot = Math.floor(takenMs / slotMs);
    if (slot <= this.newest - slotCount) return;
    const index = slot % slotCount;
    const back = Math.min(taken - used, this.amounts[index] as number);
    this.amounts[index] = (this.amounts[index] as number) - back;
    this.sum -= back;
  }

  /** What could be taken now. */
  remaining(nowMs: number, limit: number): number {
    this.advance(nowMs);
    return Math.max(0, limit - this.sum);
  }

  /** Milliseconds until all of the limit could be taken, if nobody took any. */
  resetMs(nowMs: number): number {
    this.advance(nowMs);
    return this.sum === 0 ? 0 : (this.lastTaken + slotCount) * slotMs - nowMs;
  }

  idle(nowMs: number): boolean {
    this.advance(nowMs);
    return this.sum === 0;
  }

  private add(amount: number): void {
    if (amount === 0) return;
    const index = this.newest % slotCount;
    this.amounts[index] = (this.amounts[index] as number) + amount;
    this.sum += amount;
    this.lastTaken = this.newest;
  }

  private advance(nowMs: number): void {
    const slot = Math.floor(nowMs / slotMs);
    if (slot <= this.newest) return;
    if (slot - this.newest >= slotCount) {
      this.amounts.fill(0);
      this.sum = 0;
    } else {
      for (let next = this.newest + 1; next <= slot; next++) {
        const index = next % slotCount;
        this.sum -= this.amounts[index] as number;
        this.amounts[index] = 0;
      }
    }
    this.newest = slot;
  }

  private waitMs(nowMs: number, wanted: number, limit: number): number {
    let left = this.sum;
    for (let slot = Math.max(0, this.newest - slotCount + 1); slot <= this.newest; slot++) {
      left -= this.amounts[slot % slotCount] as number;
      if (left + wanted <= limit) return (slot + slotCount) * slotMs - nowMs;
    }
    return windowMs;
  }
}
