import { expect, test } from "vitest";
import { countTokensBody, readTokenCount, writeTokenCount } from "./count-tokens.ts";

test("a count takes what the model would see, and nothing of how it would reply", () => {
  const seen = { model: "m", messages: [], system: "s", tools: [], tool_choice: {}, thinking: {}, output_config: {} };
  const body = {
    ...seen,
    max_tokens: 1,
    stream: true,
    stop_sequences: [],
    temperature: 1,
    metadata: {},
    service_tier: "auto",
  };
  expect(countTokensBody(body)).toEqual(seen);
});

test("an answer comes back as it was", () => {
  expect(readTokenCount(JSON.parse(writeTokenCount(2_095)) as Record<string, unknown>)).toBe(2_095);
});

test.each([{}, { input_tokens: -1 }, { input_tokens: 1.5 }, { input_tokens: "5" }])("%j is no answer", (body) => {
  expect(readTokenCount(body)).toBeUndefined();
});
