import { create } from "@bufbuild/protobuf";
import { type Message, MessageSchema, type Part, PartSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readBase64 } from "../base64.ts";
import { invalid } from "../faults.ts";
import { readList, readObject, readText, requiredObject, requiredText } from "../fields.ts";
import { imageType } from "../image-type.ts";
import type { JsonObject } from "../json.ts";
import { argumentsText, historyCallId } from "./tool-calls.ts";

const roles: ReadonlyMap<string, Role> = new Map([
  ["system", Role.SYSTEM],
  ["user", Role.USER],
  ["assistant", Role.ASSISTANT],
  ["tool", Role.TOOL],
]);

interface Call {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/**
 * Reads a conversation. Calls without id get one by their place; a result without `tool_call_id` belongs to the first
 * call of its `tool_name` that has no result yet, without either to the first call that has none.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readMessages(value: unknown): Message[] {
  const items = readList(value, "messages") ?? [];
  if (items.length === 0) throw invalid("`messages` must be a list of at least one message.", "messages");
  const waiting: Call[] = [];
  return items.map((item, index) => {
    const param = `messages[${index}]`;
    const message = requiredObject(item, param);
    const role = readRole(message, param);
    const parts = readParts(message, param);
    if (role === Role.TOOL) {
      const toolCallId = takeAnswered(message, param, waiting);
      return create(MessageSchema, {
        role,
        parts: [{ content: { case: "toolResult", value: { toolCallId, parts } } }],
      });
    }
    const calls = readCalls(message, param, index);
    waiting.push(...calls);
    for (const value of calls) parts.push(create(PartSchema, { content: { case: "toolCall", value } }));
    return create(MessageSchema, { role, parts });
  });
}

function readRole(message: JsonObject, param: string): Role {
  const role = roles.get(requiredText(message["role"], `${param}.role`).toLowerCase());
  if (role !== undefined) return role;
  throw invalid("`role` must be `system`, `user`, `assistant` or `tool`.", `${param}.role`);
}

/** Reasoning, pictures and text, in the order in which a model sees them. */
function readParts(message: JsonObject, param: string): Part[] {
  const parts: Part[] = [];
  const thinking = readText(message["thinking"], `${param}.thinking`) ?? "";
  if (thinking !== "") {
    parts.push(create(PartSchema, { content: { case: "reasoning", value: { text: thinking } } }));
  }
  for (const [index, image] of (readList(message["images"], `${param}.images`) ?? []).entries()) {
    parts.push(readImage(image, `${param}.images[${index}]`));
  }
  const text = readText(message["content"], `${param}.content`) ?? "";
  if (text !== "") parts.push(create(PartSchema, { content: { case: "text", value: { text } } }));
  return parts;
}

function readImage(value: unknown, param: string): Part {
  const data = readBase64(requiredText(value, param));
  if (data === undefined) throw invalid(`\`${param}\` must be a picture in base64.`, param);
  const image = { source: { case: "data", value: data }, mediaType: imageType(data) } as const;
  return create(PartSchema, { content: { case: "image", value: image } });
}

function readCalls(message: JsonObject, param: string, messageIndex: number): Call[] {
  const items = readList(message["tool_calls"], `${param}.tool_calls`) ?? [];
  return items.map((item, index) => {
    const path = `${param}.tool_calls[${index}]`;
    const call = requiredObject(item, path);
    const target = requiredObject(call["function"], `${path}.function`);
    return {
      id: readText(call["id"], `${path}.id`) || historyCallId(messageIndex, index),
      name: requiredText(target["name"], `${path}.function.name`),
      arguments: argumentsText(readObject(target["arguments"], `${path}.function.arguments`)),
    };
  });
}

/** The id of the call that a tool's message answers; the call waits no longer. */
function takeAnswered(message: JsonObject, param: string, waiting: Call[]): string {
  const id = readText(message["tool_call_id"], `${param}.tool_call_id`) ?? "";
  const name = readText(message["tool_name"], `${param}.tool_name`) ?? "";
  const at = waiting.findIndex((call) => (id !== "" ? call.id === id : name === "" || call.name === name));
  const [call] = at < 0 ? [] : waiting.splice(at, 1);
  const answered = id || call?.id;
  if (answered !== undefined) return answered;
  throw invalid("`tool_name` must name a call of the messages before that has no result yet.", `${param}.tool_name`);
}
