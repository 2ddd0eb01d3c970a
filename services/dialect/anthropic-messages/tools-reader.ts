import type { MessageInitShape } from "@bufbuild/protobuf";
import { ToolChoice_Mode, type ToolChoiceSchema, type ToolSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { unknownWord, untranslatable } from "../faults.ts";
import { readFlag, readList, readObject, readText, refuseUnknown, requiredObject, requiredText } from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { holdJson } from "../struct.ts";
import { readCacheControl } from "./cache-control.ts";

type ToolInit = MessageInitShape<typeof ToolSchema>;

// `eager_input_streaming` says how finely a stream is cut, and `defer_loading` when the model sees the tool; without them
// the tool is there all the same.
const functionMembers: ReadonlySet<string> = new Set([
  "type",
  "name",
  "description",
  "input_schema",
  "strict",
  "cache_control",
  "allowed_callers",
  "eager_input_streaming",
  "defer_loading",
]);

/** Reads `tools`: functions, and tools that the vendor runs or has taught its models, by their `type`. */
export function readTools(value: unknown): ToolInit[] {
  return (readList(value, "tools") ?? []).map((item, index) => {
    const param = `tools[${index}]`;
    const tool = requiredObject(item, param);
    const cacheControl = readCacheControl(tool["cache_control"], `${param}.cache_control`);
    const type = readText(tool["type"], `${param}.type`) ?? "custom";
    const kind = type === "custom" ? readFunction(tool, param) : readServerTool(type, tool, param);
    return cacheControl === undefined ? { kind } : { kind, cacheControl };
  });
}

function readFunction(tool: JsonObject, param: string): NonNullable<ToolInit["kind"]> {
  refuseUnknown(tool, functionMembers, param);
  const callers = readList(tool["allowed_callers"], `${param}.allowed_callers`) ?? [];
  if (callers.some((caller) => caller !== "direct")) {
    throw untranslatable("Calls by a tool of the provider cannot be translated.", `${param}.allowed_callers`);
  }
  const strict = readFlag(tool["strict"], `${param}.strict`);
  return {
    case: "function",
    value: {
      name: requiredText(tool["name"], `${param}.name`),
      description: readText(tool["description"], `${param}.description`) ?? "",
      parametersSchema: writeJson(requiredObject(tool["input_schema"], `${param}.input_schema`)),
      ...(strict === undefined ? {} : { strict }),
    },
  };
}

function readServerTool(type: string, tool: JsonObject, param: string): NonNullable<ToolInit["kind"]> {
  const { type: _, cache_control: __, ...settings } = tool;
  return { case: "server", value: { type, settings: holdJson(settings, param) } };
}

/** What `tool_choice` says. */
export interface ToolChoiceReading {
  readonly toolChoice?: MessageInitShape<typeof ToolChoiceSchema>;
  readonly parallelToolCalls?: boolean;
}

const choiceMembers: ReadonlySet<string> = new Set(["type", "name", "disable_parallel_tool_use"]);

export function readToolChoice(value: unknown): ToolChoiceReading {
  const choice = readObject(value, "tool_choice");
  if (choice === undefined) return {};
  refuseUnknown(choice, choiceMembers, "tool_choice");
  const serial = readFlag(choice["disable_parallel_tool_use"], "tool_choice.disable_parallel_tool_use");
  const parallel = serial === undefined ? {} : { parallelToolCalls: !serial };
  switch (choice["type"]) {
    case "auto":
      return { toolChoice: { mode: ToolChoice_Mode.AUTO }, ...parallel };
    case "any":
      return { toolChoice: { mode: ToolChoice_Mode.REQUIRED }, ...parallel };
    case "none":
      return { toolChoice: { mode: ToolChoice_Mode.NONE }, ...parallel };
    case "tool": {
      const tools = [requiredText(choice["name"], "tool_choice.name")];
      return { toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools }, ...parallel };
    }
    default:
      throw unknownWord(
        choice["type"],
        "`tool_choice.type` must be `auto`, `any`, `tool` or `none`.",
        "tool_choice.type",
      );
  }
}
