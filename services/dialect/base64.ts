import { asBuffer } from "./bytes.ts";

/** The bytes of a base64 text, of either alphabet, with or without padding; undefined when it is none. */
export function readBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length === decodedLength(text)) return bytes;
  // Node's decoder skips what it does not know. Line breaks are all that may stand there.
  return bytes.length === decodedLength(text.replace(/[\r\n]+/g, "")) ? bytes : undefined;
}

/** How many bytes a text of base64 alone stands for; -1 when no text of its length is base64. */
function decodedLength(text: string): number {
  let length = text.length;
  while (length > 0 && text.charCodeAt(length - 1) === 0x3d) length -= 1;
  return length % 4 === 1 ? -1 : Math.floor((length * 3) / 4);
}

export function writeBase64(bytes: Uint8Array): string {
  return asBuffer(bytes).toString("base64");
}
