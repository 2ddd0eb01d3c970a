import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import { priceUsage } from "./charge.ts";
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
