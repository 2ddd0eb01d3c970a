const lineEnd = "\r\n";
const lastChunk = "0\r\n\r\n";

/**
 * One chunk of the chunked transfer coding, in one buffer: node:http writes a chunk as three, which costs more than the copy.
 * https://www.rfc-editor.org/rfc/rfc9112#section-7.1
 * @param isLast whether the body ends with it; only then `data` may be empty
 */
export function encodeChunk(data: string | Uint8Array, isLast = false): Buffer {
  const length = typeof data === "string" ? Buffer.byteLength(data) : data.length;
  const before = length === 0 ? "" : length.toString(16) + lineEnd;
  const after = (length === 0 ? "" : lineEnd) + (isLast ? lastChunk : "");
  const chunk = Buffer.allocUnsafe(before.length + length + after.length);
  chunk.write(before, 0, "latin1");
  if (typeof data === "string") chunk.write(data, before.length);
  else chunk.set(data, before.length);
  chunk.write(after, before.length + length, "latin1");
  return chunk;
}
