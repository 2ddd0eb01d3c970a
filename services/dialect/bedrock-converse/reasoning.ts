import { isUtf8 } from "node:buffer";
import { asBuffer, noBytes } from "../bytes.ts";

/** Reasoning, without the wrapping of a message. */
export interface ReasoningFacts {
  readonly text: string;
  readonly signature: Uint8Array;
  readonly sealed: Uint8Array;
  readonly id: string;
}

/** The proof that another vendor wants back with a tool call. */
export interface CallProof {
  readonly callId: string;
  readonly signature: Uint8Array;
}

// Clients return reasoning unread and unchanged, so that what other vendors want back travels in it: a `signature` is
// `weir:<signature>.<sealed>.<id>`, and `redactedContent` holds `weir-call:<signature>.<call id>`, each piece in base64url.
const wrappedReasoning = /^weir:([\w-]*)\.([\w-]*)\.([\w-]*)$/;
const wrappedCall = /^weir-call:([\w-]*)\.([\w-]+)$/;

/** Whether reasoning has a shape that Bedrock's own models give it, so that it could go back to one of them. */
export function isOwnReasoning({ text, signature, sealed, id }: ReasoningFacts): boolean {
  if (id !== "") return false;
  if (sealed.length > 0) return text === "" && signature.length === 0 && readCallProof(sealed) === undefined;
  return isUtf8(signature) && !wrappedReasoning.test(asText(signature));
}

/** Whether reasoning is what `redactedContent` holds: sealed, and Bedrock's own. */
export function isRedacted(reasoning: ReasoningFacts): boolean {
  return reasoning.sealed.length > 0 && isOwnReasoning(reasoning);
}

/** What stands in `signature` for reasoning that is not sealed alone; empty when there is nothing to prove. */
export function writeSignature(reasoning: ReasoningFacts): string {
  const { signature, sealed, id } = reasoning;
  if (isOwnReasoning(reasoning)) return asText(signature);
  return `weir:${base64(signature)}.${base64(sealed)}.${base64(Buffer.from(id))}`;
}

/** Reads `signature`. */
export function readSignature(signature: string): Omit<ReasoningFacts, "text"> {
  const match = wrappedReasoning.exec(signature);
  if (match === null) return { signature: Buffer.from(signature), sealed: noBytes, id: "" };
  const [, proof = "", sealed = "", id = ""] = match;
  return { signature: unbase64(proof), sealed: unbase64(sealed), id: unbase64(id).toString() };
}

/** What stands in `redactedContent` for the proof of a call. */
export function writeCallProof({ callId, signature }: CallProof): Uint8Array {
  return Buffer.from(`weir-call:${base64(signature)}.${base64(Buffer.from(callId))}`);
}

/** The proof of a call that `redactedContent` holds; undefined when it is sealed reasoning. */
export function readCallProof(redacted: Uint8Array): CallProof | undefined {
  const match = wrappedCall.exec(asText(redacted));
  if (match === null) return undefined;
  const [, signature = "", callId = ""] = match;
  return { signature: unbase64(signature), callId: unbase64(callId).toString() };
}

function asText(bytes: Uint8Array): string {
  return asBuffer(bytes).toString();
}

function base64(bytes: Uint8Array): string {
  return asBuffer(bytes).toString("base64url");
}

function unbase64(text: string): Buffer {
  return Buffer.from(text, "base64url");
}
