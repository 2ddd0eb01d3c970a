import type { Reasoning } from "@weir/gen/weir/chat/v1/conversation_pb";
import { noBytes } from "../bytes.ts";
import { isObject, type JsonObject } from "../json.ts";
import { opaqueBytes, opaqueText } from "./opaque.ts";

// OpenAI's own dialect shows no reasoning. `reasoning_content` (DeepSeek, vLLM) and `reasoning` (OpenRouter, Groq) hold
// its text; signatures and sealed reasoning have a place only in OpenRouter's `reasoning_details`:
// https://openrouter.ai/docs/guides/best-practices/reasoning-tokens

/** Reasoning, or more of it. */
export type ReasoningPiece = Pick<Reasoning, "text" | "signature" | "sealed" | "id">;

/** One entry of `reasoning_details`. */
export interface ReasoningDetail extends ReasoningPiece {
  /** Entries of one key belong together; undefined when the entry has none. */
  readonly key: number | undefined;
}

/** The text of reasoning that stands beside the content of a message or a delta; empty when there is none. */
export function readReasoningText(said: JsonObject): string {
  const { reasoning_content: content, reasoning } = said;
  if (typeof content === "string" && content !== "") return content;
  return textOf(reasoning);
}

/** Reads one entry; undefined when it is of no known type. */
export function readReasoningDetail(entry: unknown): ReasoningDetail | undefined {
  if (!isObject(entry)) return undefined;
  const key = typeof entry["index"] === "number" ? entry["index"] : undefined;
  const id = textOf(entry["id"]);
  const signature = opaqueBytes(textOf(entry["signature"]));
  switch (entry["type"]) {
    case "reasoning.text":
      return { key, id, text: textOf(entry["text"]), signature, sealed: noBytes };
    case "reasoning.summary":
      return { key, id, text: textOf(entry["summary"]), signature, sealed: noBytes };
    case "reasoning.encrypted":
      return { key, id, text: "", signature, sealed: opaqueBytes(textOf(entry["data"])) };
    default:
      return undefined;
  }
}

/** The entries for a piece of reasoning. @param index which reasoning of the message it belongs to, from 0 */
export function writeReasoningDetails(piece: ReasoningPiece, index: number): JsonObject[] {
  const id = piece.id === "" ? {} : { id: piece.id };
  const entries: JsonObject[] = [];
  if (piece.text !== "" || piece.signature.length > 0 || piece.sealed.length === 0) {
    const signature = piece.signature.length === 0 ? {} : { signature: opaqueText(piece.signature) };
    entries.push({ type: "reasoning.text", text: piece.text, ...signature, ...id, index });
  }
  if (piece.sealed.length > 0) {
    entries.push({ type: "reasoning.encrypted", data: opaqueText(piece.sealed), ...id, index });
  }
  return entries;
}

/** Joins the entries of a whole message into reasoning, in the order in which they begin. */
export function joinReasoningDetails(details: readonly ReasoningDetail[]): ReasoningPiece[] {
  const joined = new Map<unknown, ReasoningPiece>();
  for (const detail of details) {
    const key = detail.key ?? detail; // without a key an entry stands alone
    const { text, signature, sealed, id } = joined.get(key) ?? nothing;
    joined.set(key, {
      text: text + detail.text,
      signature: detail.signature.length > 0 ? detail.signature : signature,
      sealed: detail.sealed.length > 0 ? detail.sealed : sealed,
      id: id === "" ? detail.id : id,
    });
  }
  return [...joined.values()];
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

const nothing: ReasoningPiece = { text: "", signature: noBytes, sealed: noBytes, id: "" };
