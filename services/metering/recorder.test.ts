import { create } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AttemptOutcome, type UsageBatch, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import { createPriceList } from "@weir/price/price";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { sqlState } from "./database.ts";
import { createPriceBook } from "./price-book.ts";
import { createPriceStore } from "./price-store.ts";
import { createRecorder } from "./recorder.ts";
import type { Metering } from "./service.ts";
import { createLedgerStore } from "./store.ts";
import {
  attemptId,
  journalA,
  journalB,
  meteringOn,
  openTestDatabase,
  silentLog,
  type TestDatabase,
  testBatch,
  testEvent,
  testEventCost,
  testMeter,
  testPrice,
} from "./testing.ts";

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let metering: Metering;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query("truncate attempts, transfers, conflicts, journals");
  });

  const record = (...batches: UsageBatch[]) => metering.recorder.record(batches);
  const count = async (table: string) => Number((await db.query(`select count(*) from ${table}`))[0]?.["count"]);
  const transfer = (number: number, book: string, debit: string, credit: string) => ({
    attempt_id: attemptId(number),
    book,
    debit_account: debit,
    credit_account: credit,
    amount_nano_usd: String(testEventCost),
  });
  const unbalanced = () =>
    db.query("select attempt_id, book from entries group by 1, 2 having sum(amount_nano_usd) <> 0 or count(*) <> 2");

  test("a batch becomes rows, entries and a watermark", async () => {
    expect(await record(testBatch(1, 3))).toEqual(new Map([[journalA, 3n]]));
    const rows = await db.query("select * from attempts order by attempt_id");
    expect(rows).toHaveLength(3);
    expect(rows[0]).toMatchObject({
      attempt_id: attemptId(1),
      request_id: "request-1",
      tenant: "default",
      key: "abcdefghijklmnop",
      end_user: "",
      alias: "large",
      provider: "acme",
      model: "large",
      stream: true,
      outcome: "completed",
      usage_source: "reported",
      input_tokens: "1000",
      cached_input_tokens: "100",
      cache_write_tokens: null,
      output_tokens: "50",
      server_tool_uses: null,
      usage_inconsistent: false,
      price_id: "acme/large@2026-01-01",
      pricing: "priced",
      cost_nano_usd: "2250000",
      charge_nano_usd: "2250000",
      start_time: new Date(Date.UTC(2026, 10, 20, 12) + 1),
      end_time: new Date(Date.UTC(2026, 10, 20, 12) + 801),
      first_token_us: "250000",
      provider_status: 200,
      provider_reply_id: "chatcmpl-1",
    });
    expect(
      await db.query("select book, account, sum(amount_nano_usd) from entries group by 1, 2 order by 1, 2"),
    ).toEqual([
      { book: "charge", account: "revenue", sum: String(3n * testEventCost) },
      { book: "charge", account: "tenant/default", sum: String(-3n * testEventCost) },
      { book: "cost", account: "provider/acme", sum: String(3n * testEventCost) },
      { book: "cost", account: "usage/default", sum: String(-3n * testEventCost) },
    ]);
    expect(await metering.store.watermark(journalA)).toBe(3n);
    expect(await metering.store.watermark(journalB)).toBe(0n);
  });

  test("each attempt moves its cost from usage to provider, and its charge from tenant to revenue, where there are any", async () => {
    const events = [
      testEvent(1),
      testEvent(2, { outcome: AttemptOutcome.FAILED }),
      testEvent(3, { priceId: "" }),
      testEvent(4, { outcome: AttemptOutcome.REJECTED, usage: {} }),
    ];
    await record(create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }));
    expect(await db.query("select * from transfers order by attempt_id, book")).toEqual([
      transfer(1, "cost", "usage/default", "provider/acme"),
      transfer(1, "charge", "tenant/default", "revenue"),
      transfer(2, "cost", "usage/default", "provider/acme"),
    ]);
    const amount = String(testEventCost);
    expect(
      await db.query("select * from entries where attempt_id = $1 order by book, account", [attemptId(1)]),
    ).toEqual([
      { attempt_id: attemptId(1), book: "charge", account: "revenue", amount_nano_usd: amount },
      { attempt_id: attemptId(1), book: "charge", account: "tenant/default", amount_nano_usd: `-${amount}` },
      { attempt_id: attemptId(1), book: "cost", account: "provider/acme", amount_nano_usd: amount },
      { attempt_id: attemptId(1), book: "cost", account: "usage/default", amount_nano_usd: `-${amount}` },
    ]);
  });

  test("no statement can bring a book out of balance", async () => {
    await record(testBatch(1, 2));
    const refusals = {
      "update transfers set amount_nano_usd = 0": "23514",
      "update transfers set amount_nano_usd = -1": "23514",
      "update transfers set credit_account = null": "23502",
      "insert into entries values (gen_random_uuid(), 'cost', 'revenue', 1)": "55000",
      "update entries set amount_nano_usd = 1": "55000",
      "delete from entries where amount_nano_usd > 0": "55000",
    };
    for (const [change, state] of Object.entries(refusals)) {
      expect(await db.query(change).catch(sqlState), change).toBe(state);
    }
    await db.query("update transfers set amount_nano_usd = 7 where book = 'charge'");
    await db.query("delete from transfers where book = 'cost'");
    expect(await db.query("select book, count(*), sum(amount_nano_usd) from entries group by book")).toEqual([
      { book: "charge", count: "4", sum: "0" },
    ]);
  });

  test("microseconds, quotes, backslashes, braces and odd characters survive", async () => {
    const odd = `a"b\\c{d},NULL\n\t'é😀`;
    const event = testEvent(1, {
      requestId: odd,
      principal: { tenant: "NULL", key: "", user: `{${odd}}` },
      startTime: { seconds: 1_795_000_000n, nanos: 123_456_789 },
      endTime: { seconds: 1_795_000_001n, nanos: 999_999_999 },
      usage: { outputTokens: 4_294_967_295, serverToolUses: { [`web"${odd}`]: 2, b: 1 } },
    });
    await record(create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events: [event] }));
    const [row] = await db.query(
      `select *, (extract(epoch from start_time) * 1000000)::int8 as start_us,
         (extract(epoch from end_time) * 1000000)::int8 as end_us from attempts`,
    );
    expect(row).toMatchObject({
      request_id: odd,
      tenant: "NULL",
      key: "",
      end_user: `{${odd}}`,
      start_us: "1795000000123456",
      end_us: "1795000001999999",
      input_tokens: null,
      output_tokens: "4294967295",
      server_tool_uses: { [`web"${odd}`]: 2, b: 1 },
    });
  });

  test("delivered twice, a batch counts once", async () => {
    await record(testBatch(1, 5));
    expect(await record(testBatch(1, 5))).toEqual(new Map([[journalA, 5n]]));
    expect(await record(testBatch(3, 8), testBatch(1, 4))).toEqual(new Map([[journalA, 8n]]));
    expect([await count("attempts"), await count("entries"), await count("conflicts")]).toEqual([8, 32, 0]);
  });

  test("a gap holds the watermark back and nothing else", async () => {
    expect(await record(testBatch(4, 6))).toEqual(new Map([[journalA, 0n]]));
    expect(await count("attempts")).toBe(3);
    expect(await record(testBatch(1, 3))).toEqual(new Map([[journalA, 3n]]));
    expect(await record(testBatch(4, 6))).toEqual(new Map([[journalA, 6n]]));
    expect(await record(testBatch(2, 3))).toEqual(new Map([[journalA, 6n]]));
    expect(await record(testBatch(8, 9), testBatch(7, 7), testBatch(1, 2, journalB))).toEqual(
      new Map([
        [journalA, 9n],
        [journalB, 2n],
      ]),
    );
  });

  test("the same attempt with other content is kept aside once, and the first stands", async () => {
    await record(testBatch(1, 2));
    const other = testEvent(2, { usage: { inputTokens: 1, outputTokens: 1 } });
    const batch = create(UsageBatchSchema, { journalId: journalA, firstSequence: 3n, events: [other] });
    expect(await record(batch)).toEqual(new Map([[journalA, 3n]]));
    await record(batch);
    expect(await db.query("select attempt_id, reason, stands_in_ledger, sequence from attempts_conflicting")).toEqual([
      { attempt_id: attemptId(2), reason: "content", stands_in_ledger: true, sequence: "3" },
    ]);
    expect(await db.query("select input_tokens from attempts where attempt_id = $1", [attemptId(2)])).toEqual([
      { input_tokens: "1000" },
    ]);
  });

  test("a batch that came before its turn comes again in its turn and changes nothing", async () => {
    await record(testBatch(4, 6));
    await record(testBatch(1, 3));
    const batch = testBatch(4, 7);
    batch.events[1] = testEvent(5, { alias: "other" });
    expect(await record(batch)).toEqual(new Map([[journalA, 7n]]));
    expect([await count("attempts"), await count("transfers")]).toEqual([7, 14]);
    expect(await db.query("select attempt_id, reason, sequence from conflicts")).toEqual([
      { attempt_id: attemptId(5), reason: "content", sequence: "5" },
    ]);
    expect(await record(testBatch(8, 9))).toEqual(new Map([[journalA, 9n]]));
  });

  test("the same attempt twice in one batch: the first stands, other content is kept aside", async () => {
    const events = [testEvent(1), testEvent(1), testEvent(1, { alias: "other" })];
    await record(create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }));
    expect([await count("attempts"), await count("conflicts")]).toEqual([1, 1]);
    expect(await db.query("select alias from attempts")).toEqual([{ alias: "large" }]);
  });

  test("a malformed event is kept aside and the rest of its batch is written", async () => {
    const batch = testBatch(1, 4);
    (batch.events[1] as { attemptId: string }).attemptId = "null\0";
    (batch.events[2] as { providerStatus: number }).providerStatus = 4_294_967_295;
    expect(await record(batch)).toEqual(new Map([[journalA, 4n]]));
    await record(batch);
    expect(await count("attempts")).toBe(2);
    expect(await db.query("select attempt_id, reason, sequence from conflicts order by sequence")).toEqual([
      { attempt_id: "null\ufffd", reason: "attempt_id", sequence: "2" },
      { attempt_id: attemptId(3), reason: "provider_status", sequence: "3" },
    ]);
  });

  test("a row that only the server refuses is found, kept aside, and stops nothing", async () => {
    await db.query("alter table attempts add constraint poison check (alias not like 'poison%')");
    try {
      const batch = testBatch(1, 100);
      for (const index of [0, 41, 42, 99]) (batch.events[index] as { alias: string }).alias = `poison${index}`;
      expect(await record(batch)).toEqual(new Map([[journalA, 100n]]));
      expect([await count("attempts"), await count("entries")]).toEqual([96, 384]);
      expect(await db.query("select reason, sequence from conflicts order by sequence")).toEqual(
        ["1", "42", "43", "100"].map((sequence) => ({ reason: "sqlstate 23514", sequence })),
      );
    } finally {
      await db.query("alter table attempts drop constraint poison");
    }
  });

  test("a number that never was on a wire is kept aside too", async () => {
    const batch = testBatch(1, 3);
    const usage = batch.events[1]?.usage;
    if (usage) usage.inputTokens = 1.5;
    await expect(record(batch)).resolves.toEqual(new Map([[journalA, 3n]]));
    expect([await count("attempts"), await count("conflicts")]).toEqual([2, 1]);
  });

  test("messages that cannot be read are kept as they came", async () => {
    await metering.recorder.record([testBatch(1, 1)], [Buffer.from("not a batch")]);
    await metering.recorder.record([], [Buffer.from("not a batch")]);
    expect(await db.query("select reason, payload from conflicts")).toEqual([
      { reason: "message", payload: Buffer.from("not a batch") },
    ]);
    expect(await count("attempts")).toBe(1);
  });

  test("rows of a batch that does not say its place are written", async () => {
    await record(testBatch(1, 1, "no uuid"), create(UsageBatchSchema, { ...testBatch(2, 2), firstSequence: 0n }));
    expect([await count("attempts"), await count("journals")]).toEqual([2, 0]);
  });

  test("a failed transaction leaves no trace", async () => {
    await db.query("alter table journals rename to journals_away");
    await expect(record(testBatch(1, 3))).rejects.toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    await db.query("alter table journals_away rename to journals");
    expect([await count("attempts"), await count("entries"), await count("journals")]).toEqual([0, 0, 0]);
  });

  test("a price that comes later settles the rows that waited for it, once", async () => {
    const later = { ...testPrice, id: "acme/later@2026-01-01", model: "later" };
    const batch = testBatch(1, 2);
    (batch.events[1] as { priceId: string }).priceId = later.id;
    await record(batch);
    expect(await db.query("select pricing, cost_nano_usd from attempts order by attempt_id")).toEqual([
      { pricing: "priced", cost_nano_usd: "2250000" },
      { pricing: "price_unknown", cost_nano_usd: null },
    ]);
    expect(await count("entries")).toBe(4);
    // Another instance learns it first; this one finds it in the ledger.
    await meteringOn(db.database).prepare(createPriceList([testPrice, later]));
    await meteringOn(db.database).prepare(createPriceList([testPrice, later]));
    expect(await db.query("select sum(cost_nano_usd) as cost from attempts")).toEqual([{ cost: "4500000" }]);
    expect(await count("entries")).toBe(8);
    expect(await unbalanced()).toEqual([]);
    const next = create(UsageBatchSchema, {
      journalId: journalA,
      firstSequence: 3n,
      events: [testEvent(3, { priceId: later.id })],
    });
    await record(next);
    expect(await db.query("select pricing from attempts where attempt_id = $1", [attemptId(3)])).toEqual([
      { pricing: "priced" },
    ]);
  });

  test("a price that comes while its rows are being written settles them too", async () => {
    const late = { ...testPrice, id: "acme/late@2026-01-01", model: "late" };
    const store = createLedgerStore(db.database);
    const recorder = createRecorder({
      store: {
        ...store,
        async apply(...work) {
          // After this recorder looked for the price, and before its rows can be seen.
          await meteringOn(db.database).prepare(createPriceList([late]));
          return store.apply(...work);
        },
      },
      prices: createPriceBook(createPriceStore(db.database)),
      clock: systemClock,
      meter: testMeter,
      log: silentLog,
    });
    const events = [testEvent(1, { priceId: late.id })];
    await recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
    expect(await db.query("select pricing, cost_nano_usd from attempts")).toEqual([
      { pricing: "priced", cost_nano_usd: String(testEventCost) },
    ]);
    expect(await count("entries")).toBe(4);
    expect(await unbalanced()).toEqual([]);
  });

  test("a price that was edited in place is refused by name, and the old rates stay", async () => {
    const edited = { ...testPrice, nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, output: 1n } };
    const other = meteringOn(db.database);
    await expect(other.prepare(createPriceList([edited]))).rejects.toThrow("other rates for acme/large@2026-01-01");
    await other.recorder.record([testBatch(1, 1)]);
    expect(await db.query("select cost_nano_usd from attempts")).toEqual([{ cost_nano_usd: String(testEventCost) }]);
    await other.prepare(createPriceList([{ ...testPrice, source: "reworded" }]));
  });

  test("prices come back as they went in", async () => {
    const rates = { input: 10n ** 18n, cachedInput: 1n, cacheWrite: 2n, cacheWriteLong: 3n, output: 0n };
    const price = {
      ...testPrice,
      id: "acme/tiered@always",
      model: "tiered*",
      effectiveTime: undefined,
      nanoUsdPerMillion: rates,
      tiers: [
        { serviceTier: "", inputTokensAbove: 200_000, nanoUsdPerMillion: { ...rates, input: 10n ** 18n + 1n } },
        { serviceTier: "flex", inputTokensAbove: 0, nanoUsdPerMillion: { ...rates, audioInput: 7n } },
      ],
      nanoUsdPerThousandUses: { web_search: 10_000_000_000n },
    };
    await meteringOn(db.database).prepare(createPriceList([price]));
    await meteringOn(db.database).prepare(createPriceList([price]));
    const usage = { inputTokens: 200_001 };
    const events = [testEvent(1, { priceId: price.id, usage })];
    await meteringOn(db.database).recorder.record([
      create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }),
    ]);
    expect(await db.query("select cost_nano_usd from attempts")).toEqual([{ cost_nano_usd: "200001000000000000" }]);
  });

  test("property: however batches are cut, repeated and shuffled, the ledger is the same", async () => {
    const eventCount = 12;
    const cut = fc
      .tuple(fc.integer({ min: 1, max: eventCount }), fc.integer({ min: 0, max: 5 }))
      .map(([first, more]) => testBatch(first, Math.min(eventCount, first + more)));
    const whole = [testBatch(1, 5), testBatch(6, 9), testBatch(10, 12)];
    await fc.assert(
      fc.asyncProperty(
        fc
          .array(cut, { maxLength: 6 })
          .chain((extra) => fc.shuffledSubarray([...whole, ...extra], { minLength: whole.length + extra.length })),
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 20, maxLength: 20 }),
        async (deliveries, sizes) => {
          await db.query("truncate attempts, transfers, conflicts, journals");
          for (let at = 0, turn = 0; at < deliveries.length; turn++) {
            const size = sizes[turn] ?? 1;
            await record(...deliveries.slice(at, at + size));
            at += size;
          }
          // What a pool does: it sends again what lies beyond the watermark.
          const committed = await metering.store.watermark(journalA);
          if (committed < eventCount) await record(testBatch(Number(committed) + 1, eventCount));
          expect(await metering.store.watermark(journalA)).toBe(BigInt(eventCount));
          expect(
            await db.query(
              "select count(*), sum(cost_nano_usd) as cost, min(attempt_id::text), max(attempt_id::text) from attempts",
            ),
          ).toEqual([{ count: "12", cost: String(12n * testEventCost), min: attemptId(1), max: attemptId(12) }]);
          expect([await count("entries"), await count("conflicts")]).toEqual([48, 0]);
          expect(await unbalanced()).toEqual([]);
        },
      ),
      { numRuns: 25 },
    );
  });
});
