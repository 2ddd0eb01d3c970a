import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { type Usage, UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import {
  AttemptOutcome,
  UsageBatchSchema,
  type UsageEvent,
  UsageEventSchema,
} from "@weir/gen/weir/metering/v1/usage_event_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import type { Intent, SettledBatch } from "./journal.ts";

// Attempts for tests and measurements.

const startTimeMs = 1_795_000_000_000;

export function exampleUsage(inputTokens: number, outputTokens: number): Usage {
  return create(UsageSchema, { inputTokens, outputTokens });
}

export function exampleIntent(attemptId: string, reserved = exampleUsage(1_000, 4_096)): Intent {
  return {
    attemptId,
    requestId: `req_${attemptId}`,
    principal: create(PrincipalSchema, { tenant: "acme", key: "abcdefghijklmnop", user: "u-1" }),
    alias: "gpt-4o",
    target: create(TargetSchema, { provider: "openai", model: "gpt-4o-2024-08-06" }),
    priceId: "openai/gpt-4o@2024-08-06",
    startTimeMs,
    stream: true,
    reserved,
  };
}

export function exampleEvent(attemptId: string, usage = exampleUsage(123, 456)): UsageEvent {
  return create(UsageEventSchema, {
    attemptId,
    requestId: `req_${attemptId}`,
    principal: create(PrincipalSchema, { tenant: "acme", key: "abcdefghijklmnop", user: "u-1" }),
    alias: "gpt-4o",
    target: create(TargetSchema, { provider: "openai", model: "gpt-4o-2024-08-06" }),
    priceId: "openai/gpt-4o@2024-08-06",
    startTime: timestampFromMs(startTimeMs),
    endTime: timestampFromMs(startTimeMs + 1_500),
    outcome: AttemptOutcome.COMPLETED,
    usage,
    usageSource: UsageSource.REPORTED,
    providerReplyId: "chatcmpl-abcdefghijklmnopqrstuvwxyz",
    providerStatus: 200,
    firstTokenUs: 123_456n,
    stream: true,
  });
}

/** What the ledger reads. */
export function eventsOf(batch: SettledBatch): UsageEvent[] {
  return fromBinary(UsageBatchSchema, batch.bytes).events;
}
