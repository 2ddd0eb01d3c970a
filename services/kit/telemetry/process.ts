import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Meter } from "@opentelemetry/api";

/**
 * Publishes what the process itself costs, under Prometheus' usual names, read only when somebody asks.
 * Returns what ends it.
 */
export function observeProcess(meter: Meter, service: string, version: string): () => void {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const startTime = performance.timeOrigin / 1_000;
  meter
    .createObservableGauge("weir_build_info", { description: "1; the labels say what runs here" })
    .addCallback((result) => result.observe(1, { service, version, node: process.version }));
  meter
    .createObservableGauge("process_start_time_seconds", { description: "Unix time of the start" })
    .addCallback((result) => result.observe(startTime));
  meter
    .createObservableCounter("process_cpu_seconds", { description: "CPU time, user and system" })
    .addCallback((result) => {
      const { user, system } = process.cpuUsage();
      result.observe((user + system) / 1e6);
    });
  meter
    .createObservableGauge("process_resident_memory_bytes", { description: "Resident memory" })
    .addCallback((result) => result.observe(process.memoryUsage.rss()));
  meter
    .createObservableGauge("nodejs_eventloop_delay_seconds", {
      description: "How late timers fire: quantiles since the last scrape",
    })
    .addCallback((result) => {
      for (const [quantile, value] of [
        ["0.5", delay.percentile(50)],
        ["0.99", delay.percentile(99)],
        ["1", delay.max],
      ] as const) {
        result.observe(value / 1e9, { quantile });
      }
      delay.reset();
    });
  return () => void delay.disable();
}
