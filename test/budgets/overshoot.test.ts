import { WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { meteringOn, openTestDatabase, type TestDatabase, testPrice } from "@weir/metering/testing";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { createFleet, nanoUsdPerToken, type SimulatedCall, type SimulatedPool } from "./fleet.ts";

// Three pools whose clocks differ by an hour, one real Postgres, and callers at once: nobody spends what is not there, and
// nearly all that is there can be spent.

let db: TestDatabase;
let fleet: Awaited<ReturnType<typeof createFleet>>;
let pools: readonly SimulatedPool[];

beforeAll(async () => {
  db = await openTestDatabase("postgres");
  await meteringOn(db.database).prepare({ prices: [testPrice], find: () => testPrice, get: () => testPrice });
});
afterAll(() => db.end());
beforeEach(async () => {
  await db.query("truncate budgets, budget_windows, budget_buckets, budget_leases, attempts, transfers, journals");
  fleet = await createFleet(db);
});
afterEach(() => fleet.stop());

/** Pools that know the budgets there are. */
function addPools(): void {
  pools = [fleet.addPool(), fleet.addPool(3_600_000), fleet.addPool(-3_600_000)];
}

const poolOf = (index: number) => pools[index % pools.length] as SimulatedPool;

function create(
  budgetId: string,
  limitNanoUsd: number,
  more: { readonly user?: string; readonly softPercents?: number[] } = {},
) {
  return fleet.service.createBudget({
    budgetId,
    limitNanoUsd: BigInt(limitNanoUsd),
    window: { kind: WindowKind.DAY },
    scope: { tenant: "default", user: more.user ?? "" },
    softPercents: more.softPercents ?? [],
  });
}

/** 100 tokens in, at most 100 out: 600,000 nano-USD. */
const short: SimulatedCall = {
  bodyBytes: 400,
  inputTokens: 100,
  outputTokens: 50,
  outputTokensMax: 100,
  stream: false,
  pauseMs: 2,
};
const shortCost = 100 * nanoUsdPerToken.input + 50 * nanoUsdPerToken.output;

/** Calls until it is refused for good. @returns calls that were answered */
async function spendAll(pool: SimulatedPool, call: SimulatedCall): Promise<number> {
  for (let answered = 0; ; answered += 1) {
    try {
      await pool.call(call);
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(WeirError);
      expect(thrown).toMatchObject({ reason: ErrorReason.BUDGET_EXHAUSTED });
      return answered;
    }
  }
}

async function outcomeOf(pool: SimulatedPool, call: SimulatedCall): Promise<"completed" | "cut" | "refused"> {
  try {
    return (await pool.call(call)).outcome;
  } catch (thrown) {
    expect(thrown).toMatchObject({ reason: ErrorReason.BUDGET_EXHAUSTED });
    return "refused";
  }
}

/** Looks at the law while `work` goes on. */
async function watched<T>(budget: string, work: Promise<T>): Promise<T> {
  let over = false;
  const done = work.finally(() => (over = true));
  while (!over) {
    const { spent, leased, limit } = await fleet.sums(budget);
    expect(spent + leased).toBeLessThanOrEqual(limit);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return done;
}

/** What was used when all usage is in the ledger, which agrees with the budget. */
async function settled(budget: string): Promise<{ readonly used: number }> {
  await fleet.stop();
  const { charged, spent, limit } = await fleet.sums(budget);
  expect(spent).toBe(charged);
  expect(charged).toBeLessThanOrEqual(limit);
  return { used: Number(charged) / Number(limit) };
}

test.each([1, 20, 200, 2_000])(
  "%d callers at once on three pools spend at least 95 percent of a budget, and nothing beyond it",
  async (callers) => {
    await create("team", 400 * shortCost);
    addPools();
    const spending = Promise.all(Array.from({ length: callers }, (_, index) => spendAll(poolOf(index), short)));
    const answered = (await watched("team", spending)).reduce((sum, count) => sum + count, 0);
    const { used } = await settled("team");
    expect(answered).toBeLessThanOrEqual(400);
    expect(used).toBeGreaterThanOrEqual(0.95);
  },
  60_000,
);

test("128 streams on each of three pools are cut where the budget ends, which is used up", async () => {
  const stream: SimulatedCall = {
    bodyBytes: 400,
    inputTokens: 100,
    outputTokens: 3_000,
    outputTokensMax: 32_768,
    stream: true,
    pauseMs: 5,
  };
  // For nearly half of what they want.
  await create("team", 384 * 1_400 * nanoUsdPerToken.output);
  addPools();
  const ends = await watched(
    "team",
    Promise.all(Array.from({ length: 384 }, (_, index) => outcomeOf(poolOf(index), stream))),
  );
  const { used } = await settled("team");
  expect(ends.filter((end) => end === "cut").length).toBeGreaterThan(100);
  expect(used).toBeGreaterThanOrEqual(0.95);
}, 60_000);

test("what a provider reports at the end beyond all that was seen is charged only as far as the budget goes", async () => {
  await create("team", 40_000 * nanoUsdPerToken.output);
  addPools();
  const thinking = { ...short, stream: true, outputTokens: 200, hiddenTokens: 9_000, outputTokensMax: 32_768 };
  await watched("team", Promise.all(Array.from({ length: 30 }, (_, index) => outcomeOf(poolOf(index), thinking))));
  const { used } = await settled("team");
  expect(used).toBeGreaterThanOrEqual(0.95);
});

test("50 agents on a budget that cannot cover all of them at once all get on", async () => {
  // 50 at once would hold 50 * 1,066,667; what they do costs 150 * 600,000 in the end.
  await create("team", 160 * shortCost);
  addPools();
  const agent = async (index: number) => {
    for (let step = 0; step < 3; step += 1) await poolOf(index).call({ ...short, outputTokensMax: 400, pauseMs: 10 });
  };
  await watched("team", Promise.all(Array.from({ length: 50 }, (_, index) => agent(index))));
  expect((await fleet.sums("team")).charged).toBeLessThanOrEqual(BigInt(160 * shortCost));
  await settled("team");
});

test("a call is held to every budget at once, and each user has one of its own", async () => {
  await create("team", 12 * shortCost);
  await create("each-user", 5 * shortCost, { user: "*" });
  addPools();
  const spent = await Promise.all(
    ["ann", "bob", "cat"].map((user, index) => spendAll(poolOf(index), { ...short, outputTokensMax: 50, user })),
  );
  expect(Math.max(...spent)).toBeLessThanOrEqual(5);
  await fleet.stop();
  expect((await fleet.sums("team")).charged).toBeLessThanOrEqual(BigInt(12 * shortCost));
});

test("soft limits are told to callers, with what is left", async () => {
  await create("team", 20 * shortCost, { softPercents: [50] });
  addPools();
  const first = await poolOf(0).call(short);
  expect(first.softLimits).toEqual([]);
  expect(first.remainingNanoUsd).toBeGreaterThan(0);
  for (let count = 0; count < 11; count += 1) await poolOf(0).call(short);
  await vi.waitFor(
    async () => {
      expect((await poolOf(1).call({ ...short, outputTokens: 1, inputTokens: 0 })).softLimits).toEqual(["team 50"]);
    },
    { timeout: 15_000 },
  );
});

test("what a dead pool had in hand is free again once its calls cannot run any more, by the store's clock alone", async () => {
  await create("team", 10 * shortCost);
  addPools();
  const doomed = poolOf(0);
  const calls = Array.from({ length: 4 }, () => doomed.call({ ...short, pauseMs: 60_000 }));
  await vi.waitFor(async () => expect((await fleet.sums("team")).leased).toBeGreaterThan(0n));
  await doomed.kill();
  void Promise.allSettled(calls);
  const before = await fleet.sums("team");
  expect(before.leased).toBeGreaterThan(0n);
  await db.query("update budget_leases set expire_time = now() - keep - interval '1 second'");
  expect(await spendAll(poolOf(1), { ...short, outputTokensMax: 50 })).toBeGreaterThan(0);
  const { used } = await settled("team");
  expect(used).toBeGreaterThanOrEqual(0.85);
});

test("a store that is away refuses with STORE_UNAVAILABLE what is not in hand, and serves what is", async () => {
  await create("team", 1_000 * shortCost);
  let isAway = false;
  const flaky = {
    ...fleet.service,
    acquireLeases: (...args: Parameters<typeof fleet.service.acquireLeases>) =>
      isAway ? Promise.reject(new WeirError(ErrorReason.OVERLOADED)) : fleet.service.acquireLeases(...args),
  };
  const pool = fleet.addPool(0, flaky);
  await pool.call(short);
  isAway = true;
  let answered = 0;
  const failure = await (async () => {
    for (;;) {
      try {
        await pool.call(short);
        answered += 1;
      } catch (thrown) {
        return thrown;
      }
      // Never given back, so that what is in hand runs out.
      void pool.call({ ...short, pauseMs: 3_000 }).catch(() => undefined);
    }
  })();
  expect(answered).toBeGreaterThan(0);
  expect(failure).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  isAway = false;
  await pool.call(short);
});
