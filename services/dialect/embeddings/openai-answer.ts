import { isObject, type JsonObject } from "../json.ts";
import type { EmbeddingAnswer, EmbeddingReading } from "./embedding.ts";
import { inputUsage } from "./usage.ts";

/** Reads an answer: each vector is at its `index`, or all in their order where no vector has one. */
export function readAnswer(body: JsonObject, count: number): EmbeddingReading | undefined {
  const { data, model, usage } = body;
  if (!Array.isArray(data) || data.length !== count || !data.every(isObject)) return undefined;
  const numbered = data.some(({ index }) => index != null);
  const vectors = Array.from({ length: count }, (): unknown => undefined);
  let ordered = true;
  for (const [position, item] of data.entries()) {
    const index = numbered ? item["index"] : position;
    if (!isIndex(index, count) || vectors[index] !== undefined) return undefined;
    ordered &&= index === position;
    vectors[index] = item["embedding"];
  }
  return {
    vectors,
    ordered,
    model: typeof model === "string" ? model : "",
    usage: isObject(usage) ? inputUsage(usage["prompt_tokens"], usage["total_tokens"]) : undefined,
  };
}

function isIndex(value: unknown, count: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < count;
}

/** Writes an answer. */
export function writeAnswer({ vectors, model, inputTokens }: EmbeddingAnswer): string {
  return JSON.stringify({
    object: "list",
    data: vectors.map((embedding, index) => ({ object: "embedding", index, embedding })),
    model,
    usage: { prompt_tokens: inputTokens, total_tokens: inputTokens },
  });
}
