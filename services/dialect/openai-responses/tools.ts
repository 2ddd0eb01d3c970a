import { create } from "@bufbuild/protobuf";
import { type FunctionTool, type Tool, ToolSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { dropped } from "../events.ts";
import { invalid, unsupported, untranslatable } from "../faults.ts";
import { isObject, type JsonObject, parseObject, rawJson, writeJson } from "../json.ts";
import { readBoolean, readObject, readText, requireObject, requireStruct, requireText } from "./checks.ts";
import { dialectName } from "./name.ts";

/** Tools other than functions, as OpenAI names them. `custom` tools are the caller's, and take free text. */
const serverTools: ReadonlySet<string> = new Set([
  "apply_patch",
  "code_interpreter",
  "computer",
  "computer_use_preview",
  "custom",
  "file_search",
  "image_generation",
  "local_shell",
  "mcp",
  "namespace",
  "programmatic_tool_calling",
  "shell",
  "tool_search",
  "web_search",
  "web_search_2025_08_26",
  "web_search_preview",
  "web_search_preview_2025_03_11",
]);

export function readTool(value: unknown, param: string): Tool {
  const json = requireObject(value, param);
  const { type, ...settings } = json;
  const kind = requireText(type, `${param}.type`);
  if (kind === "function") return readFunction(json, param);
  const held = Object.keys(settings).length === 0 ? {} : { settings: requireStruct(settings, param) };
  return create(ToolSchema, { kind: { case: "server", value: { type: kind, ...held } } });
}

const functionNameLengthMax = 128;

// Each of them changes who may call the function, or what it answers.
const refusedMembers = ["allowed_callers", "async", "defer_loading", "output_schema"] as const;

function readFunction(json: JsonObject, param: string): Tool {
  for (const member of refusedMembers) {
    if (json[member] == null || json[member] === false) continue;
    throw untranslatable(`\`${param}.${member}\` cannot be passed on; leave it out.`, `${param}.${member}`);
  }
  const name = requireText(json["name"], `${param}.name`);
  if (name.length > functionNameLengthMax) {
    throw invalid(`\`${param}.name\` is longer than ${functionNameLengthMax} characters.`, `${param}.name`);
  }
  const schema = readObject(json["parameters"], `${param}.parameters`);
  const strict = readBoolean(json["strict"], `${param}.strict`);
  return create(ToolSchema, {
    kind: {
      case: "function",
      value: {
        name,
        description: readText(json["description"], `${param}.description`),
        parametersSchema: schema === undefined ? "" : writeJson(schema),
        ...(strict === undefined ? {} : { strict }),
      },
    },
  });
}

/** `param`: path of the canonical tool. */
export function writeTool({ kind, cacheControl }: Tool, param: string, warnings: Warning[]): JsonObject {
  if (cacheControl !== undefined) warnings.push(dropped(`${param}.cache_control`, dialectName));
  switch (kind.case) {
    case "function":
      return writeFunction(kind.value, param);
    case "server":
      if (!serverTools.has(kind.value.type)) {
        throw unsupported("The target has no such built-in tool.", `${param}.server.type`);
      }
      return {
        ...(kind.value.type === "custom" ? flatFormat(kind.value.settings) : kind.value.settings),
        type: kind.value.type,
      };
    default:
      throw unsupported("A tool is neither a function nor one of the provider's.", param);
  }
}

/** A grammar stands in `format` here, and in `format.grammar` in chat completions. */
function flatFormat(settings: JsonObject | undefined): JsonObject | undefined {
  const format = settings?.["format"];
  if (!isObject(format) || !isObject(format["grammar"])) return settings;
  return { ...settings, format: { type: format["type"], ...format["grammar"] } };
}

function writeFunction(tool: FunctionTool, param: string): JsonObject {
  const { name, description, parametersSchema, strict } = tool;
  return {
    type: "function",
    name,
    ...(description === "" ? {} : { description }),
    parameters: parametersSchema === "" ? null : schemaJson(parametersSchema, `${param}.function.parameters_schema`),
    strict: strict ?? null,
  };
}

/** A schema to be written byte for byte; checked, lest it write other members of the body as well. */
export function schemaJson(text: string, param: string): unknown {
  if (parseObject(text) === undefined) throw invalid("A JSON Schema is not a JSON object.", param);
  return rawJson(text);
}

/** How this dialect refers to tools in `tool_choice`. */
export interface ToolNames {
  /** The reference to the tool that the canonical form calls `name`; a function when no tool is called so. */
  reference(name: string): JsonObject;
  isCustom(name: string): boolean;
}

/** A function and a custom tool go by their names, an MCP server by its label, any other tool by its type. */
export function createToolNames(tools: readonly Tool[]): ToolNames {
  const references = new Map<string, JsonObject>();
  const custom = new Set<string>();
  const add = (name: unknown, reference: JsonObject) => {
    if (typeof name === "string" && !references.has(name)) references.set(name, reference);
  };
  for (const { kind } of tools) {
    if (kind.case === "function") add(kind.value.name, { type: "function", name: kind.value.name });
  }
  for (const { kind } of tools) {
    if (kind.case !== "server") continue;
    const { type, settings } = kind.value;
    if (type === "custom") {
      const name = settings?.["name"];
      if (typeof name === "string" && !references.has(name)) custom.add(name);
      add(name, { type, name });
    } else if (type === "mcp") add(settings?.["server_label"], { type, server_label: settings?.["server_label"] });
    else add(type, { type });
  }
  return {
    reference: (name) => references.get(name) ?? { type: "function", name },
    isCustom: (name) => custom.has(name),
  };
}
