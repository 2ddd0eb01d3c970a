import { randomUUID } from "node:crypto";
import { create as createMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import {
  BudgetService,
  type CreateBudgetRequestSchema,
  LeaseOutcome,
  type WatchBudgetsResponse,
  WindowKind,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AttemptOutcome, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Client, hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Metering } from "../service.ts";
import {
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testEventCost,
  testPrice,
} from "../testing.ts";
import { settleBudgets } from "./settlement.ts";

type CreateInit = Omit<MessageInitShape<typeof CreateBudgetRequestSchema>, "$typeName" | "budgetId">;

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let metering: Metering;
  let service: Client<typeof BudgetService>;

  beforeAll(async () => {
    db = await openTestDatabase(engine);
    metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
    const door = createLocalDoor([hostService(BudgetService, metering.budgets)]);
    service = bearing(createClient(BudgetService, door), operatorMetadata);
  });
  afterAll(() => db.end());
  beforeEach(() =>
    db.query("truncate budgets, budget_windows, budget_buckets, budget_leases, attempts, transfers, journals"),
  );

  const holder = randomUUID();
  const other = randomUUID();

  function create(budgetId: string, limitNanoUsd: bigint, more: CreateInit = {}) {
    return service.createBudget({ budgetId, limitNanoUsd, window: { kind: WindowKind.TOTAL }, ...more });
  }

  /** Asks for one group. @param needed by budget */
  async function acquire(by: string, needed: Readonly<Record<string, bigint>>, preferred = 0n, keepMs = 60_000) {
    const asks = Object.entries(needed).map(([budget, neededNanoUsd]) => ({
      account: { budget, subject: "" },
      neededNanoUsd,
      preferredNanoUsd: preferred,
    }));
    const { results, leases } = await service.acquireLeases({
      holder: by,
      keep: durationFromMs(keepMs),
      groups: [{ asks }],
    });
    return { outcome: results[0]?.outcome, result: results[0], leases };
  }

  const settle = (leaseIds: readonly bigint[], nanoUsd: bigint) =>
    db.database.transaction((client) => settleBudgets(client, [{ leaseIds, nanoUsd }]));

  async function standing(budget: string) {
    const { budget: found } = await service.getBudget({ name: `budgets/${budget}` });
    const [first] = found?.standings ?? [];
    return { spent: first?.spentNanoUsd ?? 0n, leased: first?.leasedNanoUsd ?? 0n };
  }

  test("a budget is what was asked for, can be changed, and makes room for another of its name", async () => {
    const scope = { tenant: "default", user: "*" };
    const window = { kind: WindowKind.ROLLING, span: durationFromMs(3_600_000) };
    const { budget } = await create("team", 5_000n, { displayName: "Team", scope, window, softPercents: [50, 80] });
    expect(budget).toMatchObject({ name: "budgets/team", displayName: "Team", scope, limitNanoUsd: 5_000n, window });
    await expect(create("team", 1n)).rejects.toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
    const name = "budgets/team";
    expect((await service.updateBudget({ name, limitNanoUsd: 9n, disabled: true })).budget).toMatchObject({
      limitNanoUsd: 9n,
      softPercents: [50, 80],
      disabled: true,
    });
    expect((await service.updateBudget({ name, softLimits: { percents: [] } })).budget?.softPercents).toEqual([]);
    expect((await service.listBudgets({ tenant: "tenants/default" })).budgets).toHaveLength(1);
    expect((await service.listBudgets({ tenant: "tenants/none" })).budgets).toEqual([]);
    await service.deleteBudget({ name });
    await expect(service.getBudget({ name })).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
    await expect(service.deleteBudget({ name })).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
    await create("team", 1n);
  });

  test("what a window cannot be is refused", async () => {
    const refused = { reason: ErrorReason.INVALID_REQUEST };
    await expect(create("a", 1n, { window: { kind: WindowKind.ROLLING } })).rejects.toMatchObject(refused);
    const span = durationFromMs(60_000);
    await expect(create("a", 1n, { window: { kind: WindowKind.DAY, span } })).rejects.toMatchObject(refused);
    await expect(create("a", 9_000_000_000_000_001n)).rejects.toMatchObject(refused);
    await expect(create("a", 1n, { scope: { tag: "team" } })).rejects.toMatchObject(refused);
  });

  test("a group gets all that it needs of every budget, or nothing of any", async () => {
    await create("large", 1_000n);
    await create("small", 100n);
    expect((await acquire(holder, { large: 80n, small: 80n })).outcome).toBe(LeaseOutcome.GRANTED);
    const refused = await acquire(holder, { large: 80n, small: 80n });
    expect(refused.outcome).toBe(LeaseOutcome.HELD);
    expect(refused.result).toMatchObject({ account: { budget: "small" }, unspentNanoUsd: 100n });
    expect(await standing("large")).toEqual({ spent: 0n, leased: 80n });
    expect((await acquire(holder, { large: 80n, small: 101n })).outcome).toBe(LeaseOutcome.SPENT);
    expect((await acquire(holder, { large: 80n, none: 1n })).outcome).toBe(LeaseOutcome.GONE);
    expect(await standing("large")).toEqual({ spent: 0n, leased: 80n });
  });

  test("what is granted ahead of need shrinks with what is left and the number of holders", async () => {
    await create("a", 1_000n);
    const first = await acquire(holder, { a: 10n }, 10_000n);
    expect(first.leases[0]?.grantedTotalNanoUsd).toBe(500n);
    const second = await acquire(other, { a: 10n }, 10_000n);
    expect(second.leases[0]?.grantedTotalNanoUsd).toBe(125n);
    expect((await acquire(other, { a: 10n }, 20n)).leases[0]?.grantedTotalNanoUsd).toBe(145n);
  });

  test("totals make repeated, late and lost words harmless", async () => {
    await create("a", 1_000n);
    await acquire(holder, { a: 100n });
    const { leases } = await acquire(holder, { a: 50n });
    expect(leases[0]?.grantedTotalNanoUsd).toBe(150n);
    const leaseId = leases[0]?.leaseId ?? 0n;
    const back = (returnedTotalNanoUsd: bigint) =>
      service.renewLeases({ holder, leases: [{ leaseId, returnedTotalNanoUsd }] });
    await back(60n);
    await back(60n);
    await back(20n);
    expect(await standing("a")).toEqual({ spent: 0n, leased: 90n });
    await back(10_000n);
    expect(await standing("a")).toEqual({ spent: 0n, leased: 0n });
    expect((await service.renewLeases({ holder: other, leases: [{ leaseId }] })).ended).toEqual([leaseId]);
  });

  test("a forgotten lease is not added to, and covers what is on its way to the ledger", async () => {
    await create("a", 1_000n);
    const { leases } = await acquire(holder, { a: 100n });
    const leaseId = leases[0]?.leaseId ?? 0n;
    await service.renewLeases({ holder, leases: [{ leaseId, returnedTotalNanoUsd: 40n, forgotten: true }] });
    const next = await acquire(holder, { a: 10n });
    expect(next.leases[0]).toMatchObject({ grantedTotalNanoUsd: 10n });
    expect(next.leases[0]?.leaseId).not.toBe(leaseId);
    expect((await settle([leaseId], 60n)).lateNanoUsd).toBe(0n);
    expect(await standing("a")).toEqual({ spent: 60n, leased: 10n });
  });

  test("a forgotten lease that came back whole is gone at once, and no holder that others share with", async () => {
    await create("a", 1_000n);
    for (let at = 0; at < 10; at += 1) {
      const by = randomUUID();
      const { leases } = await acquire(by, { a: 100n });
      const leaseId = leases[0]?.leaseId ?? 0n;
      await service.renewLeases({
        holder: by,
        leases: [{ leaseId, returnedTotalNanoUsd: 100n, forgotten: true, grantedTotalNanoUsd: 100n }],
      });
    }
    expect((await acquire(holder, { a: 10n }, 1_000n)).leases[0]?.grantedTotalNanoUsd).toBe(500n);
    expect(await db.query("select from budget_leases")).toHaveLength(1);
    expect(await standing("a")).toEqual({ spent: 0n, leased: 500n });
  });

  test("a lease that was added to after its pool forgot it stays the pool's", async () => {
    await create("a", 1_000n);
    const { leases } = await acquire(holder, { a: 100n });
    const leaseId = leases[0]?.leaseId ?? 0n;
    const more = await acquire(holder, { a: 10n });
    expect(more.leases[0]).toMatchObject({ leaseId, grantedTotalNanoUsd: 110n });
    const forget = (grantedTotalNanoUsd: bigint) =>
      service.renewLeases({ holder, leases: [{ leaseId, forgotten: true, grantedTotalNanoUsd }] });
    expect(await forget(100n)).toMatchObject({ leases: [{ grantedTotalNanoUsd: 110n }], ended: [] });
    expect((await acquire(holder, { a: 10n })).leases[0]).toMatchObject({ leaseId, grantedTotalNanoUsd: 120n });
    expect((await forget(120n)).ended).toEqual([]);
    expect((await acquire(holder, { a: 10n })).leases[0]?.leaseId).not.toBe(leaseId);
    expect((await forget(120n)).ended).toEqual([leaseId]);
  });

  test("that a lease has ended does not say that its budget is gone", async () => {
    await create("a", 100n);
    const { leases } = await acquire(holder, { a: 100n });
    await db.query("update budget_leases set expire_time = now() - interval '61 seconds'");
    await acquire(other, { a: 1n });
    const ask = { account: { budget: "a", subject: "" }, leaseId: leases[0]?.leaseId ?? 0n, neededNanoUsd: 1n };
    const { results } = await service.acquireLeases({
      holder,
      keep: durationFromMs(30_000),
      groups: [{ asks: [ask] }],
    });
    expect(results).toMatchObject([{ outcome: LeaseOutcome.HELD }]);
  });

  test("a recorded attempt moves its charge from its leases to what is spent", async () => {
    await create("a", 1_000n, { softPercents: [50, 90] });
    await create("b", 1_000n);
    const { leases } = await acquire(holder, { a: 600n, b: 600n });
    const ids = leases.map(({ leaseId }) => leaseId);
    const news = await settle(ids, 550n);
    expect(news).toMatchObject({ lateNanoUsd: 0n, unknownLeases: 0 });
    expect(news.crossed).toMatchObject([{ budget: "a", percent: 50, spent: 550n, limit: 1_000n }]);
    expect(await standing("a")).toEqual({ spent: 550n, leased: 50n });
    expect((await settle(ids, 50n)).crossed).toEqual([]);
    const more = await settle([...ids, 999_999_999n], 310n);
    expect(more).toMatchObject({ lateNanoUsd: 620n, unknownLeases: 1 });
    expect(more.crossed).toMatchObject([{ budget: "a", percent: 90 }]);
    expect(await standing("b")).toEqual({ spent: 910n, leased: 0n });
  });

  test("a usage event is charged once, however often it comes, and never beyond what was set aside", async () => {
    await create("a", 10_000_000n);
    const { leases } = await acquire(holder, { a: 5_000_000n });
    const leaseIds = leases.map(({ leaseId }) => leaseId);
    const { recorder } = metering;
    const batch = (numbers: readonly number[], chargeMaxNanoUsd: bigint) =>
      createMessage(UsageBatchSchema, {
        journalId: journalA,
        firstSequence: BigInt(numbers[0] ?? 1),
        events: numbers.map((number) => testEvent(number, { hold: { leaseIds, chargeMaxNanoUsd } })),
      });
    await recorder.record([batch([1], 3_000_000n)]);
    await recorder.record([batch([1, 2], 3_000_000n)]);
    expect(await standing("a")).toEqual({ spent: 2n * testEventCost, leased: 5_000_000n - 2n * testEventCost });
    await recorder.record([batch([3], 400_000n), batch([1], 3_000_000n)]);
    expect(await standing("a")).toEqual({ spent: 4_900_000n, leased: 100_000n });
    expect(
      await db.query("select cost_nano_usd, charge_nano_usd from attempts order by attempt_id desc limit 1"),
    ).toEqual([{ cost_nano_usd: String(testEventCost), charge_nano_usd: "400000" }]);
    const lost = testEvent(4, {
      outcome: AttemptOutcome.COMPLETED,
      usage: {},
      hold: { leaseIds, chargeMaxNanoUsd: 70_000n },
    });
    await recorder.record([
      createMessage(UsageBatchSchema, { journalId: journalA, firstSequence: 4n, events: [lost] }),
    ]);
    expect(await standing("a")).toEqual({ spent: 4_970_000n, leased: 30_000n });
  });

  test("a lease outlives its expiry for as long as it covers calls, by the database's clock, and then ends", async () => {
    await create("a", 100n);
    const { leases } = await acquire(holder, { a: 100n });
    const ago = (seconds: number) =>
      db.query("update budget_leases set expire_time = now() - make_interval(secs => $1)", [seconds]);
    await ago(59);
    expect((await acquire(other, { a: 1n })).outcome).toBe(LeaseOutcome.HELD);
    await ago(61);
    expect((await acquire(other, { a: 100n })).outcome).toBe(LeaseOutcome.GRANTED);
    const leaseId = leases[0]?.leaseId ?? 0n;
    expect((await service.renewLeases({ holder, leases: [{ leaseId }] })).ended).toEqual([leaseId]);
    expect(await settle([leaseId], 30n)).toMatchObject({ lateNanoUsd: 30n });
    expect(await standing("a")).toEqual({ spent: 30n, leased: 100n });
  });

  test("a new calendar window begins with nothing spent, and calls of the old one are charged to it", async () => {
    await create("a", 100n, { window: { kind: WindowKind.DAY } });
    const { leases } = await acquire(holder, { a: 100n });
    expect(durationMs(leases[0]?.windowEndsIn ?? durationFromMs(0))).toBeLessThanOrEqual(86_400_000);
    await db.query("update budget_windows set start_time = start_time - interval '1 day'");
    const next = await acquire(holder, { a: 60n });
    expect(next.outcome).toBe(LeaseOutcome.GRANTED);
    expect(next.leases[0]?.leaseId).not.toBe(leases[0]?.leaseId);
    await settle([leases[0]?.leaseId ?? 0n], 90n);
    expect(await standing("a")).toEqual({ spent: 0n, leased: 60n });
    const extend = (needed: bigint) =>
      service.acquireLeases({
        holder,
        groups: [
          {
            asks: [
              {
                account: { budget: "a" },
                leaseId: leases[0]?.leaseId ?? 0n,
                neededNanoUsd: needed,
                preferredNanoUsd: 0n,
              },
            ],
          },
        ],
      });
    expect((await extend(1n)).results[0]?.outcome).toBe(LeaseOutcome.HELD);
    expect((await extend(11n)).results[0]?.outcome).toBe(LeaseOutcome.SPENT);
  });

  test("a rolling window lets go of what is older than its span, and of nothing before", async () => {
    await create("a", 100n, { window: { kind: WindowKind.ROLLING, span: durationFromMs(3_600_000) } });
    const { leases } = await acquire(holder, { a: 100n });
    await settle([leases[0]?.leaseId ?? 0n], 100n);
    const age = (minutes: number) =>
      db.query("update budget_buckets set bucket_time = now() - make_interval(mins => $1)", [minutes]);
    await age(60);
    expect((await acquire(holder, { a: 1n })).outcome).toBe(LeaseOutcome.SPENT);
    await age(62);
    expect(await standing("a")).toEqual({ spent: 0n, leased: 0n });
    expect((await acquire(holder, { a: 100n })).outcome).toBe(LeaseOutcome.GRANTED);
  });

  test("many askers at once, in any order of budgets, never get more than the limits", async () => {
    await create("a", 1_000n);
    await create("b", 700n);
    const holders = Array.from({ length: 3 }, () => randomUUID());
    const asked = Array.from({ length: 60 }, (_, index) => {
      const needed = index % 2 === 0 ? { a: 30n, b: 30n } : { b: 30n, a: 30n };
      return acquire(holders[index % 3] as string, needed, 100n);
    });
    const granted = (await Promise.all(asked)).filter(({ outcome }) => outcome === LeaseOutcome.GRANTED);
    expect(granted.length).toBeGreaterThan(0);
    const b = await standing("b");
    expect(b.leased).toBeLessThanOrEqual(700n);
    expect(b.leased).toBeGreaterThan(670n);
    expect((await standing("a")).leased).toBeLessThanOrEqual(1_000n);
  });

  test("a watcher gets every budget, then each change, and who lacks what others have in hand", async () => {
    await create("a", 10n, { scope: { tenant: "default" } });
    await create("b", 10n);
    const ended = new AbortController();
    const seen: WatchBudgetsResponse[] = [];
    const has = async (what: (message: WatchBudgetsResponse) => boolean) => {
      for (;;) {
        if (seen.some(what)) return;
        const { value } = await stream.next();
        if (value !== undefined) seen.push(value);
      }
    };
    const stream = service.watchBudgets({}, { signal: ended.signal });
    await has((message) => message.complete);
    expect(seen.flatMap(({ records }) => records.map(({ id }) => id))).toEqual(["a", "b"]);
    await service.updateBudget({ name: "budgets/b", disabled: true });
    await has(({ removed }) => removed.includes("b"));
    await create("c", 10n);
    await has(({ records }) => records.some(({ id }) => id === "c"));
    await acquire(holder, { a: 10n });
    await acquire(other, { a: 1n });
    await has(({ tight }) => tight.some(({ budget }) => budget === "a"));
    await service.deleteBudget({ name: "budgets/a" });
    await has(({ removed }) => removed.includes("a"));
    await stream.return();
  });

  test("the view of the burn says what the service says", async () => {
    await create("a", 1_000n, { scope: { user: "*" }, window: { kind: WindowKind.MONTH } });
    const { leases } = await acquire(holder, { a: 300n });
    await settle([leases[0]?.leaseId ?? 0n], 250n);
    expect(await db.query("select * from budget_burn")).toMatchObject([
      {
        budget_id: "a",
        spent_nano_usd: "250",
        leased_nano_usd: "50",
        remaining_nano_usd: "700",
        spent_percent: "25.00",
      },
    ]);
  });
});
