import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { renderError, renderErrorEvent } from "../openai/errors.ts";
import { readError } from "../openai/read-error.ts";
import { readEnvelope } from "./envelope.ts";
import { createFrameReader } from "./frame-reader.ts";
import { createFrameWriter } from "./frame-writer.ts";
import { dialectName } from "./name.ts";
import { params } from "./params.ts";
import { readAnswer } from "./read-answer.ts";
import { readRequest } from "./read-request.ts";
import { openaiTraits, type TargetTraits } from "./traits.ts";
import { writeAnswer } from "./write-answer.ts";
import { writeRequest } from "./write-request.ts";

/** OpenAI chat completions, for targets of given traits. They concern `writeRequest` alone. */
export function createOpenaiChat(traits: TargetTraits): Codec {
  return {
    dialect: Dialect.OPENAI_CHAT,
    name: dialectName,
    framing: "sse",
    params,
    readEnvelope,
    readRequest,
    writeAnswer,
    createFrameWriter,
    renderError,
    renderErrorEvent,
    writeRequest: (request, options) => writeRequest(request, options, traits),
    readAnswer,
    createFrameReader,
    readError,
  };
}

/** OpenAI chat completions as OpenAI itself speaks it: https://platform.openai.com/docs/api-reference/chat. */
export const openaiChat: Codec = createOpenaiChat(openaiTraits);
