import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { AttemptEnd, AttemptPlan } from "../attempt-plan.ts";
import type { Joining } from "./joining.ts";

/** Puts on record how an attempt ended; once. */
export type Settle = (end: AttemptEnd) => void;

/** One attempt among those that may share a call. */
export class BatchMember {
  readonly plan: AttemptPlan;
  readonly joining: Joining;
  /** To be called when the intent is on record. */
  readonly begin: () => Settle;
  /** The answer; undefined: the attempt is to be made alone, by its caller. Rejects with what the caller shall know. */
  readonly turn: Promise<RunAttemptResponse | undefined>;
  /** Why nobody waits for the answer any more. */
  gone: Error | undefined;
  /** Told when that happens, by who has the member in hand. */
  onGone: () => void = () => undefined;
  private over = false;
  private readonly outcome = Promise.withResolvers<RunAttemptResponse | undefined>();

  constructor(plan: AttemptPlan, joining: Joining, begin: () => Settle) {
    this.plan = plan;
    this.joining = joining;
    this.begin = begin;
    this.turn = this.outcome.promise;
  }

  /** The caller has gone, or waits no longer. */
  leave(reason: Error): void {
    if (this.over) return;
    this.gone = reason;
    this.fail(reason);
    this.onGone();
  }

  give(answer: RunAttemptResponse | undefined): void {
    this.over = true;
    this.outcome.resolve(answer);
  }

  fail(failure: unknown): void {
    this.over = true;
    this.outcome.reject(failure);
  }
}
