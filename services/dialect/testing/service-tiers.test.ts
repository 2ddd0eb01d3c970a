import { expect, test } from "vitest";
import { readUsage as readAnthropic } from "../anthropic-messages/usage.ts";
import { readUsage as readBedrock } from "../bedrock-converse/usage.ts";
import { readChatAnswer } from "../openai-chat/answer.ts";
import { createChatStreamReader } from "../openai-chat/stream.ts";
import { readUsage as readResponses } from "../openai-responses/usage.ts";
import { readUsage as readChat } from "../openai/usage.ts";
import { tierOfUsage } from "../service-tier.ts";

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
