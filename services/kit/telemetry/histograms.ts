import { type Attributes, type Histogram, type HrTime, type MetricOptions, ValueType } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  type CollectionResult,
  DataPointType,
  type HistogramMetricData,
  type MetricProducer,
} from "@opentelemetry/sdk-metrics";

/** Histograms that cost next to nothing to record into. */
export interface Histograms {
  /** As a Meter's; the same name gives the same histogram. */
  createHistogram(name: string, options?: MetricOptions): Histogram;
  /** For the reader that publishes them. */
  readonly producer: MetricProducer;
}

/** OpenTelemetry's own default: https://opentelemetry.io/docs/specs/otel/metrics/sdk/#explicit-bucket-histogram-aggregation */
const defaultBoundaries = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000];
/** Sets of labels that one histogram keeps, as the SDK's own; what is beyond is counted together. */
const seriesMax = 2_000;
/** Label objects that are known by identity. */
const knownMax = 10_000;
const overflow: Attributes = { "otel.metric.overflow": true };

interface Series {
  readonly attributes: Attributes;
  readonly counts: number[];
  sum: number;
  count: number;
}

/**
 * The SDK sorts and writes out the labels of every single value. Callers pass the same label object again and again, so here
 * it is found by identity, and only a new one is looked at.
 */
export function createHistograms(resource: Resource): Histograms {
  const startTime = hrTime(Date.now());
  const all = new Map<
    string,
    { readonly histogram: Histogram; readonly read: (endTime: HrTime) => HistogramMetricData }
  >();
  return {
    createHistogram(name, options = {}) {
      const known = all.get(name);
      if (known !== undefined) return known.histogram;
      const created = createOne(name, options, startTime);
      all.set(name, created);
      return created.histogram;
    },
    producer: {
      collect(): Promise<CollectionResult> {
        const endTime = hrTime(Date.now());
        const metrics = [...all.values()]
          .map(({ read }) => read(endTime))
          .filter(({ dataPoints }) => dataPoints.length > 0);
        return Promise.resolve({
          resourceMetrics: { resource, scopeMetrics: [{ scope: { name: "weir" }, metrics }] },
          errors: [],
        });
      },
    },
  };
}

function createOne(name: string, options: MetricOptions, startTime: HrTime) {
  const boundaries = [...(options.advice?.explicitBucketBoundaries ?? defaultBoundaries)];
  const byIdentity = new Map<Attributes, Series>();
  const byLabels = new Map<string, Series>();

  function find(attributes: Attributes): Series {
    const labels = JSON.stringify(Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)));
    let series = byLabels.get(labels);
    if (series === undefined && byLabels.size >= seriesMax && attributes !== overflow) return find(overflow);
    if (series === undefined) {
      series = { attributes, counts: [0, ...boundaries.map(() => 0)], sum: 0, count: 0 };
      byLabels.set(labels, series);
    }
    if (byIdentity.size < knownMax) byIdentity.set(attributes, series);
    return series;
  }

  const histogram: Histogram = {
    record(value, attributes = noAttributes) {
      if (!(value >= 0) || value === Number.POSITIVE_INFINITY) return; // as the SDK
      const series = byIdentity.get(attributes) ?? find(attributes);
      let bucket = 0;
      while (bucket < boundaries.length && value > (boundaries[bucket] as number)) bucket += 1;
      series.counts[bucket] = (series.counts[bucket] as number) + 1;
      series.sum += value;
      series.count += 1;
    },
  };

  function read(endTime: HrTime): HistogramMetricData {
    return {
      descriptor: {
        name,
        description: options.description ?? "",
        unit: options.unit ?? "",
        valueType: ValueType.DOUBLE,
      },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: [...byLabels.values()].map(({ attributes, counts, sum, count }) => ({
        startTime,
        endTime,
        attributes,
        value: { buckets: { boundaries, counts: [...counts] }, sum, count },
      })),
    };
  }
  return { histogram, read };
}

const noAttributes: Attributes = {};

function hrTime(ms: number): HrTime {
  return [Math.floor(ms / 1_000), (ms % 1_000) * 1_000_000];
}
