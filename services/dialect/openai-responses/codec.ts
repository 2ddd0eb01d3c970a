import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { readAnswer } from "./answer-reader.ts";
import { readEnvelope } from "./envelope.ts";
import { readError, renderError, renderErrorEvent } from "./errors.ts";
import { dialectName } from "./name.ts";
import { params } from "./params.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createResponseWriter } from "./response-writer.ts";
import { createFrameReader } from "./stream-reader.ts";

/** OpenAI Responses: https://platform.openai.com/docs/api-reference/responses */
export const openaiResponses: Codec = {
  dialect: Dialect.OPENAI_RESPONSES,
  name: dialectName,
  framing: "sse",
  params,
  readEnvelope,
  readRequest,
  writeAnswer(events, options) {
    const writer = createResponseWriter(options);
    for (const event of events) writer.write(event);
    return writer.response();
  },
  createFrameWriter: createResponseWriter,
  renderError,
  renderErrorEvent,
  writeRequest,
  readAnswer,
  createFrameReader,
  readError,
};
