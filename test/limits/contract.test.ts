import { createManualClock } from "@weir/edge/testing/manual-clock";
import { type Limit, limitsOf } from "@weir/kit/limits/limit";
import { createLimiter, type Limiter, type Refusal, Taking } from "@weir/kit/limits/limiter";
import { createSharedStore } from "@weir/kit/limits/shared-store";
import { createLog } from "@weir/kit/log";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { redisForTests, type TestRedis } from "./redis-for-tests.ts";

// What limits do, wherever they are counted: in this process, and in Redis, whose script has the test's own time here.

const timeKey = "weir:test:time";
const timeExpression = `{ redis.call('GET', '${timeKey}:s'), redis.call('GET', '${timeKey}:us') }`;

let server: TestRedis;
beforeAll(async () => {
  server = await redisForTests(2);
});
afterAll(() => server.stop());

interface Setting {
  readonly limiter: Limiter;
  take(limits: readonly Limit[], tokens?: number): Promise<Taking | Refusal>;
  advance(ms: number): Promise<void>;
}

/** @param isShared whether the limits are in Redis */
async function setUp(isShared: boolean): Promise<Setting> {
  const clock = createManualClock(1_000_000_000);
  const setTime = async () => {
    const nowMs = clock.monotonic();
    await server.redis.run(
      "redis.call('SET', KEYS[1], ARGV[1]); redis.call('SET', KEYS[2], ARGV[2])",
      [`${timeKey}:s`, `${timeKey}:us`],
      [String(Math.floor(nowMs / 1_000)), String(Math.floor((nowMs % 1_000) * 1_000))],
    );
  };
  const quiet = async () => {
    for (let turn = 0; turn < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      await server.redis.run("return 1", [], []);
    }
  };
  await server.redis.run("return redis.call('FLUSHDB')", [], []);
  await setTime();
  const store = createSharedStore({
    run: (text, keys, args) => server.redis.run(text, keys, args),
    clock,
    holder: "one",
    measures: { operation: () => undefined, judgedAlone: () => undefined },
    log: createLog({ service: "test", level: "silent" }),
    timeExpression,
  });
  const limiter = createLimiter({ clock, store: isShared ? store : undefined });
  clock.advance(1);
  await quiet();
  if (isShared) expect(store.isUp).toBe(true);
  return {
    limiter,
    take: async (limits, tokens = 0) =>
      limiter.take(
        limits.map((limit) => limiter.counter(limit)),
        tokens,
      ),
    async advance(ms) {
      const stepMs = Math.max(100, ms / 100);
      for (let left = ms; left > 0; left -= stepMs) {
        clock.advance(Math.min(left, stepMs));
        await setTime();
        await quiet();
      }
    },
  };
}

const taken = (outcome: Taking | Refusal): Taking => {
  expect(outcome).toBeInstanceOf(Taking);
  return outcome as Taking;
};
const refused = (outcome: Taking | Refusal): Refusal => {
  expect(outcome).not.toBeInstanceOf(Taking);
  return outcome as Refusal;
};

describe.each([
  ["in memory", false],
  ["in Redis", true],
])("%s", (_where, isShared) => {
  test("in a minute no more is taken than the limit, and the wait that a refusal tells is enough", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { requestsPerMinute: 3 });
    for (let call = 0; call < 3; call++) taken(await take(limits)).end();
    const { limit, waitMs } = refused(await take(limits));
    expect(limit).toMatchObject({ scope: "key", kind: "requests", window: "minute", amount: 3 });
    expect(waitMs).toBeGreaterThan(55_000);
    expect(waitMs).toBeLessThanOrEqual(62_000);
    await advance(waitMs + 300);
    taken(await take(limits));
  });

  test("limits hold at once: what one refuses is taken of none", async () => {
    const { take, limiter, advance } = await setUp(isShared);
    const wide = limitsOf("tenant", "t", { requestsPerMinute: 100 });
    const narrow = limitsOf("team", "g", { requestsPerMinute: 1 });
    taken(await take([...wide, ...narrow])).end();
    for (let call = 0; call < 5; call++) expect(refused(await take([...wide, ...narrow])).limit.scope).toBe("team");
    await advance(600);
    const [limit] = wide;
    expect(limiter.counter(limit as Limit).standing(1_000_000_601).remaining).toBe(99);
  });

  test("tokens are settled: what was not used can be taken again, what was used beyond counts", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { tokensPerMinute: 100 });
    const first = taken(await take(limits, 80));
    refused(await take(limits, 40));
    first.settle(10);
    first.end();
    await advance(600);
    const second = taken(await take(limits, 90));
    second.settle(150);
    second.end();
    await advance(600);
    refused(await take(limits, 1));
    await advance(62_000);
    taken(await take(limits, 100));
  });

  test("an amount above the limit is let through when nothing else was taken", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { tokensPerMinute: 100 });
    const large = taken(await take(limits, 5_000));
    large.end();
    refused(await take(limits, 5_000));
    await advance(62_000);
    taken(await take(limits, 5_000));
  });

  test("what is given back counts no more", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { requestsPerMinute: 1, tokensPerMinute: 100, concurrentRequests: 1 });
    taken(await take(limits, 100)).giveBack();
    await advance(600);
    taken(await take(limits, 100));
  });

  test("as many calls are open as the limit says, and each ends once", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { concurrentRequests: 2 });
    const [first, second] = [taken(await take(limits)), taken(await take(limits))];
    expect(refused(await take(limits)).limit.kind).toBe("concurrent");
    first.end();
    first.end();
    await advance(600);
    const third = taken(await take(limits));
    refused(await take(limits));
    // However long they take.
    await advance(60_000);
    refused(await take(limits));
    second.end();
    third.end();
    await advance(600);
    taken(await take(limits));
  });

  test("a day is a window of its own", async () => {
    const { take, advance } = await setUp(isShared);
    const limits = limitsOf("key", "k", { requestsPerDay: 1 });
    taken(await take(limits)).end();
    const { waitMs } = refused(await take(limits));
    expect(waitMs).toBeGreaterThan(23.9 * 3_600_000);
    await advance(12 * 3_600_000);
    refused(await take(limits));
    await advance(waitMs - 12 * 3_600_000 + 900_000);
    taken(await take(limits));
  });

  test("an amount that changes holds from the next call on", async () => {
    const { take, advance } = await setUp(isShared);
    taken(await take(limitsOf("key", "k", { requestsPerMinute: 1 })));
    refused(await take(limitsOf("key", "k", { requestsPerMinute: 1 })));
    await advance(600);
    taken(await take(limitsOf("key", "k", { requestsPerMinute: 2 })));
    await advance(600);
    refused(await take(limitsOf("key", "k", { requestsPerMinute: 2 })));
  });
});

test("in a Redis that has lost its data, what was taken counts still, and leaves when it would have", async () => {
  const { take, advance } = await setUp(true);
  const limits = limitsOf("key", "k", { requestsPerMinute: 1 });
  taken(await take(limits)).end();
  await advance(40_000);
  const lose = "for _, key in ipairs(redis.call('KEYS', 'weir:limits:*')) do redis.call('DEL', key) end";
  await server.redis.run(lose, [], []);
  refused(await take(limits));
  await advance(23_000);
  taken(await take(limits));
});
