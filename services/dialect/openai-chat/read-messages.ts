import type { MessageInitShape } from "@bufbuild/protobuf";
import { type MessageSchema, Role, type ToolCallSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { noBytes } from "../bytes.ts";
import { invalid, unknownWord, untranslatable } from "../faults.ts";
import { readList, readObject, readText, refuseUnknown, requiredObject, requiredText } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { cacheMembers, readCacheMark } from "./cache-marks.ts";
import { readAnnotation } from "./citations.ts";
import { opaqueBytes } from "./opaque.ts";
import { assistantParts, mediaParts, type PartInit, readContent, readImage, textOnly } from "./read-parts.ts";
import { joinReasoningDetails, readReasoningDetail, readReasoningText } from "./reasoning-details.ts";

type MessageInit = MessageInitShape<typeof MessageSchema>;

/** Reads messages whose shape and roles are checked already; each becomes one message of the canonical form. */
export function readMessages(messages: readonly JsonObject[]): MessageInit[] {
  if (messages.length > messagesMax) throw untranslatable(`There are more than ${messagesMax} messages.`, "messages");
  const calls: FunctionCalls = { count: 0, open: new Map() };
  return messages.map((message, index) => readMessage(message, `messages[${index}]`, calls));
}

const messagesMax = 100_000;

/**
 * Calls by the old `function_call`, which has no id: the nth of a conversation gets `function_call_n`, and a message of
 * role `function` answers the last one of its name.
 */
interface FunctionCalls {
  count: number;
  readonly open: Map<string, string>;
}

function readMessage(message: JsonObject, param: string, calls: FunctionCalls): MessageInit {
  switch (message["role"]) {
    case "system":
      return readSpeech(Role.SYSTEM, message, param);
    case "developer":
      return readSpeech(Role.DEVELOPER, message, param);
    case "user":
      return readSpeech(Role.USER, message, param);
    case "assistant":
      return readAssistant(message, param, calls);
    case "tool":
      return readToolResult(message, param);
    default:
      return readFunctionResult(message, param, calls);
  }
}

const speechMembers: ReadonlySet<string> = new Set(["role", "content", "name", ...cacheMembers]);

function readSpeech(role: Role, message: JsonObject, param: string): MessageInit {
  refuseUnknown(message, speechMembers, param);
  const parts = readContent(message["content"], `${param}.content`, role === Role.USER ? mediaParts : textOnly);
  return { role, parts: markLast(parts, message, param), name: readName(message, param) };
}

// `parsed` is what OpenAI's client adds to answers; `id` stands in stored ones.
const assistantMembers: ReadonlySet<string> = new Set([
  "role",
  "content",
  "name",
  "refusal",
  "audio",
  "tool_calls",
  "function_call",
  "annotations",
  ...cacheMembers,
  "reasoning_content",
  "reasoning",
  "reasoning_details",
  "images",
  "parsed",
  "id",
]);

function readAssistant(message: JsonObject, param: string, calls: FunctionCalls): MessageInit {
  refuseUnknown(message, assistantMembers, param);
  const refusal = readText(message["refusal"], `${param}.refusal`) ?? "";
  const audio = readObject(message["audio"], `${param}.audio`);
  const parts: PartInit[] = [
    ...readReasoning(message, param),
    ...cite(readContent(message["content"], `${param}.content`, assistantParts), message, param),
  ];
  if (refusal !== "") parts.push({ content: { case: "refusal", value: { text: refusal } } });
  if (audio !== undefined) {
    const id = requiredText(audio["id"], `${param}.audio.id`);
    parts.push({ content: { case: "audio", value: { source: { case: "fileId", value: id } } } });
  }
  parts.push(...readImages(message["images"], `${param}.images`));
  for (const [index, call] of (readList(message["tool_calls"], `${param}.tool_calls`) ?? []).entries()) {
    parts.push({ content: { case: "toolCall", value: readToolCall(call, `${param}.tool_calls[${index}]`) } });
  }
  const functionCall = readObject(message["function_call"], `${param}.function_call`);
  if (functionCall !== undefined) {
    parts.push({
      content: { case: "toolCall", value: readFunctionCall(functionCall, `${param}.function_call`, calls) },
    });
  }
  return { role: Role.ASSISTANT, parts: markLast(parts, message, param), name: readName(message, param) };
}

/** Reads reasoning: `reasoning_details` when they hold any, with the text beside them where they have none themselves. */
function readReasoning(message: JsonObject, param: string): PartInit[] {
  const text = readReasoningText(message);
  const items = readList(message["reasoning_details"], `${param}.reasoning_details`) ?? [];
  const details = items.map((item, index) => {
    const detail = readReasoningDetail(item);
    const path = `${param}.reasoning_details[${index}].type`;
    if (detail === undefined) throw untranslatable(`\`${path}\` is not a type of reasoning.`, path);
    return detail;
  });
  const pieces = joinReasoningDetails(details);
  if (text !== "" && pieces.every((piece) => piece.text === "")) {
    const [first, ...rest] = pieces;
    const own = { text, signature: noBytes, sealed: noBytes, id: "" };
    pieces.splice(0, pieces.length, ...(first === undefined ? [own] : [{ ...first, text }, ...rest]));
  }
  return pieces.map((piece) => ({ content: { case: "reasoning", value: piece } }));
}

/** Hands the annotations of an answer that comes back to its text. */
function cite(parts: PartInit[], message: JsonObject, param: string): PartInit[] {
  const annotations = readList(message["annotations"], `${param}.annotations`) ?? [];
  const citations = annotations.map(readAnnotation).filter((citation) => citation !== undefined);
  const text = parts[0]?.content;
  if (citations.length > 0 && parts.length === 1 && text?.case === "text") text.value.citations = citations;
  return parts;
}

const imageMembers: ReadonlySet<string> = new Set(["type", "image_url", "index"]);

/** Reads pictures that a model made, as OpenRouter has them. */
function readImages(value: unknown, param: string): PartInit[] {
  return (readList(value, param) ?? []).map((item, index) => {
    const image = requiredObject(item, `${param}[${index}]`);
    refuseUnknown(image, imageMembers, `${param}[${index}]`);
    return { content: { case: "image", value: readImage(image["image_url"], `${param}[${index}].image_url`) } };
  });
}

type ToolCallInit = MessageInitShape<typeof ToolCallSchema>;

const callMembers: ReadonlySet<string> = new Set(["id", "type", "function", "custom", "index", "extra_content"]);
// `parsed_arguments` is what OpenAI's client adds to answers.
const calledFunctionMembers: ReadonlySet<string> = new Set(["name", "arguments", "parsed_arguments"]);
const calledCustomMembers: ReadonlySet<string> = new Set(["name", "input"]);

function readToolCall(value: unknown, param: string): ToolCallInit {
  const call = requiredObject(value, param);
  refuseUnknown(call, callMembers, param);
  const id = requiredText(call["id"], `${param}.id`);
  const signature = readSignature(call["extra_content"], `${param}.extra_content`);
  const type = readText(call["type"], `${param}.type`) ?? "function";
  if (type === "custom") {
    const custom = requiredObject(call["custom"], `${param}.custom`);
    refuseUnknown(custom, calledCustomMembers, `${param}.custom`);
    const input = readText(custom["input"], `${param}.custom.input`) ?? "";
    return { id, name: requiredText(custom["name"], `${param}.custom.name`), arguments: input, signature };
  }
  if (type !== "function")
    throw unknownWord(type, `\`${param}.type\` must be \`function\` or \`custom\`.`, `${param}.type`);
  const called = requiredObject(call["function"], `${param}.function`);
  refuseUnknown(called, calledFunctionMembers, `${param}.function`);
  return { id, ...readCalled(called, `${param}.function`), signature };
}

function readCalled(called: JsonObject, param: string) {
  const text = readText(called["arguments"], `${param}.arguments`) ?? "";
  return { name: requiredText(called["name"], `${param}.name`), arguments: text };
}

/** Gemini's thought signature: https://ai.google.dev/gemini-api/docs/thought-signatures. */
function readSignature(value: unknown, param: string): Uint8Array {
  const google = readObject(readObject(value, param)?.["google"], `${param}.google`);
  return opaqueBytes(readText(google?.["thought_signature"], `${param}.google.thought_signature`) ?? "");
}

function readFunctionCall(functionCall: JsonObject, param: string, calls: FunctionCalls): ToolCallInit {
  refuseUnknown(functionCall, calledFunctionMembers, param);
  const called = readCalled(functionCall, param);
  const id = `function_call_${calls.count}`;
  calls.count += 1;
  calls.open.set(called.name, id);
  return { id, ...called };
}

const toolMembers: ReadonlySet<string> = new Set(["role", "content", "tool_call_id", "name", ...cacheMembers]);

/** Reads a tool's result. A `name`, which some clients send, says no more than the call that it answers. */
function readToolResult(message: JsonObject, param: string): MessageInit {
  refuseUnknown(message, toolMembers, param);
  const toolCallId = requiredText(message["tool_call_id"], `${param}.tool_call_id`);
  return toolMessage(toolCallId, message, param);
}

function readFunctionResult(message: JsonObject, param: string, calls: FunctionCalls): MessageInit {
  refuseUnknown(message, toolMembers, param);
  const name = requiredText(message["name"], `${param}.name`);
  const toolCallId = calls.open.get(name);
  if (toolCallId === undefined) {
    throw invalid(`\`${param}\` answers no \`function_call\` of its name that stands before it.`, `${param}.name`);
  }
  return toolMessage(toolCallId, message, param);
}

function toolMessage(toolCallId: string, message: JsonObject, param: string): MessageInit {
  const parts = markLast(readContent(message["content"], `${param}.content`, mediaParts), message, param);
  return { role: Role.TOOL, parts: [{ content: { case: "toolResult", value: { toolCallId, parts } } }] };
}

/** A mark for the prompt cache on a whole message, as LiteLLM's clients set it, is one on its last part. */
function markLast(parts: PartInit[], message: JsonObject, param: string): PartInit[] {
  const last = parts.at(-1);
  const cacheControl = readCacheMark(message, param);
  if (last !== undefined && cacheControl !== undefined) last.cacheControl ??= cacheControl;
  return parts;
}

const nameLengthMax = 256;

function readName(message: JsonObject, param: string): string {
  return readText(message["name"], `${param}.name`, nameLengthMax) ?? "";
}
