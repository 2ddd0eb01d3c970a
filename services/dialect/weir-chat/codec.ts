import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { createFrameReader, createFrameWriter, readAnswer, writeAnswer } from "./answer.ts";
import { readError, renderError, renderErrorEvent } from "./errors.ts";
import { dialectName, readEnvelope, readRequest, writeRequest } from "./request.ts";

/** The canonical form of proto/weir/chat/v1 as proto JSON: `/v1/chat`. See docs/dialects/weir-chat.md. */
export const weirChat: Codec = {
  dialect: Dialect.WEIR_CHAT,
  name: dialectName,
  framing: "sse",
  // Paths of the canonical request are the caller's own.
  params: { model: "model" },
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
