import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { readEnvelope } from "./envelope.ts";

const contents = [{ parts: [{ text: "hi" }] }];

test.each<[string, object, object]>([
  ["nothing more", {}, { choiceCount: 1 }],
  ["limits", { generationConfig: { maxOutputTokens: 10, candidateCount: 3 } }, { choiceCount: 3, maxOutputTokens: 30 }],
  [
    "limits in snake_case",
    { generation_config: { max_output_tokens: 10, candidate_count: 3 } },
    { choiceCount: 3, maxOutputTokens: 30 },
  ],
  ["null", { generationConfig: null, x: 1 }, { choiceCount: 1 }],
  ["null inside", { generationConfig: { maxOutputTokens: null } }, { choiceCount: 1 }],
  ["roles", { contents: [{ role: "model" }, { role: "user" }, { role: "function" }, {}] }, { choiceCount: 1 }],
])("%s", (_, body, envelope) => {
  expect(readEnvelope({ contents, ...body })).toEqual({ includeUsage: true, ...envelope });
});

test.each<[string, object, string]>([
  ["no contents", { contents: null }, "contents"],
  ["empty contents", { contents: [] }, "contents"],
  ["contents that are a text", { contents: "a" }, "contents"],
  ["a content that is a text", { contents: [...contents, "a"] }, "contents[1]"],
  ["an unknown role", { contents: [{ role: "system" }] }, "contents[0].role"],
  ["a config that is a list", { generationConfig: [] }, "generationConfig"],
  ["two configs", { generationConfig: {}, generation_config: { maxOutputTokens: 1 } }, "generationConfig"],
  [
    "two limits",
    { generationConfig: { maxOutputTokens: 5, max_output_tokens: 50 } },
    "generationConfig.maxOutputTokens",
  ],
  ["no tokens", { generationConfig: { maxOutputTokens: 0 } }, "generationConfig.maxOutputTokens"],
  ["tokens as text", { generationConfig: { maxOutputTokens: "5" } }, "generationConfig.maxOutputTokens"],
  ["too many tokens", { generationConfig: { maxOutputTokens: 10_000_001 } }, "generationConfig.maxOutputTokens"],
  ["too many choices", { generationConfig: { candidateCount: 129 } }, "generationConfig.candidateCount"],
  ["half a choice", { generationConfig: { candidateCount: 0.5 } }, "generationConfig.candidateCount"],
])("refused: %s", (_, body, param) => {
  expect(() => readEnvelope({ contents, ...body })).toThrow(
    expect.objectContaining({ name: WeirError.name, metadata: { param } }) as Error,
  );
});
