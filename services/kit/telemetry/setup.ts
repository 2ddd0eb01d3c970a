import { trace, type Meter, type Tracer } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { type Resource, resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { createHistograms } from "./histograms.ts";
import { observeProcess } from "./process.ts";

export interface TelemetryOptions {
  /** Name of the process: `edge`, or `edge,router,pool`. */
  readonly service: string;
  readonly version: string;
  /** Base URL of an OTLP/HTTP collector, as in OTEL_EXPORTER_OTLP_ENDPOINT: `http://collector:4318`. Absent: no traces. */
  readonly otlpEndpoint?: string | undefined;
  /** Share of requests to trace, 0 to 1, of those whose client did not decide. Default 1. */
  readonly sampleRatio?: number | undefined;
}

/** The instruments of a process. */
export interface Telemetry {
  readonly meter: Meter;
  /** Without an endpoint it makes spans that record nothing. */
  readonly tracer: Tracer;
  /** All metrics in Prometheus' text format, version 0.0.4. */
  renderMetrics(): Promise<string>;
  /** Sends what is left of the traces, for at most 3 s, and stops. Never throws. */
  shutdown(): Promise<void>;
}

const shutdownTimeoutMs = 3_000;

/**
 * Starts metrics and, with an endpoint, traces. Nothing is instrumented by itself: services get the meter and the tracer from
 * their root.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  // Named by hand: the SDK's detectors would publish the command line, paths and the host's id.
  const resource = resourceFromAttributes({ "service.name": options.service, "service.version": options.version });
  const histograms = createHistograms(resource);
  const exporter = new PrometheusExporter({ preventServerStart: true, metricProducers: [histograms.producer] });
  const serializer = new PrometheusSerializer("", false, undefined, true, true);
  const metrics = new MeterProvider({ resource, readers: [exporter] });
  const { createHistogram } = histograms;
  const meter: Meter = Object.assign(Object.create(metrics.getMeter("weir")) as Meter, { createHistogram });
  const stopObserving = observeProcess(meter, options.service, options.version);
  const traces = options.otlpEndpoint
    ? await startTraces(options.otlpEndpoint, options.sampleRatio ?? 1, resource)
    : undefined;
  return {
    meter,
    tracer: traces?.tracer ?? trace.getTracer("weir"),
    async renderMetrics() {
      const { resourceMetrics } = await exporter.collect();
      return serializer.serialize(resourceMetrics);
    },
    async shutdown() {
      stopObserving();
      await traces?.shutdown();
      // Nothing is sent any more; what it could not let go of ends with the process.
      await metrics.shutdown({ timeoutMillis: shutdownTimeoutMs }).catch(() => undefined);
    },
  };
}

/**
 * Loaded only when used: the SDK and its exporter cost tens of milliseconds of every process's start. Unlike the metrics the
 * tracer is the process's one global tracer.
 */
async function startTraces(endpoint: string, sampleRatio: number, resource: Resource) {
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  const { BatchSpanProcessor, ParentBasedSampler, TraceIdRatioBasedSampler } = await import("@opentelemetry/sdk-trace");
  const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-proto");
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, "")}/v1/traces` });
  const sdk = new NodeSDK({
    resource,
    autoDetectResources: false,
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampleRatio) }),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
    // Metrics and logs have their own ways; empty lists keep the SDK from reading OTEL_* variables for them.
    metricReaders: [],
    logRecordProcessors: [],
  });
  sdk.start();
  return {
    tracer: trace.getTracer("weir"),
    async shutdown() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, shutdownTimeoutMs).unref());
      // Without its collector the spans of the last seconds are lost, and nothing else is.
      await Promise.race([sdk.shutdown().catch(() => undefined), late]);
      trace.disable();
    },
  };
}
