import { create } from "@bufbuild/protobuf";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readUsage, writeUsage } from "./usage.ts";

const bare = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };

test("every count has its place", () => {
  const reading = readUsage({
    usage: {
      input_tokens: 100,
      input_tokens_details: {
        cached_tokens: 60,
        cache_write_tokens: 40,
        cache_write_tokens_details: { ttl_12h_tokens: 10, ttl_30m_tokens: 30 },
        audio_tokens: 5,
        image_tokens: 6,
      },
      output_tokens: 50,
      output_tokens_details: { reasoning_tokens: 30, audio_tokens: 1, image_tokens: 2 },
      total_tokens: 150,
    },
    tool_usage: { web_search: { num_requests: 2 } },
    output: [
      { type: "web_search_call" },
      { type: "file_search_call" },
      { type: "file_search_call" },
      { type: "code_interpreter_call" },
      { type: "image_generation_call" },
      { type: "mcp_call" },
      "odd",
    ],
  });
  expect(reading).toEqual({
    sound: true,
    usage: {
      ...bare,
      inputTokens: 100,
      cachedInputTokens: 60,
      cacheWriteTokens: 40,
      cacheWriteLongTokens: 10,
      audioInputTokens: 5,
      imageInputTokens: 6,
      outputTokens: 50,
      reasoningTokens: 30,
      audioOutputTokens: 1,
      imageOutputTokens: 2,
      serverToolUses: { web_search: 2, file_search: 2, code_interpreter: 1, image_generation: 1 },
    },
  });
});

test("searches that are not billed are not counted", () => {
  const response = { usage: { input_tokens: 1 }, output: [{ type: "web_search_call" }] };
  expect(readUsage(response)?.usage.serverToolUses).toEqual({ web_search: 1 });
  const tool_usage = { web_search: { num_requests: 0 } };
  expect(readUsage({ ...response, tool_usage })?.usage.serverToolUses).toEqual({});
});

test("what is absent or null is not reported, which is not zero", () => {
  const reading = readUsage({ usage: { input_tokens: 0, output_tokens: 3, input_tokens_details: null } });
  expect(reading).toEqual({ sound: true, usage: { ...bare, inputTokens: 0, outputTokens: 3 } });
});

test.each([undefined, null, 7, "x", [], {}, { total_tokens: 5 }, { input_tokens: null }])(
  "%o reports nothing",
  (usage) => {
    expect(readUsage({ usage })).toBeUndefined();
  },
);

test.each<[string, object, object]>([
  ["negative", { input_tokens: -1, output_tokens: 2 }, { outputTokens: 2 }],
  ["fractional", { input_tokens: 1.5, output_tokens: 2 }, { outputTokens: 2 }],
  ["huge", { input_tokens: 2 ** 32, output_tokens: 2 }, { outputTokens: 2 }],
  ["text", { input_tokens: "12", output_tokens: 2 }, { outputTokens: 2 }],
  [
    "a part larger than its total",
    { input_tokens: 10, output_tokens: 2, input_tokens_details: { cached_tokens: 11 } },
    { inputTokens: 10, outputTokens: 2 },
  ],
  [
    "parts that do not fit together",
    { input_tokens: 10, output_tokens: 2, input_tokens_details: { cached_tokens: 6, cache_write_tokens: 5 } },
    { inputTokens: 10, cachedInputTokens: 6, outputTokens: 2 },
  ],
  [
    "more reasoning than output",
    { input_tokens: 10, output_tokens: 2, output_tokens_details: { reasoning_tokens: 3 } },
    { inputTokens: 10, outputTokens: 2 },
  ],
  [
    "a total that is no sum",
    { input_tokens: 10, output_tokens: 2, total_tokens: 13 },
    { inputTokens: 10, outputTokens: 2 },
  ],
])("a count that is %s is marked", (_, usage, expected) => {
  expect(readUsage({ usage })).toEqual({ sound: false, usage: { ...bare, ...expected } });
});

test("whatever comes, the laws hold", () => {
  const odd = fc.oneof(fc.nat(), fc.integer(), fc.double(), fc.jsonValue(), fc.constant(undefined));
  const details = fc.dictionary(fc.constantFrom("cached_tokens", "cache_write_tokens", "reasoning_tokens"), odd);
  const json = fc.record({
    input_tokens: odd,
    output_tokens: odd,
    total_tokens: odd,
    input_tokens_details: fc.oneof(details, odd),
    output_tokens_details: fc.oneof(details, odd),
  });
  fc.assert(
    fc.property(json, (usage) => {
      const counts = readUsage({ usage })?.usage;
      if (counts === undefined) return;
      for (const value of Object.values(counts)) {
        if (typeof value === "number") expect(Number.isInteger(value) && value >= 0 && value < 2 ** 32).toBe(true);
      }
      const { inputTokens, cachedInputTokens = 0, cacheWriteTokens = 0, outputTokens, reasoningTokens = 0 } = counts;
      expect(cachedInputTokens + cacheWriteTokens).toBeLessThanOrEqual(inputTokens ?? 2 ** 32);
      expect(reasoningTokens).toBeLessThanOrEqual(outputTokens ?? 2 ** 32);
    }),
    { numRuns: 2_000 },
  );
});

test("what clients read has every number that the types demand", () => {
  expect(writeUsage(create(UsageSchema, { inputTokens: 5, outputTokens: 7, reasoningTokens: 3 }))).toEqual({
    usage: {
      input_tokens: 5,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens: 7,
      output_tokens_details: { reasoning_tokens: 3 },
      total_tokens: 12,
    },
  });
  expect(writeUsage(create(UsageSchema, { outputTokens: 7, serverToolUses: { web_search: 2 } }))).toMatchObject({
    usage: { input_tokens: 0, total_tokens: 7 },
    tool_usage: { web_search: { num_requests: 2 }, image_gen: { total_tokens: 0 } },
  });
  expect(writeUsage(create(UsageSchema, { cachedInputTokens: 7 }))).toBeUndefined();
  expect(writeUsage(undefined)).toBeUndefined();
});
