import { createNoopMeter, ProxyTracerProvider } from "@opentelemetry/api";

/** Instruments that measure nothing; for tests. */
export const noTelemetry = { meter: createNoopMeter(), tracer: new ProxyTracerProvider().getTracer("none") } as const;
