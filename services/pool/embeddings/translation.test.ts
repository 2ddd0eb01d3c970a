import { geminiBatchEmbedContentsDoor, geminiEmbedContentDoor } from "@weir/dialect/embeddings/door";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { describe, expect, test } from "vitest";
import { ask, openaiAnswer, two, twoVectors, vectors, vendors } from "./testing.ts";

describe("in translation", () => {
  test("task and title reach those who know them, and others are told of in a warning", async () => {
    const body = {
      requests: [
        {
          content: { parts: [{ text: "one" }] },
          taskType: "RETRIEVAL_QUERY",
          title: "t",
          outputDimensionality: 3,
        },
      ],
    };
    const codec = geminiBatchEmbedContentsDoor;
    const openai = await ask(body, JSON.stringify(openaiAnswer(vectors.slice(0, 1))), { codec });
    expect(openai.sentJson).toEqual({ model: "target-model", input: ["one"], dimensions: 3 });
    expect(openai.head?.warnings.map(({ code, param }) => [code, param])).toEqual([
      ["field_dropped", "requests[0].taskType"],
      ["field_dropped", "requests[0].title"],
    ]);

    const { init = {}, answer } = vendors["vertex"] ?? {};
    const model = "text-embedding-005";
    const vertex = await ask(body, JSON.stringify(answer?.(vectors.slice(0, 1))), { codec, init, model });
    expect(vertex.sentJson).toEqual({
      instances: [{ content: "one", task_type: "RETRIEVAL_QUERY", title: "t" }],
      parameters: { autoTruncate: false, outputDimensionality: 3 },
    });
    expect(vertex.head?.warnings).toEqual([]);
  });

  test("members of OpenAI's dialect alone are left out with a warning", async () => {
    const { init = {}, answer } = vendors["ollama"] ?? {};
    const body = { ...two, user: "u", task_type: "CLUSTERING", new_member: 1 };
    const got = await ask(body, JSON.stringify(answer?.(twoVectors)), { init });
    expect(got.sentJson).toEqual({ model: "target-model", input: ["one", "two"], truncate: false });
    expect(got.head?.warnings.map(({ param }) => param)).toEqual(["task_type", "user", "new_member"]);
  });

  test("newer models of Vertex AI take one content by `embedContent`", async () => {
    const init = { kind: ProviderKind.VERTEX };
    const model = "gemini-embedding-2";
    const answer = '{"embedding":{"values":[1,2]},"usageMetadata":{"promptTokenCount":3},"truncated":false}';
    const body = { model: "alias", input: "one", dimensions: 2, task_type: "RETRIEVAL_QUERY" };
    const got = await ask(body, answer, { init, model });
    expect(got.sent?.url).toBe("/v1/publishers/google/models/gemini-embedding-2:embedContent");
    expect(got.sentJson).toEqual({
      content: { parts: [{ text: "one" }] },
      embedContentConfig: { autoTruncate: false, taskType: "RETRIEVAL_QUERY", outputDimensionality: 2 },
    });
    expect(got.json).toMatchObject({ data: [{ embedding: [1, 2] }], usage: { prompt_tokens: 3 } });
    expect((await ask(two, answer, { init, model })).error).toMatchObject({
      reason: ErrorReason.TARGET_UNSUPPORTED,
      metadata: { param: "input" },
    });
  });

  test("Titan takes one text", async () => {
    const init = { kind: ProviderKind.BEDROCK };
    const model = "amazon.titan-embed-text-v2:0";
    const answer = '{"embedding":[1,2],"inputTextTokenCount":3,"embeddingsByType":{"float":[1,2]}}';
    const got = await ask({ model: "alias", input: "one", dimensions: 2 }, answer, { init, model });
    expect(got.sent?.url).toBe("/v1/model/amazon.titan-embed-text-v2%3A0/invoke");
    expect(got.sentJson).toEqual({ inputText: "one", dimensions: 2 });
    expect(got.json).toMatchObject({ data: [{ embedding: [1, 2] }], usage: { prompt_tokens: 3 } });
    expect((await ask(two, answer, { init, model })).error).toMatchObject({ metadata: { param: "input" } });
  });

  test.each([
    ["ANTHROPIC", ProviderKind.ANTHROPIC, "claude-sonnet-4-6"],
    ["BEDROCK", ProviderKind.BEDROCK, "anthropic.claude-sonnet-4-6-v1:0"],
    ["BEDROCK", ProviderKind.BEDROCK, "amazon.titan-embed-image-v1"],
  ])("kind %s refuses a model that makes no embeddings of text", async (_, kind, model) => {
    const got = await ask(two, "{}", { init: { kind }, model });
    expect(got.error).toMatchObject({
      reason: ErrorReason.TARGET_UNSUPPORTED,
      metadata: { param: "model", provider: "p" },
    });
    expect(got.intents).toEqual([]);
  });

  test("a content of several parts, or of no text, is refused", async () => {
    const codec = geminiEmbedContentDoor;
    for (const parts of [[{ text: "a" }, { text: "b" }], [{ inlineData: { mimeType: "image/png", data: "AA==" } }]]) {
      const got = await ask({ content: { parts } }, "{}", { codec });
      expect(got.error).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED });
      expect(got.sent).toBeUndefined();
    }
  });
});
