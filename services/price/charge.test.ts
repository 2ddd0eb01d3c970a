import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import { coversBatches, priceUsage, unpriced } from "./charge.ts";
import type { Price } from "./price.ts";

const noTokens = { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n };
const price = (more: Partial<Price>): Price => ({
  id: "p/m@always",
  provider: "p",
  model: "m",
  effectiveTime: undefined,
  nanoUsdPerMillion: noTokens,
  source: "a test",
  ...more,
});
const used = (serverToolUses: Record<string, number>): Usage => ({ $typeName: "weir.common.v1.Usage", serverToolUses });
const bySeconds = price({ nanoUsdPerThousandUses: { audio_seconds: 100_000_000n } });

test("what is billed by units alone needs no counts of tokens", () => {
  expect(priceUsage("completed", used({ audio_seconds: 9 }), bySeconds)).toEqual({
    pricing: "priced",
    costNanoUsd: 900_000n,
    chargeNanoUsd: 900_000n,
  });
});

test("without a count of anything the cost is not known, which is not zero", () => {
  expect(priceUsage("completed", used({}), bySeconds).pricing).toBe("usage_unknown");
});

test("where tokens are billed, units alone do not tell the cost", () => {
  const both = price({ ...bySeconds, nanoUsdPerMillion: { ...noTokens, output: 1n } });
  expect(priceUsage("completed", used({ audio_seconds: 9 }), both).pricing).toBe("usage_unknown");
});

test("of a batch nobody knows the cost whose price has no rates for batches; one that bills nothing costs nothing", () => {
  const usage = { ...used({}), inputTokens: 1_000_000, serviceTier: "batch" };
  const nanoUsdPerMillion = { ...noTokens, input: 8n };
  const plain = price({ nanoUsdPerMillion });
  const tiered = price({
    nanoUsdPerMillion,
    tiers: [{ serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: { ...noTokens, input: 4n } }],
  });
  expect([plain, tiered, price({})].map((each) => coversBatches(each))).toEqual([false, true, true]);
  expect(priceUsage("completed", usage, plain)).toEqual(unpriced);
  expect(priceUsage("completed", usage, tiered)).toMatchObject({ pricing: "priced", costNanoUsd: 4n });
  expect(priceUsage("completed", usage, price({}))).toMatchObject({ pricing: "priced", costNanoUsd: 0n });
  expect(priceUsage("completed", { ...usage, serviceTier: "flex" }, plain)).toMatchObject({ costNanoUsd: 8n });
});
