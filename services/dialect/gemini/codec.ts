import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { readEnvelope } from "./envelope.ts";
import { renderError, renderErrorEvent } from "./errors.ts";
import { dialectName } from "./name.ts";
import { params } from "./params.ts";
import { readError } from "./provider-error.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/**
 * `generateContent` and `streamGenerateContent?alt=sse` of the Gemini API and of Vertex AI:
 * https://ai.google.dev/api/generate-content
 */
export const gemini: Codec = {
  dialect: Dialect.GEMINI,
  name: dialectName,
  framing: "sse",
  params,
  readEnvelope,
  readRequest,
  writeAnswer,
  createFrameWriter,
  renderError,
  renderErrorEvent,
  writeRequest,
  readAnswer,
  createFrameReader,
  readError,
};
