import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { LedgerService, type RerateChange } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { AttemptOutcome, UsageBatchSchema, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Client, hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readAttempts } from "./attempt-list.ts";
import { readCosts } from "./costs.ts";
import { keepMonths } from "./months.ts";
import type { Metering } from "./service.ts";
import {
  attemptId,
  attemptIdAt,
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testEventCost,
  testPrice,
} from "./testing.ts";

const day = Date.UTC(2026, 10, 20);

/** From the middle of the day on in which even test events begin, input costs twice as much. */
const doubled: Price = (() => {
  const named = { ...testPrice, effectiveTime: day + 12 * 3_600_000 };
  const nanoUsdPerMillion = { ...testPrice.nanoUsdPerMillion, input: 4_000_000_000n };
  return { ...named, id: priceId(named), nanoUsdPerMillion };
})();
/** 900 uncached tokens at 2 USD a million more. */
const doubledCost = testEventCost + 1_800_000n;

interface Ledger {
  readonly db: TestDatabase;
  readonly metering: Metering;
  readonly client: Client<typeof LedgerService>;
}

async function openLedger(engine: "embedded" | "postgres"): Promise<Ledger> {
  const db = await openTestDatabase(engine);
  const metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
  return {
    db,
    metering,
    client: createClient(LedgerService, createLocalDoor([hostService(LedgerService, metering.ledger)])),
  };
}

async function empty({ db }: Ledger): Promise<void> {
  await db.query(
    `truncate attempts, transfers, conflicts, journals, adjustment_runs, adjustments, adjustment_transfers,
       attempt_standings, price_lists, retired_costs, retired_transfers`,
  );
}

const record = ({ metering }: Ledger, ...events: UsageEvent[]) =>
  metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);

interface Asked {
  readonly asOfMs?: number;
  readonly apply?: boolean;
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly tenant?: string;
  readonly model?: string;
}

/** Every page. */
async function rerate({ client }: Ledger, { asOfMs = Date.now(), fromMs, toMs, ...asked }: Asked) {
  const changes: RerateChange[] = [];
  const pages: bigint[] = [];
  let unpricedCount = 0n;
  let unknownCount = 0n;
  let pageToken = "";
  do {
    const page = await client.rerate({
      asOf: timestampFromMs(asOfMs),
      ...(fromMs === undefined ? {} : { startTime: timestampFromMs(fromMs) }),
      ...(toMs === undefined ? {} : { endTime: timestampFromMs(toMs) }),
      ...asked,
      pageToken,
    });
    changes.push(...page.changes);
    pages.push(page.attemptCount);
    unpricedCount += page.unpricedCount;
    unknownCount += page.unknownCount;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  const seen = pages.reduce((sum, count) => sum + count, 0n);
  const changed = changes.reduce((sum, change) => sum + change.attemptCount, 0n);
  return { changes, pages, seen, changed, unpricedCount, unknownCount };
}

/** Everything that adjusting writes, but for the one time of day in it. */
async function written({ db }: Ledger): Promise<string> {
  const rows = await Promise.all(
    [
      "select run_id, reason, question from adjustment_runs order by run_id",
      "select * from adjustments order by attempt_id, number",
      "select * from adjustment_transfers order by attempt_id, number, book",
      "select * from attempt_standings order by attempt_id",
    ].map((text) => db.query(text)),
  );
  return JSON.stringify(rows);
}

/** What must never change: rows and transfers as they were recorded. */
const recorded = async ({ db }: Ledger) =>
  JSON.stringify([
    await db.query("select * from attempts order by attempt_id"),
    await db.query("select * from transfers order by attempt_id, book"),
  ]);

/** Sums, and what an analyst would find wrong with them. */
async function expectSoundBooks({ db }: Ledger): Promise<void> {
  expect(await db.query("select attempt_id, book from entries group by 1, 2 having sum(amount_nano_usd) <> 0")).toEqual(
    [],
  );
  expect(await db.query("select book from balances group by book having sum(balance_nano_usd) <> 0")).toEqual([]);
  // Each attempt stands at what was recorded of it and its adjustments come to, in each book as in its row.
  expect(
    await db.query(
      `select a.attempt_id from attempts_as_adjusted a left join attempts o using (attempt_id) left join (
         select attempt_id, sum(cost_nano_usd) as cost, sum(charge_nano_usd) as charge, sum(input_tokens) as input,
           sum(output_tokens) as output, count(*) as count, max(number) as last
         from adjustments group by 1
       ) j using (attempt_id) left join (
         select attempt_id, sum(amount_nano_usd) filter (where book = 'cost' and account like 'provider/%') as cost,
           sum(amount_nano_usd) filter (where book = 'charge' and account = 'revenue') as charge
         from entries group by 1
       ) e using (attempt_id)
       where coalesce(a.cost_nano_usd, 0) <> coalesce(o.cost_nano_usd, 0) + coalesce(j.cost, 0)
         or coalesce(a.charge_nano_usd, 0) <> coalesce(o.charge_nano_usd, 0) + coalesce(j.charge, 0)
         or coalesce(a.input_tokens, 0) <> coalesce(o.input_tokens, 0) + coalesce(j.input, 0)
         or coalesce(a.output_tokens, 0) <> coalesce(o.output_tokens, 0) + coalesce(j.output, 0)
         or coalesce(a.cost_nano_usd, 0) <> coalesce(e.cost, 0) or coalesce(a.charge_nano_usd, 0) <> coalesce(e.charge, 0)
         or a.adjustments <> coalesce(j.count, 0) or a.adjustments <> coalesce(j.last, 0)`,
    ),
  ).toEqual([]);
}

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let ledger: Ledger;
  beforeAll(async () => {
    ledger = await openLedger(engine);
  });
  afterAll(() => ledger.db.end());
  beforeEach(async () => {
    await empty(ledger);
    await ledger.metering.prepare(createPriceList([testPrice]));
  });
  const costs = async () => {
    const rows = await ledger.db.query("select attempt_id, cost_nano_usd from attempt_details order by attempt_id");
    return rows.map((row) => row["cost_nano_usd"] && BigInt(row["cost_nano_usd"] as string));
  };
  /** So that the next list is told at a later millisecond than what is told now. */
  const tellLater = async (...prices: Price[]) => {
    const before = Date.now();
    while (Date.now() <= before + 1) await new Promise((resolve) => setImmediate(resolve));
    await ledger.metering.prepare(createPriceList(prices));
    while (Date.now() <= before + 3) await new Promise((resolve) => setImmediate(resolve));
    return before;
  };

  test("a price that is told later changes what attempts cost, once; what was recorded stays", async () => {
    const early = { startTime: timestampFromMs(day + 3_600_000) };
    await record(ledger, testEvent(1), testEvent(2, { outcome: AttemptOutcome.FAILED }), testEvent(3, early));
    const before = await recorded(ledger);
    await tellLater(testPrice, doubled);

    const asOfMs = Date.now();
    const listed = await rerate(ledger, { asOfMs });
    expect(listed).toMatchObject({ seen: 3n, changed: 2n, unpricedCount: 0n, unknownCount: 0n });
    expect(listed.changes).toMatchObject([
      {
        day: "2026-11-20",
        tenant: "default",
        provider: "acme",
        model: "large",
        priceIdBefore: testPrice.id,
        priceId: doubled.id,
        attemptCount: 2n,
        costBeforeNanoUsd: 2n * testEventCost,
        costNanoUsd: 2n * doubledCost,
        // A tenant pays nothing for an attempt that failed.
        chargeBeforeNanoUsd: testEventCost,
        chargeNanoUsd: doubledCost,
      },
    ]);
    expect(await written(ledger)).toBe("[[],[],[],[]]");

    expect((await rerate(ledger, { asOfMs, apply: true })).changes).toEqual(listed.changes);
    expect(await costs()).toEqual([doubledCost, doubledCost, testEventCost]);
    expect(await recorded(ledger)).toBe(before);
    await expectSoundBooks(ledger);
    // What callers are told is as adjusted, too.
    const { database } = ledger.db;
    const range = { startTimeMs: day, endTimeMs: day + 86_400_000, after: [] };
    const anyone = { tenant: "", key: "", user: "", alias: "", provider: "", model: "", tag: "" };
    const [sum] = await readCosts(database, { range, filter: anyone, dimensions: [], rowCountMax: 1 });
    expect(sum).toMatchObject({ attemptCount: 3n, costNanoUsd: 2n * doubledCost + testEventCost });
    const [newest] = await readAttempts(database, range, anyone, 1);
    expect(newest?.attempt).toMatchObject({
      attemptId: attemptId(2),
      priceId: doubled.id,
      costNanoUsd: doubledCost,
      chargeNanoUsd: 0n,
      adjustmentCount: 1,
      originalCostNanoUsd: testEventCost,
      originalChargeNanoUsd: 0n,
    });

    const once = await written(ledger);
    expect(await rerate(ledger, { asOfMs, apply: true })).toMatchObject({ seen: 3n, changed: 0n });
    expect(await written(ledger)).toBe(once);
  });

  test("what was known earlier can be restored, and what is known now again", async () => {
    await record(ledger, testEvent(1));
    const earlier = await tellLater(testPrice, doubled);
    const now = Date.now();
    await rerate(ledger, { asOfMs: now, apply: true });
    await rerate(ledger, { asOfMs: earlier, toMs: now, apply: true });
    expect(await costs()).toEqual([testEventCost]);
    await rerate(ledger, { asOfMs: now, apply: true });
    expect(await costs()).toEqual([doubledCost]);
    await expectSoundBooks(ledger);
    expect(
      await ledger.db.query(
        "select number, reason, cost_nano_usd::text as cost, question ->> 'as_of' as as_of from attempt_adjustments order by number",
      ),
    ).toEqual([
      { number: 1, reason: "rerate", cost: "1800000", as_of: new Date(now).toISOString() },
      { number: 2, reason: "rerate", cost: "-1800000", as_of: new Date(earlier).toISOString() },
      { number: 3, reason: "rerate", cost: "1800000", as_of: new Date(now).toISOString() },
    ]);
    expect(
      await ledger.db.query(
        "select account, balance_nano_usd::text as balance from balances where book = 'cost' order by 1",
      ),
    ).toEqual([
      { account: "provider/acme", balance: String(doubledCost) },
      { account: "usage/default", balance: String(-doubledCost) },
    ]);
  });

  test("a price that is no longer told does not count from then on", async () => {
    await record(ledger, testEvent(1, { priceId: doubled.id }), testEvent(2));
    await tellLater(testPrice, doubled);
    expect(await costs()).toEqual([doubledCost, testEventCost]);
    await tellLater(testPrice);
    await rerate(ledger, { apply: true });
    expect(await costs()).toEqual([testEventCost, testEventCost]);
  });

  test("attempts are chosen by time, tenant and model", async () => {
    const principal = { tenant: "zeta", key: "abcdefghijklmnop", user: "" };
    await record(
      ledger,
      testEvent(1),
      testEvent(2, { principal }),
      testEvent(3, { startTime: timestampFromMs(day + 86_399_999) }),
    );
    await tellLater(testPrice, doubled);
    expect(await rerate(ledger, { tenant: "zeta" })).toMatchObject({ seen: 1n, changed: 1n });
    expect(await rerate(ledger, { model: "other" })).toMatchObject({ seen: 0n, changed: 0n });
    expect(await rerate(ledger, { fromMs: day + 50_000_000 })).toMatchObject({ seen: 1n });
    expect(await rerate(ledger, { fromMs: day, toMs: day + 86_399_999 })).toMatchObject({ seen: 2n });
  });

  test("an attempt without a price gets one, and is not filled a second time", async () => {
    const target = { provider: "acme", model: "fresh" };
    const fresh = { ...testPrice, model: "fresh" };
    await record(
      ledger,
      testEvent(1, { target, priceId: "" }),
      testEvent(2, { target: { ...target, model: "none" }, priceId: "" }),
    );
    // As another process told it that has not come to filling yet.
    await ledger.db.query("begin; create table held as select * from attempts; truncate attempts; commit");
    await tellLater(testPrice, { ...fresh, id: priceId(fresh) });
    await ledger.db.query("begin; insert into attempts select * from held; drop table held; commit");
    expect(await rerate(ledger, { apply: true })).toMatchObject({ seen: 2n, changed: 1n, unpricedCount: 1n });
    const priced = await costs();
    expect(priced).toEqual([testEventCost, null]);
    await meteringOn(ledger.db.database).prepare(createPriceList([testPrice, { ...fresh, id: priceId(fresh) }]));
    expect(await costs()).toEqual(priced);
    expect(await ledger.db.query("select sum(unpriced_attempts)::int as count from cost_by_day")).toEqual([
      { count: 1 },
    ]);
    await expectSoundBooks(ledger);
  });

  test("a tenant pays no more for an attempt than budgets had set aside for it", async () => {
    const hold = { leaseIds: [], chargeMaxNanoUsd: testEventCost + 1n };
    await record(ledger, testEvent(1, { hold }), testEvent(2));
    await tellLater(testPrice, doubled);
    await rerate(ledger, { apply: true });
    expect(
      await ledger.db.query(
        "select cost_nano_usd::text as cost, charge_nano_usd::text as charge from attempt_details order by attempt_id",
      ),
    ).toEqual([
      { cost: String(doubledCost), charge: String(testEventCost + 1n) },
      { cost: String(doubledCost), charge: String(doubledCost) },
    ]);
  });

  test("pages hold each attempt once, also of a millisecond that holds more than a page", async () => {
    const at = (number: number, startMs: number) =>
      testEvent(number, { attemptId: attemptIdAt(startMs, number), startTime: timestampFromMs(startMs) });
    const events = [
      ...Array.from({ length: 1_300 }, (_, index) => at(index, day + 43_200_000)),
      ...Array.from({ length: 1_100 }, (_, index) => at(5_000 + index, day + 43_200_001 + index * 40)),
      ...Array.from({ length: 3 }, (_, index) => at(9_000 + index, day - 86_400_000 * (index + 1))),
    ];
    await record(ledger, ...events);
    await tellLater(testPrice, doubled);
    const { pages, seen, changed } = await rerate(ledger, { apply: true });
    expect([seen, changed]).toEqual([2_403n, 2_400n]);
    expect(pages.every((count) => count <= 1_000n)).toBe(true);
    expect(await ledger.db.query("select count(*)::int, max(number) from adjustments")).toEqual([
      { count: 2_400, max: 1 },
    ]);
    expect((await rerate(ledger, {})).changed).toBe(0n);
    await expectSoundBooks(ledger);
  }, 60_000);

  test("a time to come, an empty range and another question's page are refused", async () => {
    const refused = (asked: Asked) =>
      expect(rerate(ledger, asked)).rejects.toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
    await refused({ asOfMs: Date.now() + 60_000 });
    await refused({ fromMs: day, toMs: day });
    await record(ledger, ...Array.from({ length: 1_200 }, (_, number) => testEvent(number)));
    const asOf = timestampFromMs(Date.now());
    const { nextPageToken } = await ledger.client.rerate({ asOf });
    await expect(ledger.client.rerate({ asOf, tenant: "zeta", pageToken: nextPageToken })).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
    });
  });

  test("a month that is retired leaves what its adjustments brought it to", async () => {
    await keepMonths(ledger.db.database, day, undefined);
    const lost = testEvent(2, {
      attemptId: attemptIdAt(day + 43_200_000, 2),
      usageSource: UsageSource.ESTIMATED,
      outcome: AttemptOutcome.LOST,
    });
    await record(ledger, testEvent(1, { attemptId: attemptIdAt(day + 43_200_000, 1) }), lost);
    await tellLater(testPrice, doubled);
    await rerate(ledger, { apply: true });
    await ledger.client.trueUp({
      provider: "acme",
      model: "large",
      day: "2026-11-20",
      counts: { inputTokens: 1_500n },
    });
    const sums =
      "input_tokens::int as input, output_tokens::int as output, cost_nano_usd::text as cost, charge_nano_usd::text as charge";
    const before = await ledger.db.query(`select ${sums} from cost_by_day`);
    const balances = () => ledger.db.query("select * from balances order by 1, 2");
    const balancesBefore = await balances();
    expect((await keepMonths(ledger.db.database, day + 200 * 86_400_000, 1)).retired).toContain("attempts_2026_11");
    expect(await ledger.db.query(`select ${sums} from cost_retired`)).toEqual(before);
    expect(await balances()).toEqual(balancesBefore);
    expect(await written(ledger)).toMatch(/^\[\[.+\],\[\],\[\],\[\]\]$/);
    // The tables of this month are gone; another test needs them.
    await ledger.db.query("drop table attempts_retired");
    await keepMonths(ledger.db.database, day, undefined);
  });

  describe("true-ups", () => {
    const estimated = (number: number, inputTokens: number, outputTokens: number) =>
      testEvent(number, {
        usage: { inputTokens, outputTokens },
        usageSource: UsageSource.ESTIMATED,
        outcome: AttemptOutcome.LOST,
      });
    const unserved = testEvent(9, {
      usage: { inputTokens: 0, outputTokens: 0 },
      usageSource: UsageSource.COUNTED,
      outcome: AttemptOutcome.REJECTED,
    });
    const counts = () =>
      ledger.db.query(
        `select attempt_id, input_tokens::int as input, cached_input_tokens::int as cached, output_tokens::int as output, trued_up
         from attempt_details order by 1`,
      );
    const trueUp = (told: object, model = "large") =>
      ledger.client.trueUp({ provider: "acme", model, day: "2026-11-20", counts: told });

    test("what the provider did not report follows its export to the token, and costs what it counts; the rest stays", async () => {
      const other = { startTime: timestampFromMs(day + 86_400_000) };
      await record(ledger, testEvent(1), estimated(2, 4_000, 300), estimated(3, 2_000, 300), unserved, {
        ...estimated(4, 5, 5),
        ...other,
      });
      const before = await recorded(ledger);
      const told = { inputTokens: 2_001n, cachedInputTokens: 100n, outputTokens: 151n };
      expect(await trueUp(told)).toMatchObject({ adjustedCount: 2n, unreportedCount: 2n });
      expect(await counts()).toEqual([
        { attempt_id: attemptId(1), input: 1_000, cached: 100, output: 50, trued_up: false },
        { attempt_id: attemptId(2), input: 667, cached: null, output: 51, trued_up: true },
        { attempt_id: attemptId(3), input: 334, cached: null, output: 50, trued_up: true },
        { attempt_id: attemptId(4), input: 5, cached: null, output: 5, trued_up: false },
        { attempt_id: attemptId(9), input: 0, cached: null, output: 0, trued_up: false },
      ]);
      expect((await costs()).slice(1, 3)).toEqual([667n * 2_000n + 51n * 8_000n, 334n * 2_000n + 50n * 8_000n]);
      expect(await recorded(ledger)).toBe(before);
      await expectSoundBooks(ledger);
      const once = await written(ledger);
      expect(await trueUp(told)).toMatchObject({ adjustedCount: 0n, unreportedCount: 2n });
      expect(await written(ledger)).toBe(once);
    });

    test("the next export may say otherwise, and a price that comes later finds the trued-up counts", async () => {
      await record(ledger, estimated(1, 100, 10), estimated(2, 100, 10));
      await trueUp({ inputTokens: 1_000n, outputTokens: 20n });
      await trueUp({ inputTokens: 1_003n, outputTokens: 20n });
      expect((await counts()).map((row) => row["input"])).toEqual([502, 501]);
      await tellLater(testPrice, doubled);
      await rerate(ledger, { apply: true });
      expect(await costs()).toEqual([502n * 4_000n + 10n * 8_000n, 501n * 4_000n + 10n * 8_000n]);
      expect(
        await ledger.db.query(
          "select sum(trued_up_attempts)::int as count, sum(adjusted_attempts)::int as all from cost_by_day",
        ),
      ).toEqual([{ count: 2, all: 2 }]);
      await expectSoundBooks(ledger);
    });

    test("where reported attempts count more than the export, the others count nothing, and that is all", async () => {
      await record(ledger, testEvent(1), estimated(2, 4_000, 300));
      await trueUp({ inputTokens: 700n, outputTokens: 50n });
      expect((await counts()).map(({ input, output }) => [input, output])).toEqual([
        [1_000, 50],
        [0, 0],
      ]);
      expect(await trueUp({ inputTokens: 700n, outputTokens: 50n })).toMatchObject({ adjustedCount: 0n });
      expect(await costs()).toEqual([testEventCost, 0n]);
      await expectSoundBooks(ledger);
    });

    test("an attempt without a price gets its counts and still no price, until it is priced anew", async () => {
      const target = { provider: "acme", model: "fresh" };
      const fresh = { ...testPrice, model: "fresh" };
      await record(ledger, testEvent(1, { target, priceId: "", usageSource: UsageSource.ESTIMATED }));
      await trueUp({ inputTokens: 500n, cachedInputTokens: 0n, outputTokens: 0n }, "fresh");
      expect(await costs()).toEqual([null]);
      await tellLater(testPrice, { ...fresh, id: priceId(fresh) });
      expect(await costs()).toEqual([null]);
      await rerate(ledger, { apply: true });
      expect(await costs()).toEqual([1_000_000n]);
      await expectSoundBooks(ledger);
    });

    test("a day that is none and counts that are missing are refused", async () => {
      const refused = { reason: ErrorReason.INVALID_REQUEST };
      const asked = { provider: "acme", model: "large", counts: {} };
      await expect(ledger.client.trueUp({ ...asked, day: "2026-02-31" })).rejects.toMatchObject(refused);
      await expect(ledger.client.trueUp({ provider: "acme", model: "large", day: "2026-02-20" })).rejects.toMatchObject(
        refused,
      );
    });
  });
});

test("books stay in balance and runs change nothing the second time, whatever is told, priced anew and trued up in between", async () => {
  const ledger = await openLedger("embedded");
  const rated = (index: number): Price => {
    const named = { ...testPrice, effectiveTime: day + index * 4 * 3_600_000 };
    const input = BigInt(index) * 1_234_567_891n;
    return { ...named, id: priceId(named), nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, input } };
  };
  const count = fc.bigInt({ min: 0n, max: 20_000n });
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("record" as const),
      isReported: fc.boolean(),
      hour: fc.nat(23),
      input: fc.nat(5_000),
      most: fc.nat(5_000_000),
    }),
    fc.record({
      kind: fc.constant("tell" as const),
      lists: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("rerate" as const), agoMs: fc.constantFrom(0, 5, 50, 60_000) }),
    fc.record({
      kind: fc.constant("true_up" as const),
      inputTokens: count,
      cachedInputTokens: count,
      outputTokens: count,
    }),
  );
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 8 }), async (steps) => {
        await empty(ledger);
        await ledger.metering.prepare(createPriceList([testPrice]));
        let number = 0;
        for (const { kind, ...what } of [
          { kind: "record", isReported: false, hour: 1, input: 10, most: 5 } as const,
          ...steps,
        ]) {
          if ("hour" in what) {
            number += 1;
            await record(
              ledger,
              testEvent(number, {
                startTime: timestampFromMs(day + what.hour * 3_600_000),
                usage: { inputTokens: what.input, outputTokens: 7 },
                usageSource: what.isReported ? UsageSource.REPORTED : UsageSource.ESTIMATED,
                ...(what.most % 2 === 0 ? {} : { hold: { leaseIds: [], chargeMaxNanoUsd: BigInt(what.most) } }),
              }),
            );
          } else if ("lists" in what) {
            await ledger.metering.prepare(createPriceList([testPrice, ...what.lists.map(rated)]));
          } else if ("agoMs" in what) {
            const asOfMs = Date.now() - what.agoMs;
            await rerate(ledger, { asOfMs, apply: true });
            const once = await written(ledger);
            expect((await rerate(ledger, { asOfMs, apply: true })).changed).toBe(0n);
            expect(await written(ledger)).toBe(once);
          } else {
            const asked = { provider: "acme", model: "large", day: "2026-11-20", counts: what };
            await ledger.client.trueUp(asked);
            expect(await ledger.client.trueUp(asked), kind).toMatchObject({ adjustedCount: 0n });
          }
        }
        await expectSoundBooks(ledger);
      }),
      { numRuns: Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) / 200) },
    );
  } finally {
    await ledger.db.end();
  }
}, 120_000);

describe("a run on a copy", () => {
  const open: Ledger[] = [];
  beforeAll(async () => {
    for (const engine of ["postgres", "postgres", "embedded"] as const) open.push(await openLedger(engine));
    const events = Array.from({ length: 2_200 }, (_, number) =>
      testEvent(number, {
        startTime: timestampFromMs(day + 43_200_000 + number * 1_000),
        ...(number % 7 === 0 ? { outcome: AttemptOutcome.FAILED } : {}),
      }),
    );
    for (const ledger of open) {
      await record(ledger, ...events);
      await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    }
  });
  afterAll(() => Promise.all(open.map(({ db }) => db.end())));

  test("answers and writes the same bytes, also when it was killed in the middle and made again, and on another engine", async () => {
    const [whole, killed, embedded] = open as [Ledger, Ledger, Ledger];
    const asOfMs = Date.now();
    const listed = await rerate(whole, { asOfMs });
    expect(await rerate(killed, { asOfMs })).toEqual(listed);
    expect(await rerate(whole, { asOfMs, apply: true })).toEqual(listed);
    expect(await rerate(embedded, { asOfMs, apply: true })).toEqual(listed);

    const script = `
      import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, "database.ts"))};
      import { readPriceBook } from ${JSON.stringify(join(import.meta.dirname, "price-lists.ts"))};
      import { firstRerateOf, reratePage } from ${JSON.stringify(join(import.meta.dirname, "rerate-pages.ts"))};
      const database = await openDatabase(${JSON.stringify(killed.db.place)});
      const question = { asOfMs: ${asOfMs}, startTimeMs: Date.UTC(2000, 0, 1), endTimeMs: ${asOfMs}, tenant: "", provider: "", model: "" };
      const book = await readPriceBook(database, question.asOfMs);
      for (let place = firstRerateOf(question); place !== undefined; ) {
        const page = await reratePage(database, book, question, place, true);
        process.stdout.write(page.ratings.length + "\\n");
        place = page.next;
      }`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let lines = 0;
    child.stdout.on("data", (data: Buffer) => {
      lines += data.toString().split("\n").length - 1;
      if (lines >= 1) child.kill("SIGKILL");
    });
    await once(child, "close");
    const [standing] = await killed.db.query("select count(*)::int as count from adjustments");
    expect(standing?.["count"]).toBeGreaterThan(0);
    const rest = await rerate(killed, { asOfMs, apply: true });
    expect(rest.changed).toBe(listed.changed - BigInt(Number(standing?.["count"])));
    const bytes = await written(whole);
    expect(await written(killed)).toBe(bytes);
    expect(await written(embedded)).toBe(bytes);
    await expectSoundBooks(killed);
  }, 60_000);
});

test("runs at once write each adjustment once", async () => {
  const ledger = await openLedger("postgres");
  try {
    await record(ledger, ...Array.from({ length: 1_500 }, (_, number) => testEvent(number)));
    await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    const asOfMs = Date.now();
    const runs = await Promise.all([1, 2, 3].map(() => rerate(ledger, { asOfMs, apply: true })));
    expect(runs.reduce((sum, { changed }) => sum + changed, 0n)).toBe(1_500n);
    expect(await ledger.db.query("select count(*)::int from adjustments")).toEqual([{ count: 1_500 }]);
    await expectSoundBooks(ledger);
  } finally {
    await ledger.db.end();
  }
});
