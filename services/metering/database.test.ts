import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDatabase } from "./database.ts";
import { lockDirectory } from "./directory-lock.ts";
import { migrate } from "./migrate.ts";
import * as schema from "./schema.ts";
import { embeddedDirectoryForTest, openTestDatabase, type TestDatabase } from "./testing.ts";
import { getTableConfig, type PgTable } from "drizzle-orm/pg-core";

const everything = [...readdirSync(join(import.meta.dirname, "migrations")).sort(), "views.sql"];

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
  });
  afterAll(() => db.end());

  test("migrating twice is migrating once", async () => {
    expect(await migrate(db.database)).toEqual({ applied: everything, ahead: false });
    expect(await migrate(db.database)).toEqual({ applied: [], ahead: false });
  });

  test("two processes may migrate at once", async () => {
    await db.query("drop schema public cascade; create schema public");
    const outcomes = await Promise.all([migrate(db.database), migrate(db.database), migrate(db.database)]);
    expect(outcomes.flatMap((outcome) => outcome.applied)).toEqual(everything);
  });

  test("a migration that was edited is refused by name", async () => {
    await db.query("update schema_migrations set checksum = 'x' where name = '0001_ledger.sql'");
    await expect(migrate(db.database)).rejects.toThrow("0001_ledger.sql was applied with other content");
    await db.query("drop schema public cascade; create schema public");
    await migrate(db.database);
  });

  test("a database of a later version keeps its views", async () => {
    await db.query("insert into schema_migrations (name, checksum) values ('9999_later.sql', 'x')");
    await db.query("update schema_migrations set checksum = 'x' where name = 'views.sql'");
    expect(await migrate(db.database)).toEqual({ applied: [], ahead: true });
    await db.query("delete from schema_migrations where name = '9999_later.sql'");
    expect(await migrate(db.database)).toEqual({ applied: ["views.sql"], ahead: false });
  });

  test("schema.ts says what the migrations made", async () => {
    const rows = await db.query(
      `select table_name || '.' || column_name || ' ' || udt_name || ' ' || is_nullable as said from information_schema.columns
       where table_schema = 'public' and table_name in
         (select relname from pg_class where relkind in ('r', 'p') and not relispartition)
         and table_name <> 'schema_migrations'`,
    );
    const made = rows.map((row) => String(row["said"]));
    const types: Record<string, string> = {
      bigint: "int8",
      integer: "int4",
      boolean: "bool",
      "timestamp with time zone": "timestamptz",
    };
    const said = Object.values(schema as Record<string, PgTable>).flatMap((table) => {
      const config = getTableConfig(table);
      return config.columns.map((column) => {
        const type = types[column.getSQLType()] ?? column.getSQLType().replace(/\(.*/, "");
        return `${config.name}.${column.name} ${type} ${column.notNull ? "NO" : "YES"}`;
      });
    });
    expect(said.toSorted()).toEqual(made.toSorted());
  });

  test("every table, every view and every column of a view says what it is", async () => {
    const silent = await db.query(
      `select c.relname || coalesce('.' || a.attname, '') as name
       from pg_class c
       left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and c.relkind = 'v'
       where c.relkind in ('v', 'r', 'p') and not c.relispartition and c.relnamespace = 'public'::regnamespace
         and c.relname <> 'schema_migrations'
         and (obj_description(c.oid) is null or (a.attnum is not null and col_description(c.oid, a.attnum) is null))`,
    );
    expect(silent).toEqual([]);
  });

  test("a driver's error does not leave with its parameters", async () => {
    const thrown: unknown = await db.database
      .transaction((client) => client.query("select 1 from nowhere where x = $1", ["secret-parameter"]))
      .catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(WeirError);
    const error = thrown as WeirError;
    expect(error.reason).toBe(ErrorReason.STORE_UNAVAILABLE);
    expect(error.cause).toMatchObject({ message: "database: 42P01" });
    expect(JSON.stringify([error, error.stack, (error.cause as Error).stack])).not.toMatch(/secret-parameter|nowhere/);
  });

  test("a fault of the program is not told as a store that is away", async () => {
    const failing = db.database.transaction(() => Promise.resolve(new Date(Number.NaN).toISOString()));
    const thrown: unknown = await failing.catch((error: unknown) => error);
    expect(thrown).not.toBeInstanceOf(WeirError);
    expect(thrown).toMatchObject({
      message: "database: RangeError",
      stack: expect.stringContaining("database.test.ts"),
    });
  });

  test("what a transaction throws undoes it and comes through", async () => {
    await db.query("create table kept (x int); grant all on kept to public");
    const failed = db.database.transaction(async (client) => {
      await client.query("insert into kept values (1)");
      throw new WeirError(ErrorReason.NOT_FOUND);
    });
    await expect(failed).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
    expect(await db.query("select * from kept")).toEqual([]);
  });

  test("a failure that was caught inside does not pass for a commit", async () => {
    const swallowed = db.database.transaction(async (client) => {
      await client.query("insert into kept values (2)");
      await expect(client.query("select 1 / 0")).rejects.toThrow("division by zero");
    });
    await expect(swallowed).rejects.toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    expect(await db.query("select * from kept")).toEqual([]);
  });

  test("a serialisation failure is tried again, five times at most", async () => {
    let count = 0;
    const run = () =>
      db.database.transaction(async (client) => {
        count++;
        if (count < 3) await client.query("do $$ begin raise exception using errcode = '40001'; end $$");
        return "done";
      });
    expect(await run()).toBe("done");
    expect(count).toBe(3);
    count = -10;
    await expect(run()).rejects.toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    expect(count).toBe(-5);
  });
});

test("a server that is away is STORE_UNAVAILABLE, soon", async () => {
  const database = await openDatabase({ url: "postgres://weir@127.0.0.1:1/none" });
  await expect(database.transaction((client) => client.query("select 1"))).rejects.toMatchObject({
    reason: ErrorReason.STORE_UNAVAILABLE,
    retryAfterMs: 1_000,
  });
  await database.close();
});

test("an embedded database opens in one process at a time", async () => {
  const embeddedDirectory = await embeddedDirectoryForTest();
  const first = await openDatabase({ embeddedDirectory });
  await expect(openDatabase({ embeddedDirectory })).rejects.toThrow(`in use by process ${process.pid}`);
  await first.close();
  const second = await openDatabase({ embeddedDirectory });
  await second.close();
  rmSync(embeddedDirectory, { recursive: true });
});

test("the lock of a process that has ended, or whose id is another's now, is taken over", () => {
  const directory = mkdtempSync(join(tmpdir(), "weir-lock-"));
  writeFileSync(join(directory, "weir.lock"), "999999999 - x\n");
  lockDirectory(directory)();
  expect(existsSync(join(directory, "weir.lock"))).toBe(false);
  writeFileSync(join(directory, "weir.lock"), `${process.ppid} another-boot:1 x\n`);
  if (process.platform === "linux") lockDirectory(directory)();
  writeFileSync(join(directory, "weir.lock"), `${process.ppid} - x\n`);
  expect(() => lockDirectory(directory)).toThrow(`in use by process ${process.ppid}`);
  rmSync(directory, { recursive: true });
});

// A mebibyte of the log for each commit, so that checkpoints come in between.
const fillingTable = "create table written (n int primary key, filling text storage external)";
const filling = "insert into written values ($1, repeat('x', 1048576))";

test("the log of an embedded database stays short while it is written to", async () => {
  const embeddedDirectory = await embeddedDirectoryForTest();
  const database = await openDatabase({ embeddedDirectory });
  await database.transaction((client) => client.query(fillingTable));
  for (let n = 1; n <= 160; n++) await database.transaction((client) => client.query(filling, [n]));
  const { rows } = await database.transaction((client) =>
    client.query<{ bytes: string }>(
      "select pg_current_wal_insert_lsn() - redo_lsn as bytes from pg_control_checkpoint()",
    ),
  );
  // A look comes every 32 commits: at most 64 MiB, and what was written until the next one.
  expect(Number(rows[0]?.bytes)).toBeLessThan(100 * 1_048_576);
  const segments = readdirSync(join(embeddedDirectory, "pgdata", "pg_wal")).filter((name) =>
    /^[0-9A-F]{24}$/.test(name),
  );
  expect(segments.length).toBeLessThan(10);
  await database.close();
  rmSync(embeddedDirectory, { recursive: true });
});

test("what an embedded database committed is there after kill -9", async () => {
  const embeddedDirectory = await embeddedDirectoryForTest();
  const writer = `
    import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, "database.ts"))};
    const database = await openDatabase({ embeddedDirectory: ${JSON.stringify(embeddedDirectory)} });
    await database.transaction((client) => client.query(${JSON.stringify(fillingTable)}));
    for (let n = 1; ; n++) {
      await database.transaction((client) => client.query(${JSON.stringify(filling)}, [n]));
      process.stdout.write(n + "\\n");
    }`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", writer], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let last = 0;
  child.stdout.on("data", (data: Buffer) => {
    last = Number(data.toString().trim().split("\n").at(-1));
    if (last >= 100) child.kill("SIGKILL");
  });
  await once(child, "close");
  expect(last).toBeGreaterThanOrEqual(100);
  const database = await openDatabase({ embeddedDirectory });
  const { rows } = await database.transaction((client) =>
    client.query<{ count: string; max: number }>("select count(*), max(n) from written"),
  );
  await database.close();
  // One more may have been committed and not yet told.
  expect(Number(rows[0]?.count)).toBeGreaterThanOrEqual(last);
  expect(Number(rows[0]?.count)).toBe(rows[0]?.max);
  rmSync(embeddedDirectory, { recursive: true });
});
