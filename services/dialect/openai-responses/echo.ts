import { isObject, type JsonObject, writeJson } from "../json.ts";

/**
 * The members of a Response that repeat the request, as JSON text without the outer braces; what the client left out has
 * the vendor's default: https://platform.openai.com/docs/api-reference/responses/object
 * @param request the client's own request
 */
export function writeEcho(request: JsonObject): string {
  const { conversation } = request;
  const echo = {
    access_programs: null,
    background: request["background"] ?? false,
    conversation: typeof conversation === "string" ? { id: conversation } : (conversation ?? null),
    instructions: request["instructions"] ?? null,
    max_output_tokens: request["max_output_tokens"] ?? null,
    max_tool_calls: request["max_tool_calls"] ?? null,
    metadata: request["metadata"] ?? {},
    parallel_tool_calls: request["parallel_tool_calls"] ?? true,
    previous_response_id: request["previous_response_id"] ?? null,
    prompt: request["prompt"] ?? null,
    prompt_cache_key: request["prompt_cache_key"] ?? null,
    prompt_cache_retention: request["prompt_cache_retention"] ?? null,
    reasoning: { effort: null, summary: null, ...asObject(request["reasoning"]) },
    safety_identifier: request["safety_identifier"] ?? null,
    temperature: request["temperature"] ?? 1,
    text: { format: { type: "text" }, ...withoutNull(asObject(request["text"])) },
    tool_choice: request["tool_choice"] ?? "auto",
    tools: asList(request["tools"]).map(echoTool),
    top_logprobs: request["top_logprobs"] ?? 0,
    top_p: request["top_p"] ?? 1,
    truncation: request["truncation"] ?? "disabled",
    ...(typeof request["user"] === "string" ? { user: request["user"] } : {}),
  };
  return writeJson(echo).slice(1, -1);
}

/** The types demand the schema and the strictness of a function, which a request may leave out. */
function echoTool(tool: unknown): unknown {
  if (!isObject(tool) || tool["type"] !== "function") return tool;
  return { ...tool, parameters: tool["parameters"] ?? null, strict: tool["strict"] ?? null };
}

/** Names of the custom tools of a request. */
export function customToolNames(request: JsonObject): ReadonlySet<unknown> {
  const custom = asList(request["tools"]).filter((tool) => isObject(tool) && tool["type"] === "custom");
  return new Set(custom.map((tool) => (tool as JsonObject)["name"]));
}

function withoutNull(json: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
}

function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}
