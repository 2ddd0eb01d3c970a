import { anthropicMessages } from "@weir/dialect/anthropic-messages/codec";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import type { Codec } from "@weir/dialect/codec";
import { gemini } from "@weir/dialect/gemini/codec";
import type { JsonObject } from "@weir/dialect/json";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import { fromReading, inTier, totals } from "./usage-counts.ts";

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

test.each<[string, string | undefined, true | undefined, string | undefined, string | undefined, UsageSource]>([
  ["the one that the provider names", "priority", undefined, "flex", "priority", UsageSource.REPORTED],
  ["the standard one, as the provider says", undefined, true, "flex", undefined, UsageSource.REPORTED],
  [
    "the one that was asked for, where the provider says none",
    undefined,
    undefined,
    "flex",
    "flex",
    UsageSource.REPORTED,
  ],
  ["the standard one, where none was asked for", undefined, undefined, undefined, undefined, UsageSource.REPORTED],
])("an attempt's tier is %s", (_, told, standardTier, asked, tier, source) => {
  const usage = inTier(totals(9, 5), told);
  const reading = standardTier === undefined ? { usage, sound: true } : { usage, sound: true, standardTier };
  const metered = fromReading(reading, () => totals(1, 2), asked);
  expect([metered.usage, metered.source]).toEqual([inTier(totals(9, 5), tier), source]);
});
