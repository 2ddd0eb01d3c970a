import { randomUUID } from "node:crypto";
import { BudgetService, LeaseOutcome, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Client } from "@weir/kit/call";
import { bearing } from "@weir/kit/client";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList, type Price } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sweepBudgets } from "../budgets/sweep.ts";
import { as } from "../conversations/testing.ts";
import { meteringOn, openTestDatabase, type TestDatabase } from "../testing.ts";

// A token of input costs 500 nano-USD in a batch, one of output 1,000.

const rates = { input: 500_000_000n, cachedInput: 0n, cacheWrite: 0n, output: 1_000_000_000n };
const priceOf = (model: string, tiers?: Price["tiers"]): Price => ({
  id: `openai/${model}@${tiers === undefined ? "always" : "1970-01-01"}`,
  provider: "openai",
  model,
  effectiveTime: tiers === undefined ? undefined : 0,
  nanoUsdPerMillion: rates,
  ...(tiers === undefined ? {} : { tiers }),
  source: "a test",
});
const batchTiers = [{ serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: rates }];
const prices = [priceOf("m", batchTiers), priceOf("n", batchTiers), priceOf("late")];

describe.each(["embedded", "postgres"] as const)("what is set aside for batches, %s", (engine) => {
  let db: TestDatabase;
  let metering: ReturnType<typeof meteringOn>;
  let batches: Client<typeof BatchService>;
  let resources: Client<typeof ResourceService>;
  let budgets: Client<typeof BudgetService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    metering = meteringOn(db.database);
    await metering.prepare(createPriceList(prices));
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", BatchService, metering.batches);
    mesh.host("metering", ResourceService, metering.resources);
    mesh.host("metering", BudgetService, metering.budgets);
    budgets = bearing(mesh.client(BudgetService, "metering"), operatorMetadata);
    batches = mesh.client(BatchService, "metering");
    resources = mesh.client(ResourceService, "metering");
    await mesh.start();
    for (const budgetId of ["all", "own"]) {
      await budgets.createBudget({ budgetId, limitNanoUsd: 1_000_000n, window: { kind: WindowKind.MONTH } });
    }
  });
  afterAll(() => db.end());
  beforeEach(() =>
    db.query(
      "delete from resources; delete from budget_leases; delete from budget_windows; delete from transfers; delete from attempts",
    ),
  );

  /** What a pool does before it makes a batch. @param budgetIds with what is set aside in each */
  async function hold(amounts: Readonly<Record<string, bigint>>) {
    const holder = randomUUID();
    const asks = Object.entries(amounts).map(([budget, amount]) => ({
      account: { budget, subject: "" },
      neededNanoUsd: amount,
      preferredNanoUsd: amount,
    }));
    const { results, leases } = await budgets.acquireLeases({
      holder,
      keep: { seconds: 60n },
      groups: [{ asks }],
    });
    const ids = (...names: string[]) =>
      names.flatMap((name) => leases.filter(({ account }) => account?.budget === name).map(({ leaseId }) => leaseId));
    return { holder, outcome: results[0]?.outcome, ids };
  }
  const record = (
    resourceId: string,
    holder: string,
    parts: { model: string; leaseIds: bigint[]; chargeMaxNanoUsd: bigint }[],
  ) =>
    resources.recordResource(
      {
        resource: { resourceId, kind: "batch", place: { provider: "openai", account: "a1" } },
        hold: { holder, parts },
      },
      as("acme"),
    );
  /** A batch of model `m` for which so much is set aside in the budget `all`. */
  async function makeBatch(batchId: string, amount: bigint): Promise<void> {
    const { holder, ids } = await hold({ all: amount });
    await record(batchId, holder, [{ model: "m", leaseIds: ids("all"), chargeMaxNanoUsd: amount }]);
  }
  const use = (model: string, inputTokens?: number) => ({
    model,
    usage: inputTokens === undefined ? {} : { inputTokens, outputTokens: 10 },
  });
  const settle = (
    batchId: string,
    uses: ReturnType<typeof use>[],
    outcome: AttemptOutcome = AttemptOutcome.COMPLETED,
  ) => batches.settleBatch({ provider: "openai", batchId, outcome, uses });
  async function standing(budgetId = "all") {
    const { budget } = await budgets.getBudget({ name: `budgets/${budgetId}` });
    const { spentNanoUsd: spent, leasedNanoUsd: leased } = budget?.standings[0] ?? {};
    return { spent, leased };
  }
  const leaseCount = async () => (await db.query("select from budget_leases")).length;

  test("it counts until the batch is settled; then what it cost is spent, once, and the rest is free", async () => {
    await makeBatch("batch_1", 600_000n);
    expect(await standing()).toEqual({ spent: 0n, leased: 600_000n });
    expect((await hold({ all: 500_000n })).outcome).toBe(LeaseOutcome.SPENT);
    await settle("batch_1", [use("m", 100)]);
    expect(await standing()).toEqual({ spent: 60_000n, leased: 0n });
    // As if it had been killed after the rows, before the mark.
    await makeBatch("batch_2", 600_000n);
    await db.query("update resources set settle_time = now() where resource_id = 'batch_2'");
    await settle("batch_2", [use("m", 100)]);
    expect(await standing()).toEqual({ spent: 60_000n, leased: 600_000n });
    await db.query("update resources set settle_time = null where resource_id = 'batch_2'");
    await settle("batch_2", [use("m", 100)]);
    await settle("batch_2", [use("m", 100)]);
    expect(await standing()).toEqual({ spent: 120_000n, leased: 0n });
    expect(await leaseCount()).toBe(0);
  });

  test("what pools have in hand may come back, and what is set aside for batches on record does not", async () => {
    await makeBatch("batch_1", 600_000n);
    await hold({ all: 300_000n });
    expect((await hold({ all: 400_000n })).outcome).toBe(LeaseOutcome.HELD);
    expect((await hold({ all: 400_001n })).outcome).toBe(LeaseOutcome.SPENT);
  });

  test("it outlives every pool, and that of a batch that was never on record does not", async () => {
    await makeBatch("batch_kept", 300_000n);
    await hold({ all: 200_000n });
    await db.query("update budget_leases set expire_time = expire_time - interval '1 day'");
    await sweepBudgets(db.database, () => false);
    expect(await standing()).toEqual({ spent: 0n, leased: 300_000n });
    const lost = await db.query("select lost_nano_usd from lost_leases");
    expect(lost).toEqual([{ lost_nano_usd: "200000" }]);
  });

  test.each([
    ["was not done at all", [], AttemptOutcome.REJECTED, 0n],
    ["was cut off", [use("m", 100)], AttemptOutcome.CANCELLED, 60_000n],
    ["was lost", [use("batches")], AttemptOutcome.LOST, 0n],
    ["ended, and nobody reports what it used", [use("batches")], AttemptOutcome.COMPLETED, 300_000n],
    ["used more than was set aside", [use("m", 10_000)], AttemptOutcome.COMPLETED, 300_000n],
    ["was done by another version of its model", [use("m-2026-01-31", 100)], AttemptOutcome.COMPLETED, 60_000n],
    ["was done by a model of another name", [use("who-knows", 100)], AttemptOutcome.COMPLETED, 60_000n],
  ])("of one that %s the truth is spent, and nothing stays held", async (_name, uses, outcome, spent) => {
    await makeBatch("batch_1", 300_000n);
    await settle("batch_1", uses, outcome);
    expect(await standing()).toEqual({ spent, leased: 0n });
    const charged = await db.query(
      "select coalesce(sum(charge_nano_usd), 0) as sum from attempts where provider_reply_id = 'batch_1'",
    );
    expect(BigInt(String(charged[0]?.["sum"]))).toBeLessThanOrEqual(spent);
  });

  test("of several models each is charged to the budgets about it, and to no budget more than was set aside in it", async () => {
    const { holder, ids } = await hold({ all: 300_000n, own: 100_000n });
    await record("batch_two", holder, [
      { model: "m", leaseIds: ids("all", "own"), chargeMaxNanoUsd: 100_000n },
      { model: "n", leaseIds: ids("all"), chargeMaxNanoUsd: 200_000n },
    ]);
    await settle("batch_two", [use("m", 1_000), use("n", 100), use("n-2026-01-31", 10)]);
    expect(await standing()).toEqual({ spent: 100_000n + 60_000n + 15_000n, leased: 0n });
    expect(await standing("own")).toEqual({ spent: 100_000n, leased: 0n });
  });

  test("a price that comes later moves no budget: what its row could cost at most was spent", async () => {
    const { holder, ids } = await hold({ all: 300_000n });
    await record("batch_late", holder, [{ model: "late", leaseIds: ids("all"), chargeMaxNanoUsd: 300_000n }]);
    await settle("batch_late", [use("late", 100)]);
    expect(await standing()).toEqual({ spent: 300_000n, leased: 0n });
    await metering.prepare(createPriceList([...prices, priceOf("late", batchTiers)]));
    const rows = await db.query("select pricing, charge_nano_usd from attempts where provider_reply_id = 'batch_late'");
    expect(rows).toEqual([{ pricing: "priced", charge_nano_usd: "60000" }]);
    expect(await standing()).toEqual({ spent: 300_000n, leased: 0n });
  });

  test("pools that hold nothing of a budget share it as if no batch were under way", async () => {
    for (let at = 0; at < 20; at += 1) await makeBatch(`batch_${at}`, 10_000n);
    const { leases } = await budgets.acquireLeases({
      holder: randomUUID(),
      keep: { seconds: 60n },
      groups: [{ asks: [{ account: { budget: "all" }, neededNanoUsd: 1n, preferredNanoUsd: 1_000_000n }] }],
    });
    expect(leases[0]?.grantedTotalNanoUsd).toBe(400_000n);
  });
});
