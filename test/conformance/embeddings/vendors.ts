import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { isObject, type JsonObject, parseObject } from "@weir/dialect/json";

/** A model server that makes embeddings. */
export interface EmbeddingVendor {
  readonly url: string;
  /** Paths and bodies that came, in order. */
  readonly calls: readonly { readonly path: string; readonly body: JsonObject }[];
  /** Leaves calls unanswered from now on, until what it gives is called. */
  hold(): () => void;
  close(): Promise<void>;
}

/** Answers one call; a number is the status of a refusal. */
export type Answer = (path: string, body: JsonObject) => JsonObject | number;

/** Starts a vendor on 127.0.0.1. Calls without its key get status 401. */
export async function startVendor(keyHeader: string, answer: Answer): Promise<EmbeddingVendor> {
  const calls: { path: string; body: JsonObject }[] = [];
  let released = Promise.resolve();
  const server = createServer((request, response) => {
    void text(request).then(async (received) => {
      const { url: path = "", headers } = request;
      const body = parseObject(received) ?? {};
      calls.push({ path, body });
      await released;
      const said = String(headers[keyHeader]).endsWith(vendorKey) ? answer(path, body) : 401;
      const [status, json] =
        typeof said === "number" ? [said, { error: { message: "refused", type: "x" } }] : [200, said];
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      released = promise;
      return resolve;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

export const vendorKey = "key-of-the-vendor";

/** The length that vectors have when nothing is asked for. */
export const ownLength = 8;

/** The vector of a text, or of tokens: the same for the same, and of numbers that 32-bit floats hold. */
export function vectorOf(input: unknown, length = ownLength): number[] {
  const digest = createHash("sha256").update(JSON.stringify(input)).digest();
  return Array.from({ length }, (_, index) => Math.fround((digest.readInt8(index % 32) + index) / 1_000));
}

/** The tokens that a vendor bills: one for each word, or as many as were sent. */
export function tokensOf(input: unknown): number {
  return Array.isArray(input) ? input.length : String(input).split(" ").length;
}

const sum = (inputs: readonly unknown[]) => inputs.reduce<number>((total, input) => total + tokensOf(input), 0);

/** https://platform.openai.com/docs/api-reference/embeddings/create, whether it knows base64 or not. */
export function openaiVendor(knowsBase64: boolean): Answer {
  return (path, { model, input, dimensions, encoding_format }) => {
    if (path !== "/v1/embeddings") return 404;
    const inputs = Array.isArray(input) && typeof input[0] !== "number" ? (input as unknown[]) : [input];
    const vectors = inputs.map((one) => vectorOf(one, (dimensions as number | undefined) ?? ownLength));
    const base64 = (vector: number[]) => Buffer.from(new Float32Array(vector).buffer).toString("base64");
    return {
      object: "list",
      data: vectors.map((vector, index) => ({
        object: "embedding",
        index,
        embedding: knowsBase64 && encoding_format === "base64" ? base64(vector) : vector,
      })),
      model,
      usage: { prompt_tokens: sum(inputs), total_tokens: sum(inputs) },
    };
  };
}

/** https://ai.google.dev/api/embeddings */
export const geminiVendor: Answer = (path, body) => {
  const [, model, verb] = /^\/v1beta\/models\/([^/:]+):(embedContent|batchEmbedContents)$/.exec(path) ?? [];
  if (verb === undefined) return 404;
  const requests =
    verb === "embedContent" ? [{ model: `models/${model}`, ...body }] : (body["requests"] as JsonObject[]);
  if (requests.some((request) => request["model"] !== `models/${model}`)) return 400;
  const embeddings = requests.map((request) => ({
    values: vectorOf(textIn(request["content"]), request["outputDimensionality"] as number | undefined),
  }));
  return verb === "embedContent" ? { embedding: embeddings[0] } : { embeddings };
};

function textIn(content: unknown): unknown {
  const [part] = isObject(content) ? (content["parts"] as JsonObject[]) : [];
  return part?.["text"];
}

/** https://docs.ollama.com/api/embed */
export const ollamaVendor: Answer = (path, { model, input, dimensions }) => {
  if (path !== "/api/embed") return 404;
  const inputs = input as unknown[];
  return {
    model,
    embeddings: inputs.map((one) => vectorOf(one, dimensions as number | undefined)),
    total_duration: 1,
    load_duration: 1,
    prompt_eval_count: sum(inputs),
  };
};
