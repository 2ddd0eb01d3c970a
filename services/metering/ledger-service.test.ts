import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import { describe, expect, test } from "vitest";
import { readAttempts } from "./attempt-list.ts";
import { readCosts } from "./costs.ts";
import {
  type Asked,
  costsOf,
  day,
  doubled,
  doubledCost,
  expectSoundBooks,
  ledgerUnderTest,
  record,
  recorded,
  rerate,
  tell,
  written,
} from "./ledger-under-test.ts";
import { keepMonths } from "./months.ts";
import { attemptId, attemptIdAt, meteringOn, testEvent, testEventCost, testPrice } from "./testing.ts";

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  const ledger = ledgerUnderTest(engine);
  const costs = () => costsOf(ledger);
  const tellLater = (...prices: Price[]) => tell(ledger, ...prices);

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

  test("a page token that begins outside of the range, or nowhere, is refused, so that nothing else is adjusted", async () => {
    await record(ledger, testEvent(1));
    const asked = {
      asOf: timestampFromMs(Date.now()),
      startTime: timestampFromMs(day + 12 * 3_600_000),
      endTime: timestampFromMs(day + 36 * 3_600_000),
      apply: true,
    };
    const { nextPageToken } = await ledger.client.rerate(asked);
    const [digest, timeMs, ...others] = JSON.parse(Buffer.from(nextPageToken, "base64url").toString()) as unknown[];
    const answer = (...values: unknown[]) =>
      ledger.client.rerate({
        ...asked,
        pageToken: Buffer.from(JSON.stringify([digest, ...values])).toString("base64url"),
      });
    expect(await answer(timeMs, ...others)).toMatchObject({ nextPageToken: "" });
    const [endTimeMs] = others;
    for (const place of [
      [day, ...others],
      [endTimeMs, ...others],
      [timeMs, endTimeMs, "1", "3600000"],
      [timeMs, endTimeMs, "", "soon"],
    ]) {
      await expect(answer(...place)).rejects.toMatchObject({ metadata: { param: "page_token" } });
    }
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
});
