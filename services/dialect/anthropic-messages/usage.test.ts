import { expect, test } from "vitest";
import { mergeUsage, readUsage, writeDeltaUsage, writeUsage } from "./usage.ts";

const base = { input_tokens: 10, output_tokens: 5 };

function counts(json: unknown) {
  const reading = readUsage(json);
  if (reading === undefined) return undefined;
  const { $typeName: _, ...usage } = reading.usage;
  return { ...usage, sound: reading.sound };
}

test("cached input and cache writes are parts of one total", () => {
  expect(
    counts({
      input_tokens: 10,
      cache_read_input_tokens: 100,
      cache_creation_input_tokens: 30,
      cache_creation: { ephemeral_5m_input_tokens: 10, ephemeral_1h_input_tokens: 20 },
      output_tokens: 50,
      output_tokens_details: { thinking_tokens: 40 },
      server_tool_use: { web_search_requests: 2, web_fetch_requests: 0 },
      service_tier: "standard",
    }),
  ).toEqual({
    inputTokens: 140,
    cachedInputTokens: 100,
    cacheWriteTokens: 30,
    cacheWriteLongTokens: 20,
    outputTokens: 50,
    reasoningTokens: 40,
    serverToolUses: { web_search: 2 },
    sound: true,
  });
});

test("what is not reported differs from zero", () => {
  expect(counts({ ...base, cache_read_input_tokens: null, cache_creation: null, output_tokens_details: null })).toEqual(
    {
      inputTokens: 10,
      outputTokens: 5,
      serverToolUses: {},
      sound: true,
    },
  );
  expect(counts({ ...base, cache_read_input_tokens: 0 })).toMatchObject({ cachedInputTokens: 0 });
});

test("cache writes that are reported by lifetime alone are added up", () => {
  const split = { ephemeral_5m_input_tokens: 3, ephemeral_1h_input_tokens: 4 };
  expect(counts({ ...base, cache_creation: split })).toMatchObject({
    inputTokens: 17,
    cacheWriteTokens: 7,
    cacheWriteLongTokens: 4,
    sound: true,
  });
});

test.each<[string, unknown]>([
  ["no object", "10"],
  ["nothing", undefined],
  ["no totals", { cache_read_input_tokens: 5 }],
])("there is no reading of %s", (_, json) => {
  expect(readUsage(json)).toBeUndefined();
});

test.each<[string, object, object]>([
  ["a fraction", { input_tokens: 1.5, output_tokens: 5 }, { outputTokens: 5 }],
  ["a negative count", { input_tokens: 10, output_tokens: -1 }, { inputTokens: 10 }],
  ["a count that is text", { input_tokens: "10", output_tokens: 5 }, { outputTokens: 5 }],
  ["a count of more than 32 bits", { input_tokens: 2 ** 32, output_tokens: 5 }, { outputTokens: 5 }],
  [
    "a sum of more than 32 bits",
    { ...base, cache_read_input_tokens: 2 ** 32 - 1 },
    { cachedInputTokens: 2 ** 32 - 1, outputTokens: 5 },
  ],
  [
    "more thoughts than output",
    { ...base, output_tokens_details: { thinking_tokens: 6 } },
    { inputTokens: 10, outputTokens: 5 },
  ],
  [
    "lifetimes that do not add up",
    { ...base, cache_creation_input_tokens: 5, cache_creation: { ephemeral_1h_input_tokens: 4 } },
    { inputTokens: 15, cacheWriteTokens: 5, outputTokens: 5 },
  ],
  [
    "odd uses of a tool",
    { ...base, server_tool_use: { web_search_requests: -1 } },
    { inputTokens: 10, outputTokens: 5 },
  ],
])("what cannot be true is left out, and the reading is not sound: %s", (_, json, expected) => {
  expect(counts(json)).toEqual({ serverToolUses: {}, ...expected, sound: false });
});

test("rounds that shortened the conversation are added, since the totals leave them out", () => {
  const round = (type: string, input: number, output: number) => ({
    type,
    input_tokens: input,
    output_tokens: output,
    cache_read_input_tokens: 1,
    cache_creation_input_tokens: 2,
    cache_creation: { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 2 },
  });
  const iterations = [round("compaction", 1_000, 100), round("message", 10, 5)];
  expect(counts({ ...base, iterations })).toEqual({
    inputTokens: 1_016,
    cachedInputTokens: 2,
    cacheWriteTokens: 4,
    cacheWriteLongTokens: 4,
    outputTokens: 105,
    serverToolUses: {},
    sound: true,
  });
  expect(counts({ ...base, iterations: [round("message", 3, 2), round("message", 7, 3)] })).toMatchObject({
    inputTokens: 10,
  });
  expect(counts({ ...base, iterations: [...iterations, round("fallback_message", 1, 1)] })).toMatchObject({
    inputTokens: 10,
  });
});

test("tokens of another model on the way make a reading unsound", () => {
  const iterations = [{ type: "advisor_message", ...base }];
  expect(counts({ ...base, iterations })).toMatchObject({ inputTokens: 10, outputTokens: 5, sound: false });
});

test("a later report overwrites what it names, and null names nothing", () => {
  const start = { input_tokens: 10, cache_read_input_tokens: 7, output_tokens: 1 };
  const merged = mergeUsage(start, { output_tokens: 9, cache_read_input_tokens: null });
  expect(merged).toEqual({ input_tokens: 10, cache_read_input_tokens: 7, output_tokens: 9 });
});

test("counts without a place here are left out of what clients see, and parts never exceed their total", () => {
  const usage = {
    $typeName: "weir.common.v1.Usage",
    inputTokens: 10,
    cachedInputTokens: 8,
    cacheWriteTokens: 8,
    audioInputTokens: 3,
    serverToolUses: { code_interpreter: 1 },
  } as const;
  expect(writeDeltaUsage(usage)).toEqual({
    input_tokens: 0,
    cache_read_input_tokens: 8,
    cache_creation_input_tokens: 8,
    output_tokens: 0,
    output_tokens_details: null,
    server_tool_use: null,
  });
});

test("lifetimes are written only when they are known; tiers only when they are the vendor's", () => {
  const usage = {
    $typeName: "weir.common.v1.Usage",
    inputTokens: 10,
    cacheWriteTokens: 8,
    serverToolUses: {},
  } as const;
  expect(writeUsage(usage, "flex")).toMatchObject({ cache_creation: null, service_tier: null });
  expect(writeUsage({ ...usage, cacheWriteLongTokens: 3 }, "batch")).toMatchObject({
    cache_creation: { ephemeral_5m_input_tokens: 5, ephemeral_1h_input_tokens: 3 },
    service_tier: "batch",
  });
});
