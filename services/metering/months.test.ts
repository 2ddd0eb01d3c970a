import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "@weir/kit/clock";
import type { Database } from "./database.ts";
import { migrate } from "./migrate.ts";
import { startMonthKeeper } from "./month-keeper.ts";
import { keepMonths } from "./months.ts";
import {
  attemptIdAt,
  journalA,
  meteringOn,
  openTestDatabase,
  silentLog,
  type TestDatabase,
  testBatch,
  testEvent,
  testPrice,
} from "./testing.ts";

const november = Date.UTC(2026, 10, 20, 12);
const readMigration = (name: string) => readFileSync(join(import.meta.dirname, "migrations", name), "utf8");

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query("drop schema public cascade; create schema public");
  });

  const record = (...events: ReturnType<typeof testEvent>[]) =>
    meteringOn(db.database).recorder.record([
      create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }),
    ]);
  /** An attempt that began at this time, as a pool would name it. */
  const eventAt = (timeMs: number, number = 1, overrides: Parameters<typeof testEvent>[1] = {}) =>
    testEvent(number, {
      attemptId: attemptIdAt(timeMs, number),
      startTime: timestampFromMs(timeMs),
      endTime: timestampFromMs(timeMs + 800),
      ...overrides,
    });
  const placesOf = async (table: string) =>
    (await db.query(`select tableoid::regclass::text as place, count(*)::int from ${table} group by 1 order by 1`)).map(
      (row) => [row["place"], row["count"]],
    );
  const partitions = async () =>
    (
      await db.query(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'attempts'::regclass order by 1",
      )
    ).map((row) => row["name"]);

  /** The ledger as it was before there were months, with attempts in it. */
  async function oldLedger(attemptIds: readonly string[]): Promise<void> {
    const names = ["0001_ledger.sql", "0002_transfers.sql"];
    await db.query(
      "create table schema_migrations (name text primary key, checksum text not null, apply_time timestamptz)",
    );
    for (const name of names) {
      const text = readMigration(name);
      await db.query(text);
      await db.query("insert into schema_migrations values ($1, $2)", [
        name,
        createHash("sha256").update(text).digest("hex"),
      ]);
    }
    for (const id of attemptIds) await insertOld(id);
  }

  /** As the version before writes a row. */
  async function insertOld(id: string): Promise<void> {
    await db.query(
      `with inserted as (
         insert into attempts (attempt_id, request_id, tenant, key, end_user, alias, provider, model, stream, outcome,
           usage_source, usage_inconsistent, price_id, pricing, cost_nano_usd, charge_nano_usd, start_time, end_time,
           provider_status, provider_reply_id, content_digest)
         values ($1, 'request', 'default', '', '', 'large', 'acme', 'large', false, 'completed', 'reported', false, 'p',
           'priced', 5, 5, now(), now(), 200, '', '\\x00')
         on conflict (attempt_id) do nothing returning attempt_id)
       insert into transfers select attempt_id, 'cost', 'usage/default', 'provider/acme', 5 from inserted`,
      [id],
    );
  }

  describe("0003_months.sql", () => {
    const now = Date.now();
    const ids = [
      attemptIdAt(now - 40 * 86_400_000, 1),
      attemptIdAt(now - 1_000, 2),
      attemptIdAt(now + 400 * 86_400_000, 3),
      "6fa459ea-ee8a-4ca4-894e-db77e160355e",
      "00000000-0000-0000-0000-000000000000",
    ];

    test("rows stay what they are and where they are, those of no known time apart; twice is once", async () => {
      await oldLedger(ids);
      const before = await db.query("select * from attempts order by attempt_id");
      const entriesBefore = await db.query("select * from entries order by 1, 2, 3");
      expect((await migrate(db.database)).applied).toContain("0003_months.sql");
      expect((await migrate(db.database)).applied).toEqual([]);
      expect(await db.query("select * from attempts order by attempt_id")).toMatchObject(
        before.map((row) => ({ ...row, tags: null })),
      );
      expect(await db.query("select * from entries order by 1, 2, 3")).toEqual(entriesBefore);
      for (const table of ["attempts", "transfers"]) {
        expect(await placesOf(table)).toEqual([
          [`${table}_default`, 3],
          [expect.stringMatching(`${table}_until_\\d{4}_\\d{2}`), 2],
        ]);
      }
      expect(await db.query("select attempts::int from cost_by_day")).toEqual([{ attempts: 5 }]);
      // The indexes that the old table had, or got while it could be read, are those of the partition.
      expect(
        await db.query(
          `select c.relname ~ '_until_' as old, count(*)::int from pg_index join pg_class c on c.oid = indrelid
           where c.relname = 'attempts' or c.relname ~ '^attempts_until_' group by 1 order by 1`,
        ),
      ).toEqual([
        { old: false, count: 7 },
        { old: true, count: 7 },
      ]);
    });

    test.runIf(engine === "postgres")("a process of the version before goes on writing while months come", async () => {
      await oldLedger(ids);
      let count = ids.length;
      let isOver = false;
      const writing = (async () => {
        for (let number = 10; !isOver || number < 200; number++) {
          await insertOld(attemptIdAt(Date.now(), number));
          count++;
        }
      })();
      await migrate(db.database);
      await keepMonths(db.database, now, undefined);
      isOver = true;
      await writing;
      expect(count).toBeGreaterThan(190);
      expect(await db.query("select count(*)::int from attempts")).toEqual([{ count }]);
      expect(await db.query("select count(*)::int from transfers")).toEqual([{ count }]);
      expect(
        await db.query("select balance_nano_usd::int as balance from balances where balance_nano_usd > 0"),
      ).toEqual([{ balance: 5 * count }]);
    });

    test("the key of an old row still keeps a second one out, and new months follow behind", async () => {
      await oldLedger(ids);
      await migrate(db.database);
      const [old] = ids;
      await record(testEvent(1, { attemptId: old as string }));
      expect(await db.query("select reason from conflicts")).toEqual([{ reason: "content" }]);
      const { made } = await keepMonths(db.database, now, undefined);
      expect(made).toHaveLength(2);
      await record(eventAt(now + 70 * 86_400_000, 7));
      expect(await placesOf("attempts")).toContainEqual([made[1], 1]);
    });

    test("the old rows are retired when all of their months are due, strangers' rows among them not", async () => {
      await oldLedger(ids);
      await migrate(db.database);
      const sums = async () => {
        const [row] = await db.query(
          `select (select sum(balance_nano_usd)::text from balances where account = 'provider/acme') as cost,
             (select count(*)::int from attempts) as kept, (select coalesce(sum(attempts), 0)::int from cost_retired) as retired`,
        );
        return row;
      };
      expect(await sums()).toEqual({ cost: "25", kept: 5, retired: 0 });
      expect((await keepMonths(db.database, now + 20 * 86_400_000, 2)).retired).toEqual([]);
      const { retired } = await keepMonths(db.database, now + 300 * 86_400_000, 2);
      expect(retired[0]).toMatch(/^attempts_until_/);
      expect(await sums()).toEqual({ cost: "25", kept: 3, retired: 2 });
      expect((await keepMonths(db.database, now + 300 * 86_400_000, 2)).retired).toEqual([]);
    });

    test("who could read or write the tables still can", async () => {
      const role = `weir_old_${process.pid}_${engine}`;
      await oldLedger([]);
      await db.query(`create role ${role}`);
      try {
        await db.query(
          `grant select, insert on attempts to ${role}; grant select on transfers to ${role} with grant option`,
        );
        await migrate(db.database);
        expect(
          await db.query(
            `select has_table_privilege('${role}', 'attempts', 'insert') as inserts,
               has_table_privilege('${role}', 'attempts', 'delete') as deletes,
               has_table_privilege('${role}', 'transfers', 'select with grant option') as grants`,
          ),
        ).toEqual([{ inserts: true, deletes: false, grants: true }]);
      } finally {
        await db.query(`drop owned by ${role}; drop role ${role}`);
      }
    });

    test("a ledger without rows begins with months alone", async () => {
      await migrate(db.database);
      expect(await partitions()).toEqual(["attempts_default"]);
    });
  });

  describe("months", () => {
    beforeEach(async () => {
      await migrate(db.database);
      await keepMonths(db.database, november, undefined);
      await meteringOn(db.database).prepare(createPriceList([testPrice]));
    });

    test("each attempt and its transfers stand in the month of its id, and the views do not care", async () => {
      await record(
        eventAt(november, 1),
        eventAt(Date.UTC(2026, 10, 30, 23, 59, 59, 999), 2),
        eventAt(Date.UTC(2026, 11, 1), 3),
        eventAt(Date.UTC(2026, 9, 1), 4),
        testEvent(5, { attemptId: "6fa459ea-ee8a-4ca4-894e-db77e160355e" }),
        testEvent(6, { attemptId: "00000000-0000-0000-0000-000000000001" }),
      );
      for (const [table, each] of [
        ["attempts", 1],
        ["transfers", 2],
      ] as const) {
        expect(await placesOf(table)).toEqual([
          [`${table}_2026_10`, each],
          [`${table}_2026_11`, 2 * each],
          [`${table}_2026_12`, each],
          [`${table}_default`, 2 * each],
        ]);
      }
      expect(await db.query("select sum(attempts)::int as attempts from cost_by_tenant")).toEqual([{ attempts: 6 }]);
    });

    test("an attempt is unique whatever time its event claims", async () => {
      await record(eventAt(november, 1));
      await record(eventAt(november, 1));
      await record(eventAt(november, 1, { startTime: timestampFromMs(Date.UTC(2026, 11, 24)) }));
      expect(await placesOf("attempts")).toEqual([["attempts_2026_11", 1]]);
      expect(await db.query("select reason from conflicts")).toEqual([{ reason: "content" }]);
    });

    test("making months twice, or twice at once, makes them once", async () => {
      const later = Date.UTC(2027, 2, 1);
      const both = await Promise.all([
        keepMonths(db.database, later, undefined),
        keepMonths(db.database, later, undefined),
      ]);
      expect(
        both
          .flatMap(({ made }) => made)
          .filter((name) => name > "attempts_2027_02")
          .toSorted(),
      ).toEqual(["attempts_2027_03", "attempts_2027_04", "attempts_2027_05"]);
      expect((await keepMonths(db.database, later, undefined)).made).toEqual([]);
    });

    test("a month that nobody made in time gets its rows when it is made", async () => {
      const june = Date.UTC(2031, 5, 15);
      await record(eventAt(june, 1), testEvent(2, { attemptId: "ffffffff-ffff-4fff-8fff-ffffffffffff" }));
      expect(await placesOf("attempts")).toEqual([["attempts_default", 2]]);
      await keepMonths(db.database, june, undefined);
      expect(await placesOf("attempts")).toEqual([
        ["attempts_2031_06", 1],
        ["attempts_default", 1],
      ]);
      expect(await placesOf("transfers")).toEqual([
        ["transfers_2031_06", 2],
        ["transfers_default", 2],
      ]);
      await record(eventAt(june, 1));
      expect(await db.query("select count(*)::int from conflicts")).toEqual([{ count: 0 }]);
    });

    test("a month that is retired leaves its sums and balances, and nothing of it counts again", async () => {
      const october = Date.UTC(2026, 9, 7);
      await record(
        eventAt(october, 1, { requestId: "a" }),
        eventAt(october, 2, { requestId: "a" }),
        eventAt(october, 3, { priceId: "" }),
        eventAt(november, 4),
        testEvent(5, { attemptId: "6fa459ea-ee8a-4ca4-894e-db77e160355e" }),
      );
      const balances = () => db.query("select * from balances order by 1, 2");
      const before = await balances();
      expect(await keepMonths(db.database, Date.UTC(2027, 0, 15), 3)).toMatchObject({ retired: [] });
      expect((await keepMonths(db.database, Date.UTC(2027, 0, 15), 2)).retired).toEqual(["attempts_2026_10"]);
      expect((await placesOf("attempts")).map(([place]) => place)).toEqual(["attempts_2026_11", "attempts_default"]);
      expect(
        await db.query(
          "select day::text, tenant, model, attempts::int, requests::int, input_tokens, cost_usd, unpriced_attempts::int from cost_retired",
        ),
      ).toEqual([
        {
          day: "2026-10-07",
          tenant: "default",
          model: "large",
          attempts: 3,
          requests: 2,
          input_tokens: "3000",
          cost_usd: "0.004500000",
          unpriced_attempts: 1,
        },
      ]);
      expect(await balances()).toEqual(before);
      // The journal of a pool that was away for that long.
      await record(eventAt(october, 1, { requestId: "a" }), eventAt(october, 9), eventAt(november, 6));
      expect(await db.query("select reason, count(*)::int from conflicts group by 1")).toEqual([
        { reason: "sqlstate 23514", count: 2 },
      ]);
      expect(await placesOf("attempts")).toContainEqual(["attempts_2026_11", 2]);
      expect((await keepMonths(db.database, Date.UTC(2027, 1, 15), 2)).retired).toEqual(["attempts_2026_11"]);
      expect((await keepMonths(db.database, Date.UTC(2027, 1, 15), 2)).retired).toEqual([]);
      await record(eventAt(october, 10), eventAt(november, 11));
      expect(await db.query("select count(*)::int from conflicts")).toEqual([{ count: 4 }]);
      expect(await placesOf("attempts")).toEqual([["attempts_default", 1]]);
    });

    test("rows of a month that never had a partition are retired with the next one", async () => {
      const gap = Date.UTC(2027, 4, 5);
      await record(eventAt(Date.UTC(2026, 9, 7), 1), eventAt(gap, 2));
      await keepMonths(db.database, Date.UTC(2028, 0, 1), undefined);
      expect(await placesOf("attempts")).toContainEqual(["attempts_default", 1]);
      await keepMonths(db.database, Date.UTC(2029, 0, 1), 2);
      expect(await placesOf("attempts")).toEqual([]);
      expect(await db.query("select sum(attempts)::int as attempts from cost_retired")).toEqual([{ attempts: 2 }]);
    });
  });
});

test("months are kept at once and every day, and ten minutes after a failure", async () => {
  const delays: number[] = [];
  let next = () => {};
  const wake = Promise.withResolvers<void>();
  let woken = wake;
  const clock: Clock = {
    now: () => november,
    monotonic: () => 0,
    after(delayMs, callback) {
      delays.push(delayMs);
      next = callback;
      woken.resolve();
      return () => {
        next = () => {};
      };
    },
  };
  const db = await openTestDatabase("embedded");
  let isAway = false;
  const database: Database = {
    ...db.database,
    asOwner: (run) => (isAway ? Promise.reject(new Error("away")) : db.database.asOwner(run)),
  };
  await migrate(db.database);
  const keeper = startMonthKeeper({ database, keptMonths: () => undefined, clock, log: silentLog });
  await woken.promise;
  expect(await db.query("select to_regclass('attempts_2027_01') is not null as made")).toEqual([{ made: true }]);
  for (const away of [true, false]) {
    isAway = away;
    woken = Promise.withResolvers<void>();
    next();
    await woken.promise;
  }
  expect(delays).toEqual([86_400_000, 600_000, 86_400_000]);
  keeper.stop();
  await db.end();
});

test("on a server, a query that does keep new months from being made keeps no ledger from starting", async () => {
  const db = await openTestDatabase("postgres");
  await migrate(db.database);
  const [reader, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const reading = db.database.transaction(async (client) => {
    await client.query("select count(*) from attempts");
    reader.resolve();
    await done.promise;
  });
  await reader.promise;
  const impatient: Database = {
    ...db.database,
    asOwner: (run) =>
      db.database.asOwner(async (client) => {
        await client.query("set local lock_timeout = 200");
        return run(client);
      }),
  };
  const metering = meteringOn(impatient);
  await metering.prepare(createPriceList([testPrice]));
  await metering.recorder.record([testBatch(1, 3)]);
  expect(await db.query("select distinct tableoid::regclass::text as place from attempts")).toEqual([
    { place: "attempts_default" },
  ]);
  done.resolve();
  await reading;
  await db.end();
});

test("on a server, a query that runs does not keep new months from being made", async () => {
  const db = await openTestDatabase("postgres");
  await migrate(db.database);
  await keepMonths(db.database, november, undefined);
  const [reader, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const reading = db.database.asOwner(async (client) => {
    await client.query("select count(*) from attempts_2026_11");
    reader.resolve();
    await done.promise;
  });
  await reader.promise;
  await keepMonths(db.database, Date.UTC(2026, 11, 1), undefined);
  done.resolve();
  await reading;
  expect((await db.query("select to_regclass('attempts_2027_02') is not null as made"))[0]).toEqual({ made: true });
  await db.end();
});
