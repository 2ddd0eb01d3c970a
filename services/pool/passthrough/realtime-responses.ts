import type { AttemptEnd } from "../attempt-plan.ts";
import type { ClientEvent } from "./realtime-events.ts";

/** An attempt whose intent is on record. */
export interface OpenAttempt {
  /** By the monotonic clock. */
  readonly startMs: number;
  settle(end: AttemptEnd): void;
}

/** Responses that a client may have open at once. */
export const responsesMax = 16;

/**
 * Which attempt stands for which response of a session. Those with `conversation: "none"` run beside others, so that several may be
 * open: each has its own attempt. Knows nothing of money and time.
 */
export class Responses {
  /** Attempts for responses that have not begun. */
  private readonly spare: OpenAttempt[] = [];
  /** Ids of the `response.create` to which nothing was said yet. */
  private readonly asked: string[] = [];
  private readonly open = new Map<string, OpenAttempt>();
  /** Whether a response may begin that nobody asked for by an event of its own. */
  private heard = false;

  /** Whether the client may not ask for another one now. */
  get isFull(): boolean {
    return this.open.size + this.asked.length >= responsesMax;
  }

  /** Whether the provider has begun so many that nobody can have asked for them. */
  get isFlooded(): boolean {
    return this.open.size > 4 * responsesMax;
  }

  /** Whether a response has not ended, or was asked for. */
  get isAny(): boolean {
    return this.open.size + this.asked.length > 0;
  }

  /** Whether an attempt must be added before an event of the client leaves. */
  lacks({ cause }: ClientEvent): boolean {
    if (cause === "none") return false;
    const others = this.asked.length + (cause === "asks" && this.heard ? 1 : 0);
    return this.spare.length < others + 1;
  }

  add(attempt: OpenAttempt): void {
    this.spare.push(attempt);
  }

  /** The client's event has left. */
  sent({ cause, id }: ClientEvent): void {
    if (cause === "asks") this.asked.push(id);
    else if (cause === "speaks") this.heard = true;
  }

  /** An event of the client was not taken. */
  refused(eventId: string): void {
    const at = this.asked.indexOf(eventId);
    if (at >= 0) this.asked.splice(at, 1);
  }

  /** A response has begun. @param begin makes an attempt for one that nobody announced */
  created(responseId: string, begin: () => OpenAttempt): void {
    if (responseId !== "" && !this.open.has(responseId)) this.open.set(responseId, this.claim(begin));
  }

  /** A response has ended, begun or not. @returns its attempt, which is nobody's any more */
  done(responseId: string, begin: () => OpenAttempt): OpenAttempt {
    const attempt = this.open.get(responseId) ?? this.claim(begin);
    this.open.delete(responseId);
    return attempt;
  }

  /** Gives up every attempt: those of responses that were cut off or may be, each with its response's id, and those of none. */
  close(): { readonly cut: readonly (readonly [string, OpenAttempt])[]; readonly unused: readonly OpenAttempt[] } {
    const spare = this.spare.splice(0);
    const asked = spare.splice(0, this.asked.length).map((attempt) => ["", attempt] as const);
    const cut = [...this.open, ...asked];
    this.open.clear();
    this.asked.length = 0;
    return { cut, unused: spare };
  }

  private claim(begin: () => OpenAttempt): OpenAttempt {
    // Which of them it is, the provider does not say.
    if (this.asked.shift() === undefined) this.heard = false;
    return this.spare.shift() ?? begin();
  }
}
