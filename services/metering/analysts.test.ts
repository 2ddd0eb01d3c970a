import { createPriceList } from "@weir/price/price";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { grantReader, isReaderName } from "./analysts.ts";
import { migrate } from "./migrate.ts";
import { meteringOn, openTestDatabase, type TestDatabase, testBatch, testPrice } from "./testing.ts";

// On a real server only: the embedded one has no other users.
const name = `weir_reader_${process.pid}`;
let db: TestDatabase;
let reader: pg.Client;

beforeAll(async () => {
  db = await openTestDatabase("postgres");
  const metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
  await metering.recorder.record([testBatch(1, 3)]);
  expect(await grantReader(db.database, name)).toBe(true);
  await db.query(`alter role ${name} password 'only-for-this-test'`);
  if (!("url" in db.place)) throw new Error("no server");
  const url = new URL(db.place.url);
  url.username = name;
  url.password = "only-for-this-test";
  reader = new pg.Client({ connectionString: url.href });
  await reader.connect();
});
afterAll(async () => {
  await reader.end();
  await db.query(`drop owned by ${name}; drop role ${name}; drop owned by weir_analyst`);
  await db.end();
});

const refused = { code: "42501" };

test("an analyst reads every view", async () => {
  const views = await db.query("select table_name as view from information_schema.views where table_schema = 'public'");
  expect(views.length).toBeGreaterThan(15);
  for (const { view } of views) {
    await expect(reader.query(`select * from ${String(view)} limit 1`), String(view)).resolves.toBeDefined();
  }
  const { rows } = await reader.query("select attempts::int, cost_usd from cost_by_day");
  expect(rows).toEqual([{ attempts: 3, cost_usd: "0.006750000" }]);
});

test("an analyst reads no table, least of all the keys' digests", async () => {
  const tables = await db.query(
    "select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace",
  );
  expect(tables.map((row) => row["name"])).toEqual(expect.arrayContaining(["keys", "attempts", "prices", "conflicts"]));
  for (const { name: table } of tables) {
    await expect(reader.query(`select 1 from ${String(table)}`), String(table)).rejects.toMatchObject(refused);
  }
});

test("an analyst changes nothing", async () => {
  await reader.query("set default_transaction_read_only = off");
  for (const statement of [
    "delete from attempts",
    "update keys set revoke_time = null",
    "delete from attempts_estimated",
    "create table mine (x int)",
    "create view mine as select 1",
    "call let_analysts_read()",
  ]) {
    await expect(reader.query(statement), statement).rejects.toMatchObject({
      code: expect.stringMatching(/^(42501|55000)$/),
    });
  }
  await reader.query("reset default_transaction_read_only");
});

test("queries of an analyst are cut off, and not compiled", async () => {
  expect((await reader.query("show statement_timeout")).rows).toEqual([{ statement_timeout: "1min" }]);
  expect((await reader.query("show jit")).rows).toEqual([{ jit: "off" }]);
});

test("granting twice is granting once, and a view that comes later can be read", async () => {
  expect(await grantReader(db.database, name)).toBe(false);
  await db.query("drop view unit_costs; update schema_migrations set checksum = 'x' where name = 'views.sql'");
  await migrate(db.database);
  await expect(reader.query("select * from unit_costs")).resolves.toBeDefined();
});

test.each(["", "a b", 'a"b', "Analyst", "pg_monitor", "weir_analyst", "a".repeat(64), "a;drop table keys"])(
  "%j is no name of a reader",
  (text) => {
    expect(isReaderName(text)).toBe(false);
    expect(() => grantReader(db.database, text)).toThrow(RangeError);
  },
);
