import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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

/** At the rates of `testPrice`, from the hour on in which even test events begin. */
const late: Price = { ...testPrice, model: "fresh", effectiveTime: Date.UTC(2026, 10, 20, 12) };
const price: Price = { ...late, id: priceId(late) };

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
  });
  afterAll(() => db.end());

  test("an attempt without a price gets the one of its time, once; one before that stays as it is", async () => {
    const metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
    const target = { provider: "acme", model: "fresh" };
    const before = { startTime: timestampFromMs(Date.UTC(2026, 10, 20, 11)) };
    const events = [
      testEvent(1, { target, priceId: "" }),
      testEvent(2, { target, priceId: "", ...before }),
      testEvent(3, { target: { provider: "acme", model: "other" }, priceId: "" }),
      testEvent(4),
    ];
    const batch = create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events });
    await metering.recorder.record([batch]);
    const rows = () =>
      db.query("select attempt_id, price_id, pricing, cost_nano_usd, charge_nano_usd from attempts order by 1");
    const entries = () => db.query("select attempt_id, book, account, amount_nano_usd from entries order by 1, 2, 3");
    const unpriced = { price_id: "", pricing: "unpriced", cost_nano_usd: null, charge_nano_usd: null };
    const cost = String(testEventCost);
    const priced = { pricing: "priced", cost_nano_usd: cost, charge_nano_usd: cost };
    expect((await rows())[0]).toEqual({ attempt_id: attemptId(1), ...unpriced });

    const list = createPriceList([testPrice, price]);
    await metering.prepare(list);
    const filled = await rows();
    expect(filled).toEqual([
      { attempt_id: attemptId(1), price_id: price.id, ...priced },
      { attempt_id: attemptId(2), ...unpriced },
      { attempt_id: attemptId(3), ...unpriced },
      { attempt_id: attemptId(4), price_id: testPrice.id, ...priced },
    ]);
    const books = await entries();
    expect(books.filter((entry) => entry["attempt_id"] === attemptId(1))).toHaveLength(4);

    await metering.prepare(list);
    // The event comes again as it was: without a price.
    await meteringOn(db.database).recorder.record([batch]);
    expect(await rows()).toEqual(filled);
    expect(await entries()).toEqual(books);
    expect(await db.query("select count(*)::int as count from conflicts")).toEqual([{ count: 0 }]);
  });

  test("more rows than are filled at once are filled, and those without a price among them do not hold up the others", async () => {
    const target = { provider: "acme", model: "many" };
    const early = timestampFromMs(Date.UTC(2026, 10, 1));
    const events = Array.from({ length: 2_500 }, (_, index) =>
      testEvent(10_000 + index, { target, priceId: "", ...(index < 1_200 ? { startTime: early } : {}) }),
    );
    const metering = meteringOn(db.database);
    await metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 5n, events })]);
    const many = { ...late, model: "many" };
    await metering.prepare(createPriceList([testPrice, { ...many, id: priceId(many) }]));
    expect(
      await db.query(
        "select pricing, count(*)::int as count from attempts where model = 'many' group by pricing order by pricing",
      ),
    ).toEqual([
      { pricing: "priced", count: 1_300 },
      { pricing: "unpriced", count: 1_200 },
    ]);
  });
});
