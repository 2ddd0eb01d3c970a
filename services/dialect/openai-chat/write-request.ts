import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type SamplingOptions, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { type JsonObject, rawJson } from "../json.ts";
import { createOmissions, type Omissions } from "../omissions.ts";
import { dialectName } from "./name.ts";
import type { RefusableMember, TargetTraits } from "./traits.ts";
import { type MessageTarget, writeMessages } from "./write-messages.ts";
import { contentOf, writeTextPart } from "./write-parts.ts";
import { customToolNames, writeOutputFormat, writeToolChoice, writeTools } from "./write-tools.ts";

/**
 * Writes a request for a target.
 * @throws WeirError TARGET_UNSUPPORTED with `param` for what the target cannot express; INVALID_REQUEST with `param` for a
 *   request that is not well-formed itself
 */
export function writeRequest(request: GenerateRequest, options: RequestOptions, traits: TargetTraits): RequestWriting {
  const omissions = createOmissions(dialectName);
  const customTools = customToolNames(request.tools);
  const target: MessageTarget = { traits, omissions, customTools };
  const { topLogprobs } = request;
  if (topLogprobs !== undefined && !traits.logprobs) {
    throw unsupported("This target reports no probabilities.", "top_logprobs");
  }
  if ((request.choiceCount ?? 1) > 1 && !traits.severalReplies) {
    throw unsupported("This target makes one reply only.", "choice_count");
  }
  const prediction = request.prediction.map((part, index) =>
    writeTextPart(part, `prediction[${index}]`, "A prediction", target),
  );
  const tools = writeTools(request.tools, target);
  const body: JsonObject = {
    model: options.model,
    messages: writeMessages(request.messages, target),
    ...(options.stream && { stream: true }),
    ...(options.stream && traits.streamsUsage && { stream_options: { include_usage: true } }),
    ...tools,
    ...writeToolRules(request, tools, target),
    ...known(traits, omissions, {
      [traits.outputLimit]: request.maxOutputTokens,
      n: request.choiceCount,
      stop: request.stopSequences.length === 0 ? undefined : request.stopSequences,
      response_format: request.outputFormat && writeOutputFormat(request.outputFormat),
      reasoning_effort: word(request.reasoning?.effort),
      verbosity: word(request.verbosity),
      ...(request.sampling && writeSampling(request.sampling, traits, omissions)),
      logprobs: topLogprobs === undefined ? undefined : true,
      top_logprobs: topLogprobs === 0 ? undefined : topLogprobs,
      modalities: writeModalities(request.modalities, traits),
      audio: request.audio && { voice: request.audio.voice, format: request.audio.format },
      prediction: prediction.length === 0 ? undefined : { type: "content", content: contentOf(prediction) },
      ...writeUser(request.user, traits, omissions),
      service_tier: word(request.serviceTier),
      store: request.store,
      metadata: writeMetadata(request, omissions),
      prompt_cache_key: word(request.promptCacheKey),
      prompt_cache_retention: word(request.promptCacheRetention),
    }),
  };
  if (request.reasoning?.budgetTokens !== undefined) omissions.drop("reasoning.budget_tokens");
  if (request.reasoning !== undefined && request.reasoning.summary !== "") omissions.drop("reasoning.summary");
  return { body: { ...body, ...writeExtensions(request, body, omissions) }, warnings: omissions.warnings };
}

/**
 * Writes the tool choice and whether calls may be parallel. OpenAI refuses both beside no tools, where neither has a meaning;
 * a call that is demanded all the same is for the target to refuse.
 */
function writeToolRules(request: GenerateRequest, tools: JsonObject, { customTools, omissions }: MessageTarget) {
  const { toolChoice, parallelToolCalls } = request;
  const choice = toolChoice && writeToolChoice(toolChoice, customTools);
  if (tools["tools"] !== undefined || toolChoice?.mode === ToolChoice_Mode.REQUIRED) {
    return given({ tool_choice: choice, parallel_tool_calls: parallelToolCalls });
  }
  if (choice !== undefined) omissions.drop("tool_choice");
  if (parallelToolCalls !== undefined) omissions.drop("parallel_tool_calls");
  return {};
}

function writeSampling(sampling: SamplingOptions, { topK, seed }: TargetTraits, omissions: Omissions): JsonObject {
  if (!topK && sampling.topK !== undefined) omissions.drop("sampling.top_k");
  if (!topK && sampling.minP !== undefined) omissions.drop("sampling.min_p");
  const biased = Object.keys(sampling.logitBias).length > 0;
  return {
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: topK ? sampling.topK : undefined,
    min_p: topK ? sampling.minP : undefined,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    [seed]: sampling.seed === undefined ? undefined : writeLong(sampling.seed),
    logit_bias: biased ? sampling.logitBias : undefined,
  };
}

/** A number, as text where JavaScript cannot hold it. */
function writeLong(value: bigint): unknown {
  return Number.isSafeInteger(Number(value)) ? Number(value) : rawJson(String(value));
}

function writeModalities(modalities: readonly string[], traits: TargetTraits): string[] | undefined {
  const foreign = modalities.find((name) => !traits.modalities.includes(name));
  if (foreign !== undefined) throw unsupported("This target does not answer in a modality asked for.", "modalities");
  return modalities.length === 0 ? undefined : ["text", ...modalities];
}

/** OpenAI's limit of `safety_identifier`. */
const identifierLengthMax = 128;

function writeUser(user: string, { endUser }: TargetTraits, omissions: Omissions): JsonObject {
  if (user === "") return {};
  if (endUser === "user") return { user };
  if (endUser === "safety_identifier" && user.length <= identifierLengthMax) return { safety_identifier: user };
  omissions.drop("user");
  return {};
}

/** OpenAI refuses labels for a reply that it shall not store. */
function writeMetadata({ metadata, store }: GenerateRequest, omissions: Omissions): JsonObject | undefined {
  if (Object.keys(metadata).length === 0) return undefined;
  if (store === true) return metadata;
  omissions.drop("metadata");
  return undefined;
}

/** Members by which Weir limits, routes and meters. No extension sets them, also where the request leaves them out. */
const governedMembers: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "stream",
  "stream_options",
  "n",
  "max_tokens",
  "max_completion_tokens",
]);

function writeExtensions(request: GenerateRequest, body: JsonObject, omissions: Omissions): JsonObject {
  const { [dialectName]: own = {}, ...foreign } = request.extensions;
  for (const name of Object.keys(foreign)) omissions.drop(`extensions.${name}`);
  const isFree = ([name]: [string, unknown]): boolean => {
    const free = !Object.hasOwn(body, name) && !governedMembers.has(name);
    if (!free) omissions.drop(`extensions.${dialectName}.${name}`);
    return free;
  };
  return Object.fromEntries(Object.entries(own).filter(isFree));
}

/** A text, where it is not empty. */
function word(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** Where the canonical request has what a member holds, whose name is the same but for this one. */
const canonicalPaths: Readonly<Partial<Record<RefusableMember, string>>> = { logit_bias: "sampling.logit_bias" };

/** Members that have a value, without those that the target refuses. */
function known({ refusedMembers }: TargetTraits, omissions: Omissions, members: JsonObject): JsonObject {
  const present = given(members);
  const refused = refusedMembers.filter((name) => present[name] !== undefined);
  for (const name of refused) omissions.drop(canonicalPaths[name] ?? name);
  return given({ ...present, ...Object.fromEntries(refused.map((name) => [name, undefined])) });
}

/** Members without those that are undefined. */
function given(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
