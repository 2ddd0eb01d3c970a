import type { Clock } from "@weir/kit/clock";
import type { Timer } from "./classify.ts";

/** How long to wait, in milliseconds. */
export interface AttemptTimeouts {
  readonly connectMs: number;
  readonly firstTokenMs: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

/** What an attempt waits for: a connection; the first content of a stream, or an answer's head; the rest. */
export type Phase = "connecting" | "waiting" | "answering";

/**
 * The timers of one attempt, on one timer of the machine: a deadline that moves away, as that of a stream does with each
 * piece of content, costs nothing; the machine's timer fires early now and then and is set again.
 */
export class AttemptTimer {
  private readonly clock: Clock;
  private readonly timeouts: AttemptTimeouts;
  private readonly stream: boolean;
  private readonly expired: (timer: Timer) => void;
  private phase: Phase | "drain" = "connecting";
  /** Since when the phase, or the pause between two pieces, lasts. */
  private sinceMs: number;
  private totalAtMs: number;
  private cancel: (() => void) | undefined;

  /**
   * @param startMs when the attempt began, on the monotonic clock
   * @param stream whether the first content is waited for apart; what is no stream has only its total time for that
   * @param expired called when time is up; the timers go on unless `stop` is called
   */
  constructor(
    clock: Clock,
    timeouts: AttemptTimeouts,
    startMs: number,
    stream: boolean,
    expired: (timer: Timer) => void,
  ) {
    this.clock = clock;
    this.timeouts = timeouts;
    this.stream = stream;
    this.expired = expired;
    this.sinceMs = startMs;
    this.totalAtMs = startMs + timeouts.totalMs;
  }

  start(nowMs: number): void {
    this.sinceMs = nowMs;
    this.arm(nowMs);
  }

  enter(phase: Phase, nowMs: number): void {
    if (this.phase !== "drain") this.phase = phase;
    this.sinceMs = nowMs;
  }

  /** More has come, or could have. */
  touch(nowMs: number): void {
    this.sinceMs = nowMs;
  }

  /** From now on only one deadline counts, whatever phase begins. */
  endWithin(timeoutMs: number): void {
    const nowMs = this.clock.monotonic();
    this.phase = "drain";
    this.totalAtMs = Math.min(this.totalAtMs, nowMs + timeoutMs);
    this.cancel?.();
    this.arm(nowMs);
  }

  stop(): void {
    this.cancel?.();
    this.cancel = undefined;
  }

  private due(): { readonly atMs: number; readonly timer: Timer } {
    const { connectMs, firstTokenMs, idleMs } = this.timeouts;
    let atMs = Infinity;
    let timer: Timer = "total";
    if (this.phase === "connecting") [atMs, timer] = [this.sinceMs + connectMs, "connect"];
    else if (this.phase === "answering") [atMs, timer] = [this.sinceMs + idleMs, "idle"];
    else if (this.phase === "waiting" && this.stream) [atMs, timer] = [this.sinceMs + firstTokenMs, "first_token"];
    return atMs < this.totalAtMs ? { atMs, timer } : { atMs: this.totalAtMs, timer: "total" };
  }

  private arm(nowMs: number): void {
    const { firstTokenMs, idleMs } = this.timeouts;
    // The next phase may end sooner than this one.
    let nextMs = Infinity;
    if (this.phase === "connecting") nextMs = Math.min(firstTokenMs, idleMs);
    else if (this.phase === "waiting") nextMs = idleMs;
    const delayMs = Math.max(Math.min(this.due().atMs - nowMs, nextMs), 1);
    this.cancel = this.clock.after(delayMs, () => this.fired());
  }

  private fired(): void {
    const nowMs = this.clock.monotonic();
    const { atMs, timer } = this.due();
    this.arm(nowMs); // `stop` takes it back
    if (nowMs >= atMs) this.expired(timer);
  }
}
