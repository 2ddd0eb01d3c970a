import { expect, test } from "vitest";
import { readUsage as readAnthropic } from "../anthropic-messages/usage.ts";
import { readUsage as readBedrock } from "../bedrock-converse/usage.ts";
import { gemini } from "../gemini/codec.ts";
import { readUsage as readGemini } from "../gemini/usage.ts";
import { openaiChat } from "../openai-chat/codec.ts";
import { readChatAnswer } from "../openai-chat/answer.ts";
import { createChatStreamReader } from "../openai-chat/stream.ts";
import { readUsage as readResponses } from "../openai-responses/usage.ts";
import { openaiResponses } from "../openai-responses/codec.ts";
import { readUsage as readChat } from "../openai/usage.ts";
import { tierOfRequest, tierOfUsage } from "../service-tier.ts";
import { readWireRequest, wireRequest } from "../wire-request.ts";

test.each(["flex", "priority", "batch", "scale"])("%s is a tier of its own", (tier) => {
  expect(tierOfUsage(tier)).toBe(tier);
});

test.each([undefined, null, 7, "", "default", "standard", "auto", "two words", "x".repeat(65), "__proto__\0"])(
  "%o is the standard tier, or none that can be kept",
  (value) => {
    expect(tierOfUsage(value)).toBeUndefined();
  },
);

test("each vendor says the tier where its readers find it", () => {
  const counts = { input_tokens: 1, output_tokens: 2 };
  expect(readChat({ prompt_tokens: 1, completion_tokens: 2 }, "flex")?.usage.serviceTier).toBe("flex");
  expect(readResponses({ service_tier: "priority", usage: counts })?.usage.serviceTier).toBe("priority");
  expect(readAnthropic({ ...counts, service_tier: "batch" })?.usage.serviceTier).toBe("batch");
  expect(readBedrock({ inputTokens: 1, outputTokens: 2 }, { type: "flex" })?.usage.serviceTier).toBe("flex");
  expect(readAnthropic({ ...counts, service_tier: "standard" })?.usage).not.toHaveProperty("serviceTier");
});

test("each vendor says the standard tier, which is not the same as saying none", () => {
  const counts = { input_tokens: 1, output_tokens: 2 };
  const ofGemini = { promptTokenCount: 1, candidatesTokenCount: 2 };
  const bedrock = { inputTokens: 1, outputTokens: 2 };
  const readings = [
    readChat({ prompt_tokens: 1, completion_tokens: 2 }, "default"),
    readResponses({ service_tier: "default", usage: counts }),
    readAnthropic({ ...counts, service_tier: "standard" }),
    readBedrock(bedrock, { type: "default" }),
    readGemini({ ...ofGemini, serviceTier: "standard" }),
    readGemini({ ...ofGemini, trafficType: "ON_DEMAND" }),
  ];
  for (const reading of readings) expect(reading).toMatchObject({ standardTier: true });
  const silent = [
    readChat({ prompt_tokens: 1, completion_tokens: 2 }),
    // What Responses say of a request before they know.
    readResponses({ service_tier: "auto", usage: counts }),
    readAnthropic(counts),
    readBedrock(bedrock),
    readGemini({ ...ofGemini, serviceTier: "unspecified" }),
  ];
  for (const reading of silent) {
    expect(reading).not.toHaveProperty("standardTier");
    expect(reading?.usage).not.toHaveProperty("serviceTier");
  }
});

test.each(["auto", "default", "standard_only", "batch", "scale", "reserved", "", 7, null, { type: "flex" }])(
  "a request for %o names no tier that decides on a price",
  (value) => {
    expect(tierOfRequest(value)).toBeUndefined();
  },
);

test("what a request asks for travels beside its body, in dialects that pass as bytes", () => {
  const message = { role: "user", content: "Hi" };
  const contents = [{ parts: [{ text: "Hi" }] }];
  const asked = [
    [openaiChat, { model: "m", messages: [message], service_tier: "flex" }, "flex"],
    [openaiChat, { model: "m", messages: [message], service_tier: "auto" }, undefined],
    [openaiResponses, { model: "m", input: "Hi", service_tier: "priority" }, "priority"],
    [gemini, { contents, serviceTier: "flex" }, "flex"],
    [gemini, { contents, service_tier: "flex" }, "flex"],
  ] as const;
  for (const [codec, body, tier] of asked) {
    const reading = readWireRequest(codec, Buffer.from(JSON.stringify(body)));
    expect(wireRequest(codec, reading, false, {}).serviceTier, JSON.stringify(body)).toBe(tier);
  }
  const twice = Buffer.from(
    '{"model":"m","messages":[{"role":"user"}],"service_tier":"flex","service_tier":"priority"}',
  );
  expect(() => readWireRequest(openaiChat, twice)).toThrow("`service_tier` stands more than once.");
});

test("answers of chat completions that pass as bytes tell their tier, whole or streamed", () => {
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const message = { role: "assistant", content: "Hi" };
  const whole = { id: "c1", service_tier: "flex", choices: [{ index: 0, message, finish_reason: "stop" }], usage };
  const answer = readChatAnswer(Buffer.from(JSON.stringify(whole)));
  expect(answer).toMatchObject({ kind: "answer", usage: { usage: { serviceTier: "flex" } } });

  const reader = createChatStreamReader({ includeUsage: true });
  const chunk = { id: "c1", service_tier: "priority", choices: [{ index: 0, delta: message, finish_reason: "stop" }] };
  for (const json of [chunk, { ...chunk, choices: [], usage }]) {
    reader.push(Buffer.from(`data: ${JSON.stringify(json)}\n\n`));
  }
  expect(reader.facts.usage?.usage.serviceTier).toBe("priority");
});
