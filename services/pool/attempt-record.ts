import type { UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Log } from "@weir/kit/log";
import { CallCancelled } from "@weir/kit/weir-error";
import type { AttemptEnd, AttemptPlan } from "./attempt-plan.ts";
import type { Intent } from "./journal/journal.ts";
import { outcomeWord } from "./measures.ts";

/** What of an attempt goes on record. */
export type RecordedPlan = Pick<
  AttemptPlan,
  | "attemptId"
  | "requestId"
  | "principal"
  | "alias"
  | "target"
  | "priceId"
  | "provider"
  | "stream"
  | "reserved"
  | "hold"
  | "startTimeMs"
>;

export function toIntent(plan: RecordedPlan): Intent {
  const { attemptId, requestId, principal, alias, target, priceId, startTimeMs, stream, reserved } = plan;
  const hold = plan.hold?.toRecord();
  return { attemptId, requestId, principal, alias, target, priceId, startTimeMs, stream, reserved, hold };
}

/** Ends the attempt's hold, and says what the ledger is told. */
export function toUsageEvent(plan: RecordedPlan, end: AttemptEnd): UsageEvent {
  const hold = plan.hold?.end(outcomeWord(end.outcome), end.usage);
  return {
    $typeName: "weir.metering.v1.UsageEvent",
    attemptId: plan.attemptId,
    requestId: plan.requestId,
    principal: plan.principal,
    alias: plan.alias,
    target: plan.target,
    priceId: plan.priceId,
    startTime: toTimestamp(plan.startTimeMs),
    // By the monotonic clock: an end is never before its beginning.
    endTime: toTimestamp(plan.startTimeMs + end.durationMs),
    outcome: end.outcome,
    usage: end.usage,
    usageSource: end.source,
    providerReplyId: end.replyId,
    providerStatus: end.status,
    ...(end.firstContentMs === undefined ? {} : { firstTokenUs: BigInt(Math.round(end.firstContentMs * 1_000)) }),
    stream: plan.stream,
    ...(hold === undefined ? {} : { hold }),
  };
}

function toTimestamp(ms: number): NonNullable<UsageEvent["startTime"]> {
  const seconds = Math.floor(ms / 1_000);
  return {
    $typeName: "google.protobuf.Timestamp",
    seconds: BigInt(seconds),
    nanos: Math.floor((ms - seconds * 1_000) * 1_000) * 1_000,
  };
}

export function logFailure(log: Log, plan: RecordedPlan, end: AttemptEnd, failure: Error): void {
  const facts = {
    attemptId: plan.attemptId,
    requestId: plan.requestId,
    provider: plan.provider.id,
    model: plan.target.model,
    outcome: outcomeWord(end.outcome),
    status: end.status,
    durationMs: Math.round(end.durationMs),
  };
  if (failure instanceof CallCancelled) log.debug(facts, "an attempt was cancelled");
  else log.warn({ ...facts, failure }, "an attempt failed");
}
