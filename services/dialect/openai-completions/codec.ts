import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { renderError, renderErrorEvent } from "../openai/errors.ts";
import { readError } from "../openai/read-error.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { readEnvelope } from "./envelope.ts";
import { dialectName, params } from "./members.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/** OpenAI's older text completions, `POST /v1/completions`: https://platform.openai.com/docs/api-reference/completions */
export const openaiCompletions: Codec = {
  dialect: Dialect.OPENAI_COMPLETIONS,
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
