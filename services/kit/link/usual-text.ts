/** Longer texts are made anew each time. */
const lengthMax = 63;
const endings = 64;

/** What was read last of each length and ending. */
const known: (string | undefined)[] = Array.from({ length: (lengthMax + 1) * endings });

/**
 * The UTF-8 text of bytes `start` to `end`, for texts that come again and again, such as methods and names of metadata: one
 * that was read before is found and compared, which takes a fraction of making it, and brings its hash with it.
 */
export function usualText(bytes: Buffer, start: number, end: number): string {
  const length = end - start;
  if (length === 0 || length > lengthMax) return bytes.toString("utf8", start, end);
  const slot = length * endings + ((bytes[end - 1] as number) % endings);
  const text = known[slot];
  if (text !== undefined && isText(text, bytes, start, length)) return text;
  const made = bytes.toString("utf8", start, end);
  known[slot] = made;
  return made;
}

/** A text with as many characters as bytes is ASCII, but for U+FFFD in the place of a byte of no text, which equals no byte. */
function isText(text: string, bytes: Buffer, start: number, length: number): boolean {
  if (text.length !== length) return false;
  for (let at = 0; at < length; at += 1) if (bytes[start + at] !== text.charCodeAt(at)) return false;
  return true;
}
