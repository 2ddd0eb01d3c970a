import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { bedrockEmbeddings } from "./bedrock.ts";
import type { EmbeddingRequest, EmbeddingTarget } from "./embedding.ts";
import { geminiEmbeddings } from "./gemini.ts";
import { ollamaEmbeddings } from "./ollama.ts";
import { openaiEmbeddings } from "./openai.ts";
import { numRuns, overTheWire, refusal, vectors } from "./testing.ts";
import { vertexEmbeddings } from "./vertex.ts";

function bedrock(model: string): EmbeddingTarget {
  const target = bedrockEmbeddings(model);
  if (target === undefined) throw new Error("no target");
  return target;
}

interface Case {
  readonly target: EmbeddingTarget;
  /** As the vendor documents its answers. */
  answer(vectors: readonly (readonly number[])[], inputTokens: number): JsonObject;
  readonly reports: boolean;
  /** The body for one text `hi` of the length 3, for a query in the document `t` of the user `u`. */
  readonly body: JsonObject;
  readonly dropped: readonly string[];
  /** Whether a request has one input. */
  readonly one?: boolean;
}

const query = "RETRIEVAL_QUERY";
const cases: Readonly<Record<string, Case>> = {
  openai: {
    target: openaiEmbeddings,
    answer: (list, total) => ({
      data: list.map((embedding, index) => ({ embedding, index })),
      usage: { prompt_tokens: total, total_tokens: total },
    }),
    reports: true,
    body: { model: "m", input: ["hi"], dimensions: 3, user: "u" },
    dropped: ["task", "title"],
  },
  gemini: {
    target: geminiEmbeddings,
    answer: (list, total) => ({
      embeddings: list.map((values) => ({ values })),
      usageMetadata: { promptTokenCount: total },
    }),
    reports: true,
    body: {
      requests: [
        {
          model: "models/m",
          content: { parts: [{ text: "hi" }] },
          taskType: query,
          title: "t",
          outputDimensionality: 3,
        },
      ],
    },
    dropped: ["user"],
  },
  "vertex, predict": {
    target: vertexEmbeddings("text-embedding-005"),
    answer: (list, total) => ({
      predictions: list.map((values, index) => ({
        embeddings: { values, statistics: { truncated: false, token_count: index === 0 ? total : 0 } },
      })),
      metadata: { billableCharacterCount: 1 },
    }),
    reports: true,
    body: {
      instances: [{ content: "hi", task_type: query, title: "t" }],
      parameters: { autoTruncate: false, outputDimensionality: 3 },
    },
    dropped: ["user"],
  },
  "vertex, embedContent": {
    target: vertexEmbeddings("gemini-embedding-2"),
    answer: ([values], total) => ({ embedding: { values }, usageMetadata: { promptTokenCount: total } }),
    reports: true,
    body: {
      content: { parts: [{ text: "hi" }] },
      embedContentConfig: { autoTruncate: false, taskType: query, title: "t", outputDimensionality: 3 },
    },
    dropped: ["user"],
    one: true,
  },
  ollama: {
    target: ollamaEmbeddings,
    answer: (list, total) => ({ model: "m", embeddings: list, total_duration: 1, prompt_eval_count: total }),
    reports: true,
    body: { model: "m", input: ["hi"], truncate: false, dimensions: 3 },
    dropped: ["task", "title", "user"],
  },
  titan: {
    target: bedrock("amazon.titan-embed-text-v2:0"),
    answer: ([embedding], total) => ({ embedding, inputTextTokenCount: total, embeddingsByType: { float: embedding } }),
    reports: true,
    body: { inputText: "hi", dimensions: 3 },
    dropped: ["task", "title", "user"],
    one: true,
  },
  cohere: {
    target: bedrock("cohere.embed-v4:0"),
    answer: (list) => ({ id: "x", texts: [], embeddings: { float: list }, response_type: "embeddings_by_type" }),
    reports: false,
    body: {
      texts: ["hi"],
      input_type: "search_query",
      embedding_types: ["float"],
      truncate: "NONE",
      output_dimension: 3,
    },
    dropped: ["title", "user"],
  },
};

describe.each(Object.entries(cases))("%s", (_, { target, answer, reports, body, dropped, one = false }) => {
  const request = (count: number): EmbeddingRequest => ({
    inputs: Array.from({ length: count }, () => ({ content: "hi" })),
    extensions: {},
  });

  test("what an answer says is read: vectors in their order, and the input's tokens", () => {
    fc.assert(
      fc.property(vectors, fc.nat(), (list, inputTokens) => {
        const sent = one ? list.slice(0, 1) : list;
        const read = target.readAnswer(overTheWire(answer(sent, inputTokens)), sent.length);
        expect(read).toMatchObject({ vectors: sent, ordered: true });
        const usage = { sound: true, usage: { inputTokens, outputTokens: 0 } };
        if (reports) expect(read?.usage).toMatchObject(usage);
        else expect(read?.usage).toBeUndefined();
      }),
      { numRuns },
    );
  });

  test("every option has its place, or a warning", () => {
    const { body: written, warnings } = target.writeRequest(
      {
        inputs: [{ content: "hi", dimensions: 3, task: query, title: "t" }],
        encoding: "base64",
        user: "u",
        extensions: { "other-embeddings": { x: 1 } },
      },
      "m",
    );
    const { encoding_format: _encoding, ...rest } = overTheWire(written);
    expect(rest).toEqual(body);
    expect(warnings.map(({ param }) => param)).toEqual([...dropped, "extensions.other-embeddings.x"]);
  });

  test("the plainest request says nothing beyond its inputs", () => {
    const { body: written, warnings } = target.writeRequest(request(1), "m");
    expect(warnings).toEqual([]);
    expect(JSON.stringify(written)).not.toMatch(/imension|title|user|task/);
    if (target.inputsMember !== undefined) expect(written[target.inputsMember]).toHaveLength(1);
  });

  test("several inputs are written in their order, or refused", () => {
    const inputs = ["a", "b", "c"].map((content) => ({ content }));
    if (one) {
      expect(refusal(() => target.writeRequest({ inputs, extensions: {} }, "m"))).toEqual([
        ErrorReason.TARGET_UNSUPPORTED,
        "inputs",
      ]);
    } else {
      const text = JSON.stringify(target.writeRequest({ inputs, extensions: {} }, "m").body);
      expect(text).toMatch(/"a".*"b".*"c"/);
      expect(target.inputsMember).toBeDefined();
    }
  });

  test("no JSON makes its readers throw", () => {
    const names = Object.keys(answer([[1]], 1)).concat("error", "message");
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.jsonValue()), fc.nat(3), (json, count) => {
        target.readAnswer(json, count);
        target.readError(json);
      }),
      { numRuns },
    );
  });

  test("an answer reports no error", () => {
    expect(target.readError(answer([[1]], 1))).toBeUndefined();
  });
});

test.each([
  ["RETRIEVAL_QUERY", "search_query"],
  ["QUESTION_ANSWERING", "search_query"],
  ["CODE_RETRIEVAL_QUERY", "search_query"],
  ["FACT_VERIFICATION", "search_query"],
  ["RETRIEVAL_DOCUMENT", "search_document"],
  ["CLASSIFICATION", "classification"],
  ["CLUSTERING", "clustering"],
  ["NEW_ONE", "search_document"],
  [undefined, "search_document"],
])("Cohere is told of %s as %s", (task, inputType) => {
  const input = task === undefined ? { content: "a" } : { content: "a", task };
  const { body } = bedrock("cohere.embed-english-v3").writeRequest({ inputs: [input], extensions: {} }, "m");
  expect(body["input_type"]).toBe(inputType);
});

test("Cohere takes one task for all inputs", () => {
  const inputs = [{ content: "a", task: "CLUSTERING" }, { content: "b" }];
  expect(refusal(() => bedrock("cohere.embed-v4:0").writeRequest({ inputs, extensions: {} }, "m"))).toEqual([
    ErrorReason.TARGET_UNSUPPORTED,
    "task",
  ]);
});

test.each([
  ["amazon.titan-embed-text-v1", "titan-embeddings"],
  ["amazon.titan-embed-g1-text-02", "titan-embeddings"],
  ["arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", "titan-embeddings"],
  ["global.cohere.embed-v4:0", "cohere-embeddings"],
  ["amazon.titan-embed-image-v1", undefined],
  ["amazon.nova-lite-v1:0", undefined],
])("%s on Bedrock speaks %s", (model, name) => {
  expect(bedrockEmbeddings(model)?.name).toBe(name);
});

test.each([
  ["text-embedding-005", "predict"],
  ["gemini-embedding-001", "predict"],
  ["gemini-embedding-2", "embedContent"],
  ["intfloat/multilingual-e5-large-instruct-maas", "embedContent"],
])("%s on Vertex AI is called by %s", (model, verb) => {
  expect(vertexEmbeddings(model).verb).toBe(verb);
});

test("statistics of Vertex AI that are not there for each text are no usage", () => {
  const predictions = [
    { embeddings: { values: [1], statistics: { token_count: 1 } } },
    { embeddings: { values: [1] } },
  ];
  expect(vertexEmbeddings("text-embedding-005").readAnswer({ predictions }, 2)?.usage).toBeUndefined();
});
