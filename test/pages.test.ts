import { parseConfig } from "@weir/kit/config/load";
import { meteringOn, openTestDatabase, type TestDatabase } from "@weir/metering/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { blocksOf, textOf } from "./blocks.ts";

// What the pages tell people to write is right. Lines that need a gateway run in e2e/start.test.ts.

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase("embedded");
  await meteringOn(database.database).prepare({ prices: [], find: () => undefined, get: () => undefined });
});

afterAll(() => database.end());

test("the configuration of the README is good", () => {
  const blocks = blocksOf("README.md", "yaml");
  expect(blocks).toHaveLength(1);
  for (const block of blocks) {
    const { config } = parseConfig(block, {
      env: { OPENAI_API_KEY: "sk-test", ANTHROPIC_API_KEY: "sk-test" },
      readFile: () => {
        throw new Error("no files here");
      },
    });
    expect(Object.keys(config.aliases)).toEqual(["fast"]);
  }
});

const queries = ["README.md", "docs/analysts.md"].flatMap((page) =>
  blocksOf(page, "sql").map((sql) => ({ page, sql })),
);

test("there are queries", () => {
  expect(queries.length).toBeGreaterThanOrEqual(5);
});

test.each(queries)("a query of $page runs: $sql", async ({ sql }) => {
  await expect(database.query(sql)).resolves.toBeInstanceOf(Array);
});

test("every view that the analysts' page names exists, and no other", async () => {
  const rows = textOf("docs/analysts.md").match(/^\| `.+$/gm) ?? [];
  const named = rows.flatMap((row) => [...row.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));
  const views = await database.query("select table_name from information_schema.views where table_schema = 'public'");
  expect(new Set(named)).toEqual(new Set(views.map((row) => row["table_name"])));
});

test("the columns that it says all cost views have are there", async () => {
  const columns = [
    "attempts",
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "cost_usd",
    "charge_nano_usd",
    "charge_usd",
    "estimated_attempts",
    "unpriced_attempts",
  ];
  const views = await database.query(
    "select table_name from information_schema.views where table_schema = 'public' and table_name like 'cost_by_%'",
  );
  expect(views).toHaveLength(9);
  for (const { table_name: view } of views) await database.query(`select ${columns.join(", ")} from ${String(view)}`);
});
