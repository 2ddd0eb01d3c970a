/** Bytes and their media type; empty when none was named. */
export interface TypedBytes {
  readonly mediaType: string;
  readonly data: Uint8Array;
}

export function isDataUrl(text: string): boolean {
  return text.slice(0, 5).toLowerCase() === "data:";
}

/**
 * Reads `data:image/png;base64,...`, https://www.rfc-editor.org/rfc/rfc2397.
 * @returns undefined when the data is not in base64, or is not valid
 */
export function readDataUrl(url: string): TypedBytes | undefined {
  const comma = url.indexOf(",");
  const head = url.slice("data:".length, comma);
  if (comma < 0 || !isBase64Head.test(head)) return undefined;
  const data = readBase64(url.slice(comma + 1));
  return data && { mediaType: head.slice(0, -";base64".length), data };
}

const isBase64Head = /;base64$/i;

export function writeDataUrl({ mediaType, data }: TypedBytes): string {
  return `data:${mediaType};base64,${writeBase64(data)}`;
}

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
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** The media type of a picture, by its first bytes; empty when it is none that vendors take. */
export function imageType(data: Uint8Array): string {
  const head = Buffer.from(data.subarray(0, 12)).toString("latin1");
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "image/gif";
  return head.startsWith("RIFF") && head.endsWith("WEBP") ? "image/webp" : "";
}
