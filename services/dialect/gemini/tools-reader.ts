import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type Tool,
  type ToolChoiceSchema,
  ToolChoice_Mode as Mode,
  type ToolSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import { readList, readObject, readText, readTexts, requiredObject, requiredText } from "../fields.ts";
import { type JsonObject, writeJson } from "../json.ts";
import { holdJson } from "../struct.ts";
import { knownMembers, memberNames, sortMembers } from "./members.ts";
import { toJsonSchema } from "./schema.ts";
import { serverToolTypes } from "./server-tools.ts";

export type ToolInit = Exclude<MessageInitShape<typeof ToolSchema>, Tool>;
type ToolChoiceInit = MessageInitShape<typeof ToolChoiceSchema>;

const toolNames = memberNames(`functionDeclarations mcpServers ${serverToolTypes.join(" ")}`);
const functionNames = memberNames("name description parameters parametersJsonSchema");
const toolsMax = 1_000;
const nameLengthMax = 128;

/** Reads `tools`: each function and each tool of the provider's becomes a tool of its own, in order. */
export function readTools(value: unknown): ToolInit[] {
  const tools = (readList(value, "tools") ?? []).flatMap((item, index) => readTool(item, `tools[${index}]`));
  if (tools.length > toolsMax) throw untranslatable(`There are more than ${toolsMax} tools.`, "tools");
  return tools;
}

function readTool(value: unknown, param: string): ToolInit[] {
  const members = knownMembers(requiredObject(value, param), toolNames, param);
  return Object.entries(members).flatMap(([name, inner]) => {
    const path = `${param}.${name}`;
    if (name === "functionDeclarations") {
      return (readList(inner, path) ?? []).map((item, index) => readFunction(item, `${path}[${index}]`));
    }
    if (name === "mcpServers") {
      return (readList(inner, path) ?? []).map((item, index) => serverTool(name, item, `${path}[${index}]`));
    }
    return [serverTool(name, inner, path)];
  });
}

function serverTool(type: string, settings: unknown, param: string): ToolInit {
  return {
    kind: { case: "server", value: { type, settings: holdJson(requiredObject(settings, param), param) } },
  };
}

function readFunction(value: unknown, param: string): ToolInit {
  const members = knownMembers(requiredObject(value, param), functionNames, param);
  return {
    kind: {
      case: "function",
      value: {
        name: requiredText(members["name"], `${param}.name`, nameLengthMax),
        description: readText(members["description"], `${param}.description`) ?? "",
        parametersSchema: readParameters(members, param),
      },
    },
  };
}

function readParameters({ parameters, parametersJsonSchema }: JsonObject, param: string): string {
  if (parametersJsonSchema !== undefined) {
    const path = `${param}.parametersJsonSchema`;
    if (parameters !== undefined) throw invalid("`parameters` and `parametersJsonSchema` exclude each other.", path);
    return writeJson(requiredObject(parametersJsonSchema, path));
  }
  return parameters === undefined ? "" : writeJson(toJsonSchema(parameters, `${param}.parameters`));
}

/** What was read of `toolConfig`. */
export interface ToolConfigReading {
  readonly toolChoice?: ToolChoiceInit;
  /** Whether arguments must follow the schemas of all functions: `VALIDATED` without names. */
  readonly isStrict: boolean;
  /** What no canonical field holds. */
  readonly rest: JsonObject;
}

const configNames = memberNames("functionCallingConfig");
const callingNames = memberNames("mode allowedFunctionNames");
const modes: ReadonlyMap<string, Mode> = new Map([
  ["MODE_UNSPECIFIED", Mode.UNSPECIFIED],
  ["AUTO", Mode.AUTO],
  ["ANY", Mode.REQUIRED],
  ["NONE", Mode.NONE],
  ["VALIDATED", Mode.AUTO],
]);

/** Reads `toolConfig`. https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes */
export function readToolConfig(value: unknown): ToolConfigReading {
  const { known, rest } = sortMembers(readObject(value, "toolConfig") ?? {}, configNames, "toolConfig");
  const param = "toolConfig.functionCallingConfig";
  const calling = readObject(known["functionCallingConfig"], param);
  if (calling === undefined) return { isStrict: false, rest };
  const { known: members, rest: others } = sortMembers(calling, callingNames, param);
  const word = (readText(members["mode"], `${param}.mode`) ?? "MODE_UNSPECIFIED").toUpperCase();
  const mode = modes.get(word);
  if (mode === undefined) {
    throw untranslatable(`\`${param}.mode\` must be \`AUTO\`, \`ANY\`, \`NONE\` or \`VALIDATED\`.`, `${param}.mode`);
  }
  const tools = readTexts(members["allowedFunctionNames"], `${param}.allowedFunctionNames`);
  return {
    ...(mode === Mode.UNSPECIFIED && tools.length === 0 ? {} : { toolChoice: { mode, tools } }),
    isStrict: word === "VALIDATED" && tools.length === 0,
    rest: Object.keys(others).length === 0 ? rest : { ...rest, functionCallingConfig: others },
  };
}
