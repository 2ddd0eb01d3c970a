import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { readError } from "../gemini/provider-error.ts";
import type { EmbeddingClient, EmbeddingTarget } from "./embedding.ts";
import { readAnswer, writeAnswer } from "./gemini-answer.ts";
import {
  geminiName,
  paramIn,
  readBatchEnvelope,
  readEnvelope,
  readExpectation,
  readOneEnvelope,
  readRequest,
  writeRequest,
} from "./gemini-request.ts";

/** The Gemini API's `embedContent` and `batchEmbedContents`: https://ai.google.dev/api/embeddings */
export const geminiEmbeddings: EmbeddingClient & EmbeddingTarget = {
  dialect: Dialect.GEMINI_EMBEDDINGS,
  name: geminiName,
  inputsMember: "requests",
  // Not documented, but what the API says when it refuses more: "at most 100 requests can be in one batch".
  inputsMax: 100,
  readEnvelope,
  readExpectation,
  readRequest,
  writeAnswer,
  paramIn,
  writeRequest,
  readAnswer,
  readError,
};

/** The dialect where the path says `embedContent`. */
export const geminiEmbedContent: EmbeddingClient = { ...geminiEmbeddings, readEnvelope: readOneEnvelope };
/** The dialect where the path says `batchEmbedContents`. */
export const geminiBatchEmbedContents: EmbeddingClient = { ...geminiEmbeddings, readEnvelope: readBatchEnvelope };
