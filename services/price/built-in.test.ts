import { create } from "@bufbuild/protobuf";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import { builtInPrices } from "./built-in.ts";
import { coversBatches } from "./charge.ts";
import { costNanoUsd, createPriceList } from "./price.ts";

const list = createPriceList(builtInPrices);
const nowMs = Date.parse("2026-11-21");

test("every price says where and when it was read, and holds from no day to come", () => {
  for (const { provider, source, effectiveTime } of builtInPrices) {
    if (["demo", "ollama", "vllm"].includes(provider)) continue;
    expect(source).toMatch(/^https:\/\/\S+ .*\d{4}-\d\d-\d\d$/);
    expect(effectiveTime).toBeLessThanOrEqual(nowMs);
  }
});

test("a cached token is never dearer than another, nor an output cheaper than an input where there is one", () => {
  for (const { model, nanoUsdPerMillion: rates } of builtInPrices) {
    expect(rates.cachedInput <= rates.input).toBe(true);
    expect(rates.output === 0n || rates.output >= rates.input, model).toBe(true);
  }
});

test.each<[string, string, string, object, bigint]>([
  ["openai", "text-embedding-3-small", "2026-11-01", { inputTokens: 1_000 }, 20_000n],
  ["openai", "text-embedding-3-large", "2026-11-01", { inputTokens: 1_000 }, 130_000n],
  ["openai", "text-embedding-ada-002", "2026-11-01", { inputTokens: 1_000 }, 100_000n],
  ["google", "gemini-embedding-001", "2026-11-01", { inputTokens: 1_000 }, 150_000n],
  ["anthropic", "claude-sonnet-4-5-20250929", "2026-11-01", { inputTokens: 1_000, outputTokens: 10 }, 3_150_000n],
  ["anthropic", "claude-sonnet-5-5", "2026-10-06", { inputTokens: 1_000, cachedInputTokens: 1_000 }, 200_000n],
  ["anthropic", "claude-sonnet-5-5", "2026-10-08", { inputTokens: 1_000, cachedInputTokens: 1_000 }, 100_000n],
  ["anthropic", "claude-haiku-5-5", "2026-11-01", { inputTokens: 100_000, outputTokens: 10 }, 10_005_000n],
  ["anthropic", "claude-haiku-5-5", "2026-11-01", { inputTokens: 100_001, cacheWriteTokens: 100_001 }, 62_500_625n],
  ["openai", "gpt-6.1-sol", "2026-11-01", { inputTokens: 272_001, outputTokens: 2 }, 1_088_034_000n],
  ["mistral", "mistral-medium-latest", "2026-11-01", { inputTokens: 2_000 }, 3_000_000n],
  ["openai", "gpt-4o-mini", "2026-11-01", { inputTokens: 1_000, serviceTier: "batch" }, 75_000n],
  ["openai", "gpt-4o-mini", "2026-11-01", { inputTokens: 1_000 }, 150_000n],
  ["openai", "gpt-5.5", "2026-11-01", { inputTokens: 1_000_000, serviceTier: "batch" }, 2_500_000_000n],
  ["openai", "gpt-5.5", "2026-11-01", { inputTokens: 1_000_000 }, 10_000_000_000n],
  ["openai", "text-embedding-3-small", "2026-11-01", { inputTokens: 1_000, serviceTier: "batch" }, 10_000n],
  ["openai", "gpt-6-sol", "2026-11-21", { inputTokens: 1_000, outputTokens: 10, serviceTier: "batch" }, 1_050_000n],
  ["openai", "gpt-6-luna", "2026-11-21", { inputTokens: 1_000, outputTokens: 10, serviceTier: "batch" }, 52_500n],
  [
    "openai",
    "gpt-6.1-sol",
    "2026-11-21",
    { inputTokens: 1_000, cachedInputTokens: 1_000, serviceTier: "batch" },
    50_000n,
  ],
  ["openai", "gpt-5.2", "2026-11-21", { inputTokens: 1_000, serviceTier: "batch" }, 875_000n],
  ["openai", "gpt-image-1", "2026-11-01", { inputTokens: 50, imageInputTokens: 40, outputTokens: 1_056 }, 42_690_000n],
  ["openai", "whisper-1", "2026-11-01", { serverToolUses: { audio_seconds: 60 } }, 6_000_000n],
  ["openai", "tts-1", "2026-11-01", { serverToolUses: { characters: 1_000 } }, 15_000_000n],
])("%s/%s on %s: %j", (provider, model, day, counts, nanoUsd) => {
  const price = list.find({ provider, model }, Date.parse(day));
  if (price === undefined) throw new Error("no price");
  expect(costNanoUsd(Object.assign(create(UsageSchema), counts), price)).toBe(nanoUsd);
});

test("every model of OpenAI's that is billed by tokens has a price for batches today", () => {
  for (const { provider, model } of builtInPrices) {
    const price = provider === "openai" ? list.find({ provider, model }, nowMs) : undefined;
    if (price !== undefined && price.nanoUsdPerThousandUses === undefined)
      expect(coversBatches(price), model).toBe(true);
  }
});

test("a price does not reach back before its source", () => {
  expect(list.find({ provider: "openai", model: "gpt-6-sol" }, Date.parse("2026-09-21"))).toBeUndefined();
});
