import { asBuffer, noBytes, textOf } from "../bytes.ts";

/** Reasoning, without the wrapping of a message. */
export interface ReasoningFacts {
  readonly text: string;
  readonly signature: Uint8Array;
  readonly sealed: Uint8Array;
  readonly id: string;
}

/** The proof that another vendor wants back with a tool call. */
export interface CallSignature {
  readonly callId: string;
  readonly signature: Uint8Array;
}

/** A block that holds reasoning. */
export type ReasoningBlock =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string };

// Clients return these blocks unread and unchanged, so that what other vendors want back travels in them: `signature` is
// `weir:<signature>.<sealed>.<id>` and `data` is `weir-call:<signature>.<call id>`, each piece in base64url.
const wrappedReasoning = /^weir:([\w-]*)\.([\w-]*)\.([\w-]*)$/;
const wrappedCall = /^weir-call:([\w-]*)\.([\w-]+)$/;

/** Whether reasoning has the shape of Claude's own, text with a signature or sealed data, and could go back to it. */
export function isOwnReasoning({ text, signature, sealed, id }: ReasoningFacts): boolean {
  if (id !== "") return false;
  if (sealed.length > 0) return text === "" && signature.length === 0 && isPlain(sealed);
  return signature.length > 0 && isPlain(signature);
}

function isPlain(bytes: Uint8Array): boolean {
  const text = textOf(bytes);
  return text !== undefined && !wrappedReasoning.test(text) && !wrappedCall.test(text);
}

/** Writes reasoning for a client. */
export function writeReasoning(reasoning: ReasoningFacts): ReasoningBlock {
  const { text, sealed } = reasoning;
  if (sealed.length > 0 && isOwnReasoning(reasoning)) {
    return { type: "redacted_thinking", data: asBuffer(sealed).toString() };
  }
  return { type: "thinking", thinking: text, signature: writeProof(reasoning) };
}

/** The signature of a `thinking` block. Text without any proof has an empty one, since clients demand the member. */
export function writeProof({ signature, sealed, id }: Omit<ReasoningFacts, "text">): string {
  if (sealed.length === 0 && id === "" && isPlain(signature)) return asBuffer(signature).toString();
  return `weir:${base64(signature)}.${base64(sealed)}.${base64(Buffer.from(id))}`;
}

/** Reads a `thinking` block, or the proof alone when it comes apart from its text. */
export function readThinking(thinking: string, proof: string): ReasoningFacts {
  const match = wrappedReasoning.exec(proof);
  if (match === null) return { text: thinking, signature: toBytes(proof), sealed: noBytes, id: "" };
  const [, signature = "", sealed = "", id = ""] = match;
  return { text: thinking, signature: unbase64(signature), sealed: unbase64(sealed), id: unbase64(id).toString() };
}

/** Reads a `redacted_thinking` block. */
export function readRedacted(data: string): ReasoningFacts | CallSignature {
  const match = wrappedCall.exec(data);
  if (match === null) return { text: "", signature: noBytes, sealed: Buffer.from(data), id: "" };
  const [, signature = "", callId = ""] = match;
  return { callId: unbase64(callId).toString(), signature: unbase64(signature) };
}

/** Writes the proof of a tool call, for a client; the block stands before that of the call, or after it. */
export function writeCallSignature({ callId, signature }: CallSignature): ReasoningBlock {
  return { type: "redacted_thinking", data: `weir-call:${base64(signature)}.${base64(Buffer.from(callId))}` };
}

function toBytes(text: string): Uint8Array {
  return text === "" ? noBytes : Buffer.from(text);
}

function base64(bytes: Uint8Array): string {
  return asBuffer(bytes).toString("base64url");
}

function unbase64(text: string): Buffer {
  return Buffer.from(text, "base64url");
}
