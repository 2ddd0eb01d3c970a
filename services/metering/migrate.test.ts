import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "./migrate.ts";
import { attemptId, meteringOn, openTestDatabase, type TestDatabase, testBatch, testPrice } from "./testing.ts";

const first = readFileSync(join(import.meta.dirname, "migrations", "0001_ledger.sql"), "utf8");
const reader = `weir_reader_${process.pid}`;

describe.each(["embedded", "postgres"] as const)("0002_transfers.sql, %s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await db.query(`create role ${reader}`);
  });
  afterAll(async () => {
    await db.query(`drop owned by ${reader}; drop role ${reader}`);
    await db.end();
  });
  beforeEach(async () => {
    await db.query("drop schema public cascade; create schema public");
    await db.query(first);
    await db.query(
      "create table schema_migrations (name text primary key, checksum text not null, apply_time timestamptz)",
    );
    await db.query("insert into schema_migrations values ('0001_ledger.sql', $1)", [
      createHash("sha256").update(first).digest("hex"),
    ]);
  });

  const enter = (number: number, book: string, account: string, amount: bigint) =>
    db.query("insert into entries values ($1, $2, $3, $4)", [attemptId(number), book, account, String(amount)]);
  const enterAttempt = async (number: number) => {
    await enter(number, "cost", "provider/acme", 5n);
    await enter(number, "cost", "usage/default", -5n);
    await enter(number, "charge", "revenue", 2n ** 63n - 1n);
    await enter(number, "charge", "tenant/default", -(2n ** 63n - 1n));
  };
  const entries = () => db.query("select * from entries order by attempt_id, book, account");

  test("entries are the same before and after, and are written to from then on", async () => {
    for (const number of [3, 1, 2]) await enterAttempt(number);
    await enter(4, "cost", "provider/acme", 1n);
    await enter(4, "cost", "usage/default", -1n);
    const before = await entries();
    expect((await migrate(db.database)).applied).toContain("0002_transfers.sql");
    expect(await entries()).toEqual(before);
    expect(await db.query("select count(*) from transfers")).toEqual([{ count: "7" }]);
    const metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
    await metering.recorder.record([testBatch(10, 12)]);
    expect(await entries()).toHaveLength(14 + 12);
    expect((await migrate(db.database)).applied).toEqual([]);
  });

  test("columns of entries keep their names and types", async () => {
    const shape = () =>
      db.query(
        `select column_name, data_type from information_schema.columns
         where table_schema = 'public' and table_name = 'entries' order by ordinal_position`,
      );
    const before = await shape();
    await migrate(db.database);
    expect(await shape()).toEqual(before);
  });

  test("who could read the entries still can", async () => {
    await db.query(`grant usage on schema public to ${reader}; grant select on entries to ${reader} with grant option`);
    await migrate(db.database);
    expect(
      await db.query(
        `select has_table_privilege('${reader}', 'entries', 'select with grant option') as reads,
           has_table_privilege('${reader}', 'transfers', 'select') as reads_transfers`,
      ),
    ).toEqual([{ reads: true, reads_transfers: false }]);
  });

  test.each([
    ["an amount on one side only", [["cost", "provider/acme", 5n]]],
    [
      "sides that differ",
      [
        ["cost", "provider/acme", 5n],
        ["cost", "usage/default", -4n],
      ],
    ],
    [
      "three accounts",
      [
        ["cost", "a", 5n],
        ["cost", "b", -4n],
        ["cost", "c", -1n],
      ],
    ],
  ] as const)("%s are not made up for: the ledger stays as it was", async (_, wrong) => {
    await enterAttempt(1);
    for (const [book, account, amount] of wrong) await enter(2, book, account, amount);
    const before = await entries();
    await expect(migrate(db.database)).rejects.toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    expect(await entries()).toEqual(before);
    expect(await db.query("select name from schema_migrations")).toEqual([{ name: "0001_ledger.sql" }]);
  });
});
