import { readBase64, writeBase64 } from "./base64.ts";

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
