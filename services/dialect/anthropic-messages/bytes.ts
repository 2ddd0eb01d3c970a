import { isUtf8 } from "node:buffer";

export const noBytes: Uint8Array = new Uint8Array(0);

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The text that bytes are in UTF-8; undefined when they are none. */
export function textOf(bytes: Uint8Array): string | undefined {
  return isUtf8(bytes) ? asBuffer(bytes).toString() : undefined;
}

// https://www.rfc-editor.org/rfc/rfc4648#section-4, with or without padding
const base64Shape = /^[A-Za-z0-9+/]*={0,2}$/;

/** The bytes that a text stands for; undefined when it is not base64. */
export function fromBase64(text: string): Buffer | undefined {
  return base64Shape.test(text) ? Buffer.from(text, "base64") : undefined;
}
