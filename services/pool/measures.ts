import { type Attributes, type Meter, ROOT_CONTEXT } from "@opentelemetry/api";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type AttemptOutcome, AttemptOutcomeSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { AttemptEnd } from "./attempt-plan.ts";
import type { CallLimit } from "./call-limit.ts";

/** What the pool measures. */
export interface Measures {
  /** @param provider id of a configured provider, so that there are few */
  ended(provider: string, stream: boolean, end: AttemptEnd): void;
  close(): void;
}

/** What a scrape asks for. */
export interface PoolGauges {
  readonly openStreams: () => number;
  readonly draining: () => number;
  /** By provider. */
  readonly limits: () => Iterable<readonly [string, CallLimit]>;
}

// Seconds, from a refusal to a long piece of reasoning.
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

interface ProviderCounts {
  readonly latency: { readonly stream: Attributes; readonly whole: Attributes };
  readonly firstContent: Attributes;
  readonly requests: Counts;
  readonly errors: Counts;
  unsoundUsage: number;
}

/** Counts by the value of one label. */
type Counts = Map<string, { readonly attributes: Attributes; value: number }>;

/** Counts are kept here and read when somebody scrapes: adding to an instrument costs 2 us for its attributes alone. */
export function createMeasures(meter: Meter, gauges: PoolGauges): Measures {
  const byProvider = new Map<string, ProviderCounts>();
  const requests = meter.createObservableCounter("llm_provider_requests", { description: "Calls to providers." });
  const errors = meter.createObservableCounter("llm_provider_errors", {
    description: "Calls that gave no whole answer, by what failed.",
  });
  const unsound = meter.createObservableCounter("llm_provider_unsound_usage", {
    description: "Answers whose reported usage could not be taken as it stood.",
  });
  const calls = meter.createObservableGauge("llm_provider_open_calls", { description: "Calls under way." });
  const waiting = meter.createObservableGauge("llm_provider_waiting_calls", {
    description: "Calls that wait for a place under the provider's limit.",
  });
  const streams = meter.createObservableGauge("llm_provider_open_streams", { description: "Streams under way." });
  const draining = meter.createObservableGauge("llm_provider_draining_calls", {
    description: "Answers read on for their usage after their caller has gone.",
  });
  const latency = meter.createHistogram("llm_provider_latency_seconds", {
    description: "From the beginning of a call until the end of its answer.",
    unit: "s",
    advice: { explicitBucketBoundaries: buckets },
  });
  const firstContent = meter.createHistogram("llm_provider_time_to_first_token_seconds", {
    description: "From sending a streamed call until its first content.",
    unit: "s",
    advice: { explicitBucketBoundaries: buckets },
  });
  const observed = [requests, errors, unsound, calls, waiting, streams, draining];
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    for (const [provider, counts] of byProvider) {
      for (const { attributes, value } of counts.requests.values()) result.observe(requests, value, attributes);
      for (const { attributes, value } of counts.errors.values()) result.observe(errors, value, attributes);
      result.observe(unsound, counts.unsoundUsage, { provider });
    }
    for (const [provider, limit] of gauges.limits()) {
      result.observe(calls, limit.calls, { provider });
      result.observe(waiting, limit.waiting, { provider });
    }
    result.observe(streams, gauges.openStreams());
    result.observe(draining, gauges.draining());
  };
  meter.addBatchObservableCallback(observe, observed);

  function countsOf(provider: string): ProviderCounts {
    let counts = byProvider.get(provider);
    if (counts === undefined) {
      counts = {
        latency: { stream: { provider, stream: "true" }, whole: { provider, stream: "false" } },
        firstContent: { provider },
        requests: new Map(),
        errors: new Map(),
        unsoundUsage: 0,
      };
      byProvider.set(provider, counts);
    }
    return counts;
  }

  return {
    ended(provider, stream, end) {
      const counts = countsOf(provider);
      add(counts.requests, provider, "outcome", outcomeWord(end.outcome));
      if (end.failure instanceof WeirError) add(counts.errors, provider, "class", errorClass(end.failure));
      if (!end.sound) counts.unsoundUsage += 1;
      latency.record(end.durationMs / 1_000, stream ? counts.latency.stream : counts.latency.whole, ROOT_CONTEXT);
      if (stream && end.firstContentMs !== undefined) {
        firstContent.record(end.firstContentMs / 1_000, counts.firstContent, ROOT_CONTEXT);
      }
    },
    close() {
      meter.removeBatchObservableCallback(observe, observed);
    },
  };
}

function add(counts: Counts, provider: string, label: string, value: string): void {
  const count = counts.get(value);
  if (count === undefined) counts.set(value, { attributes: { provider, [label]: value }, value: 1 });
  else count.value += 1;
}

const outcomeWords = new Map(
  AttemptOutcomeSchema.values.map(({ number, localName }) => [number, localName.toLowerCase()]),
);

/** `completed`, `cancelled`, `failed`, `truncated`, `rejected`. */
export function outcomeWord(outcome: AttemptOutcome): string {
  return outcomeWords.get(outcome) ?? "unspecified";
}

/** What failed, in one word of few. */
function errorClass({ reason, metadata }: WeirError): string {
  switch (reason) {
    case ErrorReason.PROVIDER_UNAVAILABLE:
      return metadata["cause"] ?? "server";
    case ErrorReason.PROVIDER_TIMEOUT:
      return `timeout_${metadata["timer"] ?? "total"}`;
    case ErrorReason.PROVIDER_RATE_LIMITED:
      return "rate_limit";
    case ErrorReason.PROVIDER_REJECTED:
      return "rejected";
    case ErrorReason.STREAM_TRUNCATED:
      return "truncated";
    default:
      return "other";
  }
}
