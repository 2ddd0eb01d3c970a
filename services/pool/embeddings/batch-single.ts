import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { AttemptEnd, AttemptPlan } from "../attempt-plan.ts";
import type { Attempt } from "../attempt.ts";
import type { Outbox } from "../outbox.ts";
import type { Keys, KeyUse } from "../providers/key-use.ts";
import { unsentEnd, verdictOn } from "./batch-end.ts";
import type { BatchMember, Settle } from "./batch-member.ts";

/** What calls of batches need of the pool. */
export interface BatchDeps {
  readonly clock: Clock;
  readonly keys: Pick<Keys, "use">;
  /** Takes a place under the limit of a plan's provider. @throws WeirError OVERLOADED, CallCancelled; now or later */
  takePlace(plan: AttemptPlan, signal: () => AbortSignal): Promise<void> | undefined;
  leavePlace(plan: AttemptPlan): void;
  /** Puts the intent on record. @throws as the journal does */
  intend(plan: AttemptPlan): void | Promise<void>;
  /** Begins an attempt that has a place, which it leaves when it ends. */
  begin(plan: AttemptPlan, key: KeyUse, settled: (end: AttemptEnd) => void): Attempt;
  /** Whether the pool takes no more work. */
  isClosed(): boolean;
}

/** A member whose intent is on record, so that it must be settled. */
export interface RecordedMember {
  readonly member: BatchMember;
  readonly settle: Settle;
}

/** Makes the attempt of one member by itself. Never rejects. @param hasPlace whether there is a place for it already */
export async function runSingle({ member, settle }: RecordedMember, hasPlace: boolean, deps: BatchDeps): Promise<void> {
  const { plan } = member;
  const fail = (failure: Error) => {
    settle(unsentEnd(plan, verdictOn(failure), deps.clock.monotonic()));
    member.fail(failure);
  };
  if (!hasPlace) {
    const waiting = new AbortController();
    member.onGone = () => waiting.abort();
    try {
      await deps.takePlace(plan, () => waiting.signal);
    } catch (thrown) {
      fail(asError(thrown));
      return;
    }
  }
  let attempt: Attempt;
  try {
    const key = await deps.keys.use(plan.provider, plan.call);
    attempt = deps.begin(plan, key, settle);
  } catch (thrown) {
    deps.leavePlace(plan);
    fail(asError(thrown));
    return;
  }
  member.onGone = () => attempt.cancel();
  if (deps.isClosed()) attempt.giveUp();
  else if (member.gone !== undefined) attempt.cancel();
  else attempt.send();
  try {
    member.give(await onlyMessage(attempt.outbox));
  } catch (thrown) {
    member.fail(thrown);
  }
}

/** An answer that is no stream comes in one message. */
async function onlyMessage(outbox: Outbox): Promise<RunAttemptResponse> {
  for (;;) {
    const message = outbox.poll();
    if (message !== undefined) return message;
    await new Promise<void>((resolve) => {
      outbox.onReady = resolve;
    });
  }
}

/** What was thrown, as the end of an attempt wants it. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new WeirError(ErrorReason.INTERNAL);
}
