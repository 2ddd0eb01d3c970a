import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { renderError, renderErrorEvent } from "../openai/errors.ts";
import { readError } from "../openai/read-error.ts";
import { readAnswer, writeAnswer } from "./answer.ts";
import { dialectName, params, readEnvelope, readRequest, writeRequest } from "./request.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/** Weir's own plain form of one prompt and one text, `POST /v1/generate`. */
export const weirGenerate: Codec = {
  dialect: Dialect.WEIR_GENERATE,
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
