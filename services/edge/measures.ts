import { type Attributes, type Meter, ROOT_CONTEXT } from "@opentelemetry/api";
import type { Limit } from "@weir/kit/limits/limit";

/** What the edge measures. */
export interface Measures {
  /**
   * One answer.
   * @param route template of the path, or `none`; from the route table, so that there are few
   * @param status 499 when the client left before the answer began
   */
  answered(route: string, method: string, status: number, seconds: number): void;
  /** One refusal; counted by what is limited and for whom, never by name. */
  rateLimited(limit: Pick<Limit, "scope" | "kind" | "window">): void;
  /** From the arrival of a request until the first content of its answer. */
  firstContent(route: string, seconds: number): void;
  streamOpened(): void;
  streamClosed(): void;
  close(): void;
}

/** What a scrape asks for. */
export interface EdgeGauges {
  readonly openRequests: () => number;
  readonly keys: () => number;
}

interface Count {
  readonly attributes: Attributes;
  value: number;
}

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
// Seconds from a refusal to a long piece of reasoning.
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/**
 * Counts are kept here and read when somebody scrapes: adding to an instrument costs 2 us for its attributes alone, which
 * histograms cannot be spared.
 */
export function createMeasures(meter: Meter, gauges: EdgeGauges): Measures {
  const requests = new Map<string, Map<string, Count[]>>();
  const refusals = new Map<string, Count>();
  let openStreams = 0;

  const requestCounter = meter.createObservableCounter("http_requests", { description: "Answers." });
  const refusalCounter = meter.createObservableCounter("llm_rate_limit_exceeded", {
    description: "Requests refused because a limit was used up, by what it limits and whom.",
  });
  const streamGauge = meter.createObservableGauge("http_open_streams", { description: "Streams being answered." });
  const openGauge = meter.createObservableGauge("http_open_requests", { description: "Requests being answered." });
  const keyGauge = meter.createObservableGauge("edge_keys", { description: "Live API keys in memory." });
  const durations = meter.createHistogram("http_request_duration_seconds", {
    description: "From the arrival of a request until its answer has left.",
    unit: "s",
    advice: { explicitBucketBoundaries: buckets },
  });
  const firstContents = meter.createHistogram("llm_time_to_first_token_seconds", {
    description: "From the arrival of a request until the first content of its streamed answer.",
    unit: "s",
    advice: { explicitBucketBoundaries: buckets },
  });
  const observed = [requestCounter, refusalCounter, streamGauge, openGauge, keyGauge];
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    for (const byMethod of requests.values()) {
      for (const counts of byMethod.values()) {
        for (const count of counts)
          if (count !== undefined) result.observe(requestCounter, count.value, count.attributes);
      }
    }
    for (const count of refusals.values()) result.observe(refusalCounter, count.value, count.attributes);
    result.observe(streamGauge, openStreams);
    result.observe(openGauge, gauges.openRequests());
    result.observe(keyGauge, gauges.keys());
  };
  meter.addBatchObservableCallback(observe, observed);

  const classes = new Map<string, Attributes[]>();
  function classOf(route: string, status: number): Attributes {
    const known = classes.get(route) ?? [];
    if (known.length === 0) classes.set(route, known);
    const index = Math.floor(status / 100);
    return (known[index] ??= { route, status: `${index}xx` });
  }

  const firstAttributes = new Map<string, Attributes>();

  return {
    answered(route, method, status, seconds) {
      const name = methods.has(method) ? method : "other";
      let byMethod = requests.get(route);
      if (byMethod === undefined) requests.set(route, (byMethod = new Map()));
      let counts = byMethod.get(name);
      if (counts === undefined) byMethod.set(name, (counts = []));
      const count = (counts[status] ??= { attributes: { route, method: name, status: String(status) }, value: 0 });
      count.value += 1;
      durations.record(seconds, classOf(route, status), ROOT_CONTEXT);
    },
    rateLimited({ scope, kind, window = "open" }) {
      const name = `${scope} ${kind} ${window}`;
      const count = refusals.get(name);
      if (count === undefined) refusals.set(name, { attributes: { limit: kind, scope, window }, value: 1 });
      else count.value += 1;
    },
    firstContent(route, seconds) {
      let attributes = firstAttributes.get(route);
      if (attributes === undefined) firstAttributes.set(route, (attributes = { route }));
      firstContents.record(seconds, attributes, ROOT_CONTEXT);
    },
    streamOpened() {
      openStreams += 1;
    },
    streamClosed() {
      openStreams -= 1;
    },
    close() {
      meter.removeBatchObservableCallback(observe, observed);
    },
  };
}
