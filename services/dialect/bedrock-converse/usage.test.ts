import { create } from "@bufbuild/protobuf";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { usages } from "./testing/replies.ts";
import { readUsage, writeUsage } from "./usage.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);

test("usage comes back as it was, and adds up", () => {
  fc.assert(
    fc.property(usages, (usage) => {
      expect(readUsage(writeUsage(usage))).toEqual({ usage, sound: true });
    }),
    { numRuns },
  );
});

// As https://github.com/tensorzero/tensorzero/issues/5688 shows them of Claude Haiku 4.5.
test("what was written to the cache stands beside the input", () => {
  const reading = readUsage({
    cacheDetails: [{ inputTokens: 7502, ttl: "5m" }],
    cacheReadInputTokenCount: 0,
    cacheReadInputTokens: 0,
    cacheWriteInputTokenCount: 7502,
    cacheWriteInputTokens: 7502,
    inputTokens: 18,
    outputTokens: 386,
    serverToolUsage: {},
    totalTokens: 7906,
  });
  const usage = {
    inputTokens: 7520,
    cachedInputTokens: 0,
    cacheWriteTokens: 7502,
    cacheWriteLongTokens: 0,
    outputTokens: 386,
  };
  expect(reading).toMatchObject({ sound: true, usage });
});

test("what was read from the cache stands beside the input", () => {
  const counts = {
    cacheReadInputTokens: 7502,
    cacheWriteInputTokens: 0,
    inputTokens: 18,
    outputTokens: 503,
    totalTokens: 8023,
  };
  const usage = { inputTokens: 7520, cachedInputTokens: 7502, cacheWriteTokens: 0, outputTokens: 503 };
  expect(readUsage(counts)).toMatchObject({ sound: true, usage });
});

test("the names that older answers have are known", () => {
  const counts = { cacheReadInputTokenCount: 5, cacheWriteInputTokenCount: 6, inputTokens: 1, outputTokens: 2 };
  expect(readUsage(counts)?.usage).toMatchObject({ inputTokens: 12, cachedInputTokens: 5, cacheWriteTokens: 6 });
});

test("writes of one hour are told apart, and without a total they make it up", () => {
  const cacheDetails = [
    { ttl: "1h", inputTokens: 30 },
    { ttl: "5m", inputTokens: 4 },
  ];
  expect(readUsage({ inputTokens: 1, outputTokens: 2, cacheDetails })).toMatchObject({
    sound: true,
    usage: { inputTokens: 35, cacheWriteTokens: 34, cacheWriteLongTokens: 30 },
  });
});

test("uses of AWS's own tools are counted by their names", () => {
  const counts = { inputTokens: 1, outputTokens: 2, serverToolUsage: { webSearchRequests: 3, "no word": 1, odd: "x" } };
  expect(readUsage(counts)).toMatchObject({ sound: false, usage: { serverToolUses: { webSearchRequests: 3 } } });
});

test("not reported is not zero", () => {
  expect(readUsage({ inputTokens: 1, outputTokens: 2 })?.usage).toEqual(
    create(UsageSchema, { inputTokens: 1, outputTokens: 2 }),
  );
  expect(readUsage({ outputTokens: 2 })?.usage).toEqual(create(UsageSchema, { outputTokens: 2 }));
});

test.each([
  [
    "a total that is not the sum",
    { inputTokens: 1, outputTokens: 2, totalTokens: 4 },
    { inputTokens: 1, outputTokens: 2 },
  ],
  [
    "a total without the cache",
    { inputTokens: 10, outputTokens: 2, cacheReadInputTokens: 5, totalTokens: 12 },
    { inputTokens: 15, cachedInputTokens: 5, outputTokens: 2 },
  ],
  ["a negative count", { inputTokens: -1, outputTokens: 2 }, { outputTokens: 2 }],
  ["a fraction", { inputTokens: 1.5, outputTokens: 2 }, { outputTokens: 2 }],
  ["a text", { inputTokens: 1, outputTokens: "2" }, { inputTokens: 1 }],
  ["a count beyond 2^32", { inputTokens: 4294967296, outputTokens: 2 }, { outputTokens: 2 }],
  [
    "a sum beyond 2^32",
    { inputTokens: 4294967295, outputTokens: 2, cacheReadInputTokens: 1 },
    { cachedInputTokens: 1, outputTokens: 2 },
  ],
  [
    "writes that are not the sum of their lifetimes",
    { inputTokens: 1, outputTokens: 2, cacheWriteInputTokens: 5, cacheDetails: [{ ttl: "1h", inputTokens: 9 }] },
    { inputTokens: 6, cacheWriteTokens: 5, outputTokens: 2 },
  ],
])("%s is not sound", (_, counts, usage) => {
  expect(readUsage(counts)).toEqual({ sound: false, usage: create(UsageSchema, usage) });
});

test.each([undefined, null, 5, [], {}, { totalTokens: 5 }, { cacheReadInputTokens: 5 }])("%j is no usage", (json) => {
  expect(readUsage(json)).toBeUndefined();
});

test("usage of other vendors is written by what AWS has members for", () => {
  const usage = create(UsageSchema, { inputTokens: 10, cachedInputTokens: 4, outputTokens: 7, reasoningTokens: 3 });
  expect(writeUsage(usage)).toEqual({ inputTokens: 6, outputTokens: 7, totalTokens: 17, cacheReadInputTokens: 4 });
  expect(writeUsage(create(UsageSchema, { reasoningTokens: 3 }))).toBeUndefined();
  expect(writeUsage(undefined)).toBeUndefined();
});
