import { encodeVectors } from "@weir/dialect/embeddings/expectation";
import type { Vector } from "@weir/dialect/embeddings/vector";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { RunAttemptResponse } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import type { AttemptEnd, AttemptPlan } from "../attempt-plan.ts";
import { type Metered, totals, unused } from "../usage-counts.ts";
import { divide } from "./batch-share.ts";
import type { Joining } from "./joining.ts";

/**
 * What each of several attempts used of the call that they shared: shares that add up to what the call used. What a provider
 * reported of all is no report of each.
 */
export function shareUsage({ usage, source }: Metered, weights: readonly number[]): Metered[] {
  const inputs = divide(usage.inputTokens ?? 0, weights);
  const outputs = divide(usage.outputTokens ?? 0, weights);
  return weights.map((_, index) => ({
    usage: totals(inputs[index] ?? 0, outputs[index] ?? 0),
    source: source === UsageSource.REPORTED ? UsageSource.COUNTED : source,
  }));
}

/** What an attempt ends with, and what its caller learns instead of an answer. */
export interface Verdict {
  readonly outcome: AttemptOutcome;
  readonly failure: Error | undefined;
}

/** The verdict on an attempt that did not come to its answer, for a reason of its own. */
export function verdictOn(failure: Error): Verdict {
  return {
    outcome: failure instanceof CallCancelled ? AttemptOutcome.CANCELLED : AttemptOutcome.FAILED,
    failure,
  };
}

/** The end of one attempt of a call that several shared. */
export function sharedEnd(
  plan: AttemptPlan,
  call: AttemptEnd,
  { usage, source }: Metered,
  { outcome, failure }: Verdict,
  nowMs: number,
): AttemptEnd {
  return { ...call, usage, source, outcome, failure, durationMs: nowMs - plan.startMs, drained: false };
}

/** The end of an attempt that is on record and was not sent. */
export function unsentEnd(plan: AttemptPlan, { outcome, failure }: Verdict, nowMs: number): AttemptEnd {
  return {
    ...unused,
    outcome,
    failure,
    status: 0,
    replyId: "",
    firstContentMs: undefined,
    durationMs: nowMs - plan.startMs,
    drained: false,
    sound: true,
  };
}

/**
 * The answer to one of several requests that were answered at once.
 * @param vectors those of its own inputs
 * @param model as the provider named it; empty when it did not
 * @returns undefined when they cannot be written as its client wants them
 */
export function sharedAnswer(
  plan: AttemptPlan,
  joining: Joining,
  vectors: readonly Vector[],
  model: string,
  { usage, source }: Metered,
): RunAttemptResponse | undefined {
  const encoded = encodeVectors(vectors, joining.expectation.encoding);
  if (encoded === undefined) return undefined;
  const answer = { vectors: encoded, model: model || joining.model, inputTokens: usage.inputTokens ?? 0 };
  return {
    $typeName: "weir.routing.v1.RunAttemptResponse",
    payload: {
      case: "wire",
      value: {
        $typeName: "weir.chat.v1.WireChunk",
        data: Buffer.from(joining.write(answer)),
        head: {
          $typeName: "weir.chat.v1.WireHead",
          status: 200,
          contentType: plan.call.answers.contentTypes.whole,
          headers: {},
          provider: plan.provider.id,
          model: plan.target.model,
          attempts: 0,
          warnings: [...plan.call.warnings],
        },
        tail: { $typeName: "weir.chat.v1.WireTail", usage, usageSource: source },
      },
    },
  };
}
