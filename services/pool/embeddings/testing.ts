import type { JsonObject } from "@bufbuild/protobuf";
import type { Codec } from "@weir/dialect/codec";
import { openaiEmbeddingsDoor } from "@weir/dialect/embeddings/door";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  startProvider,
} from "../testing/pool-under-test.ts";

// Each a 32-bit float and a double alike.
export const vectors = [
  [0.5, -0.25, 1.5],
  [-2, 0.0625, 3],
  [1, 2, 4],
];
export const base64 = (vector: readonly number[]) => Buffer.from(new Float32Array(vector).buffer).toString("base64");

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

export const openaiAnswer = (of: readonly unknown[]): JsonObject => ({
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

export const vendors: Readonly<Record<string, Vendor>> = {
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
export async function ask(body: JsonObject, answer: string | Buffer, asked: Asked = {}) {
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

export const two = { model: "alias", input: ["one", "two"] };
export const geminiTwo = {
  requests: ["one", "two"].map((text) => ({ model: "models/alias", content: { parts: [{ text }] } })),
};
export const geminiOne = { content: { parts: [{ text: "one" }] } };
export const twoVectors = vectors.slice(0, 2);
