import {
  geminiBatchEmbedContentsDoor,
  geminiEmbedContentDoor,
  openaiEmbeddingsDoor,
} from "@weir/dialect/embeddings/door";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { describe, expect, test } from "vitest";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  readAll,
  startProvider,
} from "../testing/pool-under-test.ts";
import { ask, base64, geminiOne, openaiAnswer, two, twoVectors } from "./testing.ts";

describe("a provider of the client's own dialect", () => {
  test("gets OpenAI's body as it came but for the model, and its bytes come back as they are", async () => {
    const body = '{ "model": "alias" , "input":"one","new_member":{"a":[1.0,12345678901234567890]},"user":"u"}';
    const answer =
      '{"data":[ {"index":0,"embedding":[0.10000000000000000555,1]} ],"usage":{"prompt_tokens":1},"more":1.0}';
    await using provider = await startProvider((response) =>
      response
        .writeHead(200, { "content-type": "application/json", "openai-version": "2020-10-01", "x-request-id": "r" })
        .end(answer),
    );
    await using pool = createTestPool(provider.url);
    const request = attemptRequest(body, {}, openaiEmbeddingsDoor);
    const got = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
    expect(got.text).toBe(answer);
    expect(provider.received[0]?.body).toBe(body.replace('"alias"', '"target-model"'));
    expect(got.head?.headers).toEqual({ "openai-version": "2020-10-01", "x-provider-request-id": "r" });
  });

  test("gets each of Gemini's requests with its own model, and nothing else changed", async () => {
    const config = { taskType: "RETRIEVAL_DOCUMENT", title: "t", outputDimensionality: 3, newMember: [1] };
    const body = {
      requests: [
        { model: "models/other", content: { role: "user", parts: [{ text: "a" }, { text: "b" }] }, ...config },
        { content: { parts: [{ inlineData: { mimeType: "image/png", data: "AA==" } }] } },
      ],
    };
    const answer = '{ "embeddings": [{"values":[1,2,3]}, {"values":[1.0,2]}] }';
    const init = { kind: ProviderKind.GEMINI };
    const got = await ask(body, answer, { init, codec: geminiBatchEmbedContentsDoor });
    expect(got.text).toBe(answer);
    expect(got.sentJson).toEqual({
      requests: body.requests.map((request) => ({ ...request, model: "models/target-model" })),
    });
  });

  test("is called by Gemini's `embedContent` for one content", async () => {
    const init = { kind: ProviderKind.GEMINI };
    const answer = '{"embedding":{"values":[1,2]},"usageMetadata":{"promptTokenCount":3}}';
    const got = await ask({ ...geminiOne, model: "models/alias" }, answer, { init, codec: geminiEmbedContentDoor });
    expect(got.text).toBe(answer);
    expect(got.sent?.url).toBe("/v1/models/target-model:embedContent");
    expect(got.sentJson).toEqual({ ...geminiOne, model: "models/target-model" });
    expect(got.events).toMatchObject([{ usage: { inputTokens: 3 }, usageSource: UsageSource.REPORTED }]);
  });

  test("that answers out of order, or in another encoding than was asked for, is put right", async () => {
    const data = twoVectors.map((embedding, index) => ({ object: "embedding", index, embedding }));
    const usage = { prompt_tokens: 2, total_tokens: 2 };
    const got = await ask(two, JSON.stringify({ data: data.toReversed(), model: "m", usage }));
    expect(got.json).toEqual({ object: "list", data, model: "m", usage });
    const numbers = await ask(two, JSON.stringify(openaiAnswer(twoVectors.map(base64))));
    expect(numbers.json).toMatchObject({ data });
    const same = JSON.stringify(openaiAnswer(twoVectors.map(base64)));
    expect((await ask({ ...two, encoding_format: "base64" }, same)).text).toBe(same);
  });

  test.each([
    ["an index twice", [0, 0]],
    ["an index beyond the end", [0, 2]],
    ["a negative index", [0, -1]],
    ["an index that is none", [0, "1"]],
    ["an index for one alone", [0, undefined]],
  ])("that sends %s is at fault", async (_, indices) => {
    const data = indices.map((index) => ({ index, embedding: [1] }));
    const got = await ask(two, JSON.stringify({ data }));
    expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    expect(got.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usageSource: UsageSource.ESTIMATED }]);
  });

  test.each([
    ["no base64", "é\u0000**"],
    ["base64 of no whole number of floats", "AAAA"],
    ["base64 without its padding", base64([1]).replaceAll("=", "")],
    ["empty base64", ""],
    ["base64 of NaN", base64([Number.NaN])],
    ["base64 of infinity", base64([Infinity])],
  ])("that sends %s is at fault", async (_, embedding) => {
    for (const encoding_format of ["base64", "float"]) {
      const got = await ask({ ...two, input: "one", encoding_format }, JSON.stringify(openaiAnswer([embedding])));
      expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    }
  });

  test("that sends a number beyond all floats is at fault only where it must become one", async () => {
    const answer = JSON.stringify(openaiAnswer([[1e300]]));
    expect((await ask({ ...two, input: "one" }, answer)).text).toBe(answer);
    const got = await ask({ ...two, input: "one", encoding_format: "base64" }, answer);
    expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
  });

  test("that reports no usage is counted, and one that names only a total is believed", async () => {
    const plain = await ask(two, JSON.stringify({ data: openaiAnswer(twoVectors)["data"] }));
    expect(plain.events).toMatchObject([{ usageSource: UsageSource.COUNTED, usage: { outputTokens: 0 } }]);
    const total = await ask(two, JSON.stringify({ ...openaiAnswer(twoVectors), usage: { total_tokens: 5 } }));
    expect(total.events).toMatchObject([{ usageSource: UsageSource.REPORTED, usage: { inputTokens: 5 } }]);
  });

  test.each(["text/html", "text/event-stream"])("that answers with %s is at fault", async (type) => {
    const got = await ask(two, "<html>", { type });
    expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    expect(got.events).toHaveLength(1);
  });
});
