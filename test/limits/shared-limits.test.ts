import { systemClock } from "@weir/kit/clock";
import { createLimiter, Taking } from "@weir/kit/limits/limiter";
import { limitsOf } from "@weir/kit/limits/limit";
import { silentLog } from "@weir/kit/log";
import { startTelemetry } from "@weir/kit/telemetry/setup";
import { expect, test, vi } from "vitest";
import { startSharedLimits } from "weir/parts/shared-limits";
import { redisForTests } from "./redis-for-tests.ts";

test("operators see whether limits are shared, and what Redis is asked", async () => {
  const server = await redisForTests(4);
  const telemetry = await startTelemetry({ service: "edge", version: "1" });
  const shared = startSharedLimits({
    url: server.url,
    name: "weir-edge",
    clock: systemClock,
    meter: telemetry.meter,
    log: silentLog,
  });
  try {
    await vi.waitFor(() => expect(shared.health()).toMatchObject({ name: "redis", status: "up" }), 5_000);
    const limiter = createLimiter({ clock: systemClock, store: shared.store });
    const counters = limitsOf("key", "k", { requestsPerMinute: 1 }).map((limit) => limiter.counter(limit));
    expect(await limiter.take(counters, 0)).toBeInstanceOf(Taking);
    const lines = (await telemetry.renderMetrics()).split("\n");
    expect(lines).toContain("redis_up 1");
    expect(lines).toContain("limits_judged_alone_total 0");
    expect(lines).toContain('redis_operations_total{operation="lease",outcome="ok"} 1');
    expect(lines.join("\n")).toMatch(/redis_operations_total\{operation="presence",outcome="ok"\} \d/);
    limiter.close();
  } finally {
    await shared.close();
    await telemetry.shutdown();
    await server.stop();
  }
});

test("a Redis that is not there keeps nothing from starting: the process counts by itself, and says so", async () => {
  const telemetry = await startTelemetry({ service: "edge", version: "1" });
  const url = "redis://:canary-4711@127.0.0.1:1";
  const lines: string[] = [];
  const log = {
    ...silentLog,
    warn: (facts: object, text?: string) => void lines.push(JSON.stringify({ ...facts, text })),
  };
  const shared = startSharedLimits({ url, name: "weir-edge", clock: systemClock, meter: telemetry.meter, log });
  try {
    const limiter = createLimiter({ clock: systemClock, store: shared.store });
    const counters = limitsOf("key", "k", { requestsPerMinute: 2 }).map((limit) => limiter.counter(limit));
    const outcomes = [0, 1, 2].map(() => limiter.take(counters, 0));
    // Nothing is waited for.
    expect(outcomes.map((outcome) => outcome instanceof Taking)).toEqual([true, true, false]);
    expect(outcomes[2]).not.toBeInstanceOf(Promise);
    expect(shared.health()).toMatchObject({ name: "redis", status: "degraded" });
    await vi.waitFor(() => expect(lines.length).toBeGreaterThan(0), 5_000);
    expect((await telemetry.renderMetrics()).split("\n")).toContain("redis_up 0");
    expect(lines.join("\n")).not.toContain("canary-4711");
    limiter.close();
  } finally {
    await shared.close();
    await telemetry.shutdown();
  }
});
