import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type CacheControlSchema,
  type ToolChoiceSchema,
  ToolChoice_Mode,
  type ToolSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import { memberPath, readFlag, readText, requiredList, requiredObject, requiredText } from "../fields.ts";
import { writeJson } from "../json.ts";
import { readCachePoint } from "./cache-point.ts";
import { readExactRecord, readUnion } from "./members.ts";

type ToolInit = {
  kind: NonNullable<MessageInitShape<typeof ToolSchema>["kind"]>;
  cacheControl?: MessageInitShape<typeof CacheControlSchema>;
};
type ToolChoiceInit = MessageInitShape<typeof ToolChoiceSchema>;

const specMembers = new Set(["name", "description", "inputSchema", "strict"]);
const schemaMembers = new Set(["json"]);
const systemToolMembers = new Set(["name"]);
const nameMembers = new Set(["name"]);
const noMembers: ReadonlySet<string> = new Set();

/** Reads `toolConfig.tools`. */
export function readTools(value: unknown): ToolInit[] {
  const tools: ToolInit[] = [];
  for (const [index, item] of requiredList(value, "toolConfig.tools").entries()) {
    const param = `toolConfig.tools[${index}]`;
    const [kind, tool] = readUnion(item, param);
    switch (kind) {
      case "toolSpec":
        tools.push({ kind: readSpec(tool, `${param}.toolSpec`) });
        break;
      case "systemTool": {
        const { name } = readExactRecord(tool, systemToolMembers, `${param}.systemTool`);
        tools.push({ kind: { case: "server", value: { type: requiredText(name, `${param}.systemTool.name`) } } });
        break;
      }
      case "cachePoint": {
        const cacheControl = readCachePoint(tool, `${param}.cachePoint`);
        const last = tools.at(-1);
        if (last === undefined) throw invalid("A cache point must stand behind what it caches.", param);
        last.cacheControl = cacheControl;
        break;
      }
      default:
        throw untranslatable(
          "A tool of this kind cannot be translated for this model; leave it out.",
          memberPath(param, kind),
        );
    }
  }
  return tools;
}

function readSpec(value: unknown, param: string): ToolInit["kind"] {
  const spec = readExactRecord(value, specMembers, param);
  const schema = readExactRecord(spec["inputSchema"], schemaMembers, `${param}.inputSchema`);
  const json = requiredObject(schema["json"], `${param}.inputSchema.json`);
  const strict = readFlag(spec["strict"], `${param}.strict`);
  const tool = {
    name: requiredText(spec["name"], `${param}.name`),
    description: readText(spec["description"], `${param}.description`) ?? "",
    parametersSchema: writeJson(json),
    ...(strict === undefined ? {} : { strict }),
  };
  return { case: "function", value: tool };
}

/** Reads `toolConfig.toolChoice`. */
export function readToolChoice(value: unknown): ToolChoiceInit {
  const [kind, choice] = readUnion(value, "toolConfig.toolChoice");
  const param = memberPath("toolConfig.toolChoice", kind);
  switch (kind) {
    case "auto":
      readExactRecord(choice, noMembers, param);
      return { mode: ToolChoice_Mode.AUTO };
    case "any":
      readExactRecord(choice, noMembers, param);
      return { mode: ToolChoice_Mode.REQUIRED };
    case "tool": {
      const { name } = readExactRecord(choice, nameMembers, param);
      return { mode: ToolChoice_Mode.REQUIRED, tools: [requiredText(name, `${param}.name`)] };
    }
    default:
      throw untranslatable("`toolChoice` must be `auto`, `any` or `tool`.", param);
  }
}
