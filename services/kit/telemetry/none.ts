import { createNoopMeter, trace } from "@opentelemetry/api";

/** Instruments that measure nothing; for tests. */
export const noTelemetry = { meter: createNoopMeter(), tracer: trace.getTracer("none") } as const;
