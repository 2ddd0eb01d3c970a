import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { OutputFormat, SamplingOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { samplingBesideThinking, thinkingBesideChoice } from "../claude/thinking-limits.ts";
import { writeThinking } from "../claude/thinking-writer.ts";
import { type ModelTraits, traitsOf } from "../claude/traits.ts";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { isObject, type JsonObject, parseObject, rawJson } from "../json.ts";
import { createOmissions } from "../omissions.ts";
import { betasOf } from "./betas.ts";
import { dialectName } from "./name.ts";
import { writeToolChoice, writeTools } from "./tools-writer.ts";
import { writeTurns } from "./turns.ts";
import { dropped } from "./warnings.ts";

/** See {@link Codec.writeRequest}. */
export function writeRequest(request: GenerateRequest, options: RequestOptions): RequestWriting {
  const warnings: Warning[] = [];
  refuseForeign(request);
  dropHints(request, warnings);
  const traits = traitsOf(options.model);
  const maxTokens = writeMaxTokens(request, options);
  const turns = writeTurns(request.messages, traits, warnings);
  const tools = writeTools(request.tools, warnings);
  const toolChoice = writeToolChoice(request.toolChoice, request.parallelToolCalls, tools.length > 0, warnings);
  const omissions = createOmissions(dialectName);
  const { thinking: wanted, effort } = writeThinking(request.reasoning, traits, maxTokens, omissions);
  warnings.push(...omissions.warnings);
  const isForced = toolChoice?.["type"] === "any" || toolChoice?.["type"] === "tool";
  const thinking = thinkingBesideChoice(wanted, isForced, warnings);
  const sampling = samplingBesideThinking(request.sampling, thinking, warnings);
  const format = writeOutputFormat(request.outputFormat, warnings);
  const body: Record<string, unknown> = {
    model: options.model,
    max_tokens: maxTokens,
    stream: options.stream,
    ...turns,
    ...(tools.length === 0 ? {} : { tools }),
    ...(toolChoice === undefined ? {} : { tool_choice: toolChoice }),
    ...(thinking === undefined ? {} : { thinking }),
    ...(effort === undefined && format === undefined
      ? {}
      : {
          output_config: { ...(effort === undefined ? {} : { effort }), ...(format === undefined ? {} : { format }) },
        }),
    ...writeSampling(sampling, traits, warnings),
    ...(request.stopSequences.length === 0 ? {} : { stop_sequences: request.stopSequences }),
    ...writeServiceTier(request.serviceTier, warnings),
    ...(request.user === "" ? {} : { metadata: { user_id: request.user } }),
  };
  const whole = extend(body, request.extensions[dialectName], warnings);
  const betas = betasOf(whole);
  return {
    body: whole,
    warnings,
    ...(betas === "" ? {} : { headers: { "anthropic-beta": betas } }),
  };
}

/** Refuses what would change the reply if it were left out. */
function refuseForeign(request: GenerateRequest): void {
  if ((request.choiceCount ?? 1) > 1) throw unsupported("The target makes one reply only.", "choice_count");
  if (request.topLogprobs !== undefined) {
    throw unsupported("The target reports no probabilities of tokens.", "top_logprobs");
  }
  if (request.modalities.some((modality) => modality !== "text")) {
    throw unsupported("The target answers with text only.", "modalities");
  }
  if (request.audio !== undefined) throw unsupported("The target does not speak.", "audio");
  for (const [index, sequence] of request.stopSequences.entries()) {
    // https://platform.claude.com/docs/en/api/messages: refused with "each stop sequence must contain non-whitespace".
    if (sequence.trim() === "") {
      throw unsupported("The target takes no stop sequences of white space.", `stop_sequences[${index}]`);
    }
  }
}

/** Warns of hints that have no member here. */
function dropHints(request: GenerateRequest, warnings: Warning[]): void {
  const drop = (isSet: boolean, param: string) => {
    if (isSet) warnings.push(dropped(param));
  };
  drop(Object.keys(request.metadata).length > 0, "metadata");
  drop(request.promptCacheKey !== "", "prompt_cache_key");
  drop(request.promptCacheRetention !== "", "prompt_cache_retention");
  drop(request.prediction.length > 0, "prediction");
  drop(request.verbosity !== "", "verbosity");
  drop(request.store === true, "store");
  for (const name of Object.keys(request.extensions)) drop(name !== dialectName, `extensions.${name}`);
}

/** The longest reply. Where the request names none and asks for a budget of thoughts, the reply comes on top of it. */
function writeMaxTokens(request: GenerateRequest, { maxOutputTokensDefault }: RequestOptions): number {
  if (request.maxOutputTokens !== undefined) return request.maxOutputTokens;
  const budget = request.reasoning?.budgetTokens ?? 0;
  return budget < maxOutputTokensDefault ? maxOutputTokensDefault : budget + maxOutputTokensDefault;
}

/** Writes the shape of the reply. The vendor always holds to a schema, whether or not that was demanded. */
function writeOutputFormat(format: OutputFormat | undefined, warnings: Warning[]): JsonObject | undefined {
  switch (format?.kind.case) {
    case "jsonSchema": {
      const { name, description, schema } = format.kind.value;
      if (parseObject(schema) === undefined) {
        throw unsupported("The target takes a schema that is an object only.", "output_format.json_schema.schema");
      }
      if (name !== "") warnings.push(dropped("output_format.json_schema.name"));
      if (description !== "") warnings.push(dropped("output_format.json_schema.description"));
      return { type: "json_schema", schema: rawJson(schema) };
    }
    case "json":
      throw unsupported("The target needs a schema to answer in JSON.", "output_format.json");
    case "text":
    case undefined:
      return undefined;
  }
}

function writeSampling(sampling: SamplingOptions | undefined, traits: ModelTraits, warnings: Warning[]): JsonObject {
  if (sampling === undefined) return {};
  const { temperature, topP, topK } = sampling;
  const hints = { temperature, top_p: topP, top_k: topK };
  const foreign = {
    min_p: sampling.minP,
    presence_penalty: sampling.presencePenalty,
    frequency_penalty: sampling.frequencyPenalty,
    seed: sampling.seed,
    logit_bias: Object.keys(sampling.logitBias).length > 0 ? sampling.logitBias : undefined,
    ...(traits.sampling ? {} : hints),
  };
  for (const [name, value] of Object.entries(foreign)) {
    if (value !== undefined) warnings.push(dropped(`sampling.${name}`));
  }
  if (!traits.sampling) return {};
  if (temperature !== undefined && temperature > 1) {
    throw unsupported("The target's highest temperature is 1.", "sampling.temperature");
  }
  return Object.fromEntries(Object.entries(hints).filter(([, value]) => value !== undefined));
}

const serviceTiers: ReadonlySet<string> = new Set(["auto", "standard_only"]);

function writeServiceTier(tier: string, warnings: Warning[]): JsonObject {
  if (serviceTiers.has(tier)) return { service_tier: tier };
  if (tier !== "") warnings.push(dropped("service_tier"));
  return {};
}

/** Adds members that no field holds; what the fields have set stays. */
function extend(body: JsonObject, extension: Struct | undefined, warnings: Warning[]): JsonObject {
  if (extension === undefined) return body;
  const added = Object.entries(extension).map(([name, value]): [string, unknown] => {
    const own = body[name];
    if (own === undefined) return [name, value];
    if (isObject(own) && isObject(value)) return [name, { ...value, ...own }];
    warnings.push(dropped(`extensions.${dialectName}.${name}`));
    return [name, own];
  });
  return Object.fromEntries([...Object.entries(body), ...added]);
}
