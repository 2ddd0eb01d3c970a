import {
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanContext,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { IncomingHttpHeaders } from "node:http";
import { metadataNames } from "@weir/kit/call";

/** The span of one request, and what travels with its calls. */
export interface RequestTrace {
  /** Puts the trace context into the metadata of a call. */
  inject(metadata: Record<string, string>): void;
  end(status: number): void;
}

// https://www.w3.org/TR/trace-context/#traceparent-header
const traceParentShape = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const traceStateLengthMax = 512;
const zeros = /^0+$/;

/** Begins the span of a request; its parent is the client's, when it names one. */
export function beginTrace(
  tracer: Tracer,
  headers: IncomingHttpHeaders,
  name: string,
  attributes: Readonly<Record<string, string>>,
): RequestTrace {
  const parent = readTraceParent(headers["traceparent"]);
  const context = parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, context);
  return new SpanTrace(span, headers["tracestate"]);
}

class SpanTrace implements RequestTrace {
  private readonly span: Span;
  private readonly traceState: string | string[] | undefined;

  constructor(span: Span, traceState: string | string[] | undefined) {
    this.span = span;
    this.traceState = traceState;
  }

  inject(metadata: Record<string, string>): void {
    const own = this.span.spanContext();
    if (!trace.isSpanContextValid(own)) return;
    metadata[metadataNames.traceParent] = writeTraceParent(own);
    const { traceState } = this;
    if (typeof traceState === "string" && traceState.length <= traceStateLengthMax) {
      metadata[metadataNames.traceState] = traceState;
    }
  }

  end(status: number): void {
    if (this.span.isRecording()) {
      this.span.setAttribute("http.response.status_code", status);
      if (status >= 500) this.span.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.span.end();
  }
}

function readTraceParent(text: string | string[] | undefined): SpanContext | undefined {
  if (typeof text !== "string") return undefined;
  const match = traceParentShape.exec(text);
  if (match === null) return undefined;
  const [, traceId = "", spanId = "", flags = ""] = match;
  if (zeros.test(traceId) || zeros.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}

function writeTraceParent({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}
