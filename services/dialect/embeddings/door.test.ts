import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import type { Codec } from "../codec.ts";
import { readWireRequest } from "../wire-request.ts";
import { geminiBatchEmbedContentsDoor, geminiEmbedContentDoor, openaiEmbeddingsDoor } from "./door.ts";

const openai = { model: "m", input: "a" };
const content = { parts: [{ text: "a" }] };
const one = { content };
const batch = { requests: [{ content }] };

/** A body with a member that stands twice, the second time otherwise. */
function doubled(body: object, name: string, first: unknown, second: unknown): Buffer {
  const text = JSON.stringify({ ...body, [name]: first });
  return Buffer.from(`${text.slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify(second)}}`);
}

test.each<[Codec, object, string, unknown, unknown]>([
  [openaiEmbeddingsDoor, openai, "model", "m", "other"],
  [openaiEmbeddingsDoor, openai, "input", "a", ["b", "c"]],
  [openaiEmbeddingsDoor, openai, "dimensions", 2, 3],
  [openaiEmbeddingsDoor, openai, "encoding_format", "float", "base64"],
  [openaiEmbeddingsDoor, openai, "user", "a", "b"],
  [geminiEmbedContentDoor, one, "content", content, { parts: [{ text: "b" }] }],
  [geminiEmbedContentDoor, one, "outputDimensionality", 2, 3],
  [geminiEmbedContentDoor, one, "output_dimensionality", 2, 3],
  [geminiEmbedContentDoor, one, "embedContentConfig", {}, { outputDimensionality: 3 }],
  [geminiEmbedContentDoor, one, "embed_content_config", {}, { outputDimensionality: 3 }],
  [geminiBatchEmbedContentsDoor, batch, "requests", batch.requests, [...batch.requests, ...batch.requests]],
])("what stands twice is refused, whatever else is there: case %#", (codec, body, name, first, second) => {
  expect(() => readWireRequest(codec, Buffer.from(JSON.stringify(body)), "m")).not.toThrow();
  expect(() => readWireRequest(codec, doubled(body, name, first, second), "m")).toThrow(
    expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: name } }),
  );
});
