import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Part } from "@weir/gen/weir/chat/v1/conversation_pb";

// What a vendor found in a request.

/** All parts of a conversation, in order. */
export function partsOf(request: GenerateRequest | undefined): Part[] {
  return request?.messages.flatMap(({ parts }) => parts) ?? [];
}

/** The texts among parts, in order. */
export function textsOf(parts: readonly Part[]): string[] {
  return parts.flatMap(({ content }) => (content.case === "text" ? [content.value.text] : []));
}

export function jsonOf(text: string): unknown {
  return JSON.parse(text) as unknown;
}
