import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test, vi } from "vitest";
import { startTelemetry } from "./setup.ts";

test("metrics come out in Prometheus' format, and nothing about the machine with them", async () => {
  const telemetry = await startTelemetry({ service: "router", version: "1.2.3" });
  telemetry.meter.createCounter("router_attempts", { description: "Attempts" }).add(2, { outcome: "ok" });
  telemetry.meter
    .createHistogram("wait_seconds", { advice: { explicitBucketBoundaries: [0.1, 1] } })
    .record(0.5, { outcome: "ok" });
  const text = await telemetry.renderMetrics();
  expect(text).toContain("# HELP router_attempts_total Attempts\n# TYPE router_attempts_total counter\n");
  expect(text).toContain('router_attempts_total{outcome="ok"} 2\n');
  expect(text).toContain('wait_seconds_bucket{outcome="ok",le="1"} 1\n');
  expect(text).toMatch(/^process_cpu_seconds_total [\d.]+$/m);
  expect(text).toContain('weir_build_info{service="router",version="1.2.3"');
  expect(text).not.toContain("target_info");
  expect(text).not.toContain("otel_scope");
  expect(text).not.toContain(process.cwd());
  await telemetry.shutdown();
});

test("without an endpoint, spans record nothing", async () => {
  const telemetry = await startTelemetry({ service: "router", version: "1.2.3" });
  expect(telemetry.tracer.startSpan("x").isRecording()).toBe(false);
  await telemetry.shutdown();
});

test("with an endpoint, spans are sent there at the latest on shutdown", async () => {
  const paths: (string | undefined)[] = [];
  const collector = createServer((request, response) => {
    paths.push(request.url);
    request.resume().on("end", () => response.end());
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const { port } = collector.address() as AddressInfo;
  const telemetry = await startTelemetry({
    service: "router",
    version: "1.2.3",
    otlpEndpoint: `http://127.0.0.1:${port}/`,
  });
  telemetry.tracer.startSpan("x").end();
  await telemetry.shutdown();
  await vi.waitFor(() => expect(paths).toEqual(["/v1/traces"]));
  collector.close();
});

test("a collector that is away neither throws nor holds the shutdown up", async () => {
  const telemetry = await startTelemetry({ service: "router", version: "1", otlpEndpoint: "http://127.0.0.1:9" });
  telemetry.tracer.startSpan("x").end();
  const started = performance.now();
  await telemetry.shutdown();
  expect(performance.now() - started).toBeLessThan(5_000);
}, 10_000);
