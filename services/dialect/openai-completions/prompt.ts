import { create } from "@bufbuild/protobuf";
import { type Message, MessageSchema, Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { unsupported } from "../faults.ts";
import type { Omissions } from "../omissions.ts";

/** A prompt as a conversation of one message. */
export function promptMessages(prompt: string): Message[] {
  const text = { content: { case: "text", value: { text: prompt } } } as const;
  return [create(MessageSchema, { role: Role.USER, parts: [text] })];
}

/**
 * The prompt that a conversation is. One of several messages or parts would need a template that only the model's own chat
 * endpoint knows.
 * @throws WeirError TARGET_UNSUPPORTED unless it is one text of a user
 */
export function writePrompt(messages: readonly Message[], omissions: Omissions): string {
  const [message] = messages;
  const [part] = message?.parts ?? [];
  if (messages.length !== 1 || message?.role !== Role.USER || message.parts.length !== 1) throw noPrompt();
  if (part?.content.case !== "text") throw noPrompt();
  omissions.drop("messages[0].name", message.name !== "");
  omissions.drop("messages[0].parts[0].cache_control", part.cacheControl !== undefined);
  omissions.drop("messages[0].parts[0].text.citations", part.content.value.citations.length > 0);
  return part.content.value.text;
}

function noPrompt() {
  return unsupported("This target completes a prompt: send one message of a user with one text.", "messages");
}
