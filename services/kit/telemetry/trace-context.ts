import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { CallTrace } from "../call.ts";
import { CallCancelled, reasonWord, WeirError } from "../weir-error.ts";
import { readTraceState, toSpanState } from "./trace-state.ts";

/**
 * Reads a `traceparent` header. Undefined when it is malformed, as its source wants: the trace then begins anew.
 * https://www.w3.org/TR/trace-context-2/#traceparent-header
 */
export function parseTraceParent(text: string | undefined): SpanContext | undefined {
  if (text === undefined) return undefined;
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text);
  if (match === null) return undefined;
  const [, version, traceId = "", spanId = "", flags = "", rest] = match;
  // Version 00 has exactly four fields; later ones may have more; ff is forbidden.
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (traceId === "0".repeat(32) || spanId === "0".repeat(16)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true };
}

/** Writes a `traceparent` header of version 00. */
export function formatTraceParent(context: SpanContext): string {
  const flags = (context.traceFlags & TraceFlags.SAMPLED) === 0 ? "00" : "01";
  return `00-${context.traceId}-${context.spanId}-${flags}`;
}

/** A process's one span of a request, and what the next process is told. */
export interface TraceStep extends CallTrace {
  /** Undefined when the request is not sampled. */
  readonly span: Span | undefined;
}

/** Headers of a request, by their names in lower case. */
type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

const noTrace: TraceStep = { span: undefined, traceParent: undefined, traceState: undefined };

/**
 * Begins the trace of a request at the edge, which is where the decision to sample falls: by the client's flag when it
 * sent a `traceparent`, else by the tracer's sampler.
 * @param headers of the client; a `tracestate` counts only beside a `traceparent` that can be read
 */
export function beginTrace(tracer: Tracer, name: string, { traceparent, tracestate }: Headers): TraceStep {
  const parent = typeof traceparent === "string" ? parseTraceParent(traceparent) : undefined;
  if (parent !== undefined) {
    const traceState = typeof tracestate === "string" ? readTraceState(tracestate) : undefined;
    return step(tracer, name, parent, traceState, SpanKind.SERVER);
  }
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER, root: true }, ROOT_CONTEXT);
  // An unsampled request costs nothing further: below, no traceparent means no span.
  if (!span.isRecording()) return noTrace;
  return { span, traceParent: formatTraceParent(span.spanContext()), traceState: undefined };
}

/** Joins the trace of a request inside the mesh. Costs nothing when it is not sampled. */
export function joinTrace(tracer: Tracer, name: string, calledIn: CallTrace | undefined): TraceStep {
  if (calledIn === undefined) return noTrace;
  const parent = parseTraceParent(calledIn.traceParent);
  return parent === undefined ? noTrace : step(tracer, name, parent, calledIn.traceState, SpanKind.INTERNAL);
}

function step(
  tracer: Tracer,
  name: string,
  parent: SpanContext,
  traceState: string | undefined,
  kind: SpanKind,
): TraceStep {
  const passedOn = { span: undefined, traceParent: formatTraceParent(parent), traceState };
  if ((parent.traceFlags & TraceFlags.SAMPLED) === 0) return passedOn;
  const context = traceState === undefined ? parent : { ...parent, traceState: toSpanState(traceState) };
  const span = tracer.startSpan(name, { kind }, trace.setSpanContext(ROOT_CONTEXT, context));
  // A process that exports nothing passes the trace through as it came.
  return span.isRecording() ? { span, traceParent: formatTraceParent(span.spanContext()), traceState } : passedOn;
}

/** Ends a span with its attributes and, when the call failed, the reason; never with an error's text. */
export function endSpan(span: Span | undefined, attributes: Attributes, failure?: unknown): void {
  if (span === undefined) return;
  span.setAttributes(attributes);
  if (failure instanceof CallCancelled) {
    // The caller left; nothing failed.
    span.setAttribute("error.type", "CANCELLED");
  } else if (failure !== undefined) {
    const type = failure instanceof WeirError ? reasonWord(failure.reason) : "INTERNAL";
    span.setAttribute("error.type", type);
    span.setStatus({ code: SpanStatusCode.ERROR, message: type });
  }
  span.end();
}
