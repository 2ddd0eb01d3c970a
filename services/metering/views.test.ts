import { readFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AttemptOutcome, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Metering } from "./service.ts";
import { viewQuestions } from "./view-questions.ts";
import {
  attemptId,
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testEventCost,
  testPrice,
} from "./testing.ts";

const start = Date.UTC(2026, 10, 20, 12);
const longPrice: Price = {
  ...testPrice,
  id: priceId({ ...testPrice, model: "long" }),
  model: "long",
  tiers: [
    {
      serviceTier: "",
      inputTokensAbove: 10_000,
      nanoUsdPerMillion: {
        input: 4_000_000_000n,
        cachedInput: 1_000_000_000n,
        cacheWrite: 5_000_000_000n,
        output: 16_000_000_000n,
      },
    },
  ],
};

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let metering: Metering;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice, longPrice]));
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query("truncate attempts, transfers, conflicts, journals");
  });

  const record = (...events: ReturnType<typeof testEvent>[]) =>
    metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
  const principal = (tags: Record<string, string>) => ({ tenant: "default", key: "abcdefghijklmnop", user: "", tags });

  test("what a cache saved goes by the rates of the service tier", async () => {
    const flex = {
      input: 1_000_000_000n,
      cachedInput: 100_000_000n,
      cacheWrite: 1_000_000_000n,
      output: 4_000_000_000n,
    };
    const price: Price = {
      ...testPrice,
      id: priceId({ ...testPrice, model: "tiered" }),
      model: "tiered",
      tiers: [
        { serviceTier: "flex", inputTokensAbove: 0, nanoUsdPerMillion: flex },
        { serviceTier: "flex", inputTokensAbove: 5_000, nanoUsdPerMillion: { ...flex, input: 3_000_000_000n } },
        { serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: { ...flex, input: 500_000_000n } },
        { serviceTier: "batch", inputTokensAbove: 5_000, nanoUsdPerMillion: { ...flex, input: 600_000_000n } },
      ],
    };
    await metering.prepare(createPriceList([price]));
    const counts = { inputTokens: 2_000, cachedInputTokens: 1_000, outputTokens: 1 };
    const target = { provider: "acme", model: "tiered" };
    const uncached = async () =>
      await db.query("select uncached_input_cost_nano_usd::text as cost from cache_savings where model = 'tiered'");
    await record(testEvent(1, { target, priceId: price.id, usage: { ...counts, serviceTier: "flex" } }));
    expect(await uncached()).toEqual([{ cost: "1000000" }]);
    expect(await db.query("select service_tier, cost_nano_usd from attempt_details")).toEqual([
      { service_tier: "flex", cost_nano_usd: "1104000" },
    ]);
    await db.query("truncate attempts, transfers, journals");
    await record(
      testEvent(2, { target, priceId: price.id, usage: { ...counts, inputTokens: 6_000, serviceTier: "flex" } }),
    );
    expect(await uncached()).toEqual([{ cost: "3000000" }]);
    await db.query("truncate attempts, transfers, journals");
    await record(testEvent(3, { target, priceId: price.id, usage: { ...counts, serviceTier: "priority" } }));
    expect(await uncached()).toEqual([{ cost: "2000000" }]);
    // What a batch used is the sum of its requests, which were short.
    await db.query("truncate attempts, transfers, journals");
    await record(
      testEvent(4, { target, priceId: price.id, usage: { ...counts, inputTokens: 6_000, serviceTier: "batch" } }),
    );
    expect(await uncached()).toEqual([{ cost: "500000" }]);
  });

  test("an attempt's tags are in its row, and its cost stands under each of them", async () => {
    await record(
      testEvent(1, { principal: principal({ team: "search", job: "nightly" }) }),
      testEvent(2, { principal: principal({ team: "search" }) }),
      testEvent(3, { principal: principal({ team: "ads" }) }),
      testEvent(4),
    );
    expect(await db.query("select tags from attempts order by attempt_id")).toEqual([
      { tags: { team: "search", job: "nightly" } },
      { tags: { team: "search" } },
      { tags: { team: "ads" } },
      { tags: null },
    ]);
    expect(
      await db.query(
        "select day::text, tenant, tag, value, requests::int, cost_usd from cost_by_tag order by tag, value",
      ),
    ).toEqual([
      { day: "2026-11-20", tenant: "default", tag: "job", value: "nightly", requests: 1, cost_usd: "0.002250000" },
      { day: "2026-11-20", tenant: "default", tag: "team", value: "ads", requests: 1, cost_usd: "0.002250000" },
      { day: "2026-11-20", tenant: "default", tag: "team", value: "search", requests: 2, cost_usd: "0.004500000" },
    ]);
  });

  test("the same attempt with other tags is a conflict", async () => {
    await record(testEvent(1, { principal: principal({ team: "search" }) }));
    await record(testEvent(1, { principal: principal({ team: "ads" }) }));
    expect(await db.query("select reason, stands_in_ledger from attempts_conflicting")).toEqual([
      { reason: "content", stands_in_ledger: true },
    ]);
  });

  test("a conflict whose attempt has no id that could stand in the ledger is listed, too", async () => {
    await record(testEvent(1, { attemptId: "nonsense" }));
    expect(await db.query("select attempt_id, reason, stands_in_ledger from attempts_conflicting")).toEqual([
      { attempt_id: "nonsense", reason: "attempt_id", stands_in_ledger: false },
    ]);
  });

  test("cache savings are the difference to the plain rate less what writing cost more, at the rates of each attempt", async () => {
    await record(
      // 1,000 read at 0.5 rather than 2 USD a million: 1,500,000 nano-USD saved.
      testEvent(1, { usage: { inputTokens: 2_000, cachedInputTokens: 1_000, outputTokens: 10 } }),
      // 400 written at 2.5 rather than 2: 200,000 lost.
      testEvent(2, { usage: { inputTokens: 2_000, cacheWriteTokens: 400, outputTokens: 10 } }),
      // Nothing to do with a cache, or of no known price.
      testEvent(3, { usage: { inputTokens: 2_000, outputTokens: 10 } }),
      testEvent(4, { priceId: "" }),
      // Long input: 1,000 read at 1 rather than 4.
      testEvent(5, {
        target: { provider: "acme", model: "long" },
        priceId: longPrice.id,
        usage: { inputTokens: 20_000, cachedInputTokens: 1_000, outputTokens: 10 },
      }),
    );
    expect(
      await db.query(
        `select model, attempts::int, cached_input_tokens::int, cached_input_cost_nano_usd as cached,
           uncached_input_cost_nano_usd as uncached, write_surcharge_nano_usd as surcharge, saved_nano_usd as saved, saved_usd
         from cache_savings order by model`,
      ),
    ).toEqual([
      {
        model: "large",
        attempts: 2,
        cached_input_tokens: 1_000,
        cached: "500000",
        uncached: "2000000",
        surcharge: "200000",
        saved: "1300000",
        saved_usd: "0.001300000",
      },
      {
        model: "long",
        attempts: 1,
        cached_input_tokens: 1_000,
        cached: "1000000",
        uncached: "4000000",
        surcharge: "0",
        saved: "3000000",
        saved_usd: "0.003000000",
      },
    ]);
  });

  test("what a request costs counts all of its attempts, and unpriced ones not at all", async () => {
    await record(
      testEvent(1, { requestId: "a", outcome: AttemptOutcome.FAILED }),
      testEvent(2, { requestId: "a" }),
      testEvent(3, { requestId: "b" }),
      testEvent(4, { requestId: "c", priceId: "" }),
    );
    expect(
      await db.query(
        "select requests::int, tokens::int, cost_nano_usd::text as cost, usd_per_request, usd_per_1000_tokens from unit_costs",
      ),
    ).toEqual([
      {
        requests: 2,
        tokens: 3_150,
        cost: String(3n * testEventCost),
        usd_per_request: "0.003375000",
        usd_per_1000_tokens: "0.002142857",
      },
    ]);
  });

  test("latency stands beside cost", async () => {
    const times = (number: number, ms: number) => ({ endTime: timestampFromMs(start + number + ms) });
    await record(
      testEvent(1, { ...times(1, 1_000), firstTokenUs: 100_000n }),
      testEvent(2, { ...times(2, 3_000), firstTokenUs: 300_000n }),
      testEvent(3, { ...times(3, 2_000), firstTokenUs: undefined as never, outcome: AttemptOutcome.FAILED }),
    );
    expect(
      await db.query(
        `select day::text, tenant, attempts::int, completed_attempts::int as completed, failed_attempts::int as failed,
           first_token_p50_ms as first, duration_p50_ms as p50, duration_p95_ms as p95, output_tokens_per_second as speed, cost_usd
         from latency_and_cost`,
      ),
    ).toEqual([
      {
        day: "2026-11-20",
        tenant: "default",
        attempts: 3,
        completed: 2,
        failed: 1,
        first: "200.000",
        p50: "2000.000",
        p95: "2900.000",
        speed: "25.000",
        cost_usd: "0.006750000",
      },
    ]);
  });

  test("a request's day is in its id, wherever its attempts fall", async () => {
    const came = Date.UTC(2026, 10, 19, 23, 59, 59).toString(16).padStart(12, "0");
    await record(
      testEvent(1, { requestId: `req_${came}0123456789abcdef0123` }),
      testEvent(2, { requestId: `req_${came}0123456789abcdef0123` }),
      testEvent(3, { requestId: "req_no-time-at-all-0123456789abcdef0" }),
      testEvent(4, { requestId: "theirs" }),
    );
    expect(await db.query("select day::text, attempts::int from requests order by day nulls last, request_id")).toEqual(
      [
        { day: "2026-11-19", attempts: 2 },
        { day: null, attempts: 1 },
        { day: null, attempts: 1 },
      ],
    );
    expect(await db.query("select attempts::int from requests where day = '2026-11-19'")).toEqual([{ attempts: 2 }]);
  });

  test("every view is one that analysts are told of, and whose speed is measured", async () => {
    const rows = await db.query(
      "select table_name as view from information_schema.views where table_schema = 'public'",
    );
    const views = rows.map(({ view }) => String(view)).toSorted();
    expect(views.length).toBeGreaterThan(20);
    expect(viewQuestions.map(({ view }) => view).toSorted()).toEqual(views);
    const page = readFileSync(join(import.meta.dirname, "../../docs/analysts.md"), "utf8");
    const table = page.slice(page.indexOf("| view |"), page.indexOf("\n\n", page.indexOf("| view |")));
    const told = table.split("\n").flatMap((line) => line.split("|")[1]?.match(/(?<=`)\w+(?=`)/g) ?? []);
    expect(told.toSorted()).toEqual(views);
    for (const { view, where } of viewQuestions) {
      await expect(db.query(`select * from ${view} where ${where("2026-11-20")}`), view).resolves.toBeDefined();
    }
  });

  test("balances sum to zero in each book", async () => {
    await record(testEvent(1), testEvent(2, { outcome: AttemptOutcome.FAILED }));
    expect(await db.query("select book, account, balance_nano_usd, balance_usd from balances order by 1, 2")).toEqual([
      { book: "charge", account: "revenue", balance_nano_usd: "2250000", balance_usd: "0.002250000" },
      { book: "charge", account: "tenant/default", balance_nano_usd: "-2250000", balance_usd: "-0.002250000" },
      { book: "cost", account: "provider/acme", balance_nano_usd: "4500000", balance_usd: "0.004500000" },
      { book: "cost", account: "usage/default", balance_nano_usd: "-4500000", balance_usd: "-0.004500000" },
    ]);
  });

  test("an id's time is what bounds a month", async () => {
    expect(await db.query("select first_attempt_id('2026-11-01 00:00Z') as id")).toEqual([
      { id: "01a19467-e800-0000-0000-000000000000" },
    ]);
    expect(attemptId(1) < "01a19467-e800-0000-0000-000000000000").toBe(true);
  });
});
