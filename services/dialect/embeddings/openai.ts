import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { readError } from "../openai/read-error.ts";
import { type EmbeddingClient, type EmbeddingTarget, inputsMax } from "./embedding.ts";
import { readAnswer, writeAnswer } from "./openai-answer.ts";
import { openaiName, paramIn, readEnvelope, readExpectation, readRequest, writeRequest } from "./openai-request.ts";

/** OpenAI's `POST /v1/embeddings`: https://platform.openai.com/docs/api-reference/embeddings/create */
export const openaiEmbeddings: EmbeddingClient & EmbeddingTarget = {
  dialect: Dialect.OPENAI_EMBEDDINGS,
  name: openaiName,
  inputsMember: "input",
  inputsMax,
  readEnvelope,
  readExpectation,
  readRequest,
  writeAnswer,
  paramIn,
  writeRequest,
  readAnswer,
  readError,
};
