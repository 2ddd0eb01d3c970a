import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type FunctionTool, type Tool, type ToolChoice, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { unsupported } from "../faults.ts";
import { type JsonObject, parseObject, rawJson } from "../json.ts";
import { writeCachePoint } from "./cache-point.ts";
import { isAnthropic, type Model } from "./model.ts";

/** What a request says of tools. */
export interface ToolWriting {
  /** Absent when the model may call none. */
  readonly toolConfig?: JsonObject;
  /** `additionalModelRequestFields.tool_choice`, which stands in for the choice where calls must come one by one. */
  readonly toolChoiceField?: JsonObject;
}

/**
 * Writes tools and the choice among them. Converse cannot forbid calls: without a choice of any the tools themselves are
 * left out, which is refused when the conversation has calls, since Bedrock then wants the tools to be there.
 */
export function writeToolConfig(request: GenerateRequest, model: Model, warnings: Warning[]): ToolWriting {
  const { tools, toolChoice } = request;
  const mode = toolChoice?.mode ?? ToolChoice_Mode.UNSPECIFIED;
  if (mode === ToolChoice_Mode.NONE) {
    if (tools.length > 0 && hasCalls(request)) {
      throw unsupported("Bedrock cannot forbid calls in a conversation that has some.", "tool_choice");
    }
    return {};
  }
  if (tools.length === 0) {
    if (mode === ToolChoice_Mode.REQUIRED) throw unsupported("There is no tool to call.", "tool_choice");
    return {};
  }
  const written = tools.flatMap((tool, index) => writeTool(tool, `tools[${index}]`, warnings));
  const choice = toolChoice === undefined ? undefined : writeChoice(toolChoice);
  if (request.parallelToolCalls === false) {
    return { toolConfig: { tools: written }, toolChoiceField: oneByOne(choice, model) };
  }
  return { toolConfig: { tools: written, ...(choice === undefined ? {} : { toolChoice: choice }) } };
}

function hasCalls({ messages }: GenerateRequest): boolean {
  return messages.some(({ parts }) =>
    parts.some(({ content }) => content.case === "toolCall" || content.case === "toolResult"),
  );
}

function writeTool({ kind, cacheControl }: Tool, param: string, warnings: Warning[]): readonly JsonObject[] {
  const cachePoint =
    cacheControl === undefined ? [] : [writeCachePoint(cacheControl, `${param}.cache_control`, warnings)];
  switch (kind.case) {
    case "function":
      return [{ toolSpec: writeSpec(kind.value, `${param}.function`) }, ...cachePoint];
    case "server":
      if (Object.keys(kind.value.settings ?? {}).length > 0) {
        throw unsupported("Bedrock's own tools have no settings.", `${param}.server.settings`);
      }
      return [{ systemTool: { name: kind.value.type } }, ...cachePoint];
    case undefined:
      throw unsupported("The tool is of no kind.", param);
  }
}

const emptySchema = '{"type":"object","properties":{}}';

function writeSpec({ name, description, parametersSchema, strict }: FunctionTool, param: string): JsonObject {
  const schema = parametersSchema.trim() === "" ? emptySchema : parametersSchema;
  if (parseObject(schema) === undefined) {
    throw unsupported("Bedrock takes nothing but a JSON object as a tool's schema.", `${param}.parameters_schema`);
  }
  return {
    name,
    ...(description === "" ? {} : { description }),
    inputSchema: { json: rawJson(schema) },
    ...(strict === undefined ? {} : { strict }),
  };
}

function writeChoice({ mode, tools }: ToolChoice): JsonObject | undefined {
  const [name] = tools;
  if (mode === ToolChoice_Mode.REQUIRED && tools.length <= 1) {
    return name === undefined ? { any: {} } : { tool: { name } };
  }
  if (tools.length > 0) {
    throw unsupported("Bedrock cannot limit the choice to some of the tools.", "tool_choice.tools");
  }
  return mode === ToolChoice_Mode.AUTO ? { auto: {} } : undefined;
}

/** Two choices in one request are refused by Bedrock, so that this one takes the place of `toolConfig.toolChoice`. */
function oneByOne(choice: JsonObject | undefined, model: Model): JsonObject {
  if (!isAnthropic(model)) {
    throw unsupported("On Bedrock only Anthropic's models can be kept to one call at a time.", "parallel_tool_calls");
  }
  const [type = "auto", value] = Object.entries(choice ?? {})[0] ?? [];
  return { type, ...(value as JsonObject | undefined), disable_parallel_tool_use: true };
}
