import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type OutputFormat,
  type ReasoningOptions,
  type SamplingOptions,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { RequestOptions, RequestWriting } from "../codec.ts";
import { dropped } from "../events.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import { isMembers } from "../openai-chat/fields.ts";
import { dialectName, numberOptions } from "./members.ts";
import { writeMessages } from "./message-writer.ts";
import { unsupported } from "./unsupported.ts";

/** Writes a request. @throws WeirError TARGET_UNSUPPORTED with `param` */
export function writeRequest(request: GenerateRequest, { model, stream }: RequestOptions): RequestWriting {
  const warnings: Warning[] = [];
  refuseInexpressible(request);
  const messages = writeMessages(request.messages, warnings);
  const tools = writeTools(request, warnings);
  const { options: furtherOptions, ...extension } = request.extensions[dialectName] ?? {};
  const options = writeOptions(request, furtherOptions, warnings);
  const think = writeThink(request.reasoning, warnings);
  const body = {
    ...extension,
    model,
    messages,
    stream,
    ...(tools.length === 0 ? {} : { tools }),
    ...writeFormat(request.outputFormat, warnings),
    ...(think === undefined ? {} : { think }),
    ...writeLogprobs(request.topLogprobs),
    ...(options === undefined ? {} : { options }),
  };
  warnings.push(...hints(request).map((param) => dropped(param, dialectName)));
  return { body, warnings };
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

/** What is left out, as no more than a hint. */
function hints(request: GenerateRequest): string[] {
  const set = {
    "sampling.logit_bias": Object.keys(request.sampling?.logitBias ?? {}).length > 0,
    service_tier: request.serviceTier !== "",
    metadata: Object.keys(request.metadata).length > 0,
    user: request.user !== "",
    prompt_cache_key: request.promptCacheKey !== "",
    prompt_cache_retention: request.promptCacheRetention !== "",
    prediction: request.prediction.length > 0,
    verbosity: request.verbosity !== "",
    store: request.store === true,
  };
  const others = Object.keys(request.extensions).filter((name) => name !== dialectName);
  return [
    ...Object.entries(set).flatMap(([param, isThere]) => (isThere ? [param] : [])),
    ...others.map((name) => `extensions.${name}`),
  ];
}

/** The tools that the model may call. There is no member for the choice: what may not be called is not sent. */
function writeTools({ tools, toolChoice }: GenerateRequest, warnings: Warning[]): JsonObject[] {
  const written: JsonObject[] = [];
  const allowed = new Set(toolChoice?.tools);
  for (const [index, { kind, cacheControl }] of tools.entries()) {
    const param = `tools[${index}]`;
    if (kind.case !== "function") throw unsupported("Ollama runs no tools of its own; leave this one out.", param);
    if (cacheControl !== undefined) warnings.push(dropped(`${param}.cache_control`, dialectName));
    const { name, description, parametersSchema, strict } = kind.value;
    if (strict !== undefined) warnings.push(dropped(`${param}.function.strict`, dialectName));
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

function writeFormat(format: OutputFormat | undefined, warnings: Warning[]): JsonObject {
  const kind = format?.kind;
  if (kind?.case === "json") return { format: "json" };
  if (kind?.case !== "jsonSchema") return {};
  const { name, description, schema } = kind.value;
  if (name !== "") warnings.push(dropped("output_format.json_schema.name", dialectName));
  if (description !== "") warnings.push(dropped("output_format.json_schema.description", dialectName));
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

function writeThink(reasoning: ReasoningOptions | undefined, warnings: Warning[]): boolean | string | undefined {
  if (reasoning === undefined) return undefined;
  const { effort, budgetTokens, summary } = reasoning;
  if (summary !== "") warnings.push(dropped("reasoning.summary", dialectName));
  if (effort === "" && budgetTokens === 0) return false;
  if (budgetTokens !== undefined) warnings.push(dropped("reasoning.budget_tokens", dialectName));
  if (!efforts.has(effort)) warnings.push(dropped("reasoning.effort", dialectName));
  return efforts.get(effort);
}

function writeLogprobs(topLogprobs: number | undefined): JsonObject {
  if (topLogprobs === undefined) return {};
  return topLogprobs === 0 ? { logprobs: true } : { logprobs: true, top_logprobs: topLogprobs };
}

function writeOptions(request: GenerateRequest, further: unknown, warnings: Warning[]): JsonObject | undefined {
  const options = writeSampling(request.sampling);
  if (request.maxOutputTokens !== undefined) options["num_predict"] = request.maxOutputTokens;
  if (request.stopSequences.length > 0) options["stop"] = request.stopSequences;
  if (further !== undefined && !isMembers(further)) {
    warnings.push(dropped(`extensions.${dialectName}.options`, dialectName));
  }
  const all = { ...(isMembers(further) ? further : {}), ...options };
  return Object.keys(all).length === 0 ? undefined : all;
}

function writeSampling(sampling: SamplingOptions | undefined): Record<string, unknown> {
  const options: Record<string, unknown> = {};
  if (sampling === undefined) return options;
  for (const { field, option } of numberOptions) if (sampling[field] !== undefined) options[option] = sampling[field];
  if (sampling.topK !== undefined) options["top_k"] = sampling.topK;
  if (sampling.seed !== undefined) options["seed"] = rawJson(String(sampling.seed));
  return options;
}
