import fc from "fast-check";
import { expect, test } from "vitest";
import { readUsage, writeUsage } from "./usage.ts";

test("every count has its place", () => {
  const reading = readUsage({
    prompt_tokens: 100,
    completion_tokens: 50,
    total_tokens: 150,
    prompt_tokens_details: { cached_tokens: 60, audio_tokens: 5, cache_write_tokens: 40, image_tokens: 6 },
    completion_tokens_details: {
      reasoning_tokens: 30,
      audio_tokens: 1,
      image_tokens: 2,
      accepted_prediction_tokens: 3,
      rejected_prediction_tokens: 4,
    },
  });
  expect(reading).toEqual({
    sound: true,
    usage: {
      $typeName: "weir.common.v1.Usage",
      serverToolUses: {},
      inputTokens: 100,
      cachedInputTokens: 60,
      cacheWriteTokens: 40,
      audioInputTokens: 5,
      imageInputTokens: 6,
      outputTokens: 50,
      reasoningTokens: 30,
      audioOutputTokens: 1,
      imageOutputTokens: 2,
      acceptedPredictionTokens: 3,
      rejectedPredictionTokens: 4,
    },
  });
});

test("what is absent or null is not reported, which is not zero", () => {
  const reading = readUsage({ prompt_tokens: 0, completion_tokens: 3, prompt_tokens_details: null });
  expect(reading?.sound).toBe(true);
  expect(reading?.usage).toEqual({
    $typeName: "weir.common.v1.Usage",
    serverToolUses: {},
    inputTokens: 0,
    outputTokens: 3,
  });
});

test.each([undefined, null, 7, "x", [], {}, { total_tokens: 5 }, { prompt_tokens: null }])(
  "%o reports nothing",
  (json) => {
    expect(readUsage(json)).toBeUndefined();
  },
);

test.each<[string, object, object]>([
  ["negative", { prompt_tokens: -1, completion_tokens: 2 }, { outputTokens: 2 }],
  ["fractional", { prompt_tokens: 1.5, completion_tokens: 2 }, { outputTokens: 2 }],
  ["huge", { prompt_tokens: 2 ** 32, completion_tokens: 2 }, { outputTokens: 2 }],
  ["text", { prompt_tokens: "12", completion_tokens: 2 }, { outputTokens: 2 }],
  [
    "a part larger than its total",
    { prompt_tokens: 10, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 11 } },
    { inputTokens: 10, outputTokens: 2 },
  ],
  [
    "parts that do not fit together",
    { prompt_tokens: 10, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 6, cache_write_tokens: 5 } },
    { inputTokens: 10, cachedInputTokens: 6, outputTokens: 2 },
  ],
  [
    "more reasoning than output",
    { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12, completion_tokens_details: { reasoning_tokens: 3 } },
    { inputTokens: 10, outputTokens: 2 },
  ],
])("a count that is %s is left out and marked", (_, json, expected) => {
  const reading = readUsage(json);
  expect(reading?.sound).toBe(false);
  expect(reading?.usage).toEqual({ $typeName: "weir.common.v1.Usage", serverToolUses: {}, ...expected });
});

test("a completion without its reasoning, as the total shows, gets it", () => {
  const reading = readUsage({
    prompt_tokens: 10,
    completion_tokens: 2,
    total_tokens: 42,
    completion_tokens_details: { reasoning_tokens: 30 },
  });
  expect(reading).toMatchObject({ sound: true, usage: { outputTokens: 32, reasoningTokens: 30 } });
});

test.each<[string, object, boolean]>([
  ["adds up", { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 }, true],
  ["is another sum", { prompt_tokens: 10, completion_tokens: 2, total_tokens: 40 }, false],
  ["is no count", { prompt_tokens: 10, completion_tokens: 2, total_tokens: -1 }, false],
])("a total that %s", (_, json, sound) => {
  expect(readUsage(json)).toMatchObject({ sound, usage: { inputTokens: 10, outputTokens: 2 } });
});

test("counts are written as they are read", () => {
  const json = {
    prompt_tokens: 100,
    completion_tokens: 50,
    total_tokens: 150,
    prompt_tokens_details: { cached_tokens: 60, cache_write_tokens: 40, audio_tokens: 5, image_tokens: 6 },
    completion_tokens_details: {
      reasoning_tokens: 30,
      audio_tokens: 1,
      image_tokens: 2,
      accepted_prediction_tokens: 3,
      rejected_prediction_tokens: 4,
    },
  };
  const usage = readUsage(json)?.usage;
  expect(usage && writeUsage(usage)).toEqual(json);
});

test("a count that is not known is not written, nor is a total without it", () => {
  const usage = { $typeName: "weir.common.v1.Usage" as const, serverToolUses: { web_search: 1 }, inputTokens: 0 };
  expect(writeUsage({ ...usage, cacheWriteLongTokens: 0 })).toEqual({ prompt_tokens: 0 });
});

test("DeepSeek's name for the cached part", () => {
  expect(readUsage({ prompt_tokens: 10, completion_tokens: 2, prompt_cache_hit_tokens: 8 })?.usage).toMatchObject({
    cachedInputTokens: 8,
  });
});

test("whatever comes, the laws hold", () => {
  const odd = fc.oneof(fc.nat(), fc.integer(), fc.double(), fc.jsonValue(), fc.constant(undefined));
  const details = fc.dictionary(
    fc.constantFrom("cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens"),
    odd,
  );
  fc.assert(
    fc.property(
      fc.record({
        prompt_tokens: odd,
        completion_tokens: odd,
        total_tokens: odd,
        prompt_tokens_details: fc.oneof(details, odd),
        completion_tokens_details: fc.oneof(details, odd),
      }),
      (json) => {
        const usage = readUsage(json)?.usage;
        if (!usage) return;
        const { $typeName: _, serverToolUses: __, ...counts } = usage;
        for (const count of Object.values(counts)) {
          expect(Number.isInteger(count) && (count as number) >= 0 && (count as number) < 2 ** 32).toBe(true);
        }
        if (usage.inputTokens !== undefined) {
          expect((usage.cachedInputTokens ?? 0) + (usage.cacheWriteTokens ?? 0)).toBeLessThanOrEqual(usage.inputTokens);
        }
        if (usage.outputTokens !== undefined)
          expect(usage.reasoningTokens ?? 0).toBeLessThanOrEqual(usage.outputTokens);
      },
    ),
    { numRuns: 2_000 },
  );
});
