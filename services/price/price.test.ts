import { create } from "@bufbuild/protobuf";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  allRates,
  billableTokens,
  costNanoUsd,
  createPriceList,
  dearestRatesFor,
  type Price,
  priceId,
  type PriceTier,
  rateNames,
  type Rates,
  ratesFor,
} from "./price.ts";

type Counts = Partial<
  Pick<
    Usage,
    | "inputTokens"
    | "cachedInputTokens"
    | "cacheWriteTokens"
    | "cacheWriteLongTokens"
    | "audioInputTokens"
    | "imageInputTokens"
    | "outputTokens"
    | "reasoningTokens"
    | "audioOutputTokens"
    | "imageOutputTokens"
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
    const long = { ...rates, input: 4_000_000n, output: 12_000_000n };
    const tiers = [{ serviceTier: "", inputTokensAbove: 1_000, nanoUsdPerMillion: long }];
    expect(cost({ inputTokens: 1_000, outputTokens: 10 }, { tiers })).toBe(2_080n);
    expect(cost({ inputTokens: 1_001, outputTokens: 10 }, { tiers })).toBe(4_124n);
    expect(cost({ inputTokens: 1_001, cachedInputTokens: 1_000 }, { tiers })).toBe(504n);
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
      audioInput: 0,
      imageInput: 0,
      output: 7,
      audioOutput: 0,
      imageOutput: 0,
      inconsistent: false,
    });
  });
});

describe("laws", () => {
  /** For 100,000 runs on a busy machine. */
  const lawTimeoutMs = 180_000;
  const runs = { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000) };
  const count = fc.option(fc.oneof(fc.nat(2_000), fc.integer({ min: 0, max: 4_294_967_295 })), {
    nil: undefined,
    freq: 4,
  });
  const counts = fc.record({
    inputTokens: count,
    cachedInputTokens: count,
    cacheWriteTokens: count,
    cacheWriteLongTokens: count,
    audioInputTokens: count,
    imageInputTokens: count,
    outputTokens: count,
    reasoningTokens: count,
    audioOutputTokens: count,
    imageOutputTokens: count,
    serviceTier: fc.constantFrom(undefined, "flex", "priority"),
    searches: fc.nat(100),
  });
  type Drawn = Partial<Record<keyof Counts, number | undefined>> & {
    readonly serviceTier?: string | undefined;
    readonly searches?: number;
  };
  const of = ({ searches = 0, ...given }: Drawn) => {
    const known = Object.entries(given).filter(([, value]) => value !== undefined);
    return Object.assign(create(UsageSchema, { serverToolUses: { web_search: searches } }), Object.fromEntries(known));
  };
  const rate = fc.bigInt({ min: 0n, max: 10n ** 18n });
  const maybe = fc.option(rate, { nil: undefined });
  const someRates: fc.Arbitrary<Rates> = fc.record({
    input: rate,
    cachedInput: rate,
    cacheWrite: rate,
    cacheWriteLong: maybe,
    audioInput: maybe,
    imageInput: maybe,
    output: rate,
    audioOutput: maybe,
    imageOutput: maybe,
  });
  /** Rates for three lengths of input, none of which falls. */
  const steps = fc.tuple(someRates, someRates, someRates).map((drawn) => {
    let least = allRates({ input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n });
    return drawn.map((rates, index) => {
      const own = allRates(rates);
      const higher = rateNames.map((name) => [name, own[name] > least[name] ? own[name] : least[name]] as const);
      least = Object.fromEntries(higher) as typeof least;
      return { inputTokensAbove: [0, 500, 200_000][index] ?? 0, nanoUsdPerMillion: index === 0 ? rates : least };
    });
  });
  const prices = fc.record({ standard: steps, flex: fc.option(steps), fee: rate }).map(({ standard, flex, fee }) =>
    price({
      nanoUsdPerMillion: standard[0]?.nanoUsdPerMillion ?? rates,
      tiers: [
        ...standard.slice(1).map((step) => ({ serviceTier: "", ...step })),
        ...(flex ?? []).map((step) => ({ serviceTier: "flex", ...step })),
      ],
      nanoUsdPerThousandUses: { web_search: fee },
    }),
  );

  test("prices that are drawn are prices", () => {
    fc.assert(fc.property(prices, (drawn) => void createPriceList([drawn])));
  });

  test(
    "classes do not overlap, are not negative, and fill the totals",
    () => {
      fc.assert(
        fc.property(counts, (given) => {
          const tokens = billableTokens(of(given));
          const { input, cachedInput, cacheWrite, cacheWriteLong, audioInput, imageInput, inputTotal } = tokens;
          expect(input + cachedInput + cacheWrite + cacheWriteLong + audioInput + imageInput).toBe(inputTotal);
          expect(Math.min(...rateNames.map((name) => tokens[name]))).toBeGreaterThanOrEqual(0);
          if (given.inputTokens !== undefined) expect(inputTotal).toBe(given.inputTokens);
          const { output, audioOutput, imageOutput } = tokens;
          if (given.outputTokens !== undefined) expect(output + audioOutput + imageOutput).toBe(given.outputTokens);
        }),
        runs,
      );
    },
    lawTimeoutMs,
  );

  test(
    "a cost is never negative and is within half a nano-USD of the exact sum",
    () => {
      fc.assert(
        fc.property(counts, prices, (given, drawn) => {
          const usage = of(given);
          const tokens = billableTokens(usage);
          const inForce = allRates(ratesFor(drawn, usage.serviceTier ?? "", tokens.inputTotal));
          const fee = drawn.nanoUsdPerThousandUses?.["web_search"] ?? 0n;
          const exact = rateNames.reduce(
            (sum, name) => sum + BigInt(tokens[name]) * inForce[name],
            BigInt(given.searches) * fee * 1_000n,
          );
          const error = costNanoUsd(usage, drawn) * 1_000_000n - exact;
          expect(exact >= 0n && error <= 500_000n && error >= -500_000n).toBe(true);
        }),
        runs,
      );
    },
    lawTimeoutMs,
  );

  test(
    "more input, more output, more uses of tools or a higher rate never cost less",
    () => {
      const more = fc.integer({ min: 0, max: 1_000_000 });
      fc.assert(
        fc.property(
          counts,
          prices,
          more,
          more,
          fc.nat(9),
          rate,
          (given, drawn, moreInput, moreOutput, uses, moreRate) => {
            const capped = (value: number | undefined, by: number) =>
              value === undefined ? undefined : Math.min(value + by, 4_294_967_295);
            const before = costNanoUsd(of(given), drawn);
            const larger = {
              ...given,
              inputTokens: capped(given.inputTokens, moreInput),
              outputTokens: capped(given.outputTokens, moreOutput),
              searches: given.searches + uses,
            };
            expect(costNanoUsd(of(larger), drawn) >= before).toBe(true);
            for (const name of rateNames) {
              const dearer = (of: Rates): Rates => ({ ...allRates(of), [name]: allRates(of)[name] + moreRate });
              const other = {
                ...drawn,
                nanoUsdPerMillion: dearer(drawn.nanoUsdPerMillion),
                tiers: (drawn.tiers ?? []).map((tier) => ({
                  ...tier,
                  nanoUsdPerMillion: dearer(tier.nanoUsdPerMillion),
                })),
              };
              expect(costNanoUsd(of(given), other) >= before).toBe(true);
            }
          },
        ),
        runs,
      );
    },
    lawTimeoutMs,
  );

  test(
    "no tier costs more than the dearest rates for its input",
    () => {
      fc.assert(
        fc.property(counts, prices, (given, drawn) => {
          const usage = of(given);
          const tokens = billableTokens(usage);
          const worst = price({ nanoUsdPerMillion: dearestRatesFor(drawn, tokens.inputTotal) });
          const { nanoUsdPerThousandUses: _, ...withoutFees } = drawn;
          expect(costNanoUsd(usage, withoutFees) <= costNanoUsd(usage, worst)).toBe(true);
        }),
        runs,
      );
    },
    lawTimeoutMs,
  );
});

describe("tiers", () => {
  const cheap: Rates = { input: 1_000_000n, cachedInput: 100_000n, cacheWrite: 1_000_000n, output: 4_000_000n };
  const dear: Rates = { input: 4_000_000n, cachedInput: 500_000n, cacheWrite: 4_000_000n, output: 16_000_000n };
  const dearer: Rates = { ...dear, input: 5_000_000n };
  const tiers = [
    { serviceTier: "", inputTokensAbove: 1_000, nanoUsdPerMillion: dearer },
    { serviceTier: "", inputTokensAbove: 100, nanoUsdPerMillion: dear },
    { serviceTier: "flex", inputTokensAbove: 0, nanoUsdPerMillion: cheap },
  ];
  const at = (inputTokens: number, serviceTier?: string) =>
    costNanoUsd(of({ inputTokens, ...(serviceTier === undefined ? {} : { serviceTier }) }), price({ tiers }));
  const of = (counts: object) => Object.assign(create(UsageSchema), counts);

  test("of several lengths the longest that was reached counts, whatever the order", () => {
    expect([at(100), at(101), at(1_000), at(1_001)]).toEqual([200n, 404n, 4_000n, 5_005n]);
  });

  test("a service tier has its own rates, and one that the price does not know the standard ones", () => {
    expect([at(100, "flex"), at(2_000, "flex"), at(100, "priority"), at(101, "priority")]).toEqual([
      100n,
      2_000n,
      200n,
      404n,
    ]);
  });

  test("audio, pictures and tools have rates of their own", () => {
    const full = price({
      nanoUsdPerMillion: { ...rates, audioInput: 40_000_000n, imageInput: 10_000_000n, audioOutput: 80_000_000n },
      nanoUsdPerThousandUses: { web_search: 10_000_000_000n },
    });
    const usage = of({
      inputTokens: 10,
      audioInputTokens: 3,
      imageInputTokens: 2,
      outputTokens: 4,
      audioOutputTokens: 1,
    });
    expect(costNanoUsd(usage, full)).toBe(5n * 2n + 3n * 40n + 2n * 10n + 3n * 8n + 80n);
    usage.serverToolUses = { web_search: 3, __proto__x: 5, constructor: 7 };
    expect(costNanoUsd(usage, full)).toBe(254n + 30_000_000n);
  });

  test.each<[string, PriceTier[], string]>([
    ["rates that fall", [{ serviceTier: "", inputTokensAbove: 5, nanoUsdPerMillion: cheap }], "that fall above 5"],
    [
      "no rates for short input",
      [{ serviceTier: "flex", inputTokensAbove: 5, nanoUsdPerMillion: cheap }],
      "short input",
    ],
    ["two for the same", [{ serviceTier: "", inputTokensAbove: 0, nanoUsdPerMillion: dear }], "two rates"],
  ])("%s are refused", (_, refused, text) => {
    expect(() => createPriceList([price({ tiers: refused })])).toThrow(text);
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
    const tiers = [{ serviceTier: "", inputTokensAbove: 1, nanoUsdPerMillion: { ...rates, input: -1n } }];
    expect(() => createPriceList([price({ tiers })])).toThrow("negative rate");
  });

  test("names that objects are born with are no prices", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      expect(list.find({ provider: name, model: name }, 0)).toBeUndefined();
    }
  });
});
