import { randomUUID } from "node:crypto";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Database } from "../database.ts";
import { operator } from "../confinement.ts";
import { meteringOn, openTestDatabase, silentLog, type TestDatabase, testPrice } from "../testing.ts";
import { createBudgetStore, type WindowKindWord } from "./budget-store.ts";
import { startBudgetSweeper } from "./budget-sweeper.ts";
import { createLeaseStore, type LeaseStore } from "./lease-store.ts";
import { settleBudgets } from "./settlement.ts";
import { sweepBudgets } from "./sweep.ts";

const keepMs = 60_000;
const dayMs = 86_400_000;

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let leases: LeaseStore;

  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await meteringOn(db.database).prepare(createPriceList([testPrice]));
    leases = createLeaseStore(db.database);
  });
  afterAll(() => db.end());
  beforeEach(() => db.query("truncate budgets, budget_windows, budget_buckets, budget_leases"));

  const create = (budgetId: string, windowKind: WindowKindWord) =>
    createBudgetStore(db.database).create(operator, {
      budgetId,
      displayName: "",
      scope: {},
      limit: 1_000n,
      windowKind,
      spanSeconds: windowKind === "rolling" ? 3_600 : null,
      softPercents: [],
    });

  async function acquire(budget: string, needed: bigint, subject = "", holder = randomUUID()): Promise<bigint> {
    const ask = { account: { budget, subject }, leaseId: 0n, needed, preferred: 0n };
    const { results, leases: granted } = await leases.acquire(holder, keepMs, [[ask]]);
    expect(results).toEqual([{ outcome: "granted" }]);
    return granted[0]?.leaseId ?? 0n;
  }

  const settle = (leaseId: bigint, nanoUsd: bigint) =>
    db.database.transaction((client) => settleBudgets(client, [{ leaseIds: [leaseId], nanoUsd }]));
  const sweep = (database = db.database) => sweepBudgets(database, () => false);
  const passKeep = (seconds = 61) =>
    db.query("update budget_leases set expire_time = now() - make_interval(secs => $1)", [seconds]);
  const passDays = (days: number) =>
    db.query("update budget_windows set start_time = start_time - make_interval(days => $1)", [days]);
  const leaseIds = async () =>
    (await db.query("select lease_id from budget_leases order by lease_id")).map((row) =>
      BigInt(String(row["lease_id"])),
    );
  const windows = () => db.query("select spent_nano_usd, leased_nano_usd from budget_windows order by window_id");

  test("a lease that is accounted for to the last is deleted when its keep is over, and not before", async () => {
    await create("a", "total");
    const leaseId = await acquire("a", 100n);
    await settle(leaseId, 100n);
    await passKeep(59);
    expect(await sweep()).toEqual({ leases: 0, windows: 0 });
    expect(await leaseIds()).toEqual([leaseId]);
    await passKeep();
    expect(await sweep()).toEqual({ leases: 1, windows: 0 });
    expect(await leaseIds()).toEqual([]);
    expect(await windows()).toEqual([{ spent_nano_usd: "100", leased_nano_usd: "0" }]);
    expect(await settle(leaseId, 0n)).toMatchObject({ unknownLeases: 0 });
  });

  test("a charge that comes after the sweep counts exactly once, in the window that its lease was of", async () => {
    await create("a", "day");
    const leaseId = await acquire("a", 100n);
    await settle(leaseId, 60n);
    await passDays(1);
    await passKeep();
    await sweep();
    expect(await windows()).toEqual([{ spent_nano_usd: "60", leased_nano_usd: "0" }]);
    await sweep();
    await acquire("a", 10n);
    expect(await settle(leaseId, 40n)).toMatchObject({ lateNanoUsd: 40n, unknownLeases: 0 });
    expect(await windows()).toEqual([
      { spent_nano_usd: "100", leased_nano_usd: "0" },
      { spent_nano_usd: "0", leased_nano_usd: "10" },
    ]);
  });

  test("what a pool still had in hand when it fell silent is told until it comes late, and is charged to nobody", async () => {
    const lost = async () =>
      (await db.query("select budget_id, lost_nano_usd from lost_leases")).map((row) => Object.values(row));
    await create("a", "total");
    const leaseId = await acquire("a", 100n);
    await settle(leaseId, 30n);
    expect(await lost()).toEqual([]);
    await passKeep(1);
    expect(await lost()).toEqual([["a", "70"]]);
    await passKeep();
    await sweep();
    expect(await lost()).toEqual([["a", "70"]]);
    expect(await windows()).toEqual([{ spent_nano_usd: "30", leased_nano_usd: "0" }]);
    await settle(leaseId, 45n);
    expect(await lost()).toEqual([["a", "25"]]);
    await settle(leaseId, 30n);
    expect(await lost()).toEqual([]);
    expect(await windows()).toEqual([{ spent_nano_usd: "105", leased_nano_usd: "0" }]);
  });

  test("a lease that was charged beyond what it had stays for the charges of its other calls", async () => {
    await create("a", "total");
    const leaseId = await acquire("a", 100n);
    await settle(leaseId, 130n);
    await passKeep();
    expect((await sweep()).leases).toBe(1);
    expect(await settle(leaseId, 40n)).toMatchObject({ lateNanoUsd: 40n, unknownLeases: 0 });
    expect(await windows()).toEqual([{ spent_nano_usd: "170", leased_nano_usd: "0" }]);
  });

  test("a charge counts even when the lock of its window deletes its lease", async () => {
    await create("a", "total");
    const leaseId = await acquire("a", 50n);
    await settle(leaseId, 50n);
    await passKeep();
    expect(await settle(leaseId, 7n)).toMatchObject({ lateNanoUsd: 7n, unknownLeases: 0 });
    expect(await leaseIds()).toEqual([]);
    expect(await windows()).toEqual([{ spent_nano_usd: "57", leased_nano_usd: "0" }]);
  });

  test("windows go 400 days after their end with the leases that had ended, and neither sooner nor with a live one", async () => {
    for (const kind of ["day", "month", "total", "rolling"] as const) await create(kind, kind);
    const ended = await acquire("day", 5n);
    await passKeep();
    await sweep();
    const live = await acquire("month", 5n);
    await acquire("total", 5n);
    await acquire("rolling", 5n);
    await passDays(399);
    expect((await sweep()).windows).toBe(0);
    expect(await leaseIds()).toContain(ended);
    await passDays(64);
    expect((await sweep()).windows).toBe(1);
    expect(await leaseIds()).not.toContain(ended);
    expect(await leaseIds()).toContain(live);
    await passKeep();
    expect(await sweep()).toEqual({ leases: 3, windows: 1 });
    expect(await windows()).toHaveLength(2);
  });

  test("windows without an end go 400 days after their budget was deleted", async () => {
    await create("a", "total");
    await acquire("a", 5n);
    await createBudgetStore(db.database).remove(operator, "a");
    await passKeep();
    expect((await sweep()).windows).toBe(0);
    await db.query("update budgets set delete_time = now() - interval '401 days'");
    expect((await sweep()).windows).toBe(1);
    expect(await leaseIds()).toEqual([]);
  });

  test("what does not fit in one batch goes in several transactions, until it is stopped", async () => {
    await create("a", "day");
    await db.query(
      `insert into budget_windows (budget_key, subject, start_time)
       select budget_key, n::text, now() - interval '500 days' from budgets, generate_series(1, 450) n`,
    );
    await db.query(
      `insert into budget_leases (window_id, holder, outstanding_nano_usd, granted_total_nano_usd, expire_time, keep)
       select window_id, gen_random_uuid(), 0, 5, now() - interval '1 day', '1 minute' from budget_windows`,
    );
    let count = 0;
    const counting: Database = {
      ...db.database,
      transaction: (run) => {
        count++;
        return db.database.transaction(run);
      },
    };
    expect(await sweepBudgets(counting, () => count >= 2)).toEqual({ leases: 400, windows: 0 });
    expect(await leaseIds()).toHaveLength(50);
    expect(await sweep()).toEqual({ leases: 50, windows: 450 });
  });

  test("a round that fails is tried again, and the next one is a day later", async () => {
    const delays: number[] = [];
    let woken = Promise.withResolvers<void>();
    let next = (): void => {};
    const clock = {
      now: () => 0,
      monotonic: () => 0,
      after(delayMs: number, callback: () => void) {
        delays.push(delayMs);
        next = callback;
        woken.resolve();
        return () => {};
      },
    };
    let isAway = true;
    const database: Database = {
      ...db.database,
      transaction: (run) => (isAway ? Promise.reject(new Error("away")) : db.database.transaction(run)),
    };
    const sweeper = startBudgetSweeper({ database, clock, log: silentLog });
    await woken.promise;
    isAway = false;
    woken = Promise.withResolvers<void>();
    next();
    await woken.promise;
    sweeper.stop();
    expect(delays).toEqual([dayMs / 144, dayMs]);
  });

  test.runIf(engine === "postgres")("a window that somebody grants from meanwhile stays, with its lease", async () => {
    await create("a", "day");
    await acquire("a", 1n);
    await db.query("delete from budget_leases");
    await passDays(500);
    const [locked, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const granting = db.database.transaction(async (client) => {
      await client.query("select from budget_windows for update");
      await client.query(
        `insert into budget_leases (window_id, holder, outstanding_nano_usd, granted_total_nano_usd, expire_time, keep)
         select window_id, gen_random_uuid(), 1, 1, now(), '1 minute' from budget_windows`,
      );
      locked.resolve();
      await done.promise;
    });
    await locked.promise;
    expect(await sweep()).toEqual({ leases: 0, windows: 0 });
    done.resolve();
    await granting;
    expect(await sweep()).toEqual({ leases: 0, windows: 0 });
    expect(await leaseIds()).toHaveLength(1);
  });

  test.runIf(engine === "postgres")("sweeps, grants and charges at once leave every sum right", async () => {
    await create("a", "total");
    await create("b", "total");
    const holders = Array.from({ length: 4 }, () => randomUUID());
    let charged = 0n;
    const work = holders.map(async (holder) => {
      for (let round = 0; round < 15; round++) {
        for (const budget of ["a", "b"]) {
          const leaseId = await acquire(budget, 1n, "", holder);
          await db.query("update budget_leases set expire_time = now() - interval '61 seconds' where holder = $1", [
            holder,
          ]);
          await settle(leaseId, 1n);
          charged += 1n;
        }
      }
    });
    const sweeping = async () => {
      for (let round = 0; round < 30; round++) await sweep();
    };
    await Promise.all([...work, sweeping()]);
    await passKeep();
    await sweep();
    const sums = await windows();
    expect(sums.map((row) => row["leased_nano_usd"])).toEqual(["0", "0"]);
    expect(sums.reduce((sum, row) => sum + BigInt(String(row["spent_nano_usd"])), 0n)).toBe(charged);
  });
});
