import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type OutputFormatSchema,
  type ToolChoiceSchema,
  ToolChoice_Mode as Mode,
  type ToolSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, unknownWord, untranslatable } from "../faults.ts";
import {
  readFlag,
  readList,
  readObject,
  readText,
  refuseUnknown,
  required,
  requiredObject,
  requiredText,
} from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readCacheMark } from "./cache-marks.ts";

type ToolInit = MessageInitShape<typeof ToolSchema>;

/**
 * Server tools of this dialect by their canonical type: a tool without a schema, whose settings are `custom`, and web search,
 * whose settings are the member `web_search_options`.
 */
export const customTool = "custom";
export const webSearchTool = "web_search_options";

/** Reads `tools`, the old `functions` after them, and `web_search_options` last. */
export function readTools(body: JsonObject): ToolInit[] {
  const tools = (readList(body["tools"], "tools") ?? []).map((item, index) => readTool(item, `tools[${index}]`));
  for (const [index, item] of (readList(body["functions"], "functions") ?? []).entries()) {
    const param = `functions[${index}]`;
    tools.push({ kind: { case: "function", value: readFunction(requiredObject(item, param), param) } });
  }
  const search = readObject(body["web_search_options"], "web_search_options");
  if (search !== undefined) tools.push(serverTool(webSearchTool, search, "web_search_options"));
  if (tools.length > toolsMax) throw untranslatable(`There are more than ${toolsMax} tools.`, "tools");
  return tools;
}

const toolsMax = 1_000;
const nameLengthMax = 128;

const functionToolMembers: ReadonlySet<string> = new Set(["type", "function", "cache_control"]);
const customToolMembers: ReadonlySet<string> = new Set(["type", "custom"]);

function readTool(value: unknown, param: string): ToolInit {
  const tool = requiredObject(value, param);
  const type = requiredText(tool["type"], `${param}.type`);
  if (type === "function") {
    refuseUnknown(tool, functionToolMembers, param);
    const cacheControl = readCacheMark(tool, param);
    const definition = readFunction(requiredObject(tool["function"], `${param}.function`), `${param}.function`);
    return { kind: { case: "function", value: definition }, ...(cacheControl && { cacheControl }) };
  }
  if (type === customTool) {
    refuseUnknown(tool, customToolMembers, param);
    const custom = requiredObject(tool["custom"], `${param}.custom`);
    requiredText(custom["name"], `${param}.custom.name`);
    return serverTool(customTool, custom, `${param}.custom`);
  }
  const { type: _, ...settings } = tool;
  return serverTool(type, settings, param);
}

function serverTool(type: string, settings: JsonObject, param: string): ToolInit {
  return { kind: { case: "server", value: { type, settings: holdJson(settings, param) } } };
}

const functionMembers: ReadonlySet<string> = new Set(["name", "description", "parameters", "strict"]);

function readFunction(definition: JsonObject, param: string) {
  refuseUnknown(definition, functionMembers, param);
  const parameters = readObject(definition["parameters"], `${param}.parameters`);
  const name = requiredText(definition["name"], `${param}.name`);
  if (name.length > nameLengthMax) {
    throw untranslatable(`\`${param}.name\` is longer than ${nameLengthMax} characters.`, `${param}.name`);
  }
  return {
    name,
    description: readText(definition["description"], `${param}.description`) ?? "",
    parametersSchema: parameters === undefined ? "" : writeJson(parameters),
    strict: readFlag(definition["strict"], `${param}.strict`),
  };
}

type ToolChoiceInit = MessageInitShape<typeof ToolChoiceSchema>;

const modes: ReadonlyMap<unknown, Mode> = new Map([
  ["auto", Mode.AUTO],
  ["none", Mode.NONE],
  ["required", Mode.REQUIRED],
]);

/** Reads `tool_choice`, else the old `function_call`. */
export function readToolChoice(body: JsonObject): ToolChoiceInit | undefined {
  const choice = body["tool_choice"];
  if (choice == null) return readFunctionChoice(body["function_call"]);
  const mode = modes.get(choice);
  if (mode !== undefined) return { mode };
  const param = "tool_choice";
  if (typeof choice === "string") throw untranslatable("`tool_choice` must be `auto`, `none` or `required`.", param);
  const members = requiredObject(choice, param);
  if (members["type"] !== "allowed_tools") return { mode: Mode.REQUIRED, tools: [readToolName(members, param)] };
  const allowed = requiredObject(members["allowed_tools"], "tool_choice.allowed_tools");
  return readAllowed(allowed, "tool_choice.allowed_tools");
}

function readFunctionChoice(choice: unknown): ToolChoiceInit | undefined {
  if (choice == null) return undefined;
  const mode = modes.get(choice);
  if (mode !== undefined) return { mode };
  const { name } = requiredObject(choice, "function_call");
  return { mode: Mode.REQUIRED, tools: [requiredText(name, "function_call.name")] };
}

function readAllowed(allowed: JsonObject, param: string): ToolChoiceInit {
  const mode = modes.get(allowed["mode"]);
  if (mode === undefined || mode === Mode.NONE) {
    throw unknownWord(allowed["mode"], `\`${param}.mode\` must be \`auto\` or \`required\`.`, `${param}.mode`);
  }
  const items = required(readList(allowed["tools"], `${param}.tools`), `${param}.tools`);
  if (items.length === 0) throw invalid(`\`${param}.tools\` must name a tool.`, `${param}.tools`);
  const tools = items.map((item, index) => {
    const path = `${param}.tools[${index}]`;
    return readToolName(requiredObject(item, path), path);
  });
  return { mode, tools };
}

/** The name in `{type: "function", function: {name}}` or `{type: "custom", custom: {name}}`. */
function readToolName(members: JsonObject, param: string): string {
  const { type } = members;
  if (type !== "function" && type !== "custom") {
    throw unknownWord(type, `\`${param}.type\` must be \`function\` or \`custom\`.`, `${param}.type`);
  }
  return requiredText(requiredObject(members[type], `${param}.${type}`)["name"], `${param}.${type}.name`);
}

type OutputFormatInit = MessageInitShape<typeof OutputFormatSchema>;

const schemaMembers: ReadonlySet<string> = new Set(["name", "description", "schema", "strict"]);

/** Reads `response_format`. A `json_schema` without a schema allows anything. */
export function readOutputFormat(value: unknown): OutputFormatInit | undefined {
  const format = readObject(value, "response_format");
  switch (format?.["type"]) {
    case undefined:
      if (format === undefined) return undefined;
      break;
    case "text":
      return { kind: { case: "text", value: {} } };
    case "json_object":
      return { kind: { case: "json", value: {} } };
    case "json_schema":
      return { kind: { case: "jsonSchema", value: readSchema(format["json_schema"], "response_format.json_schema") } };
    default:
  }
  throw unknownWord(
    format?.["type"],
    "`response_format.type` must be `text`, `json_object` or `json_schema`.",
    "response_format.type",
  );
}

function readSchema(value: unknown, param: string) {
  const members = requiredObject(value, param);
  refuseUnknown(members, schemaMembers, param);
  return {
    name: readText(members["name"], `${param}.name`) ?? "",
    description: readText(members["description"], `${param}.description`) ?? "",
    schema: writeJson(readObject(members["schema"], `${param}.schema`) ?? {}),
    strict: readFlag(members["strict"], `${param}.strict`),
  };
}
