import { create } from "@bufbuild/protobuf";
import { type Message, MessageSchema, type Part, PartSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { invalid, untranslatable } from "../faults.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readList, readText, requireObject, requireText } from "./checks.ts";
import { readContent } from "./content.ts";
import { imageType } from "./media.ts";
import { readReasoningId, readSealed } from "./sealed.ts";

/**
 * Reads `input`: a text, or a list of items. What the model said in adjacent items is one message; each output of a tool
 * is a message of its own.
 * @param isCustom whether a tool of this name is declared as `custom`
 */
export function readInput(input: unknown, isCustom: (name: string) => boolean): Message[] {
  if (typeof input === "string") {
    return [create(MessageSchema, { role: Role.USER, parts: readContent(input, Role.USER, "input") })];
  }
  if (!Array.isArray(input) || input.length === 0) {
    throw invalid("`input` must be a text, or a list of at least one item.", "input");
  }
  const conversation: Conversation = { messages: [], callSignatures: new Map(), isCustom };
  for (const [index, value] of (input as readonly unknown[]).entries()) {
    const param = `input[${index}]`;
    readItem(requireObject(value, param), param, conversation);
  }
  if (conversation.callSignatures.size > 0) signCalls(conversation);
  return conversation.messages;
}

interface Conversation {
  readonly messages: Message[];
  /** By the call's id; they stand in reasoning items beside the calls. */
  readonly callSignatures: Map<string, Uint8Array>;
  readonly isCustom: (name: string) => boolean;
}

function readItem(item: JsonObject, param: string, conversation: Conversation): void {
  const type = item["type"] ?? (item["role"] === undefined ? "item_reference" : "message");
  switch (type) {
    case "message":
      return readMessage(item, param, conversation);
    case "function_call":
    case "custom_tool_call":
      return speak(conversation, [readCall(item, type === "custom_tool_call", param, conversation)]);
    case "function_call_output":
    case "custom_tool_call_output":
      conversation.messages.push(readCallOutput(item, param));
      return;
    case "reasoning":
      return speak(conversation, readReasoning(item, param, conversation));
    case "image_generation_call":
      return speak(conversation, [readGeneratedImage(item, param)]);
    case "item_reference":
      throw invalid(
        `\`${param}\` refers to a stored item; send the item itself, or continue a stored response with \`previous_response_id\`.`,
        param,
      );
    default:
      throw untranslatable(
        `\`${param}.type\` names an item that this model's provider cannot be sent.`,
        `${param}.type`,
      );
  }
}

const roles: ReadonlyMap<unknown, Role> = new Map<unknown, Role>([
  ["system", Role.SYSTEM],
  ["developer", Role.DEVELOPER],
  ["user", Role.USER],
  ["assistant", Role.ASSISTANT],
]);

function readMessage(item: JsonObject, param: string, conversation: Conversation): void {
  const role = roles.get(item["role"]);
  if (role === undefined) {
    throw invalid(`\`${param}.role\` must be \`system\`, \`developer\`, \`user\` or \`assistant\`.`, `${param}.role`);
  }
  const parts = readContent(item["content"], role, `${param}.content`);
  if (role === Role.ASSISTANT) speak(conversation, parts);
  else conversation.messages.push(create(MessageSchema, { role, parts }));
}

/** Adds to what the model says. */
function speak({ messages }: Conversation, parts: readonly Part[]): void {
  const last = messages.at(-1);
  if (last?.role === Role.ASSISTANT) last.parts.push(...parts);
  else if (parts.length > 0) messages.push(create(MessageSchema, { role: Role.ASSISTANT, parts: [...parts] }));
}

function readCall(item: JsonObject, custom: boolean, param: string, { isCustom }: Conversation): Part {
  refuseNamespace(item, param);
  const name = requireText(item["name"], `${param}.name`);
  if (custom && !isCustom(name)) {
    throw invalid(`\`${param}\` calls a custom tool that \`tools\` does not declare.`, `${param}.name`);
  }
  const input = custom ? "input" : "arguments";
  return create(PartSchema, {
    content: {
      case: "toolCall",
      value: {
        id: requireText(item["call_id"], `${param}.call_id`),
        name,
        arguments: readText(item[input], `${param}.${input}`),
      },
    },
  });
}

function readCallOutput(item: JsonObject, param: string): Message {
  refuseNamespace(item, param);
  return create(MessageSchema, {
    role: Role.TOOL,
    parts: [
      {
        content: {
          case: "toolResult",
          value: {
            toolCallId: requireText(item["call_id"], `${param}.call_id`),
            parts: readContent(item["output"], Role.TOOL, `${param}.output`),
          },
        },
      },
    ],
  });
}

/** Calls of tools in a namespace, or made by a program, would be taken for others without it. */
function refuseNamespace(item: JsonObject, param: string): void {
  if (item["namespace"] != null) throw untranslatable("Namespaces of tools cannot be passed on.", `${param}.namespace`);
  const caller = item["caller"];
  if (caller != null && !(isObject(caller) && caller["type"] === "direct")) {
    throw untranslatable("Calls that a program made cannot be passed on.", `${param}.caller`);
  }
}

function readReasoning(item: JsonObject, param: string, { callSignatures }: Conversation): Part[] {
  const { signature, sealed, callId } = readSealed(readText(item["encrypted_content"], `${param}.encrypted_content`));
  if (callId !== "") callSignatures.set(callId, signature);
  const content = readTexts(item["content"], `${param}.content`);
  const text = content === "" ? readTexts(item["summary"], `${param}.summary`) : content;
  if (callId !== "" && text === "" && sealed.length === 0) return [];
  const id = readReasoningId(item["id"]);
  const value = { text, id, sealed, ...(callId === "" ? { signature } : {}) };
  return [create(PartSchema, { content: { case: "reasoning", value } })];
}

function readTexts(value: unknown, param: string): string {
  const texts = readList(value, param).map((part, index) =>
    readText(requireObject(part, `${param}[${index}]`)["text"], `${param}[${index}].text`),
  );
  return joinSections(texts);
}

/** Sections of one item's reasoning, as the one text that the canonical form has for it. */
export function joinSections(texts: readonly string[]): string {
  return texts.filter((text) => text !== "").join(sectionBreak);
}

/** Between two sections of reasoning. */
export const sectionBreak = "\n\n";

function readGeneratedImage(item: JsonObject, param: string): Part {
  const data = Buffer.from(requireText(item["result"], `${param}.result`), "base64");
  const value = { source: { case: "data" as const, value: data }, mediaType: imageType(data) };
  return create(PartSchema, { content: { case: "image", value } });
}

function signCalls({ messages, callSignatures }: Conversation): void {
  for (const { content } of messages.flatMap((message) => message.parts)) {
    if (content.case !== "toolCall") continue;
    const signature = callSignatures.get(content.value.id);
    if (signature !== undefined) content.value.signature = signature;
  }
}
