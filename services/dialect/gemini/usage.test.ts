import { create } from "@bufbuild/protobuf";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import { readUsage, writeUsage } from "./usage.ts";

const nothing = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };

test("every count has its place: thoughts are added to the output, results of tools to the input", () => {
  expect(
    readUsage({
      promptTokenCount: 100,
      toolUsePromptTokenCount: 20,
      cachedContentTokenCount: 60,
      candidatesTokenCount: 50,
      thoughtsTokenCount: 30,
      totalTokenCount: 200,
      promptTokensDetails: [
        { modality: "TEXT", tokenCount: 80 },
        { modality: "AUDIO", tokenCount: 15 },
        { modality: "IMAGE", tokenCount: 5 },
      ],
      toolUsePromptTokensDetails: [{ modality: "IMAGE", tokenCount: 2 }],
      candidatesTokensDetails: [{ modality: "AUDIO", tokenCount: 40 }, { modality: "IMAGE" }],
      trafficType: "ON_DEMAND",
    }),
  ).toEqual({
    sound: true,
    standardTier: true,
    usage: {
      ...nothing,
      inputTokens: 120,
      cachedInputTokens: 60,
      audioInputTokens: 15,
      imageInputTokens: 7,
      outputTokens: 80,
      reasoningTokens: 30,
      audioOutputTokens: 40,
      imageOutputTokens: 0,
    },
  });
});

test.each<[string, object, object]>([
  [
    "no output, which the total tells",
    { promptTokenCount: 4, totalTokenCount: 4 },
    { inputTokens: 4, outputTokens: 0 },
  ],
  ["no output told", { promptTokenCount: 4 }, { inputTokens: 4 }],
  [
    "thoughts alone",
    { promptTokenCount: 4, thoughtsTokenCount: 3, totalTokenCount: 7 },
    { inputTokens: 4, outputTokens: 3, reasoningTokens: 3 },
  ],
  [
    "null",
    { promptTokenCount: 4, candidatesTokenCount: 1, cachedContentTokenCount: null },
    { inputTokens: 4, outputTokens: 1 },
  ],
])("sound: %s", (_, json, usage) => {
  expect(readUsage(json)).toEqual({ sound: true, usage: { ...nothing, ...usage } });
});

test.each<[string, object, object]>([
  [
    "another total",
    { promptTokenCount: 4, candidatesTokenCount: 2, totalTokenCount: 7 },
    { inputTokens: 4, outputTokens: 2 },
  ],
  ["a total with output that nobody told", { promptTokenCount: 4, totalTokenCount: 9 }, { inputTokens: 4 }],
  ["a total without input", { candidatesTokenCount: 2, totalTokenCount: 9 }, { outputTokens: 2 }],
  ["a negative count", { promptTokenCount: -1, candidatesTokenCount: 2 }, { outputTokens: 2 }],
  ["a fraction", { promptTokenCount: 1.5, candidatesTokenCount: 2 }, { outputTokens: 2 }],
  ["a text", { promptTokenCount: "4", candidatesTokenCount: 2 }, { outputTokens: 2 }],
  [
    "a huge sum",
    { promptTokenCount: 2 ** 32 - 1, toolUsePromptTokenCount: 1, candidatesTokenCount: 2 },
    { outputTokens: 2 },
  ],
  [
    "more cached than there is",
    { promptTokenCount: 4, cachedContentTokenCount: 5, candidatesTokenCount: 2 },
    { inputTokens: 4, outputTokens: 2 },
  ],
  [
    "more sound than there is",
    { promptTokenCount: 4, candidatesTokenCount: 2, candidatesTokensDetails: [{ modality: "AUDIO", tokenCount: 3 }] },
    { inputTokens: 4, outputTokens: 2 },
  ],
])("not sound: %s", (_, json, usage) => {
  expect(readUsage(json)).toEqual({ sound: false, usage: { ...nothing, ...usage } });
});

test.each<[object, string | undefined]>([
  [{ serviceTier: "flex" }, "flex"],
  [{ serviceTier: "priority" }, "priority"],
  [{ serviceTier: "standard" }, undefined],
  [{ serviceTier: "unspecified" }, undefined],
  [{ serviceTier: 7 }, undefined],
  [{ trafficType: "ON_DEMAND" }, undefined],
  [{ trafficType: "ON_DEMAND_FLEX" }, "flex"],
  [{ trafficType: "ON_DEMAND_PRIORITY" }, "priority"],
  [{ trafficType: "PROVISIONED_THROUGHPUT" }, "provisioned_throughput"],
  [{ trafficType: "TRAFFIC_TYPE_UNSPECIFIED" }, undefined],
])("of %j the tier that it was served in is %j", (json, serviceTier) => {
  const { usage } = readUsage({ promptTokenCount: 4, ...json }) ?? {};
  expect(usage?.serviceTier).toBe(serviceTier);
});

test.each([undefined, null, 5, [], {}, { totalTokenCount: 5 }])("%j reports nothing", (json) => {
  expect(readUsage(json)).toBeUndefined();
});

test("for clients the thoughts stand beside the candidates again", () => {
  const usage = create(UsageSchema, {
    inputTokens: 10,
    cachedInputTokens: 4,
    audioInputTokens: 3,
    outputTokens: 8,
    reasoningTokens: 5,
    imageOutputTokens: 2,
  });
  expect(writeUsage(usage)).toEqual({
    promptTokenCount: 10,
    cachedContentTokenCount: 4,
    candidatesTokenCount: 3,
    thoughtsTokenCount: 5,
    totalTokenCount: 18,
    promptTokensDetails: [{ modality: "AUDIO", tokenCount: 3 }],
    candidatesTokensDetails: [{ modality: "IMAGE", tokenCount: 2 }],
  });
});
