import { isUtf8 } from "node:buffer";
import { readBase64, writeBase64 } from "../base64.ts";

// Signatures and sealed reasoning are bytes in the canonical form and text in JSON. A vendor's text stands for its own
// UTF-8, so that it goes back as it came; bytes that are no text come from dialects of another kind and are marked.
const mark = "data:;base64,";

/** The bytes of an opaque text. */
export function opaqueBytes(text: string): Uint8Array {
  const marked = text.startsWith(mark) ? readBase64(text.slice(mark.length)) : undefined;
  return marked ?? Buffer.from(text);
}

/** The text of opaque bytes, such that {@link opaqueBytes} gives them back. */
export function opaqueText(bytes: Uint8Array): string {
  if (isUtf8(bytes)) {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
    if (!text.startsWith(mark)) return text;
  }
  return mark + writeBase64(bytes);
}
