import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Codec } from "../codec.ts";
import { gemini } from "../gemini/codec.ts";
import { openaiChat } from "../openai-chat/codec.ts";
import type { EmbeddingClient } from "./embedding.ts";
import { geminiBatchEmbedContents, geminiEmbedContent } from "./gemini.ts";
import { openaiEmbeddings } from "./openai.ts";

// Dialects of embeddings as doors take dialects: to read envelopes and to tell failures.

/** OpenAI's `/v1/embeddings`. */
export const openaiEmbeddingsDoor: Codec = door(openaiEmbeddings, openaiChat, { model: "model" });
/** Gemini's `models/MODEL:embedContent`. */
export const geminiEmbedContentDoor: Codec = door(geminiEmbedContent, gemini, {});
/** Gemini's `models/MODEL:batchEmbedContents`. */
export const geminiBatchEmbedContentsDoor: Codec = door(geminiBatchEmbedContents, gemini, {});

/** @param voice the dialect whose errors are told */
function door(
  { dialect, name, readEnvelope }: EmbeddingClient,
  { framing, renderError, renderErrorEvent, readError }: Codec,
  params: Codec["params"],
): Codec {
  return {
    dialect,
    name,
    framing,
    params,
    readEnvelope,
    renderError,
    renderErrorEvent,
    readError,
    readAnswer: () => undefined,
    readRequest: noConversation,
    writeRequest: noConversation,
    writeAnswer: noConversation,
    createFrameWriter: noConversation,
    createFrameReader: noConversation,
  };
}

function noConversation(): never {
  throw new WeirError(ErrorReason.TARGET_UNSUPPORTED, { text: "A request for embeddings is no conversation." });
}
