import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import type { JsonObject } from "@weir/dialect/json";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import type { Price } from "@weir/price/price";
import { expect, test } from "vitest";
import { type AskedTier, fromReading, inDearerTier, totals } from "./usage-counts.ts";

const chat = (usage: JsonObject) => ({
  choices: [{ index: 0, message: { role: "assistant", content: "hi" }, finish_reason: "stop" }],
  usage,
});
const responses = (usage: JsonObject) => ({ id: "resp_1", status: "completed", model: "m", output: [], usage });
const messages = (usage: JsonObject) => ({ type: "message", content: [], stop_reason: "end_turn", usage });
const candidates = (usageMetadata: JsonObject) => ({
  candidates: [{ index: 0, content: { parts: [{ text: "hi" }] }, finishReason: "STOP" }],
  usageMetadata,
});
const converse = (usage: JsonObject) => ({
  output: { message: { role: "assistant", content: [{ text: "hi" }] } },
  stopReason: "end_turn",
  usage,
});

/** An answer of each vendor whose counts add up, and the same with counts that contradict themselves. */
const cases: readonly (readonly [Codec, sound: JsonObject, unsound: JsonObject])[] = [
  [
    openaiChat,
    chat({ prompt_tokens: 9, completion_tokens: 5, total_tokens: 14 }),
    chat({ prompt_tokens: 9, completion_tokens: 5, total_tokens: 13 }),
  ],
  [
    openaiResponses,
    responses({ input_tokens: 9, output_tokens: 5, total_tokens: 14 }),
    responses({ input_tokens: 9, output_tokens: 5, total_tokens: 15 }),
  ],
  [
    anthropicMessages,
    messages({
      input_tokens: 6,
      cache_creation_input_tokens: 3,
      cache_creation: { ephemeral_5m_input_tokens: 2, ephemeral_1h_input_tokens: 1 },
      output_tokens: 5,
    }),
    messages({
      input_tokens: 6,
      cache_creation_input_tokens: 3,
      cache_creation: { ephemeral_5m_input_tokens: 2, ephemeral_1h_input_tokens: 2 },
      output_tokens: 5,
    }),
  ],
  [
    gemini,
    candidates({ promptTokenCount: 9, candidatesTokenCount: 3, thoughtsTokenCount: 2, totalTokenCount: 14 }),
    candidates({ promptTokenCount: 9, candidatesTokenCount: 3, thoughtsTokenCount: 2, totalTokenCount: 12 }),
  ],
  [
    bedrockConverse,
    converse({ inputTokens: 6, cacheReadInputTokens: 3, outputTokens: 5, totalTokens: 14 }),
    converse({ inputTokens: 6, cacheReadInputTokens: 3, outputTokens: 5, totalTokens: 11 }),
  ],
];

test.each(cases.map(([codec, sound, unsound]) => [codec.name, codec, sound, unsound] as const))(
  "%s: counts that contradict themselves are kept and flagged",
  (_, codec, sound, unsound) => {
    const metered = (answer: JsonObject) => {
      const usage = codec.readAnswer(answer)?.usage;
      if (usage === undefined) throw new Error("the answer has no usage");
      return fromReading(usage, () => totals(1, 1), undefined);
    };
    expect(metered(sound).source).toBe(UsageSource.REPORTED);
    expect(metered(unsound)).toMatchObject({
      usage: { inputTokens: 9, outputTokens: 5 },
      source: UsageSource.ESTIMATED,
    });
  },
);

test("a total that nobody reported is counted, whatever the other is worth", () => {
  const { outputTokens: _, ...usage } = totals(9, 0);
  expect(fromReading({ usage, sound: false }, () => totals(1, 2), undefined)).toMatchObject({
    usage: { inputTokens: 9, outputTokens: 2 },
    source: UsageSource.COUNTED,
  });
});

const noTokens = { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n };
const oneUsd = {
  input: 1_000_000_000n,
  cachedInput: 1_000_000_000n,
  cacheWrite: 1_000_000_000n,
  output: 1_000_000_000n,
};

/** Rates of three tiers beside one USD a million: `mixed` is cheaper in, and dearer out. */
const tiered: Price = {
  id: "acme/m@always",
  provider: "acme",
  model: "m",
  effectiveTime: undefined,
  nanoUsdPerMillion: oneUsd,
  tiers: [
    { serviceTier: "flex", inputTokensAbove: 0, nanoUsdPerMillion: { ...oneUsd, input: 500_000_000n } },
    { serviceTier: "priority", inputTokensAbove: 0, nanoUsdPerMillion: { ...oneUsd, output: 2_000_000_000n } },
    { serviceTier: "mixed", inputTokensAbove: 0, nanoUsdPerMillion: { ...noTokens, output: 3_000_000_000n } },
  ],
  source: "test",
};

const asked = (name: string | undefined): AskedTier | undefined =>
  name === undefined ? undefined : { name, price: tiered };

test.each<[string, string | undefined, true | undefined, string | undefined, string | undefined]>([
  ["the one that the provider names", "priority", undefined, "flex", "priority"],
  ["the one that the provider names, though it is cheaper", "flex", undefined, "priority", "flex"],
  ["the standard one, as the provider says", undefined, true, "priority", undefined],
  [
    "the one that was asked for, where the provider says none and it is dearer",
    undefined,
    undefined,
    "priority",
    "priority",
  ],
  ["the standard one, where the provider says none and that is dearer", undefined, undefined, "flex", undefined],
  ["the standard one, where none was asked for", undefined, undefined, undefined, undefined],
])("an attempt's tier is %s", (_, told, standardTier, name, tier) => {
  const usage = told === undefined ? totals(9, 5) : { ...totals(9, 5), serviceTier: told };
  const reading = standardTier === undefined ? { usage, sound: true } : { usage, sound: true, standardTier };
  const metered = fromReading(reading, () => totals(1, 2), asked(name));
  expect([metered.usage.serviceTier, metered.source]).toEqual([tier, UsageSource.REPORTED]);
});

test("which of two tiers is dearer is told by what all the tokens cost, counted ones too", () => {
  expect(inDearerTier(totals(90_000, 10_000), asked("mixed")).serviceTier).toBeUndefined();
  expect(inDearerTier(totals(10_000, 90_000), asked("mixed")).serviceTier).toBe("mixed");
  const { outputTokens: _, ...usage } = totals(10_000, 0);
  const metered = fromReading({ usage, sound: true }, () => totals(1, 90_000), asked("mixed"));
  expect(metered).toMatchObject({ usage: { outputTokens: 90_000, serviceTier: "mixed" }, source: UsageSource.COUNTED });
});
