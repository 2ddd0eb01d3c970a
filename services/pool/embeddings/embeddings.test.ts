import type { JsonObject } from "@bufbuild/protobuf";
import type { Codec } from "@weir/dialect/codec";
import {
  geminiBatchEmbedContentsDoor,
  geminiEmbedContentDoor,
  openaiEmbeddingsDoor,
} from "@weir/dialect/embeddings/door";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/config_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  startProvider,
} from "../testing/pool-under-test.ts";

// Each a 32-bit float and a double alike.
const vectors = [
  [0.5, -0.25, 1.5],
  [-2, 0.0625, 3],
  [1, 2, 4],
];
const base64 = (vector: readonly number[]) => Buffer.from(new Float32Array(vector).buffer).toString("base64");

/** A vendor, what it answers to so many inputs, and where it wants them. */
interface Vendor {
  readonly init: ProviderInit;
  readonly model: string;
  readonly path: string;
  answer(of: readonly unknown[]): JsonObject;
  /** The inputs of a body that it got. */
  inputs(body: JsonObject): unknown;
  readonly source: UsageSource;
}

const openaiAnswer = (of: readonly unknown[]): JsonObject => ({
  object: "list",
  data: of.map((embedding, index) => ({ object: "embedding", index, embedding: embedding as never })),
  model: "served",
  usage: { prompt_tokens: 7, total_tokens: 7 },
});

const texts = (body: JsonObject) =>
  (body["requests"] as never[]).map(({ content }) => (content as Content).parts[0]?.text);
interface Content {
  readonly parts: readonly { readonly text: string }[];
}

const vendors: Readonly<Record<string, Vendor>> = {
  openai: {
    init: { kind: ProviderKind.OPENAI },
    model: "target-model",
    path: "/v1/embeddings",
    answer: openaiAnswer,
    inputs: ({ input }) => input,
    source: UsageSource.REPORTED,
  },
  azure: {
    init: { kind: ProviderKind.AZURE, apiVersion: "2024-10-21" },
    model: "my deployment",
    path: "/v1/openai/deployments/my%20deployment/embeddings?api-version=2024-10-21",
    answer: openaiAnswer,
    inputs: ({ input }) => input,
    source: UsageSource.REPORTED,
  },
  gemini: {
    init: { kind: ProviderKind.GEMINI },
    model: "gemini-embedding-001",
    path: "/v1/models/gemini-embedding-001:batchEmbedContents",
    answer: (of) => ({ embeddings: of.map((values) => ({ values })) as never }),
    inputs: texts,
    source: UsageSource.COUNTED,
  },
  "gemini that reports": {
    init: { kind: ProviderKind.GEMINI },
    model: "gemini-embedding-2",
    path: "/v1/models/gemini-embedding-2:batchEmbedContents",
    answer: (of) => ({ embeddings: of.map((values) => ({ values })) as never, usageMetadata: { promptTokenCount: 7 } }),
    inputs: texts,
    source: UsageSource.REPORTED,
  },
  vertex: {
    init: { kind: ProviderKind.VERTEX, project: "proj", region: "europe-west4" },
    model: "text-embedding-005",
    path: "/v1/projects/proj/locations/europe-west4/publishers/google/models/text-embedding-005:predict",
    answer: (of) => ({
      predictions: of.map((values, index) => ({
        embeddings: { values, statistics: { token_count: index === 0 ? 7 : 0, truncated: false } },
      })) as never,
    }),
    inputs: ({ instances }) => (instances as { content: string }[]).map(({ content }) => content),
    source: UsageSource.REPORTED,
  },
  ollama: {
    init: { kind: ProviderKind.OLLAMA },
    model: "nomic-embed-text",
    path: "/v1/api/embed",
    answer: (of) => ({ model: "nomic-embed-text", embeddings: of as never, prompt_eval_count: 7 }),
    inputs: ({ input }) => input,
    source: UsageSource.REPORTED,
  },
  "cohere on bedrock": {
    init: { kind: ProviderKind.BEDROCK },
    model: "eu.cohere.embed-v4:0",
    path: "/v1/model/eu.cohere.embed-v4%3A0/invoke",
    answer: (of) => ({ id: "x", response_type: "embeddings_by_type", embeddings: { float: of as never } }),
    inputs: (body) => body["texts"],
    source: UsageSource.COUNTED,
  },
};

interface Asked {
  readonly codec?: Codec;
  readonly init?: ProviderInit;
  readonly model?: string;
  readonly status?: number;
  readonly type?: string;
}

/** One request to a vendor that answers with given bytes, and what became of it. */
async function ask(body: JsonObject, answer: string | Buffer, asked: Asked = {}) {
  const { codec = openaiEmbeddingsDoor, init = {}, model = "target-model", status = 200 } = asked;
  await using provider = await startProvider((response) =>
    response.writeHead(status, { "content-type": asked.type ?? "application/json" }).end(answer),
  );
  await using pool = createTestPool(provider.url, init);
  const request = attemptRequest(body, { target: { provider: "p", model } }, codec);
  const got = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
  const [sent] = provider.received;
  return {
    ...got,
    json: got.error === undefined ? (JSON.parse(got.text) as JsonObject) : {},
    sent,
    sentJson: sent === undefined ? {} : (JSON.parse(sent.body) as JsonObject),
    events: pool.journal.events,
    intents: [...pool.journal.intents.values()],
    defects: pool.defects,
  };
}

const two = { model: "alias", input: ["one", "two"] };
const geminiTwo = {
  requests: ["one", "two"].map((text) => ({ model: "models/alias", content: { parts: [{ text }] } })),
};
const geminiOne = { content: { parts: [{ text: "one" }] } };
const twoVectors = vectors.slice(0, 2);

describe.each(Object.entries(vendors))("a provider of %s", (_, vendor) => {
  const { init, model } = vendor;
  const counted = vendor.source === UsageSource.COUNTED;

  test("answers a client of OpenAI's dialect in numbers", async () => {
    const got = await ask(two, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    expect(got.error).toBeUndefined();
    expect(got.sent?.url).toBe(vendor.path);
    expect(vendor.inputs(got.sentJson)).toEqual(["one", "two"]);
    expect(got.head).toMatchObject({ status: 200, contentType: "application/json", warnings: [] });
    expect(got.json).toMatchObject({
      object: "list",
      data: twoVectors.map((embedding, index) => ({ object: "embedding", index, embedding })),
    });
    const [event] = got.events;
    const inputTokens = counted ? Math.ceil(JSON.stringify(two).length / 4) : 7;
    expect(event).toMatchObject({
      outcome: AttemptOutcome.COMPLETED,
      usageSource: vendor.source,
      usage: { inputTokens, outputTokens: 0 },
      stream: false,
    });
    expect(got.json["usage"]).toEqual({ prompt_tokens: inputTokens, total_tokens: inputTokens });
    expect(got.events).toHaveLength(1);
    expect(got.intents).toMatchObject([{ reserved: { outputTokens: 0 } }]);
    expect(got.defects).toEqual([]);
  });

  test("answers it in base64 when that is asked for", async () => {
    const body = { ...two, encoding_format: "base64" };
    const got = await ask(body, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    expect(got.json).toMatchObject({ data: twoVectors.map((vector, index) => ({ index, embedding: base64(vector) })) });
  });

  test("answers a client of Gemini's dialect in the form of its request", async () => {
    const many = await ask(geminiTwo, JSON.stringify(vendor.answer(twoVectors)), {
      init,
      model,
      codec: geminiBatchEmbedContentsDoor,
    });
    expect(many.error).toBeUndefined();
    expect(vendor.inputs(many.sentJson)).toEqual(["one", "two"]);
    expect(many.json).toMatchObject({ embeddings: twoVectors.map((values) => ({ values })) });
    expect(many.events).toMatchObject([{ usageSource: vendor.source, usage: { outputTokens: 0 } }]);

    const single = vendor.init.kind === ProviderKind.GEMINI ? { embedding: { values: vectors[0] } } : undefined;
    const one = await ask(geminiOne, JSON.stringify(single ?? vendor.answer(vectors.slice(0, 1))), {
      init,
      model,
      codec: geminiEmbedContentDoor,
    });
    expect(one.error).toBeUndefined();
    expect(one.json).toMatchObject({ embedding: { values: vectors[0] } });
  });

  test.each([
    ["too few vectors", vectors.slice(0, 1)],
    ["too many vectors", vectors],
    ["no vectors", []],
    ["vectors of two lengths", [[1, 2], [1]]],
    ["an empty vector", [[1], []]],
    [
      "no number among the numbers",
      [
        [1, 2],
        [1, "2"],
      ],
    ],
    ["null for a vector", [[1, 2], null]],
    [
      "null among the numbers",
      [
        [1, 2],
        [1, null],
      ],
    ],
    [
      "a list among the numbers",
      [
        [1, 2],
        [1, [2]],
      ],
    ],
  ])("that sends %s: one clear error, one settlement", async (_what, of) => {
    await fails(JSON.stringify(vendor.answer(of)));
  });

  test.each([
    ["what is no JSON", '{"data":'],
    ["an empty object", "{}"],
    ["a list", "[]"],
    ["nothing", ""],
    ["NaN", JSON.stringify(vendor.answer([["@"], [1]])).replace('"@"', "NaN")],
    ["a number beyond all doubles", JSON.stringify(vendor.answer([["@"], [1]])).replace('"@"', "1e999")],
  ])("that sends %s: one clear error, one settlement", async (_what, bytes) => {
    await fails(bytes);
  });

  async function fails(bytes: string) {
    for (const body of [two, { ...two, encoding_format: "base64" }]) {
      const got = await ask(body, bytes, { init, model });
      expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "protocol" } });
      expect(got.text).toBe("");
      expect(got.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usage: { outputTokens: 0 } }]);
      expect(got.defects).toEqual([]);
    }
  }

  test("that sends another length than was asked for is at fault", async () => {
    const bytes = JSON.stringify(vendor.answer(twoVectors));
    const met = await ask({ ...two, dimensions: 3 }, bytes, { init, model });
    expect(met.error).toBeUndefined();
    expect(JSON.stringify(met.sentJson)).toMatch(/"(dimensions|output_?dimension(ality)?)":3/i);
    const missed = await ask({ ...two, dimensions: 4 }, bytes, { init, model });
    expect(missed.error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE });
    expect(missed.events).toHaveLength(1);
  });

  test("that refuses is told of in its own words only to clients of its dialect", async () => {
    const refusal = JSON.stringify({
      message: "secret words",
      error: { message: "secret words", type: "invalid_request_error" },
    });
    const got = await ask(two, refusal, { init, model, status: 400 });
    if (vendor.answer === openaiAnswer) {
      expect(got).toMatchObject({ text: refusal, head: { status: 400 }, error: undefined });
    } else {
      expect(got.error).toMatchObject({ reason: ErrorReason.PROVIDER_REJECTED });
      expect(String((got.error as WeirError).message)).not.toContain("secret");
    }
    expect(got.events).toMatchObject([{ outcome: AttemptOutcome.REJECTED, usage: { inputTokens: 0 } }]);
  });

  test("takes no tokens unless it is of OpenAI's dialect", async () => {
    const body = { model: "alias", input: [[1, 2], [3]] };
    const got = await ask(body, JSON.stringify(vendor.answer(twoVectors)), { init, model });
    if (vendor.answer === openaiAnswer) {
      expect(got.sentJson["input"]).toEqual(body.input);
    } else {
      expect(got.error).toMatchObject({
        reason: ErrorReason.TARGET_UNSUPPORTED,
        metadata: { param: "input[0]", provider: "p" },
      });
      expect(got.sent).toBeUndefined();
      expect(got.intents).toEqual([]);
    }
  });
});

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
    const plain = await ask(two, JSON.stringify({ data: openaiAnswer(twoVectors)["data"] } as JsonObject));
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
      expect(got.error).toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
      expect(got.sent).toBeUndefined();
    }
  });
});
