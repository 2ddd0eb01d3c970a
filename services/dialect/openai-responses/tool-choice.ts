import { create } from "@bufbuild/protobuf";
import { type ToolChoice, ToolChoice_Mode as Mode, ToolChoiceSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, unknownWord, unsupported, untranslatable } from "../faults.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readList, requireObject, requireText } from "./checks.ts";
import type { ToolNames } from "./tools.ts";

/** Reads `tool_choice`; undefined when absent. */
export function readToolChoice(value: unknown, names: ToolNames): ToolChoice | undefined {
  if (value == null) return undefined;
  switch (value) {
    case "auto":
      return create(ToolChoiceSchema, { mode: Mode.AUTO });
    case "none":
      return create(ToolChoiceSchema, { mode: Mode.NONE });
    case "required":
      return create(ToolChoiceSchema, { mode: Mode.REQUIRED });
    default:
  }
  if (!isObject(value)) {
    throw unknownWord(
      value,
      "`tool_choice` must be `none`, `auto`, `required`, or an object that names tools.",
      "tool_choice",
    );
  }
  if (value["type"] !== "allowed_tools") {
    return create(ToolChoiceSchema, { mode: Mode.REQUIRED, tools: [readReference(value, names, "tool_choice")] });
  }
  const list = readList(value["tools"], "tool_choice.tools");
  if (list.length === 0) throw invalid("`tool_choice.tools` must name at least one tool.", "tool_choice.tools");
  const tools = list.map((tool, index) => {
    const param = `tool_choice.tools[${index}]`;
    return readReference(requireObject(tool, param), names, param);
  });
  const mode = value["mode"];
  if (mode !== "auto" && mode !== "required") {
    throw unknownWord(mode, "`tool_choice.mode` must be `auto` or `required`.", "tool_choice.mode");
  }
  return create(ToolChoiceSchema, { mode: mode === "auto" ? Mode.AUTO : Mode.REQUIRED, tools });
}

/** The one name that stands for the tool in the canonical form. */
function readReference(json: JsonObject, names: ToolNames, param: string): string {
  const type = requireText(json["type"], `${param}.type`);
  const named = type === "function" || type === "custom";
  if (type === "mcp" && json["name"] != null) {
    throw untranslatable(`\`${param}.name\`, a single tool of a server, cannot be passed on.`, `${param}.name`);
  }
  const member = named ? "name" : "server_label";
  const name = named || type === "mcp" ? requireText(json[member], `${param}.${member}`) : type;
  const reference = names.reference(name);
  if (reference["type"] !== type) throw invalid(`\`${param}\` names no tool of \`tools\`.`, param);
  return name;
}

/** Writes `tool_choice`; undefined for the vendor's default. */
export function writeToolChoice(choice: ToolChoice | undefined, names: ToolNames): unknown {
  if (choice === undefined) return undefined;
  const { mode, tools } = choice;
  const [first] = tools;
  if (first === undefined) return modeWord(mode);
  if (mode === Mode.NONE) {
    throw unsupported("The target cannot forbid single tools; leave them out of the request.", "tool_choice.tools");
  }
  if (mode === Mode.REQUIRED && tools.length === 1) return names.reference(first);
  return {
    type: "allowed_tools",
    mode: mode === Mode.REQUIRED ? "required" : "auto",
    tools: tools.map((name) => names.reference(name)),
  };
}

function modeWord(mode: Mode): string | undefined {
  switch (mode) {
    case Mode.AUTO:
      return "auto";
    case Mode.NONE:
      return "none";
    case Mode.REQUIRED:
      return "required";
    default:
      return undefined;
  }
}
