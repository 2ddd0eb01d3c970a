import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { readEnvelope } from "./envelope.ts";
import { readError, renderError, renderErrorEvent } from "./errors.ts";
import { dialectName, params } from "./members.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/** Ollama's own `POST /api/chat`: https://docs.ollama.com/api/chat */
export const ollama: Codec = {
  dialect: Dialect.OLLAMA,
  name: dialectName,
  framing: "ndjson",
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
