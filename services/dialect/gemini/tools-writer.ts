import { type Tool, type ToolChoice, ToolChoice_Mode as Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { unsupported } from "../faults.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { serverToolTypes } from "./server-tools.ts";

const serverTypes: ReadonlySet<string> = new Set(serverToolTypes);

/** Writes `tools`, in order, but that all functions stand together where the first one stands, and so do MCP servers. */
export function writeTools(tools: readonly Tool[], omissions: Omissions): JsonObject[] {
  const written: JsonObject[] = [];
  const functions: JsonObject[] = [];
  const mcpServers: JsonObject[] = [];
  for (const [index, { kind, cacheControl }] of tools.entries()) {
    const param = `tools[${index}]`;
    if (cacheControl !== undefined) omissions.drop(`${param}.cache_control`);
    if (kind.case === "function") {
      if (functions.length === 0) written.push({ functionDeclarations: functions });
      functions.push(writeFunction(kind.value, `${param}.function`));
    } else if (kind.case === "server") {
      const { type, settings = {} } = kind.value;
      if (type === "mcpServers") {
        if (mcpServers.length === 0) written.push({ mcpServers });
        mcpServers.push(settings);
      } else if (serverTypes.has(type)) written.push({ [type]: settings });
      else throw unsupported("Gemini has no such tool of its own; leave it out.", `${param}.server.type`);
    } else throw unsupported("The tool is neither a function nor one of the provider's.", param);
  }
  return written;
}

function writeFunction(
  { name, description, parametersSchema }: { name: string; description: string; parametersSchema: string },
  param: string,
): JsonObject {
  // As JSON Schema, not as the API's own Schema: nothing of it is lost, and the model is told all of it.
  if (parametersSchema !== "" && parseObject(parametersSchema) === undefined) {
    throw unsupported("The schema of the arguments is not a JSON object.", `${param}.parameters_schema`);
  }
  return {
    name,
    ...(description === "" ? {} : { description }),
    ...(parametersSchema === "" ? {} : { parametersJsonSchema: rawJson(parametersSchema) }),
  };
}

/**
 * Writes `functionCallingConfig`; undefined when there is nothing to say. Arguments follow their schemas where a call is
 * forced, and in the mode `VALIDATED`, which holds for all functions alike.
 */
export function writeCallingConfig(request: GenerateRequest, omissions: Omissions): JsonObject | undefined {
  const { tools, toolChoice, parallelToolCalls } = request;
  const functions = tools.flatMap(({ kind }) => (kind.case === "function" ? [kind.value] : []));
  if (parallelToolCalls === false) {
    if (functions.length > 0) {
      throw unsupported(
        "Gemini may always call several tools at once; allow it, or leave the tools out.",
        "parallel_tool_calls",
      );
    }
    omissions.drop("parallel_tool_calls");
  }
  const allStrict = functions.length > 0 && functions.every(({ strict }) => strict === true);
  const { mode, names } = writeMode(toolChoice, allStrict);
  if (mode === "AUTO" || mode === undefined) {
    const index = tools.findIndex(({ kind }) => kind.case === "function" && kind.value.strict === true);
    if (index >= 0) omissions.drop(`tools[${index}].function.strict`);
  }
  if (mode === undefined) return undefined;
  return { mode, ...(names.length === 0 ? {} : { allowedFunctionNames: names }) };
}

function writeMode(
  choice: ToolChoice | undefined,
  allStrict: boolean,
): { readonly mode: string | undefined; readonly names: readonly string[] } {
  const { mode = Mode.UNSPECIFIED, tools: names = [] } = choice ?? {};
  switch (mode) {
    case Mode.REQUIRED:
      return { mode: "ANY", names };
    case Mode.NONE:
      if (names.length > 0)
        throw unsupported("Gemini cannot forbid single tools; leave them out.", "tool_choice.tools");
      return { mode: "NONE", names };
    default:
      if (allStrict || names.length > 0) return { mode: "VALIDATED", names }; // `AUTO` takes no names
      return { mode: mode === Mode.AUTO ? "AUTO" : undefined, names };
  }
}
