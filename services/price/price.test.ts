import { create } from "@bufbuild/protobuf";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { billableTokens, costNanoUsd, createPriceList, type Price, priceId, type Rates } from "./price.ts";

type Counts = Partial<
  Pick<
    Usage,
    | "inputTokens"
    | "cachedInputTokens"
    | "cacheWriteTokens"
    | "cacheWriteLongTokens"
    | "outputTokens"
    | "reasoningTokens"
  >
>;

const usageOf = (counts: Counts): Usage => Object.assign(create(UsageSchema), counts);

const rates: Rates = { input: 2_000_000n, cachedInput: 500_000n, cacheWrite: 2_500_000n, output: 8_000_000n };

function price(overrides: Partial<Price> = {}): Price {
  const named = { provider: "acme", model: "large", effectiveTime: undefined, ...overrides };
  return { id: priceId(named), nanoUsdPerMillion: rates, source: "test", ...named };
}

const cost = (counts: Counts, overrides: Partial<Price> = {}) => costNanoUsd(usageOf(counts), price(overrides));

describe("costNanoUsd", () => {
  test("counts each class of tokens at its own rate, once", () => {
    // 2, 0.5, 2.5 and 8 nano-USD a token.
    expect(cost({ inputTokens: 100 })).toBe(200n);
    expect(cost({ inputTokens: 100, cachedInputTokens: 40 })).toBe(60n * 2n + 20n);
    expect(cost({ inputTokens: 100, cachedInputTokens: 40, cacheWriteTokens: 20 })).toBe(40n * 2n + 20n + 50n);
    expect(cost({ outputTokens: 10, reasoningTokens: 8 })).toBe(80n);
    expect(cost({})).toBe(0n);
  });

  test("long-lived cache writes have their own rate, else that of cache writes", () => {
    const counts = { inputTokens: 100, cacheWriteTokens: 100, cacheWriteLongTokens: 60 };
    expect(cost(counts)).toBe(250n);
    expect(cost(counts, { nanoUsdPerMillion: { ...rates, cacheWriteLong: 4_000_000n } })).toBe((40n * 5n) / 2n + 240n);
  });

  test("a long input is billed at long-context rates as a whole", () => {
    const longContext = {
      inputTokensAbove: 1_000,
      nanoUsdPerMillion: { ...rates, input: 4_000_000n, output: 12_000_000n },
    };
    expect(cost({ inputTokens: 1_000, outputTokens: 10 }, { longContext })).toBe(2_080n);
    expect(cost({ inputTokens: 1_001, outputTokens: 10 }, { longContext })).toBe(4_124n);
    expect(cost({ inputTokens: 1_001, cachedInputTokens: 1_000 }, { longContext })).toBe(504n);
  });

  test("rounds once, half to even", () => {
    const half = (halves: bigint) =>
      cost(
        { inputTokens: 1 },
        { nanoUsdPerMillion: { input: halves * 500_000n, cachedInput: 0n, cacheWrite: 0n, output: 0n } },
      );
    expect([1n, 2n, 3n, 4n, 5n, 7n].map(half)).toEqual([0n, 1n, 2n, 2n, 2n, 4n]);
    const thirds = { input: 400_000n, cachedInput: 400_000n, cacheWrite: 400_000n, output: 400_000n };
    // Each class alone would round to zero.
    expect(
      cost(
        { inputTokens: 3, cachedInputTokens: 1, cacheWriteTokens: 1, outputTokens: 1 },
        { nanoUsdPerMillion: thirds },
      ),
    ).toBe(2n);
  });

  test("the largest counts and rates are exact", () => {
    const most = 4_294_967_295;
    const huge = 10n ** 18n;
    const all = { input: huge, cachedInput: huge, cacheWrite: huge, output: huge };
    expect(cost({ inputTokens: most, outputTokens: most }, { nanoUsdPerMillion: all })).toBe(
      2n * 4_294_967_295n * 10n ** 12n,
    );
  });
});

describe("billableTokens", () => {
  test("parts that do not fit are cut, cached input first, and said to be inconsistent", () => {
    expect(billableTokens(usageOf({ inputTokens: 10, cachedInputTokens: 15, cacheWriteTokens: 3 }))).toMatchObject({
      input: 0,
      cachedInput: 10,
      cacheWrite: 0,
      inconsistent: true,
    });
    expect(billableTokens(usageOf({ inputTokens: 10, cachedInputTokens: 8, cacheWriteTokens: 3 }))).toMatchObject({
      input: 0,
      cachedInput: 8,
      cacheWrite: 2,
      inconsistent: true,
    });
    expect(billableTokens(usageOf({ inputTokens: 10, cacheWriteTokens: 2, cacheWriteLongTokens: 3 }))).toMatchObject({
      input: 8,
      cacheWrite: 0,
      cacheWriteLong: 2,
      inconsistent: true,
    });
    expect(billableTokens(usageOf({ outputTokens: 1, reasoningTokens: 2 })).inconsistent).toBe(true);
    expect(billableTokens(usageOf({ inputTokens: 10, cachedInputTokens: 7, cacheWriteTokens: 3 })).inconsistent).toBe(
      false,
    );
  });

  test("a total that was not reported is the sum of its parts", () => {
    expect(billableTokens(usageOf({ cachedInputTokens: 5, cacheWriteLongTokens: 3, reasoningTokens: 7 }))).toEqual({
      inputTotal: 8,
      input: 0,
      cachedInput: 5,
      cacheWrite: 0,
      cacheWriteLong: 3,
      output: 7,
      inconsistent: false,
    });
  });
});

describe("laws", () => {
  const count = fc.option(fc.integer({ min: 0, max: 4_294_967_295 }), { nil: undefined, freq: 4 });
  const counts = fc.record({
    inputTokens: count,
    cachedInputTokens: count,
    cacheWriteTokens: count,
    cacheWriteLongTokens: count,
    outputTokens: count,
    reasoningTokens: count,
  });
  const rate = fc.bigInt({ min: 0n, max: 10n ** 18n });
  const someRates: fc.Arbitrary<Rates> = fc.record({
    input: rate,
    cachedInput: rate,
    cacheWrite: rate,
    cacheWriteLong: fc.option(rate, { nil: undefined }),
    output: rate,
  });
  const of = (given: Partial<Record<keyof Counts, number | undefined>>) =>
    usageOf(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)));

  test("classes do not overlap, are not negative, and fill the input", () => {
    fc.assert(
      fc.property(counts, (given) => {
        const tokens = billableTokens(of(given));
        const { input, cachedInput, cacheWrite, cacheWriteLong, inputTotal, output } = tokens;
        expect(input + cachedInput + cacheWrite + cacheWriteLong).toBe(inputTotal);
        expect(Math.min(input, cachedInput, cacheWrite, cacheWriteLong, output)).toBeGreaterThanOrEqual(0);
        if (given.inputTokens !== undefined) expect(inputTotal).toBe(given.inputTokens);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a cost is never negative and is within half a nano-USD of the exact sum", () => {
    fc.assert(
      fc.property(counts, someRates, (given, nanoUsdPerMillion) => {
        const tokens = billableTokens(of(given));
        const exact =
          BigInt(tokens.input) * nanoUsdPerMillion.input +
          BigInt(tokens.cachedInput) * nanoUsdPerMillion.cachedInput +
          BigInt(tokens.cacheWrite) * nanoUsdPerMillion.cacheWrite +
          BigInt(tokens.cacheWriteLong) * (nanoUsdPerMillion.cacheWriteLong ?? nanoUsdPerMillion.cacheWrite) +
          BigInt(tokens.output) * nanoUsdPerMillion.output;
        const rounded = costNanoUsd(of(given), price({ nanoUsdPerMillion }));
        const error = rounded * 1_000_000n - exact;
        expect(rounded >= 0n && error <= 500_000n && error >= -500_000n).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test("more input, more output or a higher rate never costs less", () => {
    const more = fc.integer({ min: 0, max: 1_000_000 });
    fc.assert(
      fc.property(counts, someRates, more, more, rate, (given, nanoUsdPerMillion, moreInput, moreOutput, moreRate) => {
        const capped = (value: number | undefined, by: number) =>
          value === undefined ? undefined : Math.min(value + by, 4_294_967_295);
        const before = costNanoUsd(of(given), price({ nanoUsdPerMillion }));
        const larger = of({
          ...given,
          inputTokens: capped(given.inputTokens, moreInput),
          outputTokens: capped(given.outputTokens, moreOutput),
        });
        expect(costNanoUsd(larger, price({ nanoUsdPerMillion })) >= before).toBe(true);
        for (const name of ["input", "cachedInput", "cacheWrite", "output"] as const) {
          const dearer = { ...nanoUsdPerMillion, [name]: nanoUsdPerMillion[name] + moreRate };
          expect(costNanoUsd(of(given), price({ nanoUsdPerMillion: dearer })) >= before).toBe(true);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("createPriceList", () => {
  const day = (text: string) => Date.parse(text);
  const list = createPriceList([
    price({ model: "*" }),
    price({ model: "lar*" }),
    price({ model: "large", effectiveTime: day("2026-03-01") }),
    price({ model: "large", effectiveTime: day("2026-01-01") }),
    price({ provider: "other", model: "large" }),
  ]);
  const find = (model: string, at: string, provider = "acme") => list.find({ provider, model }, day(at))?.id;

  test("an exact name goes before a pattern, a longer pattern before a shorter one", () => {
    expect(find("large", "2026-02-01")).toBe("acme/large@2026-01-01");
    expect(find("larger", "2026-02-01")).toBe("acme/lar*@always");
    expect(find("lar", "2026-02-01")).toBe("acme/lar*@always");
    expect(find("la", "2026-02-01")).toBe("acme/*@always");
    expect(find("", "2026-02-01")).toBe("acme/*@always");
    expect(find("small", "2026-02-01", "other")).toBeUndefined();
    expect(find("large", "2026-02-01", "nobody")).toBeUndefined();
  });

  test("the newest price that holds already is in force, from its very moment", () => {
    expect(find("large", "2026-02-28T23:59:59.999Z")).toBe("acme/large@2026-01-01");
    expect(find("large", "2026-03-01T00:00:00.000Z")).toBe("acme/large@2026-03-01");
    expect(find("large", "2025-12-31")).toBe("acme/lar*@always");
  });

  test("a price is found by its id, in force or not", () => {
    expect(list.get("acme/large@2026-03-01")?.effectiveTime).toBe(day("2026-03-01"));
    expect(list.get("acme/large@2026-03-02")).toBeUndefined();
  });

  test("two prices for one model from one moment, one id twice, and negative rates are refused", () => {
    expect(() => createPriceList([price(), price()])).toThrow("two prices have the id acme/large@always");
    expect(() => createPriceList([price(), { ...price(), id: "x" }])).toThrow("from the same moment");
    expect(() => createPriceList([price({ nanoUsdPerMillion: { ...rates, output: -1n } })])).toThrow("negative rate");
    const longContext = { inputTokensAbove: 1, nanoUsdPerMillion: { ...rates, input: -1n } };
    expect(() => createPriceList([price({ longContext })])).toThrow("negative rate");
  });

  test("names that objects are born with are no prices", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      expect(list.find({ provider: name, model: name }, 0)).toBeUndefined();
    }
  });
});
