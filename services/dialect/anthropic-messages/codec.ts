import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { readEnvelope } from "./envelope.ts";
import { renderError, renderErrorEvent } from "./errors.ts";
import { dialectName } from "./name.ts";
import { readError } from "./provider-error.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/** Anthropic Messages: https://platform.claude.com/docs/en/api/messages. See docs/dialects/anthropic-messages.md. */
export const anthropicMessages: Codec = {
  dialect: Dialect.ANTHROPIC_MESSAGES,
  name: dialectName,
  framing: "sse",
  params: {
    model: "model",
    messages: "messages",
    tools: "tools",
    "tools[]": "tools[]",
    max_output_tokens: "max_tokens",
    tool_choice: "tool_choice",
    parallel_tool_calls: "tool_choice.disable_parallel_tool_use",
    output_format: "output_config.format",
    reasoning: "thinking",
    "reasoning.effort": "output_config.effort",
    "reasoning.budget_tokens": "thinking.budget_tokens",
    "reasoning.summary": "thinking.display",
    "sampling.temperature": "temperature",
    "sampling.top_p": "top_p",
    "sampling.top_k": "top_k",
    stop_sequences: "stop_sequences",
    service_tier: "service_tier",
    user: "metadata.user_id",
  },
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
