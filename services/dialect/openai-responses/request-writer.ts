import type { JsonObject as StructJson } from "@bufbuild/protobuf";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { OutputFormat, ReasoningOptions, SamplingOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { dropped } from "../events.ts";
import { unsupported } from "../faults.ts";
import { isObject, type JsonObject } from "../json.ts";
import { writeInput } from "./input-writer.ts";
import { dialectName } from "./name.ts";
import { logprobsIncludable, sealedIncludable } from "./request-reader.ts";
import { writeToolChoice } from "./tool-choice.ts";
import { createToolNames, schemaJson, writeTool } from "./tools.ts";

/** OpenAI refuses longer ones: https://platform.openai.com/docs/api-reference/responses/create */
const safetyIdentifierLengthMax = 128;

/** Writes a request for a target. */
export function writeRequest(request: GenerateRequest, options: RequestOptions): RequestWriting {
  refuseWhatHasNoPlace(request);
  const warnings = droppedHints(request);
  const names = createToolNames(request.tools);
  const body = withoutAbsent({
    model: options.model,
    ...writeInput(request.messages, names.isCustom, warnings),
    stream: options.stream ? true : undefined,
    tools: absentWhenEmpty(request.tools.map((tool, index) => writeTool(tool, `tools[${index}]`, warnings))),
    tool_choice: writeToolChoice(request.toolChoice, names),
    parallel_tool_calls: request.parallelToolCalls,
    max_output_tokens: request.maxOutputTokens,
    text: writeText(request),
    reasoning: writeReasoning(request.reasoning, warnings),
    ...writeSampling(request.sampling, warnings),
    include: absentWhenEmpty([
      ...(request.topLogprobs === undefined ? [] : [logprobsIncludable]),
      ...(isReasoningToReturn(request) ? [sealedIncludable] : []),
    ]),
    top_logprobs: request.topLogprobs,
    service_tier: absentWhenBlank(request.serviceTier),
    metadata: Object.keys(request.metadata).length === 0 ? undefined : request.metadata,
    safety_identifier: writeUser(request.user, warnings),
    prompt_cache_key: absentWhenBlank(request.promptCacheKey),
    prompt_cache_retention: absentWhenBlank(request.promptCacheRetention),
    store: request.store,
  });
  const own = Object.hasOwn(request.extensions, dialectName) ? request.extensions[dialectName] : undefined;
  if (own === undefined) return { body, warnings };
  const refused = Object.keys(own).filter((name) => governed.has(name));
  for (const name of refused) warnings.push(dropped(`extensions.${dialectName}.${name}`, dialectName));
  const allowed = Object.fromEntries(Object.entries(own).filter(([name]) => !governed.has(name)));
  return { body: withExtensions(body, allowed), warnings };
}

/** Members that an extension never sets: what limits, routing and metering go by. */
const governed: ReadonlySet<string> = new Set(["model", "input", "stream", "background", "max_output_tokens"]);

/** Fields that change what the answer is, and that this dialect lacks. */
function refuseWhatHasNoPlace(request: GenerateRequest): void {
  if (request.wire !== undefined) {
    throw unsupported("A request in a public dialect must be read before it is written in another.", "wire");
  }
  if (request.stopSequences.length > 0) {
    throw unsupported("The target knows no stop sequences; leave them out.", "stop_sequences");
  }
  if ((request.choiceCount ?? 1) > 1) throw unsupported("The target makes one reply only.", "choice_count");
  if (request.audio !== undefined) throw unsupported("The target does not speak.", "audio");
  if (request.modalities.some((modality) => modality !== "text")) {
    throw unsupported("The target replies with text only.", "modalities");
  }
}

function droppedHints(request: GenerateRequest): Warning[] {
  const params = Object.keys(request.extensions)
    .filter((name) => name !== dialectName)
    .map((name) => `extensions.${name}`);
  if (request.prediction.length > 0) params.push("prediction");
  return params.map((param) => dropped(param, dialectName));
}

/**
 * Whether reasoning of the answer must be able to come back without the vendor's store: nothing says that it is kept there, and
 * the model is asked to reason, or has reasoned before. Models that cannot reason refuse to be asked for it.
 */
function isReasoningToReturn({ store, reasoning, messages }: GenerateRequest): boolean {
  if (store === true) return false;
  if (reasoning !== undefined) return reasoning.effort !== "none" && reasoning.budgetTokens !== 0;
  return messages.some(({ parts }) => parts.some(({ content }) => content.case === "reasoning"));
}

function writeText({ outputFormat, verbosity }: GenerateRequest): JsonObject | undefined {
  const format = outputFormat && writeFormat(outputFormat);
  if (format === undefined && verbosity === "") return undefined;
  return withoutAbsent({ format, verbosity: absentWhenBlank(verbosity) });
}

function writeFormat({ kind }: OutputFormat): JsonObject {
  switch (kind.case) {
    case "json":
      return { type: "json_object" };
    case "jsonSchema": {
      const { name, description, schema, strict } = kind.value;
      return withoutAbsent({
        type: "json_schema",
        name: name === "" ? "reply" : name,
        description: absentWhenBlank(description),
        schema: schemaJson(schema, "output_format.json_schema.schema"),
        strict,
      });
    }
    default:
      return { type: "text" };
  }
}

function writeReasoning(reasoning: ReasoningOptions | undefined, warnings: Warning[]): JsonObject | undefined {
  if (reasoning === undefined) return undefined;
  if (reasoning.budgetTokens !== undefined) warnings.push(dropped("reasoning.budget_tokens", dialectName));
  const effort = absentWhenBlank(reasoning.effort);
  // No summary is what is shown when none is asked for.
  const summary = reasoning.summary === "none" ? undefined : absentWhenBlank(reasoning.summary);
  return effort === undefined && summary === undefined ? undefined : withoutAbsent({ effort, summary });
}

function writeSampling(sampling: SamplingOptions | undefined, warnings: Warning[]): JsonObject {
  if (sampling === undefined) return {};
  const { temperature, topP, topK, minP, presencePenalty, frequencyPenalty, seed, logitBias } = sampling;
  const lacking = {
    top_k: topK,
    min_p: minP,
    presence_penalty: presencePenalty,
    frequency_penalty: frequencyPenalty,
    seed,
    logit_bias: Object.keys(logitBias).length === 0 ? undefined : logitBias,
  };
  for (const [name, value] of Object.entries(lacking)) {
    if (value !== undefined) warnings.push(dropped(`sampling.${name}`, dialectName));
  }
  return { temperature, top_p: topP };
}

function writeUser(user: string, warnings: Warning[]): string | undefined {
  if (user.length <= safetyIdentifierLengthMax) return absentWhenBlank(user);
  warnings.push(dropped("user", dialectName));
  return undefined;
}

/** Adds members that the canonical form does not know; what it set stands. */
function withExtensions(body: JsonObject, own: StructJson): JsonObject {
  const members = Object.entries(own).map(([name, value]): [string, unknown] => {
    const set = Object.hasOwn(body, name) ? body[name] : undefined;
    if (set === undefined) return [name, value];
    if (name === "include" && Array.isArray(set) && Array.isArray(value))
      return [name, [...new Set([...set, ...value])]];
    return [name, extended.has(name) && isObject(set) && isObject(value) ? { ...value, ...set } : set];
  });
  return Object.fromEntries([...Object.entries(body), ...members]);
}

/** Members of which the canonical form holds a part only. */
const extended: ReadonlySet<string> = new Set(["reasoning", "text"]);

function absentWhenBlank(text: string): string | undefined {
  return text === "" ? undefined : text;
}

function absentWhenEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}

function withoutAbsent(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
