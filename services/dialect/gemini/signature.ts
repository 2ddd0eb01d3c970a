import { asBuffer, noBytes } from "../bytes.ts";

/** What a vendor wants back unread with reasoning or with a call. */
export interface Proof {
  readonly signature: Uint8Array;
  readonly sealed: Uint8Array;
  /** The vendor's id of the reasoning; empty when it has none. */
  readonly id: string;
}

const noProof: Proof = { signature: noBytes, sealed: noBytes, id: "" };

// What is Gemini's own begins with a byte that no UTF-8 text has: dialects whose proofs are texts never take it for
// theirs, and theirs is never sent to Gemini, which refuses it ("Corrupted thought signature").
const ownMark: Buffer = Buffer.concat([Buffer.from([0xff]), Buffer.from("gemini:")]);

/**
 * Sent by those who have no signature, so that Gemini does not look for one: conversations that began with another model.
 * https://ai.google.dev/gemini-api/docs/thought-signatures
 */
export const skipSignature = "skip_thought_signature_validator";

/** Keeps a text of Gemini's as bytes of the canonical form. */
export function markOwn(text: string): Uint8Array {
  return Buffer.concat([ownMark, Buffer.from(text)]);
}

/** The text that {@link markOwn} kept; undefined when the bytes are another vendor's, or none. */
export function ownText(bytes: Uint8Array): string | undefined {
  const buffer = asBuffer(bytes);
  if (!buffer.subarray(0, ownMark.length).equals(ownMark)) return undefined;
  return buffer.toString("utf8", ownMark.length);
}

/**
 * What stands in `thoughtSignature` for a client. Clients return it unread, and some as the bytes that its base64 stands
 * for, so that another vendor's proof travels in it as base64 of `weir:<signature>.<sealed>.<id>`.
 * @returns undefined when there is nothing to prove
 */
export function writeProof({ signature, sealed, id }: Proof): string | undefined {
  if (sealed.length === 0 && id === "") {
    const own = ownText(signature);
    if (own !== undefined || signature.length === 0) return own;
  }
  const pieces = [signature, sealed, Buffer.from(id)].map((bytes) => asBuffer(bytes).toString("base64url"));
  return Buffer.from(`weir:${pieces.join(".")}`).toString("base64");
}

/** Reads `thoughtSignature`; a missing one, or {@link skipSignature}, proves nothing. */
export function readProof(text: string | undefined): Proof {
  if (text === undefined || text === "" || text === skipSignature) return noProof;
  const match = wrappedStart.test(text) ? wrapped.exec(Buffer.from(text, "base64").toString("latin1")) : null;
  if (match === null) return { ...noProof, signature: markOwn(text) };
  const [signature, sealed, id] = match.slice(1).map((piece) => Buffer.from(piece, "base64url"));
  return { signature: signature ?? noBytes, sealed: sealed ?? noBytes, id: id?.toString() ?? "" };
}

/** How `weir:` begins in base64, of either alphabet. */
const wrappedStart = /^d2Vpcj/;
const wrapped = /^weir:([\w-]*)\.([\w-]*)\.([\w-]*)$/;
