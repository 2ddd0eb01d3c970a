import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import type { Codec } from "../codec.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { readEnvelope } from "./envelope.ts";
import { renderError, renderErrorEvent } from "./errors.ts";
import { dialectName } from "./name.ts";
import { readProviderError } from "./provider-error.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";

/**
 * Amazon Bedrock's Converse and ConverseStream. Model and kind of answer are in the path (`path.ts`); a frame's type is the
 * message's `:event-type`, or its `:exception-type` or `:error-code` behind `exception:` or `error:`.
 * https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
 */
export const bedrockConverse: Codec = {
  dialect: Dialect.BEDROCK_CONVERSE,
  name: dialectName,
  framing: "aws-event-stream",
  params: {
    max_output_tokens: "inferenceConfig.maxTokens",
    "sampling.temperature": "inferenceConfig.temperature",
    "sampling.top_p": "inferenceConfig.topP",
    "sampling.top_k": "additionalModelRequestFields.top_k",
    stop_sequences: "inferenceConfig.stopSequences",
    tools: "toolConfig.tools",
    tool_choice: "toolConfig.toolChoice",
    parallel_tool_calls: "additionalModelRequestFields.tool_choice",
    output_format: "outputConfig.textFormat",
    "reasoning.effort": "outputConfig.effort",
    "reasoning.budget_tokens": "additionalModelRequestFields.thinking.budget_tokens",
    "reasoning.summary": "additionalModelRequestFields.thinking.display",
    service_tier: "serviceTier.type",
    metadata: "requestMetadata",
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
  readError: (body) => readProviderError(body),
};
