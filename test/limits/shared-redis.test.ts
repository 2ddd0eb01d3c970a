import { systemClock } from "@weir/kit/clock";
import { type Limit, limitsOf } from "@weir/kit/limits/limit";
import { createLimiter, type Limiter, Taking } from "@weir/kit/limits/limiter";
import { createSharedStore, type SharedStore } from "@weir/kit/limits/shared-store";
import { createLog } from "@weir/kit/log";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { type RedisLink, startRedis } from "weir/redis";
import { createProxy, type Proxy } from "../faults/proxy.ts";
import { answering, redisForTests, type TestRedis } from "./redis-for-tests.ts";

// Edges that share limits in a real Redis, in real time, over connections that break.

const silent = createLog({ service: "test", level: "silent" });
let server: TestRedis;
beforeAll(async () => {
  server = await redisForTests(3);
});
afterAll(() => server.stop());

interface Edge {
  readonly store: SharedStore;
  readonly limiter: Limiter;
  readonly proxy: Proxy;
  readonly link: RedisLink;
  readonly operations: Map<string, number>;
  alone: number;
}

let edges: Edge[] = [];

beforeEach(async () => {
  await server.redis.run("return redis.call('FLUSHDB')", [], []);
  edges = await Promise.all(["a", "b", "c"].map((name) => createEdge(name, name === "a")));
  await eventually(() => edges.every(({ store }) => store.isUp && store.holders === 3));
});

afterEach(async () => {
  for (const { store, limiter, proxy, link } of edges) {
    limiter.close();
    await store.close();
    link.close();
    await proxy.close();
  }
});

/** @param isProxied whether its connection can be broken; the proxy lives in this process, so that answers take longer */
async function createEdge(name: string, isProxied: boolean): Promise<Edge> {
  const url = new URL(server.url);
  const proxy = await createProxy(Number(url.port));
  if (isProxied) url.port = String(proxy.port);
  const link = startRedis({ url: url.href, name, log: silent });
  const operations = new Map<string, number>();
  const edge: Edge = {
    proxy,
    link,
    operations,
    alone: 0,
    store: createSharedStore({
      run: link.run,
      clock: systemClock,
      holder: `${name}-${Math.random()}`,
      measures: {
        operation: (operation, outcome) => {
          const key = `${operation} ${outcome}`;
          operations.set(key, (operations.get(key) ?? 0) + 1);
        },
        judgedAlone: () => void (edge.alone += 1),
      },
      log: silent,
    }),
    get limiter() {
      return limiter;
    },
  };
  const limiter = createLimiter({ clock: systemClock, store: edge.store });
  return edge;
}

async function take(edge: Edge | undefined, limits: readonly Limit[], tokens = 0): Promise<boolean> {
  if (edge === undefined) throw new Error("there is no such edge");
  const counters = limits.map((limit) => edge.limiter.counter(limit));
  const outcome = await edge.limiter.take(counters, tokens);
  if (outcome instanceof Taking) outcome.end();
  return outcome instanceof Taking;
}

/** Waits for a condition. @throws Error after ten seconds */
async function eventually(condition: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error("the condition did not come true in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const count = (outcomes: readonly boolean[]) => outcomes.filter(Boolean).length;
/** Calls that were judged by a share, since Redis did not answer in time, as may be on a machine that is busy. */
const alone = () => edges.reduce((sum, edge) => sum + edge.alone, 0);

test("one request a minute is one, whichever edge it comes to", async () => {
  const limits = limitsOf("key", "single", { requestsPerMinute: 1 });
  const outcomes = await Promise.all(Array.from({ length: 30 }, (_, index) => take(edges[index % 3], limits)));
  expect(count(outcomes)).toBeGreaterThan(0);
  expect(count(outcomes)).toBeLessThanOrEqual(1 + alone());
});

test("a storm over three edges gets what the limit says, and hardly less", async () => {
  const limits = limitsOf("tenant", "acme", { requestsPerMinute: 1_000 });
  const outcomes: boolean[] = [];
  for (let turn = 0; turn < 100; turn++) {
    outcomes.push(...(await Promise.all(Array.from({ length: 30 }, (_, index) => take(edges[index % 3], limits)))));
  }
  expect(count(outcomes)).toBeLessThanOrEqual(1_000 + alone());
  expect(count(outcomes)).toBeGreaterThan(900);
});

test("in a steady stream hardly any request waits for Redis", async () => {
  const limits = limitsOf("tenant", "acme", { requestsPerMinute: 100_000, tokensPerMinute: 100_000_000 });
  const [edge] = edges;
  await take(edge, limits, 100);
  let waited = 0;
  let taken = 0;
  for (let turn = 0; turn < 100; turn++) {
    for (let call = 0; call < 10; call++) {
      const counters = limits.map((limit) => (edge as Edge).limiter.counter(limit));
      const outcome = (edge as Edge).limiter.take(counters, 100);
      if (outcome instanceof Promise) waited += 1;
      if ((await outcome) instanceof Taking) taken += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(taken).toBe(1_000);
  expect(waited).toBeLessThan(50);
  expect(edge?.operations.get("lease ok")).toBeLessThan(200);
});

test("an edge that is cut off keeps to its share at once, and shares again when it is back", async () => {
  const limits = limitsOf("key", "cut", { requestsPerMinute: 30 });
  const [first, second] = edges;
  expect(await take(first, limits)).toBe(true);
  first?.proxy.cut();
  await eventually(() => first?.store.isUp === false);
  const outcomes: boolean[] = [];
  for (let call = 0; call < 40; call++) outcomes.push(await take(first, limits));
  // Its share is a third of the limit, and one is gone.
  expect(count(outcomes)).toBe(9);
  expect(first?.alone).toBeGreaterThan(0);
  first?.proxy.mend();
  await eventually(() => first?.store.isUp === true);
  // What it took meanwhile counts for all, as soon as Redis hears of it.
  await eventually(() => (first?.operations.get("lease ok") ?? 0) > 1);
  const others: boolean[] = [];
  for (let call = 0; call < 40; call++) others.push(await take(second, limits));
  expect(count(others)).toBeLessThanOrEqual(20);
  expect(count(others)).toBeGreaterThanOrEqual(15);
});

test("no request waits long for a Redis that does not answer", async () => {
  const limits = limitsOf("key", "slow", { requestsPerMinute: 300 });
  const [edge] = edges;
  edge?.proxy.stop("down");
  const beginMs = performance.now();
  expect(await take(edge, limits)).toBe(true);
  const waitedMs = performance.now() - beginMs;
  expect(waitedMs).toBeGreaterThan(30);
  expect(waitedMs).toBeLessThan(500);
  const again = performance.now();
  for (let call = 0; call < 200; call++) await take(edge, limits);
  expect(performance.now() - again).toBeLessThan(200);
  edge?.proxy.mend();
  await eventually(() => edge?.store.isUp === true && edge.operations.get("lease ok") !== undefined);
});

test("an answer that came while the process stood still is not late", async () => {
  const [, first, second] = edges;
  const limits = limitsOf("key", "still", { requestsPerMinute: 1 });
  expect(await take(first, limits)).toBe(true);
  const asked = take(second, limits);
  // Until the question has left.
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  expect(await asked).toBe(false);
  expect(second?.alone).toBe(0);
});

test("a connection that dies without a word is given up within seconds, and limits are shared again over another", async () => {
  const [edge] = edges;
  edge?.proxy.lose();
  const shares = limitsOf("key", "lost", { requestsPerMinute: 30 });
  const outcomes: boolean[] = [];
  const beginMs = performance.now();
  for (let call = 0; call < 20; call++) outcomes.push(await take(edge, shares));
  expect(count(outcomes)).toBe(10);
  expect(performance.now() - beginMs).toBeLessThan(500);
  await eventually(() => edge?.store.isUp === false);
  await eventually(() => edge?.store.isUp === true);
  expect(performance.now() - beginMs).toBeLessThan(8_000);
  const limits = limitsOf("key", "found again", { requestsPerMinute: 1 });
  const aloneBefore = alone();
  const served = count(await Promise.all(edges.map((each) => take(each, limits))));
  expect(served).toBeGreaterThan(0);
  expect(served).toBeLessThanOrEqual(1 + alone() - aloneBefore);
});

test("a server that takes the connection and does not greet is connected to again", async () => {
  const url = new URL(server.url);
  const port = Number(url.port);
  let connections = 0;
  const proxy = await createProxy(
    () => {
      connections += 1;
      return port;
    },
    () => connections > 1,
  );
  url.port = String(proxy.port);
  const link = startRedis({ url: url.href, name: "greeted", log: silent });
  try {
    await answering(link);
    expect(connections).toBe(2);
  } finally {
    link.close();
    await proxy.close();
  }
});

test("a Redis that has forgotten everything learns from the edges what they took", async () => {
  const limits = limitsOf("key", "forgotten", { requestsPerMinute: 10 });
  const [first] = edges;
  for (let call = 0; call < 10; call++) await take(first, limits);
  expect(await take(first, limits)).toBe(false);
  await server.redis.run("return redis.call('FLUSHDB')", [], []);
  await new Promise((resolve) => setTimeout(resolve, 150));
  const outcomes: boolean[] = [];
  for (let call = 0; call < 20; call++) outcomes.push(await take(first, limits));
  expect(count(outcomes)).toBe(0);
});

test("what an edge has at hand comes back when it ends", async () => {
  const limits = limitsOf("key", "ends", { requestsPerMinute: 120 });
  const [first, second] = edges;
  for (let call = 0; call < 20; call++) expect(await take(first, limits)).toBe(true);
  await first?.store.close();
  const outcomes: boolean[] = [];
  for (let call = 0; call < 120; call++) outcomes.push(await take(second, limits));
  expect(count(outcomes)).toBe(100);
});
