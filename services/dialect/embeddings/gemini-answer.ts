import { isObject, type JsonObject } from "../json.ts";
import type { EmbeddingAnswer, EmbeddingReading } from "./embedding.ts";
import { isBatch } from "./gemini-request.ts";
import { inputUsage } from "./usage.ts";

/**
 * Reads an answer of `batchEmbedContents`, or of `embedContent`. Not every model reports its usage.
 * https://ai.google.dev/api/embeddings
 */
export function readAnswer(body: JsonObject): EmbeddingReading | undefined {
  const { embedding, embeddings = [embedding], usageMetadata } = body;
  if (!Array.isArray(embeddings) || !embeddings.every(isObject)) return undefined;
  return {
    vectors: embeddings.map(({ values }) => values),
    ordered: true,
    model: "",
    usage: isObject(usageMetadata) ? inputUsage(usageMetadata["promptTokenCount"]) : undefined,
  };
}

/** Writes an answer in the form that belongs to the client's request. */
export function writeAnswer({ vectors, inputTokens }: EmbeddingAnswer, body: JsonObject): string {
  const embeddings = vectors.map((values) => ({ values }));
  const usageMetadata = { promptTokenCount: inputTokens };
  return JSON.stringify(isBatch(body) ? { embeddings, usageMetadata } : { embedding: embeddings[0], usageMetadata });
}
