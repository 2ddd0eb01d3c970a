import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { PriceConfigSchema } from "@weir/gen/weir/config/v1/price_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { builtInPrices, localPrice } from "./built-in.ts";
import { nanoUsdFromText } from "./decimal.ts";
import { priceListFromConfig, pricesFromConfig } from "./from-config.ts";
import { createPriceList, type Price, priceId } from "./price.ts";

const builtIn: Price = {
  id: "acme/large@2026-01-01",
  provider: "acme",
  model: "large",
  effectiveTime: Date.UTC(2026, 0, 1),
  nanoUsdPerMillion: { input: 1n, cachedInput: 1n, cacheWrite: 1n, output: 1n },
  source: "test",
};

function configured(effectiveTimeMs?: number, model = "large") {
  return create(PriceConfigSchema, {
    provider: "acme",
    model,
    inputUsdPerMillion: "2.50",
    outputUsdPerMillion: "10",
    cachedInputUsdPerMillion: "1.25",
    ...(effectiveTimeMs === undefined ? {} : { effectiveTime: timestampFromMs(effectiveTimeMs) }),
  });
}

const at = Date.UTC(2026, 5, 1);

test("amounts are read exactly; what is left out costs as much as input", () => {
  expect(pricesFromConfig([configured(Date.UTC(2026, 2, 1))], [])).toEqual([
    {
      id: "acme/large@2026-03-01",
      provider: "acme",
      model: "large",
      effectiveTime: Date.UTC(2026, 2, 1),
      nanoUsdPerMillion: {
        input: 2_500_000_000n,
        cachedInput: 1_250_000_000n,
        cacheWrite: 2_500_000_000n,
        output: 10_000_000_000n,
      },
      source: "weir.yaml",
    },
  ]);
});

test("a tier says what differs; the rest is as the price says, else as the tier's input or output", () => {
  const entry = create(PriceConfigSchema, {
    provider: "acme",
    model: "large",
    inputUsdPerMillion: "2",
    outputUsdPerMillion: "8",
    cachedInputUsdPerMillion: "0.5",
    audioInputUsdPerMillion: "40",
    toolUsdPerThousand: { web_search: "10" },
    source: "a contract",
    tiers: [
      { inputTokensAbove: 1_000, inputUsdPerMillion: "4", outputUsdPerMillion: "16", cachedInputUsdPerMillion: "1" },
      { serviceTier: "flex", inputUsdPerMillion: "1", outputUsdPerMillion: "4", imageOutputUsdPerMillion: "9" },
    ],
  });
  const [price] = pricesFromConfig([entry], []);
  const usd = (amount: number) => BigInt(amount * 1_000_000_000);
  expect(price).toMatchObject({
    source: "a contract",
    nanoUsdPerThousandUses: { web_search: usd(10) },
    tiers: [
      {
        serviceTier: "",
        inputTokensAbove: 1_000,
        nanoUsdPerMillion: {
          input: usd(4),
          cachedInput: usd(1),
          cacheWrite: usd(4),
          audioInput: usd(40),
          output: usd(16),
        },
      },
      {
        serviceTier: "flex",
        inputTokensAbove: 0,
        nanoUsdPerMillion: {
          input: usd(1),
          cachedInput: usd(0.5),
          audioInput: usd(40),
          output: usd(4),
          imageOutput: usd(9),
        },
      },
    ],
  });
  expect(priceListFromConfig([entry], []).get("acme/large@always")).toBeDefined();
});

test("decimal text only", () => {
  expect(nanoUsdFromText("0.000000001")).toBe(1n);
  expect(nanoUsdFromText("999999999.999999999")).toBe(999_999_999_999_999_999n);
  expect(nanoUsdFromText("0.1")).toBe(100_000_000n);
  for (const text of ["", "-1", "1e3", ".5", "1.", "1.0000000001", " 1", "NaN", "1_000"]) {
    expect(() => nanoUsdFromText(text)).toThrow(RangeError);
  }
});

test("the same provider, model and moment replaces the built-in price, under an id of its own", () => {
  const list = priceListFromConfig([configured(builtIn.effectiveTime)], [builtIn]);
  expect(list.prices.map((price) => price.id)).toEqual(["acme/large@2026-01-01+config"]);
});

test("a price that always holds replaces every built-in one of its model, and no other", () => {
  const list = priceListFromConfig(
    [configured()],
    [builtIn, { ...builtIn, id: "acme/small@2026-01-01", model: "small" }],
  );
  expect(list.find({ provider: "acme", model: "large" }, at)?.id).toBe("acme/large@always");
  expect(list.find({ provider: "acme", model: "small" }, at)?.id).toBe("acme/small@2026-01-01");
});

test("a later moment takes over from the built-in price when it comes", () => {
  const list = priceListFromConfig([configured(Date.UTC(2026, 6, 1))], [builtIn]);
  expect(list.find({ provider: "acme", model: "large" }, at)?.id).toBe("acme/large@2026-01-01");
  expect(list.find({ provider: "acme", model: "large" }, Date.UTC(2026, 6, 1))?.id).toBe("acme/large@2026-07-01");
});

test("what an operator writes for a pattern goes before built-in prices of exact models, from its time on", () => {
  const always = priceListFromConfig([configured(undefined, "*")], [builtIn]);
  expect(always.find({ provider: "acme", model: "large" }, at)?.id).toBe("acme/*@always");
  const dated = priceListFromConfig([configured(Date.UTC(2026, 6, 1), "la*")], [builtIn]);
  expect(dated.find({ provider: "acme", model: "large" }, at)?.id).toBe(builtIn.id);
  expect(dated.find({ provider: "acme", model: "large" }, Date.UTC(2026, 6, 1))).toMatchObject({
    id: "acme/large@2026-07-01+la*",
    nanoUsdPerMillion: { input: 2_500_000_000n },
  });
});

test("a built-in price that comes later does not take over from what an operator wrote", () => {
  const later = { ...builtIn, id: "acme/large@2026-09-01", effectiveTime: Date.UTC(2026, 8, 1) };
  const list = priceListFromConfig([configured(Date.UTC(2026, 2, 1))], [builtIn, later]);
  expect(list.find({ provider: "acme", model: "large" }, Date.UTC(2026, 9, 1))?.id).toBe("acme/large@2026-03-01");
});

test("the list is what an operator wrote, and behind it what is built in, for every model and time", () => {
  const names = ["a", "ab", "abc", "*", "a*", "ab*", "abc*"];
  const entry = fc.record({ model: fc.constantFrom(...names), day: fc.option(fc.nat(5), { nil: undefined }) });
  const entries = fc.uniqueArray(entry, { selector: ({ model, day }) => `${model} ${day}`, maxLength: 8 });
  const timeOf = (day: number | undefined) => (day === undefined ? undefined : at + day * 86_400_000);
  fc.assert(
    fc.property(entries, entries, (written, known) => {
      const builtIns = known.map(({ model, day }): Price => {
        const named = { provider: "acme", model, effectiveTime: timeOf(day) };
        return { ...builtIn, ...named, id: priceId(named) };
      });
      const config = written.map(({ model, day }) => configured(timeOf(day), model));
      const list = priceListFromConfig(config, builtIns);
      const own = createPriceList(pricesFromConfig(config, builtIns));
      const behind = createPriceList(builtIns);
      for (const model of ["a", "ab", "abc", "abcd", "b"]) {
        for (let day = -1; day <= 6; day += 1) {
          const target = { provider: "acme", model };
          const timeMs = at + day * 86_400_000;
          const expected = own.find(target, timeMs) ?? behind.find(target, timeMs);
          const found = list.find(target, timeMs);
          expect(found?.nanoUsdPerMillion).toEqual(expected?.nanoUsdPerMillion);
          expect(found?.effectiveTime).toBe(expected?.effectiveTime);
        }
      }
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("the same entry twice is refused", () => {
  expect(() => priceListFromConfig([configured(), configured()], [])).toThrow("two prices have the id");
});

test("the built-in list is well formed, has a source for each row, and prices the free providers at zero", () => {
  const list = createPriceList(builtInPrices);
  for (const provider of ["demo", "ollama", "vllm"]) {
    expect(list.find({ provider, model: "anything" }, 0)?.nanoUsdPerMillion).toMatchObject({ input: 0n, output: 0n });
  }
  for (const price of builtInPrices) {
    if (price.effectiveTime === undefined) continue;
    expect(price.source, price.id).toMatch(/^https:\/\/\S+/);
    expect(price.effectiveTime % 86_400_000, price.id).toBe(0);
    const { input, cachedInput, output } = price.nanoUsdPerMillion;
    const fees = Object.values(price.nanoUsdPerThousandUses ?? {});
    // What is billed by units has no rates for tokens.
    if (fees.length > 0) expect(input === 0n && fees.every((fee) => fee > 0n), price.id).toBe(true);
    else expect(input > 0n && cachedInput > 0n && cachedInput <= input && output >= 0n, price.id).toBe(true);
  }
});

test("models of this process cost nothing under any id, unless weir.yaml says so", () => {
  const free = localPrice("acme");
  const list = priceListFromConfig([], [...builtInPrices, free]);
  expect(list.find({ provider: "acme", model: "tiny" }, 0)?.nanoUsdPerMillion).toMatchObject({ input: 0n, output: 0n });
  const priced = priceListFromConfig([configured(undefined, "*")], [...builtInPrices, free]);
  const own = priced.find({ provider: "acme", model: "tiny" }, at);
  expect(own?.nanoUsdPerMillion.input).toBe(2_500_000_000n);
  expect(own?.id).not.toBe(free.id);
});

test("a built-in price has not been edited since it was published: ledgers hold it under its id", async () => {
  const content = builtInPrices.map(({ id, nanoUsdPerMillion: rates, tiers = [], nanoUsdPerThousandUses = {} }) => {
    const texts = (of: typeof rates) =>
      [of.input, of.cachedInput, of.cacheWrite, of.cacheWriteLong ?? "-", of.output, of.imageInput ?? []]
        .flat()
        .join(" ");
    const more = tiers.map(
      ({ serviceTier, inputTokensAbove, nanoUsdPerMillion }) =>
        `; ${serviceTier === "" ? "" : `${serviceTier} `}above ${inputTokensAbove}: ${texts(nanoUsdPerMillion)}`,
    );
    const fees = Object.entries(nanoUsdPerThousandUses).map(([unit, fee]) => `; ${unit}: ${fee}`);
    return `${id}: ${texts(rates)}${more.join("")}${fees.join("")}`;
  });
  // A line may be added here, never changed.
  await expect(`${content.join("\n")}\n`).toMatchFileSnapshot("__fixtures__/built-in.txt");
});
