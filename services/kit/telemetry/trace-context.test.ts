import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  InMemorySpanExporter,
  ParentBasedSampler,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { WeirError } from "../weir-error.ts";
import { noTelemetry } from "./none.ts";
import { beginTrace, endSpan, formatTraceParent, joinTrace, parseTraceParent } from "./trace-context.ts";

const sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

function tracing(root = true) {
  const exporter = new InMemorySpanExporter();
  const provider = new TracerProvider({
    sampler: new ParentBasedSampler({ root: root ? new AlwaysOnSampler() : new AlwaysOffSampler() }),
    spanProcessors: [new SimpleSpanProcessor({ exporter })],
  });
  return { tracer: provider.getTracer("test"), spans: () => exporter.getFinishedSpans() };
}

test("what is written is read", () => {
  const hex = (length: number) =>
    fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });
  fc.assert(
    fc.property(hex(32), hex(16), fc.boolean(), (traceId, spanId, flag) => {
      fc.pre(!/^0+$/.test(traceId) && !/^0+$/.test(spanId));
      const text = formatTraceParent({ traceId, spanId, traceFlags: flag ? 1 : 0 });
      expect(parseTraceParent(text)).toEqual({ traceId, spanId, traceFlags: flag ? 1 : 0, isRemote: true });
    }),
  );
});

test.each([
  undefined,
  "",
  "x",
  `${sampled}-more`,
  sampled.replace("00-", "ff-"),
  sampled.toUpperCase(),
  sampled.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0".repeat(32)),
  sampled.replace("00f067aa0ba902b7", "0".repeat(16)),
])("a malformed traceparent is no parent: %s", (text) => {
  expect(parseTraceParent(text)).toBeUndefined();
});

test("a later version with more fields is read", () => {
  expect(parseTraceParent(`${sampled.replace("00-", "01-")}-more`)?.traceFlags).toBe(1);
});

test("a sampled trace goes on from span to span, with the reason of a failure and not its text", () => {
  const { tracer, spans } = tracing();
  const edge = beginTrace(tracer, "edge", { traceparent: sampled });
  const router = joinTrace(tracer, "router", edge);
  expect(parseTraceParent(router.traceParent)?.spanId).toBe(router.span?.spanContext().spanId);
  endSpan(router.span, { attempts: 2 }, new WeirError(ErrorReason.OVERLOADED, { text: "CANARY" }));
  endSpan(edge.span, {}, new Error("CANARY"));
  expect(spans().map((span) => [span.name, span.spanContext().traceId, span.parentSpanContext?.spanId])).toEqual([
    ["router", "4bf92f3577b34da6a3ce929d0e0e4736", edge.span?.spanContext().spanId],
    ["edge", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"],
  ]);
  expect(spans().map((span) => span.attributes["error.type"])).toEqual(["OVERLOADED", "INTERNAL"]);
  expect(JSON.stringify(spans().map((span) => [span.attributes, span.status, span.events]))).not.toContain("CANARY");
});

test("the client's flag decides; without it, the sampler; without a trace there is no span", () => {
  const on = tracing(true);
  const off = tracing(false);
  const none = { span: undefined, traceParent: undefined, traceState: undefined };
  expect(beginTrace(on.tracer, "edge", { traceparent: unsampled })).toEqual({ ...none, traceParent: unsampled });
  expect(beginTrace(off.tracer, "edge", { traceparent: sampled }).span).toBeDefined();
  expect(beginTrace(on.tracer, "edge", {}).span).toBeDefined();
  expect(beginTrace(off.tracer, "edge", {})).toEqual(none);
  expect(joinTrace(on.tracer, "router", undefined)).toEqual(none);
  expect(joinTrace(on.tracer, "router", { traceParent: "rubbish", traceState: "a=b" })).toEqual(none);
});

test("what tracers said of a trace goes with it, into spans too, and never without it", () => {
  const { tracer, spans } = tracing();
  const edge = beginTrace(tracer, "edge", { traceparent: sampled, tracestate: "rojo=1, congo=2" });
  const router = joinTrace(tracer, "router", edge);
  expect(router.traceState).toBe("rojo=1,congo=2");
  endSpan(router.span, {});
  endSpan(edge.span, {});
  expect(spans().map((span) => span.spanContext().traceState?.serialize())).toEqual([
    "rojo=1,congo=2",
    "rojo=1,congo=2",
  ]);
  expect(beginTrace(tracer, "edge", { traceparent: unsampled, tracestate: "a=b" }).traceState).toBe("a=b");
  expect(beginTrace(tracer, "edge", { traceparent: sampled, tracestate: "A" }).traceState).toBeUndefined();
  expect(beginTrace(tracer, "edge", { traceparent: "rubbish", tracestate: "a=b" }).traceState).toBeUndefined();
});

test("a process that exports nothing passes the trace through", () => {
  const trace = { traceParent: sampled, traceState: "a=b" };
  expect(joinTrace(noTelemetry.tracer, "router", trace)).toEqual({ span: undefined, ...trace });
  endSpan(undefined, {});
});
