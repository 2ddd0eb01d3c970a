/** A rate is of no shorter span than this. */
const spanMsMin = 500;
/** Rates lose half of themselves in so many milliseconds. */
const halfLifeMs = 1_000;

/** What is taken for a second or so, so that a lease can be made as large as its use. */
export class UseRate {
  private perSecond = 0;
  private sinceAmount = 0;
  private sinceMs: number | undefined;

  add(nowMs: number, amount: number): void {
    this.sinceMs ??= nowMs;
    this.sinceAmount += amount;
  }

  forget(): void {
    this.perSecond = this.sinceAmount = 0;
  }

  /** What will be taken in so many seconds. Closes the span that is being counted. */
  expect(nowMs: number, seconds: number): number {
    const elapsedMs = nowMs - (this.sinceMs ?? nowMs);
    const decay = 0.5 ** (elapsedMs / halfLifeMs);
    const now = this.sinceAmount / Math.max(elapsedMs / 1_000, spanMsMin / 1_000);
    this.perSecond = Math.max(now, this.perSecond * decay);
    if (this.perSecond < 0.1) this.perSecond = 0;
    this.sinceAmount = 0;
    this.sinceMs = this.perSecond === 0 ? undefined : nowMs;
    return Math.ceil(this.perSecond * seconds);
  }
}
