import { create, type JsonObject as StructJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type Message,
  MessageSchema,
  type OutputFormat,
  OutputFormatSchema,
  ReasoningOptionsSchema,
  Role,
  SamplingOptionsSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import { type JsonObject, writeJson } from "../json.ts";
import {
  readBoolean,
  readList,
  readNumber,
  readObject,
  readText,
  readWhole,
  requireObject,
  requireStructValue,
  requireText,
} from "./checks.ts";
import { readMaxOutputTokens, readModel, readUser } from "./envelope.ts";
import { readInput } from "./input-reader.ts";
import { dialectName } from "./name.ts";
import { readToolChoice } from "./tool-choice.ts";
import { createToolNames, readTool } from "./tools.ts";

const toolsMax = 1_000;
const metadataPairsMax = 64;
const topLogprobsMax = 20;

/** Asks for the probabilities of an answer's tokens. */
export const logprobsIncludable = "message.output_text.logprobs";

/** Reads a whole request. */
export function readRequest(body: JsonObject): GenerateRequest {
  const model = readModel(body);
  refuseStoredState(body);
  readBoolean(body["stream"], "stream");
  readObject(body["stream_options"], "stream_options");
  const tools = readList(body["tools"], "tools").map((tool, index) => readTool(tool, `tools[${index}]`));
  if (tools.length > toolsMax) throw invalid(`\`tools\` has more than ${toolsMax} entries.`, "tools");
  const names = createToolNames(tools);
  const toolChoice = readToolChoice(body["tool_choice"], names);
  const include = readInclude(body["include"]);
  const topLogprobs = readTopLogprobs(body, include);
  const text = readObject(body["text"], "text") ?? {};
  const outputFormat = readFormat(text["format"]);
  const reasoning = readReasoning(body["reasoning"]);
  const sampling = readSampling(body);
  const maxOutputTokens = readMaxOutputTokens(body);
  const parallelToolCalls = readBoolean(body["parallel_tool_calls"], "parallel_tool_calls");
  const store = readBoolean(body["store"], "store");
  const own = readUnknown(body, include);
  return create(GenerateRequestSchema, {
    model,
    messages: [...readInstructions(body), ...readInput(body["input"], names.isCustom)],
    tools,
    ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
    ...(toolChoice === undefined ? {} : { toolChoice }),
    ...(parallelToolCalls === undefined ? {} : { parallelToolCalls }),
    ...(outputFormat === undefined ? {} : { outputFormat }),
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(sampling === undefined ? {} : { sampling }),
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
    serviceTier: readText(body["service_tier"], "service_tier"),
    metadata: readMetadata(body["metadata"]),
    user: readUser(body),
    promptCacheKey: readText(body["prompt_cache_key"], "prompt_cache_key"),
    promptCacheRetention: readText(body["prompt_cache_retention"], "prompt_cache_retention"),
    verbosity: readText(text["verbosity"], "text.verbosity"),
    ...(store === undefined ? {} : { store }),
    extensions: Object.keys(own).length === 0 ? {} : { [dialectName]: own },
  });
}

/** Stored turns are put into `input` before a request comes here. */
function refuseStoredState(body: JsonObject): void {
  for (const member of ["previous_response_id", "conversation"] as const) {
    if (body[member] == null) continue;
    throw invalid(`\`${member}\` cannot be resolved here; send the earlier turns in \`input\`.`, member);
  }
}

/** `instructions` stand before the conversation, as its first system message. */
function readInstructions(body: JsonObject): Message[] {
  const text = readText(body["instructions"], "instructions");
  if (text === "") return [];
  return [create(MessageSchema, { role: Role.SYSTEM, parts: [{ content: { case: "text", value: { text } } }] })];
}

function readInclude(value: unknown): readonly string[] {
  return readList(value, "include").map((entry, index) => requireText(entry, `include[${index}]`));
}

/** A bare `top_logprobs: 0` is what the vendor echoes for "none asked". */
function readTopLogprobs(body: JsonObject, include: readonly string[]): number | undefined {
  const count = readWhole(body["top_logprobs"], "top_logprobs", 0, topLogprobsMax);
  if (include.includes(logprobsIncludable)) return count ?? 0;
  return count === 0 ? undefined : count;
}

function readFormat(value: unknown): OutputFormat | undefined {
  const format = readObject(value, "text.format");
  if (format === undefined) return undefined;
  switch (format["type"]) {
    case "text":
      return create(OutputFormatSchema, { kind: { case: "text", value: {} } });
    case "json_object":
      return create(OutputFormatSchema, { kind: { case: "json", value: {} } });
    case "json_schema": {
      const strict = readBoolean(format["strict"], "text.format.strict");
      const value = {
        name: requireText(format["name"], "text.format.name"),
        description: readText(format["description"], "text.format.description"),
        schema: writeJson(requireObject(format["schema"], "text.format.schema")),
        ...(strict === undefined ? {} : { strict }),
      };
      return create(OutputFormatSchema, { kind: { case: "jsonSchema", value } });
    }
    default:
      throw untranslatable("`text.format.type` must be `text`, `json_object` or `json_schema`.", "text.format.type");
  }
}

function readReasoning(value: unknown) {
  const json = readObject(value, "reasoning");
  if (json === undefined) return undefined;
  const effort = readText(json["effort"], "reasoning.effort");
  const summary =
    readText(json["summary"], "reasoning.summary") || readText(json["generate_summary"], "reasoning.generate_summary");
  return effort === "" && summary === "" ? undefined : create(ReasoningOptionsSchema, { effort, summary });
}

function readSampling(body: JsonObject) {
  const temperature = readNumber(body["temperature"], "temperature", 0, 2);
  const topP = readNumber(body["top_p"], "top_p", 0, 1);
  if (temperature === undefined && topP === undefined) return undefined;
  return create(SamplingOptionsSchema, {
    ...(temperature === undefined ? {} : { temperature }),
    ...(topP === undefined ? {} : { topP }),
  });
}

function readMetadata(value: unknown): Record<string, string> {
  const pairs = Object.entries(readObject(value, "metadata") ?? {});
  if (pairs.length > metadataPairsMax) {
    throw invalid(`\`metadata\` has more than ${metadataPairsMax} pairs.`, "metadata");
  }
  return Object.fromEntries(
    pairs.map(([key, label]) => {
      if (typeof label !== "string") throw invalid("The values of `metadata` must be texts.", "metadata");
      return [key, label];
    }),
  );
}

/** The entry of `include` that asks for reasoning in sealed form: how an answer is written, which writers decide by themselves. */
export const sealedIncludable = "reasoning.encrypted_content";

const knownMembers: ReadonlySet<string> = new Set([
  "conversation",
  "include",
  "input",
  "instructions",
  "max_output_tokens",
  "metadata",
  "model",
  "parallel_tool_calls",
  "previous_response_id",
  "prompt_cache_key",
  "prompt_cache_retention",
  "reasoning",
  "safety_identifier",
  "service_tier",
  "store",
  "stream",
  "stream_options",
  "temperature",
  "text",
  "tool_choice",
  "tools",
  "top_logprobs",
  "top_p",
]);

/** Members that say no more than their absence, when they have these values. */
const defaults: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["background", false],
  ["truncation", "disabled"],
]);

const knownInside: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ["reasoning", new Set(["effort", "summary", "generate_summary"])],
  ["text", new Set(["format", "verbosity"])],
]);

/** What the canonical form has no field for, as it came. */
function readUnknown(body: JsonObject, include: readonly string[]): StructJson {
  const rest: [string, unknown][] = Object.entries(body).filter(
    ([member, value]) => value != null && !knownMembers.has(member) && defaults.get(member) !== value,
  );
  const userIndex = rest.findIndex(
    ([member, value]) => member === "user" && (value === "" || value === readUser(body)),
  );
  if (userIndex >= 0) rest.splice(userIndex, 1);
  for (const [member, known] of knownInside) {
    const inner = Object.entries(readObject(body[member], member) ?? {}).filter(
      ([name, value]) => value != null && !known.has(name),
    );
    if (inner.length > 0) rest.push([member, Object.fromEntries(inner)]);
  }
  const included = include.filter((entry) => entry !== logprobsIncludable && entry !== sealedIncludable);
  if (included.length > 0) rest.push(["include", included]);
  return Object.fromEntries(rest.map(([member, value]) => [member, requireStructValue(value, member)]));
}
