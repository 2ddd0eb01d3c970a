import { isUtf8 } from "node:buffer";

/**
 * What stands in `encrypted_content`, the one place of this dialect for bytes that only their maker can read and that
 * clients return byte for byte.
 */
export interface Sealed {
  /** Proof of origin: of the reasoning, or of the call that `callId` names. */
  readonly signature: Uint8Array;
  /** Sealed reasoning. */
  readonly sealed: Uint8Array;
  /** The call that the signature belongs to; empty when it belongs to the reasoning itself. */
  readonly callId: string;
}

const noBytes: Uint8Array = new Uint8Array(0);

/**
 * Sealed reasoning that is text, as OpenAI's is, stands as it is. What other vendors want back is wrapped as
 * `weir:<signature>.<sealed>.<call id>`, each in base64url, so that it survives a client that speaks this dialect.
 */
export function writeSealed({ signature, sealed, callId }: Sealed): string {
  if (signature.length === 0 && callId === "" && isUtf8(sealed)) {
    const text = asBuffer(sealed).toString();
    if (!wrapped.test(text)) return text;
  }
  return `weir:${base64(signature)}.${base64(sealed)}.${base64(Buffer.from(callId))}`;
}

/** Reads what {@link writeSealed} wrote, or a vendor. */
export function readSealed(text: string): Sealed {
  const match = wrapped.exec(text);
  if (match === null) return { signature: noBytes, sealed: Buffer.from(text), callId: "" };
  const [, signature = "", sealed = "", callId = ""] = match;
  return {
    signature: Buffer.from(signature, "base64url"),
    sealed: Buffer.from(sealed, "base64url"),
    callId: Buffer.from(callId, "base64url").toString(),
  };
}

const wrapped = /^weir:([\w-]*)\.([\w-]*)\.([\w-]*)$/;

function base64(bytes: Uint8Array): string {
  return asBuffer(bytes).toString("base64url");
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// Reasoning of vendors without item ids needs one here, and loses it again on its way back: sent to OpenAI, an id that it
// did not make is looked up and refused (https://github.com/vercel/ai/issues/7543).
const madeUpPrefix = "rs_weir_";

/** An id for reasoning that has none. */
export function makeReasoningId(suffix: string): string {
  return madeUpPrefix + suffix;
}

/** The vendor's id of a reasoning item; empty for one that {@link makeReasoningId} made. */
export function readReasoningId(id: unknown): string {
  return typeof id !== "string" || id.startsWith(madeUpPrefix) ? "" : id;
}
