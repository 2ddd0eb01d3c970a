import type { Attributes } from "@opentelemetry/api";
import { PrometheusExporter, PrometheusSerializer } from "@opentelemetry/exporter-prometheus";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createHistograms } from "./histograms.ts";

const resource = resourceFromAttributes({});
const serializer = new PrometheusSerializer("", false, undefined, true, true);

const boundaries = [0.1, 1, 10];
const options = { description: "How long", unit: "s", advice: { explicitBucketBoundaries: boundaries } };

/** What a scrape says after some values, by the SDK's own histogram or by ours. */
async function scrape(own: boolean, values: readonly (readonly [number, Attributes | undefined])[]): Promise<string[]> {
  const histograms = createHistograms(resource);
  const exporter = new PrometheusExporter({
    preventServerStart: true,
    metricProducers: own ? [histograms.producer] : [],
  });
  const provider = new MeterProvider({ resource, readers: [exporter] });
  const maker = own ? histograms : provider.getMeter("weir");
  const histogram = maker.createHistogram("wait_seconds", options);
  for (const [value, attributes] of values) histogram.record(value, attributes);
  const { resourceMetrics } = await exporter.collect();
  const lines = serializer
    .serialize(resourceMetrics)
    .split("\n")
    .filter((line) => line.startsWith("wait_seconds"));
  await provider.shutdown();
  return lines.sort();
}

const shared: Attributes[] = [{ route: "/a", status: "2xx" }, { status: "2xx", route: "/a" }, { route: "/b" }, {}];
const label = fc.option(fc.oneof(fc.constantFrom(...shared), fc.record({ route: fc.constantFrom("/a", "/b") })), {
  nil: undefined,
});
const value = fc.oneof(fc.constantFrom(0, 0.1, 1, 10, -1), fc.double({ min: 0, max: 100, noNaN: true }));

test("says what the SDK's own histogram says", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(value, label), { maxLength: 30 }), async (values) => {
      expect(await scrape(true, values)).toEqual(await scrape(false, values));
    }),
    { numRuns: 200 },
  );
});

test("what is no number counts nothing", async () => {
  expect(
    await scrape(true, [
      [Number.NaN, {}],
      [Number.POSITIVE_INFINITY, {}],
    ]),
  ).toEqual([]);
});

test("one name is one histogram", () => {
  const histograms = createHistograms(resource);
  expect(histograms.createHistogram("a")).toBe(histograms.createHistogram("a"));
});

test("labels without bound are counted together, and none is lost", async () => {
  const histograms = createHistograms(resource);
  const histogram = histograms.createHistogram("a", options);
  for (let i = 0; i < 12_000; i += 1) histogram.record(1, { i });
  const { resourceMetrics } = await histograms.producer.collect();
  const points = resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints ?? [];
  expect(points.length).toBe(2_001);
  expect(points.reduce((sum, point) => sum + (point.value as { count: number }).count, 0)).toBe(12_000);
});
