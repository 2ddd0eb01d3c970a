import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type OutputFormat,
  type ReasoningOptions,
  type SamplingOptions,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { unsupported } from "../faults.ts";
import { isJsonObject } from "../fields.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import { createOmissions, type Omissions } from "../omissions.ts";
import { dialectName, numberOptions } from "./members.ts";
import { writeMessages } from "./message-writer.ts";

/** Writes a request. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: GenerateRequest, { model, stream }: RequestOptions): RequestWriting {
  const omissions = createOmissions(dialectName);
  refuseInexpressible(request);
  const messages = writeMessages(request.messages, omissions);
  const tools = writeTools(request, omissions);
  const think = writeThink(request.reasoning, omissions);
  const { options: furtherOptions, ...further } = request.extensions[dialectName] ?? {};
  const options = writeOptions(request, furtherOptions, omissions);
  const body = {
    model,
    messages,
    stream,
    ...(tools.length === 0 ? {} : { tools }),
    ...writeFormat(request.outputFormat, omissions),
    ...(think === undefined ? {} : { think }),
    ...writeLogprobs(request.topLogprobs),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
  omitHints(request, omissions);
  return { body: { ...body, ...beside(body, further, "", omissions) }, warnings: omissions.warnings };
}

/** Members of an extension that the request itself does not set. */
function beside(set: JsonObject, further: JsonObject, path: string, omissions: Omissions): JsonObject {
  const free = Object.entries(further).filter(([name]) => !Object.hasOwn(set, name));
  for (const name of Object.keys(further)) {
    omissions.drop(`extensions.${dialectName}.${path}${name}`, Object.hasOwn(set, name));
  }
  return Object.fromEntries(free);
}

function refuseInexpressible(request: GenerateRequest): void {
  const { choiceCount = 1, modalities, audio, parallelToolCalls, tools, toolChoice } = request;
  if (choiceCount > 1) throw unsupported("Ollama makes one reply; ask for one.", "choice_count");
  if (modalities.some((modality) => modality !== "text")) throw unsupported("Ollama answers in text.", "modalities");
  if (audio !== undefined) throw unsupported("Ollama answers in text.", "audio");
  if (toolChoice?.mode === ToolChoice_Mode.REQUIRED) {
    throw unsupported("Ollama's models are free to call a tool or not; none can be required.", "tool_choice");
  }
  if (parallelToolCalls === false && tools.length > 0) {
    throw unsupported(
      "Ollama's models may call several tools in one turn; that cannot be ruled out.",
      "parallel_tool_calls",
    );
  }
}

/** Leaves out what is no more than a hint. */
function omitHints(request: GenerateRequest, omissions: Omissions): void {
  omissions.drop("sampling.logit_bias", Object.keys(request.sampling?.logitBias ?? {}).length > 0);
  omissions.drop("service_tier", request.serviceTier !== "");
  omissions.drop("metadata", Object.keys(request.metadata).length > 0);
  omissions.drop("user", request.user !== "");
  omissions.drop("prompt_cache_key", request.promptCacheKey !== "");
  omissions.drop("prompt_cache_retention", request.promptCacheRetention !== "");
  omissions.drop("prediction", request.prediction.length > 0);
  omissions.drop("verbosity", request.verbosity !== "");
  omissions.drop("store", request.store === true);
  for (const name of Object.keys(request.extensions)) omissions.drop(`extensions.${name}`, name !== dialectName);
}

/** The tools that the model may call. There is no member for the choice: what may not be called is not sent. */
function writeTools({ tools, toolChoice }: GenerateRequest, omissions: Omissions): JsonObject[] {
  const written: JsonObject[] = [];
  const allowed = new Set(toolChoice?.tools);
  for (const [index, { kind, cacheControl }] of tools.entries()) {
    const param = `tools[${index}]`;
    if (kind.case !== "function") throw unsupported("Ollama runs no tools of its own; leave this one out.", param);
    omissions.drop(`${param}.cache_control`, cacheControl !== undefined);
    const { name, description, parametersSchema, strict } = kind.value;
    omissions.drop(`${param}.function.strict`, strict !== undefined);
    const parameters =
      parametersSchema === ""
        ? {}
        : { parameters: writeSchema(parametersSchema, `${param}.function.parameters_schema`) };
    if (toolChoice?.mode === ToolChoice_Mode.NONE || (allowed.size > 0 && !allowed.has(name))) continue;
    written.push({
      type: "function",
      function: { name, ...(description === "" ? {} : { description }), ...parameters },
    });
  }
  return written;
}

function writeFormat(format: OutputFormat | undefined, omissions: Omissions): JsonObject {
  const kind = format?.kind;
  if (kind?.case === "json") return { format: "json" };
  if (kind?.case !== "jsonSchema") return {};
  const { name, description, schema } = kind.value;
  omissions.drop("output_format.json_schema.name", name !== "");
  omissions.drop("output_format.json_schema.description", description !== "");
  return { format: writeSchema(schema, "output_format.json_schema.schema") };
}

function writeSchema(text: string, param: string): unknown {
  if (parseObject(text) === undefined) throw unsupported("Ollama takes only a JSON object as a schema.", param);
  return rawJson(text);
}

// Vendors' words beyond Ollama's three levels, by the nearest of them.
const efforts: ReadonlyMap<string, boolean | string> = new Map<string, boolean | string>([
  ["", true],
  ["none", false],
  ["minimal", "low"],
  ["low", "low"],
  ["medium", "medium"],
  ["high", "high"],
  ["xhigh", "high"],
  ["max", "high"],
]);

function writeThink(reasoning: ReasoningOptions | undefined, omissions: Omissions): boolean | string | undefined {
  if (reasoning === undefined) return undefined;
  const { effort, budgetTokens, summary } = reasoning;
  omissions.drop("reasoning.summary", summary !== "");
  if (effort === "" && budgetTokens === 0) return false;
  omissions.drop("reasoning.budget_tokens", budgetTokens !== undefined);
  omissions.drop("reasoning.effort", !efforts.has(effort));
  return efforts.get(effort);
}

function writeLogprobs(topLogprobs: number | undefined): JsonObject {
  if (topLogprobs === undefined) return {};
  return topLogprobs === 0 ? { logprobs: true } : { logprobs: true, top_logprobs: topLogprobs };
}

function writeOptions(request: GenerateRequest, further: unknown, omissions: Omissions): JsonObject {
  const options = writeSampling(request.sampling);
  if (request.maxOutputTokens !== undefined) options["num_predict"] = request.maxOutputTokens;
  if (request.stopSequences.length > 0) options["stop"] = request.stopSequences;
  if (!isJsonObject(further)) {
    omissions.drop(`extensions.${dialectName}.options`, further !== undefined);
    return options;
  }
  const { num_predict: limit, ...others } = further;
  // An extension may say that there is no limit, which is the default, but sets none: Weir reserves by the request's own.
  const isLimit = typeof limit !== "number" || limit > 0;
  omissions.drop(`extensions.${dialectName}.options.num_predict`, limit !== undefined && isLimit);
  const unlimited = isLimit ? {} : { num_predict: limit };
  return { ...options, ...beside(options, { ...others, ...unlimited }, "options.", omissions) };
}

function writeSampling(sampling: SamplingOptions | undefined): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  if (sampling === undefined) return options;
  for (const { field, option } of numberOptions) if (sampling[field] !== undefined) options[option] = sampling[field];
  if (sampling.topK !== undefined) options["top_k"] = sampling.topK;
  if (sampling.seed !== undefined) options["seed"] = rawJson(String(sampling.seed));
  return options;
}
