/** What a call waits for that only its client can give. */
export type Awaited = "request" | "reader" | undefined;

/** How long a client keeps its call waiting, as far as looks every few seconds can tell. */
export class Patience {
  private awaited: Awaited;
  private moved = 0;
  private sinceMs = 0;

  /**
   * Looks once.
   * @param moved changes whenever the client has done something about what is awaited
   * @param allowedMs how long it may stand still; counted from the first look that found it so
   * @returns whether its time is over
   */
  isOver(nowMs: number, awaited: Awaited, moved: number, allowedMs: number): boolean {
    if (awaited === this.awaited && moved === this.moved)
      return awaited !== undefined && nowMs - this.sinceMs >= allowedMs;
    this.awaited = awaited;
    this.moved = moved;
    this.sinceMs = nowMs;
    return false;
  }
}
