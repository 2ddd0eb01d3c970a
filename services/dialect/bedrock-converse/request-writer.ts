import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type OutputFormat, type SamplingOptions, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { samplingBesideThinking, thinkingBesideChoice } from "../claude/thinking-limits.ts";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import { writeConversation } from "./conversation-writer.ts";
import { writeExtensions } from "./extensions.ts";
import { writeTopK } from "./model-fields.ts";
import { type Model, readModel } from "./model.ts";
import { isServiceTier } from "./service-tier.ts";
import { writeThinking } from "./thinking.ts";
import { writeToolConfig } from "./tools-writer.ts";
import { dropped } from "./warnings.ts";

/**
 * Writes the body of a Converse or ConverseStream request; both have the same.
 * @throws WeirError TARGET_UNSUPPORTED with `param`, a path of the canonical request
 */
export function writeRequest(request: GenerateRequest, options: RequestOptions): RequestWriting {
  refuseUnsupported(request);
  const model = readModel(options.model);
  const warnings: Warning[] = [];
  const { system, messages } = writeConversation(request.messages, model, warnings);
  const { toolConfig, toolChoiceField } = writeToolConfig(request, model, warnings);
  const maxTokens = request.maxOutputTokens ?? options.maxOutputTokensDefault;
  const { thinking: wanted, effort } =
    request.reasoning === undefined ? {} : writeThinking(request.reasoning, model, maxTokens, warnings);
  const isForced = request.toolChoice?.mode === ToolChoice_Mode.REQUIRED;
  const thinking = thinkingBesideChoice(wanted, isForced, warnings);
  const sampling = samplingBesideThinking(request.sampling, thinking, warnings);
  const textFormat = request.outputFormat === undefined ? undefined : writeTextFormat(request.outputFormat, warnings);
  const topK = sampling === undefined ? {} : writeTopK(sampling, model, warnings);
  const body: Record<string, unknown> = {
    ...unlessEmpty("system", system),
    ...unlessEmpty("messages", messages),
    ...unlessEmpty("inferenceConfig", writeInference(request, sampling, model, warnings)),
    ...unlessEmpty("toolConfig", toolConfig),
    ...unlessEmpty("additionalModelRequestFields", present({ thinking, tool_choice: toolChoiceField, ...topK })),
    ...unlessEmpty("outputConfig", present({ textFormat, effort })),
    ...unlessEmpty("serviceTier", isServiceTier(request.serviceTier) ? { type: request.serviceTier } : {}),
    ...unlessEmpty("requestMetadata", writeMetadata(request, warnings)),
  };
  warnOfHints(request, warnings);
  writeExtensions(request, body, warnings);
  return { body, warnings };
}

function unlessEmpty(name: string, value: JsonObject | readonly unknown[] | undefined): JsonObject {
  return value === undefined || Object.keys(value).length === 0 ? {} : { [name]: value };
}

/** The members that have a value. */
function present(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

/** Refuses what would change the answer if it were left out. */
function refuseUnsupported(request: GenerateRequest): void {
  if ((request.choiceCount ?? 1) > 1) throw unsupported("Bedrock makes one choice at a time.", "choice_count");
  if (request.topLogprobs !== undefined) throw unsupported("Bedrock reports no probabilities.", "top_logprobs");
  if (request.modalities.some((modality) => modality !== "text")) {
    throw unsupported("Converse can be asked for nothing but text.", "modalities");
  }
  if (request.audio !== undefined) throw unsupported("Converse cannot be asked for sound.", "audio");
}

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html
const temperatureMax = 1;

function writeInference(
  { maxOutputTokens: maxTokens, stopSequences }: GenerateRequest,
  { temperature, topP }: Pick<SamplingOptions, "temperature" | "topP"> = {},
  { traits }: Model,
  warnings: Warning[],
): JsonObject {
  if (stopSequences.includes("")) throw unsupported("Bedrock takes no empty stop sequences.", "stop_sequences");
  const others = present({ maxTokens, stopSequences: stopSequences.length === 0 ? undefined : stopSequences });
  if (!traits.sampling) {
    if (temperature !== undefined) warnings.push(dropped("sampling.temperature"));
    if (topP !== undefined) warnings.push(dropped("sampling.top_p"));
    return others;
  }
  if (temperature !== undefined && temperature > temperatureMax) {
    throw unsupported(`Bedrock takes temperatures up to ${temperatureMax}.`, "sampling.temperature");
  }
  return { ...others, ...present({ temperature, topP }) };
}

function writeTextFormat({ kind }: OutputFormat, warnings: Warning[]): JsonObject | undefined {
  switch (kind.case) {
    case "text":
      return undefined;
    case "jsonSchema": {
      const { name, description, schema, strict } = kind.value;
      // Bedrock always follows the schema exactly.
      if (strict === false) warnings.push(dropped("output_format.json_schema.strict"));
      const jsonSchema = { schema, ...(name === "" ? {} : { name }), ...(description === "" ? {} : { description }) };
      return { type: "json_schema", structure: { jsonSchema } };
    }
    case "json":
    case undefined:
      throw unsupported("Bedrock needs a schema to answer in JSON.", "output_format");
  }
}

// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#bedrock-runtime_Converse-request-requestMetadata
const metadataMax = 16;
const isMetadataName = /^[\w\s:@$#=/+,.-]{1,256}$/;
const isMetadataValue = /^[\w\s:@$#=/+,.-]{0,256}$/;

function writeMetadata({ metadata }: GenerateRequest, warnings: Warning[]): JsonObject {
  const entries = Object.entries(metadata);
  const held = entries
    .filter(([name, value]) => isMetadataName.test(name) && isMetadataValue.test(value))
    .slice(0, metadataMax);
  if (held.length < entries.length) warnings.push(dropped("metadata"));
  return Object.fromEntries(held);
}

/** Warns of hints that have no place here. */
function warnOfHints(request: GenerateRequest, warnings: Warning[]): void {
  const { sampling } = request;
  const hints: Readonly<Record<string, boolean>> = {
    "sampling.min_p": sampling?.minP !== undefined,
    "sampling.presence_penalty": sampling?.presencePenalty !== undefined,
    "sampling.frequency_penalty": sampling?.frequencyPenalty !== undefined,
    "sampling.seed": sampling?.seed !== undefined,
    "sampling.logit_bias": Object.keys(sampling?.logitBias ?? {}).length > 0,
    service_tier: request.serviceTier !== "" && !isServiceTier(request.serviceTier),
    user: request.user !== "",
    prompt_cache_key: request.promptCacheKey !== "",
    prompt_cache_retention: request.promptCacheRetention !== "",
    prediction: request.prediction.length > 0,
    verbosity: request.verbosity !== "",
    store: request.store === true,
  };
  for (const [param, isSet] of Object.entries(hints)) if (isSet) warnings.push(dropped(param));
}
