import { create, type JsonObject as Struct, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { AudioOutputSchema, SamplingOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, unknownWord, untranslatable } from "../faults.ts";
import {
  isJsonObject,
  readFlag,
  readList,
  readLong,
  readNumber,
  readObject,
  readText,
  readWhole,
  requiredText,
} from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readChoiceCount, readEnvelope, readTokens, readUser } from "./envelope.ts";
import { dialectName } from "./name.ts";
import { readMessages } from "./read-messages.ts";
import { readContent, textOnly } from "./read-parts.ts";
import { readOutputFormat, readToolChoice, readTools } from "./read-tools.ts";

/** Members that a field of the canonical form holds, or that concern the answer's form alone (`stream`, `stream_options`). */
const ownMembers: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "stream",
  "stream_options",
  "n",
  "max_tokens",
  "max_completion_tokens",
  "stop",
  "tools",
  "tool_choice",
  "functions",
  "function_call",
  "web_search_options",
  "parallel_tool_calls",
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "presence_penalty",
  "frequency_penalty",
  "seed",
  "logit_bias",
  "response_format",
  "reasoning_effort",
  "verbosity",
  "modalities",
  "audio",
  "prediction",
  "logprobs",
  "top_logprobs",
  "service_tier",
  "metadata",
  "store",
  "user",
  "safety_identifier",
  "prompt_cache_key",
  "prompt_cache_retention",
]);

/**
 * Reads a whole request.
 * @param body as `parseExact` gives it
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readRequest(body: JsonObject): GenerateRequest {
  const { model, user = "" } = readEnvelope(body);
  const text = (name: string) => readText(body[name], name) ?? "";
  const reasoningEffort = text("reasoning_effort");
  return create(GenerateRequestSchema, {
    model,
    user,
    messages: readMessages(body["messages"] as JsonObject[]),
    tools: readTools(body),
    toolChoice: readToolChoice(body),
    parallelToolCalls: readFlag(body["parallel_tool_calls"], "parallel_tool_calls"),
    maxOutputTokens: readTokens(body, "max_completion_tokens") ?? readTokens(body, "max_tokens"),
    outputFormat: readOutputFormat(body["response_format"]),
    reasoning: reasoningEffort === "" ? undefined : { effort: reasoningEffort },
    sampling: readSampling(body),
    stopSequences: readStop(body["stop"]),
    choiceCount: readChoiceCount(body),
    topLogprobs: readTopLogprobs(body),
    serviceTier: text("service_tier"),
    metadata: readMetadata(body["metadata"]),
    promptCacheKey: text("prompt_cache_key"),
    promptCacheRetention: text("prompt_cache_retention"),
    modalities: readModalities(body["modalities"]),
    audio: readAudioOutput(body["audio"]),
    prediction: readPrediction(body["prediction"]),
    verbosity: text("verbosity"),
    store: readFlag(body["store"], "store"),
    extensions: readExtensions(body),
  });
}

function readSampling(body: JsonObject): MessageInitShape<typeof SamplingOptionsSchema> | undefined {
  const number = (name: string, min: number, max: number) => readNumber(body[name], name, min, max);
  const sampling = {
    temperature: number("temperature", 0, 2),
    topP: number("top_p", 0, 1),
    topK: readTopK(body["top_k"]),
    minP: number("min_p", 0, 1),
    presencePenalty: number("presence_penalty", -2, 2),
    frequencyPenalty: number("frequency_penalty", -2, 2),
    seed: readLong(body["seed"], "seed"),
  };
  const logitBias = readLogitBias(body["logit_bias"]);
  const given = Object.values(sampling).some((value) => value !== undefined) || Object.keys(logitBias).length > 0;
  return given ? { ...sampling, logitBias } : undefined;
}

/** vLLM's `top_k` of -1 or 0 is no limit. */
function readTopK(value: unknown): number | undefined {
  const topK = readWhole(value, "top_k", -1, 0xffff_ffff);
  return topK !== undefined && topK > 0 ? topK : undefined;
}

function readLogitBias(value: unknown): Record<number, number> {
  const bias: Record<number, number> = {};
  for (const [token, added] of Object.entries(readObject(value, "logit_bias") ?? {})) {
    if (!/^\d{1,10}$/.test(token) || Number(token) > 0xffff_ffff) {
      throw invalid("`logit_bias` must have token ids as names.", "logit_bias");
    }
    bias[Number(token)] = readNumber(added, "logit_bias", -100, 100) ?? 0;
  }
  return bias;
}

const stopsMax = 64;

function readStop(value: unknown): string[] {
  if (typeof value === "string") return value === "" ? [] : [value];
  const items = readList(value, "stop") ?? [];
  if (items.length > stopsMax) throw untranslatable(`\`stop\` holds more than ${stopsMax} texts.`, "stop");
  return items.map((item, index) => requiredText(item, `stop[${index}]`));
}

/** `logprobs` alone asks for the chosen token's probability, which is 0 others. */
function readTopLogprobs(body: JsonObject): number | undefined {
  const logprobs = readFlag(body["logprobs"], "logprobs") ?? false;
  const count = readWhole(body["top_logprobs"], "top_logprobs", 0, 20);
  if (logprobs) return count ?? 0;
  if (count === undefined || count === 0) return undefined;
  throw invalid("`top_logprobs` needs `logprobs` to be true.", "top_logprobs");
}

const metadataMax = 64;

function readMetadata(value: unknown): Record<string, string> {
  const entries = Object.entries(readObject(value, "metadata") ?? {});
  if (entries.length > metadataMax)
    throw untranslatable(`\`metadata\` holds more than ${metadataMax} labels.`, "metadata");
  return Object.fromEntries(
    entries.map(([name, label]) => {
      if (typeof label !== "string") throw invalid("`metadata` must hold texts only.", "metadata");
      return [name, label];
    }),
  );
}

/** What is asked for besides text, which every reply may hold. */
function readModalities(value: unknown): string[] {
  const items = readList(value, "modalities") ?? [];
  return items.map((item, index) => requiredText(item, `modalities[${index}]`)).filter((name) => name !== "text");
}

function readAudioOutput(value: unknown): MessageInitShape<typeof AudioOutputSchema> | undefined {
  const audio = readObject(value, "audio");
  if (audio === undefined || hasOwnVoice(audio)) return undefined;
  return {
    voice: readText(audio["voice"], "audio.voice") ?? "",
    format: readText(audio["format"], "audio.format") ?? "",
  };
}

/** A voice that the caller made is named by an object; only OpenAI knows it, so it goes there as an extension. */
function hasOwnVoice(audio: JsonObject): boolean {
  return typeof audio["voice"] === "object" && audio["voice"] !== null;
}

function readPrediction(value: unknown) {
  const prediction = readObject(value, "prediction");
  if (prediction === undefined) return [];
  if (prediction["type"] !== "content")
    throw unknownWord(prediction["type"], "`prediction.type` must be `content`.", "prediction.type");
  return readContent(prediction["content"], "prediction.content", textOnly);
}

/** Members that no field holds; `user` is one of them when `safety_identifier` has taken its place. */
function readExtensions(body: JsonObject): Record<string, Struct> {
  const isExtension = (name: string): boolean => {
    if (name === "user") return readUser(body, "safety_identifier") !== undefined;
    if (name === "audio") return isJsonObject(body["audio"]) && hasOwnVoice(body["audio"]);
    return !ownMembers.has(name);
  };
  const entries = Object.entries(body).filter(([name]) => isExtension(name));
  return entries.length === 0 ? {} : { [dialectName]: holdJson(Object.fromEntries(entries), "") };
}
