import type { JsonObject } from "../json.ts";

/** An output item that is being written. */
export type OutputItem = MessageItem | ReasoningItem | CallItem | ImageItem;

export interface MessageItem {
  readonly kind: "message";
  readonly index: number;
  readonly id: string;
  readonly contents: ContentItem[];
}

/** A text or a refusal inside a message. */
export interface ContentItem {
  readonly kind: "output_text" | "refusal";
  readonly message: MessageItem;
  readonly index: number;
  open: boolean;
  text: string;
  readonly annotations: JsonObject[];
  readonly logprobs: JsonObject[];
  /** What stands before the text in the event of a delta. */
  readonly deltaHead: string;
}

export interface ReasoningItem {
  readonly kind: "reasoning";
  readonly index: number;
  readonly id: string;
  open: boolean;
  text: string;
  /** Whether `text` has begun. */
  hasSummary: boolean;
  signature: Uint8Array;
  sealed: Uint8Array;
  /** `encrypted_content`, once the item is whole; empty when there is none. */
  encrypted: string;
  readonly deltaHead: string;
}

export interface CallItem {
  readonly kind: "function_call" | "custom_tool_call";
  readonly index: number;
  readonly id: string;
  readonly callId: string;
  readonly name: string;
  text: string;
  /** A signature that came after the call had begun. */
  lateSignature: Uint8Array;
  readonly deltaHead: string;
}

export interface ImageItem {
  readonly kind: "image_generation_call";
  readonly index: number;
  readonly id: string;
  /** Base64. */
  readonly result: string;
}

export type ItemStatus = "in_progress" | "completed" | "incomplete";

/** The item's JSON as far as it has come. */
export function itemJson(item: OutputItem, status: ItemStatus): JsonObject {
  switch (item.kind) {
    case "message":
      return { type: item.kind, id: item.id, role: "assistant", status, content: item.contents.map(contentJson) };
    case "reasoning":
      return {
        type: item.kind,
        id: item.id,
        summary: item.hasSummary ? [{ type: "summary_text", text: item.text }] : [],
        ...(item.encrypted === "" ? {} : { encrypted_content: item.encrypted }),
        status,
      };
    case "function_call":
      return { type: item.kind, id: item.id, call_id: item.callId, name: item.name, arguments: item.text, status };
    case "custom_tool_call":
      return { type: item.kind, id: item.id, call_id: item.callId, name: item.name, input: item.text, status };
    case "image_generation_call":
      // A picture comes whole, so that it is never incomplete.
      return {
        type: item.kind,
        id: item.id,
        status: status === "in_progress" ? status : "completed",
        result: status === "in_progress" ? null : item.result,
      };
  }
}

export function contentJson({ kind, text, annotations, logprobs }: ContentItem): JsonObject {
  return kind === "refusal" ? { type: kind, refusal: text } : { type: kind, text, annotations, logprobs };
}
