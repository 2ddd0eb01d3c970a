import { create } from "@bufbuild/protobuf";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { priceUsage, unpriced } from "@weir/price/charge";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Standing } from "./adjustments.ts";
import { rerate } from "./rerate.ts";
import { testPrice } from "./testing.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const rate = fc.bigInt({ min: 0n, max: 50_000_000_000n });
const tokens = fc.option(fc.integer({ min: 0, max: 2_000_000 }), { nil: undefined });
const dayMs = 86_400_000;
const firstMs = Date.UTC(2026, 0, 1);

const price = fc
  .record({ input: rate, cachedInput: rate, cacheWrite: rate, output: rate, day: fc.nat(20) })
  .map(({ day, ...nanoUsdPerMillion }): Price => {
    const named = { provider: "acme", model: "large", effectiveTime: firstMs + day * dayMs };
    return { id: priceId(named), ...named, nanoUsdPerMillion, source: "test" };
  });
const list = fc.uniqueArray(price, { selector: ({ id }) => id, maxLength: 4 }).map(createPriceList);
const usage: fc.Arbitrary<Usage> = fc
  .record({ inputTokens: tokens, cachedInputTokens: tokens, outputTokens: tokens }, { requiredKeys: [] })
  .map((counts) =>
    create(UsageSchema, Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== undefined))),
  );
const standing = fc
  .record({
    usage,
    day: fc.nat(20),
    outcome: fc.constantFrom<Standing["outcome"]>("completed", "failed", "lost", "rejected"),
    before: fc.option(price, { nil: undefined }),
    chargeMaxNanoUsd: fc.option(fc.bigInt({ min: 0n, max: 10_000_000n }), { nil: undefined }),
  })
  .map(({ usage: used, day, outcome, before, chargeMaxNanoUsd }): Standing => {
    return {
      attemptId: "01900000-0000-7000-8000-000000000001",
      tenant: "default",
      provider: "acme",
      model: "large",
      outcome,
      startTimeMs: firstMs + day * dayMs,
      usage: used,
      priceId: before?.id ?? "",
      priced: before === undefined ? unpriced : priceUsage(outcome, used, before, chargeMaxNanoUsd),
      chargeMaxNanoUsd,
      number: 0,
    };
  });
const asOf = fc.nat(25).map((day) => firstMs + day * dayMs);

test("what was priced anew costs what the book says, and stays so the next time", () => {
  fc.assert(
    fc.property(standing, list, asOf, (before, prices, asOfMs) => {
      const book = { asOfMs, list: prices };
      const rating = rerate(before, book);
      if (rating.kind !== "changed") return;
      const { adjustment } = rating;
      const expected = prices.find(before, Math.min(before.startTimeMs, asOfMs));
      expect(adjustment.priced).toEqual(priceUsage(before.outcome, before.usage, expected, before.chargeMaxNanoUsd));
      const { priceId: id, priced } = adjustment;
      expect(rerate({ ...before, priceId: id, priced, number: 1 }, book)).toEqual({ kind: "same" });
    }),
    { numRuns },
  );
});

test("an amount is never lost, and no tenant pays more than its budgets had set aside or than the provider bills", () => {
  fc.assert(
    fc.property(standing, list, asOf, (before, prices, asOfMs) => {
      const rating = rerate(before, { asOfMs, list: prices });
      if (rating.kind !== "changed") return;
      const { costNanoUsd, chargeNanoUsd } = rating.adjustment.priced;
      if (costNanoUsd === null || chargeNanoUsd === null) throw new Error("no amount");
      expect(chargeNanoUsd).toBeLessThanOrEqual(costNanoUsd);
      if (before.chargeMaxNanoUsd !== undefined) expect(chargeNanoUsd).toBeLessThanOrEqual(before.chargeMaxNanoUsd);
      expect(rating.adjustment.usage).toBe(before.usage);
    }),
    { numRuns },
  );
});

test("an attempt that began after the time of the book costs by what was in force then", () => {
  const later: Price = {
    ...testPrice,
    id: "later",
    effectiveTime: firstMs + 10 * dayMs,
    nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, input: 4_000_000_000n },
  };
  const prices = createPriceList([testPrice, later]);
  const used = create(UsageSchema, { inputTokens: 1_000, outputTokens: 0 });
  const at = (startTimeMs: number, asOfMs: number) => {
    const before: Standing = {
      attemptId: "01900000-0000-7000-8000-000000000001",
      tenant: "default",
      provider: "acme",
      model: "large",
      outcome: "completed",
      startTimeMs,
      usage: used,
      priceId: "",
      priced: unpriced,
      chargeMaxNanoUsd: undefined,
      number: 0,
    };
    const rating = rerate(before, { asOfMs, list: prices });
    return rating.kind === "changed" ? [rating.adjustment.priceId, rating.adjustment.priced.costNanoUsd] : rating.kind;
  };
  expect(at(firstMs + 12 * dayMs, firstMs + 20 * dayMs)).toEqual(["later", 4_000_000n]);
  expect(at(firstMs + 9 * dayMs, firstMs + 20 * dayMs)).toEqual([testPrice.id, 2_000_000n]);
  expect(at(firstMs + 12 * dayMs, firstMs + 5 * dayMs)).toEqual([testPrice.id, 2_000_000n]);
  expect(at(firstMs + 12 * dayMs, firstMs - dayMs)).toBe("no_price");
});
