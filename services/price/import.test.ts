import fc from "fast-check";
import { expect, test } from "vitest";
import { comparePrices, rateText } from "./compare.ts";
import { draftsFromCsv, draftsFromLiteLlm, ImportError } from "./import-forms.ts";
import { createPriceList, type Price, priceId } from "./price.ts";

const rates = {
  input: 2_500_000_000n,
  cachedInput: 2_500_000_000n,
  cacheWrite: 2_500_000_000n,
  output: 10_000_000_000n,
};

function price(overrides: Partial<Price> = {}): Price {
  const named = { provider: "acme", model: "large", effectiveTime: undefined, ...overrides };
  return { id: priceId(named), nanoUsdPerMillion: rates, source: "test", ...named };
}

const none = { effectiveTime: undefined };

test("CSV: names first, quotes, line ends of any kind, tiers below their price, and a date for all that have none", () => {
  const text = [
    "\ufeffprovider,model,effective_time,input_usd_per_million,output_usd_per_million,service_tier,input_tokens_above,source",
    'acme,large,2026-11-01,2.50,10,,,"a ""letter"", read 2026-11-01"',
    "acme,large,2026-11-01,5,20,,200000,\r",
    "acme,large,2026-11-01,1.25,5,flex,,",
    'acme,"small, old",,1,2,,,',
    "",
  ].join("\n");
  expect(draftsFromCsv(text, { effectiveTime: "2026-12-01" })).toEqual([
    {
      provider: "acme",
      model: "large",
      effective_time: "2026-11-01",
      input_usd_per_million: "2.50",
      output_usd_per_million: "10",
      source: 'a "letter", read 2026-11-01',
      tiers: [
        { input_usd_per_million: "5", output_usd_per_million: "20", input_tokens_above: "200000" },
        { input_usd_per_million: "1.25", output_usd_per_million: "5", service_tier: "flex" },
      ],
    },
    {
      provider: "acme",
      model: "small, old",
      effective_time: "2026-12-01",
      input_usd_per_million: "1",
      output_usd_per_million: "2",
      tiers: [],
    },
  ]);
});

test.each([
  ["", "empty"],
  ["provider,modle\na,b", "no column modle"],
  ["provider,currency\na,EUR", "amounts are USD"],
  ["provider,model\na", "another number of columns"],
  ['provider,model\na,"b', "not CSV"],
  ["provider,model,service_tier\na,b,flex", "its price does not stand before it"],
])("CSV that is none is refused: %j", (text, words) => {
  expect(() => draftsFromCsv(text, none)).toThrow(ImportError);
  expect(() => draftsFromCsv(text, none)).toThrow(words);
});

test("LiteLLM: rates for a million, exactly, with lengths and service tiers; what is not billed by tokens is left out", () => {
  const list = {
    sample_spec: { litellm_provider: "x", input_cost_per_token: 0 },
    "gemini/pro": {
      litellm_provider: "gemini",
      input_cost_per_token: 1.25e-6,
      output_cost_per_token: 1e-5,
      cache_read_input_token_cost: 3.125e-7,
      input_cost_per_token_above_200k_tokens: 2.5e-6,
      output_cost_per_token_above_200k_tokens: 1.5e-5,
      input_cost_per_token_flex: 6.25e-7,
    },
    "dall-e": { litellm_provider: "openai", output_cost_per_image: 0.04 },
  };
  expect(draftsFromLiteLlm(list, { effectiveTime: "2026-11-21" })).toEqual([
    {
      provider: "gemini",
      model: "pro",
      effective_time: "2026-11-21",
      input_usd_per_million: "1.25",
      output_usd_per_million: "10",
      cached_input_usd_per_million: "0.3125",
      tiers: [
        {
          input_tokens_above: 200_000,
          input_usd_per_million: "2.5",
          output_usd_per_million: "15",
          cached_input_usd_per_million: "0.3125",
        },
        {
          service_tier: "flex",
          input_usd_per_million: "0.625",
          output_usd_per_million: "10",
          cached_input_usd_per_million: "0.3125",
        },
      ],
    },
  ]);
});

test("the price of a token becomes that of a million without losing a digit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999 }), fc.nat(9), (digits, decimals) => {
      const entry = { litellm_provider: "p", input_cost_per_token: Number(`${digits}e-${decimals + 6}`) };
      const [draft] = draftsFromLiteLlm({ m: entry }, none);
      const text = String(draft?.["input_usd_per_million"]);
      const [whole = "", rest = ""] = text.split(".");
      expect(text).toMatch(/^\d{1,9}(\.\d{1,9})?$/);
      expect(BigInt(whole + rest.padEnd(9, "0"))).toBe(BigInt(digits) * 10n ** BigInt(9 - decimals));
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("a price is the same, new, later, or refused; what holds until then is shown", () => {
  const first = price({ effectiveTime: Date.UTC(2026, 0, 1) });
  const list = createPriceList([first]);
  const dear = { ...rates, output: 20_000_000_000n };
  const kinds = (incoming: Partial<Price>) =>
    comparePrices(list, [price(incoming)]).map(({ kind, standing }) => [kind, standing?.id]);
  expect(kinds({ effectiveTime: first.effectiveTime })).toEqual([["same", first.id]]);
  expect(kinds({ effectiveTime: Date.UTC(2026, 5, 1) })).toEqual([["same", first.id]]);
  expect(kinds({ effectiveTime: Date.UTC(2026, 5, 1), nanoUsdPerMillion: dear })).toEqual([["later", first.id]]);
  expect(kinds({ effectiveTime: first.effectiveTime, nanoUsdPerMillion: dear })).toEqual([["refused", first.id]]);
  expect(kinds({ nanoUsdPerMillion: dear })).toEqual([["refused", first.id]]);
  expect(kinds({ effectiveTime: Date.UTC(2025, 0, 1) })).toEqual([["new", undefined]]);
  expect(kinds({ model: "other" })).toEqual([["new", undefined]]);
});

test("rates as people read them leave out what is usual", () => {
  const tiers = [
    { serviceTier: "flex", inputTokensAbove: 0, nanoUsdPerMillion: { ...rates, cachedInput: 1n } },
    { serviceTier: "", inputTokensAbove: 1_000, nanoUsdPerMillion: rates },
  ];
  const nanoUsdPerThousandUses = { web_search: 10_000_000_000n };
  expect(rateText(price({ tiers, nanoUsdPerThousandUses }))).toBe(
    "input 2.5, output 10; above 1000: input 2.5, output 10; flex: input 2.5, cachedInput 0.000000001, output 10; web_search 10 for a thousand",
  );
});
