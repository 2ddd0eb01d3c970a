import {
  type FunctionTool,
  type ServerTool,
  type Tool,
  type ToolChoice,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { unsupported } from "../faults.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import { writeCache } from "./content-writer.ts";
import { dropped } from "./warnings.ts";

export function writeTools(tools: readonly Tool[], warnings: Warning[]): JsonObject[] {
  return tools.map((tool, index) => {
    const param = `tools[${index}]`;
    const block = writeTool(tool, param);
    return tool.cacheControl === undefined
      ? block
      : { ...block, cache_control: writeCache(tool.cacheControl, param, warnings) };
  });
}

function writeTool({ kind }: Tool, param: string): JsonObject {
  switch (kind.case) {
    case "function":
      return writeFunction(kind.value, `${param}.function`);
    case "server":
      return writeServerTool(kind.value, `${param}.server`);
    case undefined:
      throw unsupported("A tool of no kind cannot be sent.", param);
  }
}

function writeFunction(tool: FunctionTool, param: string): JsonObject {
  return {
    name: tool.name,
    ...(tool.description === "" ? {} : { description: tool.description }),
    input_schema: writeSchema(tool.parametersSchema, `${param}.parameters_schema`),
    ...(tool.strict === undefined ? {} : { strict: tool.strict }),
  };
}

/** The schema byte for byte, but that its `type`, which the vendor demands, is added where it is missing. */
function writeSchema(text: string, param: string): unknown {
  if (text.trim() === "") return { type: "object", properties: {} };
  const schema = parseObject(text);
  const type = schema?.["type"] ?? "object";
  if (schema === undefined || type !== "object") {
    throw unsupported("The target takes arguments that are an object only.", param);
  }
  if (schema["type"] !== undefined && schema["type"] !== null) return rawJson(text);
  const { type: _, ...rest } = schema;
  if (Object.hasOwn(schema, "type")) return { type: "object", ...rest };
  const members = text.slice(text.indexOf("{") + 1);
  return rawJson(`{"type":"object"${Object.keys(schema).length === 0 ? "" : ","}${members}`);
}

// The vendor's own tools carry the day of their version, `web_search_20250305`; other vendors write theirs in another way.
const isOwnType = /^(?:[a-z\d_]+_\d{8}|mcp_toolset)$/;

function writeServerTool({ type, settings }: ServerTool, param: string): JsonObject {
  if (!isOwnType.test(type)) throw unsupported("The target has no tool of this type.", `${param}.type`);
  return { ...settings, type };
}

/**
 * Writes which tools to call, and whether several at once. Without tools neither is of any effect and the vendor refuses
 * both, so that they are left out.
 */
export function writeToolChoice(
  choice: ToolChoice | undefined,
  parallel: boolean | undefined,
  hasTools: boolean,
  warnings: Warning[],
): JsonObject | undefined {
  const type = writeMode(choice);
  if (type === undefined && parallel === undefined) return undefined;
  if (!hasTools && choice?.mode === ToolChoice_Mode.REQUIRED) {
    throw unsupported("A call can be required only where there are tools.", "tool_choice");
  }
  if (!hasTools) {
    if (type !== undefined) warnings.push(dropped("tool_choice"));
    if (parallel !== undefined) warnings.push(dropped("parallel_tool_calls"));
    return undefined;
  }
  if (parallel === undefined) return type;
  if (type?.["type"] === "none") {
    warnings.push(dropped("parallel_tool_calls"));
    return type;
  }
  return { type: "auto", ...type, disable_parallel_tool_use: !parallel };
}

function writeMode(choice: ToolChoice | undefined): JsonObject | undefined {
  const { mode = ToolChoice_Mode.UNSPECIFIED, tools: [name, ...others] = [] } = choice ?? {};
  if (name !== undefined && (others.length > 0 || mode !== ToolChoice_Mode.REQUIRED)) {
    throw unsupported("The target can be told to call one tool or any, but none of a selection.", "tool_choice.tools");
  }
  switch (mode) {
    case ToolChoice_Mode.AUTO:
      return { type: "auto" };
    case ToolChoice_Mode.NONE:
      return { type: "none" };
    case ToolChoice_Mode.REQUIRED:
      return name === undefined ? { type: "any" } : { type: "tool", name };
    default:
      return undefined;
  }
}
