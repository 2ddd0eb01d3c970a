import { create, type JsonObject as Struct, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type OutputFormatSchema,
  type ReasoningOptionsSchema,
  type SamplingOptionsSchema,
  type Tool,
  ToolSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import {
  isJsonObject,
  readFlag,
  readList,
  readLong,
  readNumber,
  readObject,
  readText,
  readWhole,
  requiredObject,
  requiredText,
} from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readModel, readOutputLimit } from "./envelope.ts";
import { bodyMembers, dialectName, numberOptions, optionMembers, topLogprobsMax } from "./members.ts";
import { readMessages } from "./message-reader.ts";

const stopsMax = 64;
const effortLengthMax = 64;

/**
 * Reads a whole request. Members beside the dialect's own, and options that the canonical form does not know, become
 * extensions.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readRequest(body: JsonObject): GenerateRequest {
  const options = readObject(body["options"], "options") ?? {};
  return create(GenerateRequestSchema, {
    model: readModel(body),
    messages: readMessages(body["messages"]),
    tools: (readList(body["tools"], "tools") ?? []).map((tool, index) => readTool(tool, `tools[${index}]`)),
    maxOutputTokens: readOutputLimit(options["num_predict"]),
    outputFormat: readFormat(body["format"]),
    reasoning: readThink(body["think"]),
    sampling: readSampling(options),
    stopSequences: readStops(options["stop"]),
    topLogprobs: readTopLogprobs(body),
    extensions: readExtensions(body, options),
  });
}

function readTool(value: unknown, param: string): Tool {
  const tool = requiredObject(value, param);
  if ((readText(tool["type"], `${param}.type`) ?? "function") !== "function") {
    throw untranslatable(`\`${param}.type\` must be \`function\`.`, `${param}.type`);
  }
  const path = `${param}.function`;
  const target = requiredObject(tool["function"], path);
  const schema = readObject(target["parameters"], `${path}.parameters`);
  return create(ToolSchema, {
    kind: {
      case: "function",
      value: {
        name: requiredText(target["name"], `${path}.name`),
        description: readText(target["description"], `${path}.description`) ?? "",
        parametersSchema: schema === undefined ? "" : writeJson(schema),
      },
    },
  });
}

function readFormat(value: unknown): MessageInitShape<typeof OutputFormatSchema> | undefined {
  if (value == null || value === "") return undefined;
  if (value === "json") return { kind: { case: "json", value: {} } };
  if (isJsonObject(value)) return { kind: { case: "jsonSchema", value: { schema: writeJson(value) } } };
  throw invalid("`format` must be `json` or a JSON schema.", "format");
}

/** `true` asks for reasoning of no particular effort. */
function readThink(value: unknown): MessageInitShape<typeof ReasoningOptionsSchema> | undefined {
  if (value == null) return undefined;
  if (typeof value === "boolean") return { effort: value ? "" : "none" };
  if (typeof value === "string" && value !== "" && value.length <= effortLengthMax) return { effort: value };
  throw invalid("`think` must be true, false, `low`, `medium` or `high`.", "think");
}

function readSampling(options: JsonObject): MessageInitShape<typeof SamplingOptionsSchema> | undefined {
  const sampling: MessageInitShape<typeof SamplingOptionsSchema> = {
    topK: readWhole(options["top_k"], "options.top_k", 0, 0xffff_ffff),
    seed: readLong(options["seed"], "options.seed"),
  };
  for (const { field, option, min, max } of numberOptions) {
    sampling[field] = readNumber(options[option], `options.${option}`, min, max);
  }
  return Object.values(sampling).every((value) => value === undefined) ? undefined : sampling;
}

function readStops(value: unknown): string[] {
  const stops = typeof value === "string" ? [value] : (readList(value, "options.stop") ?? []);
  if (stops.length > stopsMax) throw invalid(`\`options.stop\` must have at most ${stopsMax} texts.`, "options.stop");
  return stops.map((stop, index) => requiredText(stop, `options.stop[${index}]`));
}

function readTopLogprobs(body: JsonObject): number | undefined {
  const count = readWhole(body["top_logprobs"], "top_logprobs", 0, topLogprobsMax);
  return readFlag(body["logprobs"], "logprobs") === true ? (count ?? 0) : undefined;
}

/** What the canonical form does not know; of `options` likewise. */
function readExtensions(body: JsonObject, options: JsonObject): Record<string, Struct> {
  const further = Object.entries(body).filter(([name]) => !bodyMembers.has(name));
  const rest = Object.entries(options).filter(([name, value]) => !optionMembers.has(name) || isUnlimited(name, value));
  if (rest.length > 0) further.push(["options", Object.fromEntries(rest)]);
  return further.length === 0 ? {} : { [dialectName]: holdJson(Object.fromEntries(further), "") };
}

/** Whether an option is an output limit that stands for none. */
function isUnlimited(name: string, value: unknown): boolean {
  return name === "num_predict" && value != null && readOutputLimit(value) === undefined;
}
