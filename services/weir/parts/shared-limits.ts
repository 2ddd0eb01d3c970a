import { randomUUID } from "node:crypto";
import type { Meter } from "@opentelemetry/api";
import type { DependencyHealth } from "@weir/edge/service";
import type { Clock } from "@weir/kit/clock";
import type { CounterStore } from "@weir/kit/limits/limiter";
import { createSharedStore, type SharedStore, type SharedStoreMeasures } from "@weir/kit/limits/shared-store";
import type { Log } from "@weir/kit/log";
import { startRedis } from "../redis.ts";

export interface SharedLimitsOptions {
  /** As WEIR_REDIS_URL has it. */
  readonly url: string;
  /** Name of this process, for the server's list of clients. */
  readonly name: string;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly log: Log;
}

/** Limits that this process shares with others. */
export interface SharedLimits {
  readonly store: CounterStore;
  health(): DependencyHealth;
  /** Gives back what is held, if Redis answers within a second, and closes. */
  close(): Promise<void>;
}

/** Connects in the background; until Redis answers, this process keeps to its share. */
export function startSharedLimits({ url, name, clock, meter, log }: SharedLimitsOptions): SharedLimits {
  const link = startRedis({ url, name, log });
  const { measures, end } = createMeasures(meter, () => store);
  const store = createSharedStore({ run: link.run, clock, holder: randomUUID(), measures, log });
  return {
    store,
    health: () => ({
      name: "redis",
      status: store.isUp ? "up" : "degraded",
      detail: store.isUp
        ? `limits are shared by ${store.holders} processes`
        : `each process keeps to its share of the limits, one part of ${store.holders}`,
    }),
    async close() {
      await store.close();
      link.close();
      end();
    },
  };
}

/** Counts are kept here and read when somebody scrapes. */
function createMeasures(
  meter: Meter,
  store: () => SharedStore,
): { readonly measures: SharedStoreMeasures; end(): void } {
  const counts = new Map<string, { readonly attributes: Record<string, string>; value: number }>();
  let alone = 0;
  const operations = meter.createObservableCounter("redis_operations", { description: "Runs of scripts in Redis." });
  const judged = meter.createObservableCounter("limits_judged_alone", {
    description: "Times that a limit was judged by this process' share of it, since Redis did not answer.",
  });
  const up = meter.createObservableGauge("redis_up", { description: "Whether Redis answers: 1 or 0." });
  const observed = [operations, judged, up];
  const observe: Parameters<Meter["addBatchObservableCallback"]>[0] = (result) => {
    for (const { attributes, value } of counts.values()) result.observe(operations, value, attributes);
    result.observe(judged, alone);
    result.observe(up, store().isUp ? 1 : 0);
  };
  meter.addBatchObservableCallback(observe, observed);
  return {
    measures: {
      operation(operation, outcome) {
        const name = `${operation} ${outcome}`;
        const count = counts.get(name);
        if (count === undefined) counts.set(name, { attributes: { operation, outcome }, value: 1 });
        else count.value += 1;
      },
      judgedAlone() {
        alone += 1;
      },
    },
    end: () => meter.removeBatchObservableCallback(observe, observed),
  };
}
