import {
  type FunctionTool,
  type OutputFormat,
  type ServerTool,
  type Tool,
  type ToolChoice,
  ToolChoice_Mode as Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, unsupported } from "../faults.ts";
import { type JsonObject, parseExact, rawJson } from "../json.ts";
import { writeCacheMark } from "./cache-marks.ts";
import { customTool, webSearchTool } from "./read-tools.ts";
import type { PartTarget } from "./write-parts.ts";

/** Names of the tools without a schema. */
export function customToolNames(tools: readonly Tool[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { kind } of tools) {
    const name = kind.case === "server" && kind.value.type === customTool ? kind.value.settings?.["name"] : undefined;
    if (typeof name === "string") names.add(name);
  }
  return names;
}

/** Writes tools: `tools` and `web_search_options`, where there are any. */
export function writeTools(tools: readonly Tool[], target: PartTarget): JsonObject {
  const written: JsonObject[] = [];
  let search: JsonObject | undefined;
  for (const [index, tool] of tools.entries()) {
    const param = `tools[${index}]`;
    if (tool.kind.case === "function") {
      const definition = writeFunction(tool.kind.value, `${param}.function`);
      written.push({ type: "function", function: definition, ...mark(tool, param, target) });
      continue;
    }
    if (tool.cacheControl) target.omissions.drop(`${param}.cache_control`);
    if (tool.kind.case !== "server") throw invalid("A tool must be of a kind.", param);
    if (tool.kind.value.type === webSearchTool && search === undefined) search = tool.kind.value.settings ?? {};
    else written.push(writeCustom(tool.kind.value, `${param}.server`));
  }
  return { ...(written.length > 0 && { tools: written }), ...(search && { web_search_options: search }) };
}

/** Marks of Anthropic's kind alone may stand at a tool. */
function mark({ cacheControl }: Tool, param: string, { traits, omissions }: PartTarget): JsonObject {
  if (cacheControl === undefined) return {};
  if (traits.cacheMarks === "cache_control") return writeCacheMark(cacheControl, traits) ?? {};
  omissions.drop(`${param}.cache_control`);
  return {};
}

function writeFunction(tool: FunctionTool, param: string): JsonObject {
  return {
    name: tool.name,
    ...(tool.description !== "" && { description: tool.description }),
    ...(tool.parametersSchema !== "" && { parameters: schema(tool.parametersSchema, `${param}.parameters_schema`) }),
    ...(tool.strict !== undefined && { strict: tool.strict }),
  };
}

function writeCustom(tool: ServerTool, param: string): JsonObject {
  if (tool.type !== customTool) throw unsupported("This target does not know the tool; leave it out.", param);
  return { type: "custom", custom: tool.settings ?? {} };
}

/** A schema byte for byte, which must be JSON for the body to be. */
function schema(text: string, param: string): unknown {
  if (parseExact(text) === undefined) throw invalid(`\`${param}\` must be a JSON object, as text.`, param);
  return rawJson(text);
}

/** Writes the tool choice; undefined when it is the vendor's default. */
export function writeToolChoice(
  { mode, tools }: ToolChoice,
  customTools: ReadonlySet<string>,
): string | JsonObject | undefined {
  const [first] = tools;
  switch (mode) {
    case Mode.NONE:
      if (first !== undefined) throw unsupported("This target cannot forbid single tools.", "tool_choice.tools");
      return "none";
    case Mode.REQUIRED:
      if (first === undefined) return "required";
      return tools.length === 1 ? named(first, customTools) : allowed("required", tools, customTools);
    case Mode.AUTO:
      return first === undefined ? "auto" : allowed("auto", tools, customTools);
    default:
      return first === undefined ? undefined : allowed("auto", tools, customTools);
  }
}

function allowed(mode: string, tools: readonly string[], customTools: ReadonlySet<string>): JsonObject {
  return { type: "allowed_tools", allowed_tools: { mode, tools: tools.map((name) => named(name, customTools)) } };
}

function named(name: string, customTools: ReadonlySet<string>): JsonObject {
  const type = customTools.has(name) ? "custom" : "function";
  return { type, [type]: { name } };
}

/** Writes the output format. OpenAI demands a name for a schema. */
export function writeOutputFormat({ kind }: OutputFormat): JsonObject {
  switch (kind.case) {
    case "text":
      return { type: "text" };
    case "json":
      return { type: "json_object" };
    case "jsonSchema": {
      const { name, description, strict } = kind.value;
      return {
        type: "json_schema",
        json_schema: {
          name: name === "" ? "response" : name,
          ...(description !== "" && { description }),
          schema: schema(kind.value.schema, "output_format.json_schema.schema"),
          ...(strict !== undefined && { strict }),
        },
      };
    }
    default:
      throw invalid("`output_format` must be of a kind.", "output_format");
  }
}
