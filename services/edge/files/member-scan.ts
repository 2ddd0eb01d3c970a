// Looks over the bytes of JSON for members by their names, without building anything. Of what is no JSON it says one thing or another.

/** When a string that has the name tells something: always, as the name of a member, as that of an object, as a value. */
export type TellTale = "member" | "member of an object" | "value";

const quote = 0x22;
const backslash = 0x5c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Longest string that is looked at byte by byte: a name of 24 letters, each written as an escape, and some. */
const lookedMax = 192;
/** An escape of a character that names consist of: who writes ASCII so hides something, or is very unusual. */
const hidden = /\\u00[4-7]/;

/** Finds out whether JSON has one of some strings where it tells something. */
export class MemberScan {
  private readonly tellTales: ReadonlyMap<string, TellTale>;
  /** By its first byte: lengths that strings among them have, a bit for each. */
  private readonly lengths = new Uint32Array(256);

  /** @param tellTales names of 1 to 31 letters, digits and low lines */
  constructor(tellTales: ReadonlyMap<string, TellTale>) {
    this.tellTales = tellTales;
    for (const name of [...tellTales.keys(), "id", "type"]) {
      const first = name.charCodeAt(0);
      this.lengths[first] = (this.lengths[first] as number) | (1 << name.length);
    }
  }

  /**
   * Whether a body has one of the strings, however it is escaped, or an object with nothing but an `id`, or a `type` of null. Reads each
   * byte of what is short once, and searches through what is long.
   */
  tells(body: Uint8Array): boolean {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    for (let open = nextQuote(bytes, 0); open >= 0; ) {
      const end = stringEnd(bytes, open);
      const length = end - open - 1;
      if (length <= lookedMax && this.isTold(bytes, open, end, length)) return true;
      open = nextQuote(bytes, end + 1);
    }
    return false;
  }

  private isTold(bytes: Buffer, open: number, end: number, length: number): boolean {
    const first = bytes[open + 1] as number;
    const isOfLength = length < 32 && ((this.lengths[first] as number) & (1 << length)) !== 0;
    if (!isOfLength && length < 6) return false;
    let name = isOfLength ? bytes.toString("latin1", open + 1, end) : undefined;
    if (name === undefined || !this.isKnown(name)) {
      name = unhidden(bytes, open, end);
      if (name === undefined || !this.isKnown(name)) return false;
    }
    const after = afterSpace(bytes, end + 1);
    const isName = bytes[after] === colon;
    const value = isName ? afterSpace(bytes, after + 1) : after;
    if (name === "id") return isName && isAlone(bytes, open, value);
    if (name === "type") return isName && bytes[value] === 0x6e;
    const tale = this.tellTales.get(name);
    if (tale === "value") return !isName;
    return isName && (tale === "member" || bytes[value] === openBrace);
  }

  private isKnown(name: string): boolean {
    return this.tellTales.has(name) || name === "id" || name === "type";
  }
}

/** How many members a text of JSON has, at all depths. Of two with one name both count. */
export function countMembers(body: Uint8Array): number {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let count = 0;
  for (let open = nextQuote(bytes, 0); open >= 0; ) {
    const end = stringEnd(bytes, open);
    if (bytes[afterSpace(bytes, end + 1)] === colon) count += 1;
    open = nextQuote(bytes, end + 1);
  }
  return count;
}

/** What a string with hidden letters says; undefined: it hides none. */
function unhidden(bytes: Buffer, open: number, end: number): string | undefined {
  let at = open + 1;
  while (at < end && bytes[at] !== backslash) at += 1;
  if (at === end) return undefined;
  const text = bytes.toString("latin1", open, end + 1);
  if (!hidden.test(text)) return undefined;
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined; // no JSON; the parse of the whole will say so
  }
}

/** Whether a member is the only one of its object, and a string. */
function isAlone(bytes: Buffer, name: number, value: number): boolean {
  let before = name - 1;
  while (isSpace(bytes[before])) before -= 1;
  if (bytes[before] !== openBrace || bytes[value] !== quote) return false;
  return bytes[afterSpace(bytes, stringEnd(bytes, value) + 1)] === closeBrace;
}

/** Between strings there is little, but for lists of numbers. */
const gapMax = 64;

function nextQuote(bytes: Buffer, from: number): number {
  const stop = Math.min(from + gapMax, bytes.length);
  for (let at = from; at < stop; at += 1) if (bytes[at] === quote) return at;
  return stop === bytes.length ? -1 : bytes.indexOf(quote, stop);
}

/** Where the quote stands that closes a string; the length of the bytes: nowhere. */
function stringEnd(bytes: Buffer, open: number): number {
  let at = open + 1;
  while (at < bytes.length) {
    // Texts have many escaped quotes, each of which would cost a search.
    const stop = Math.min(at + lookedMax, bytes.length);
    while (at < stop) {
      const byte = bytes[at];
      if (byte === quote) return at;
      at += byte === backslash ? 2 : 1;
    }
    const next = bytes.indexOf(quote, at);
    if (next < 0) break;
    let first = next;
    while (first > at && bytes[first - 1] === backslash) first -= 1;
    if ((next - first) % 2 === 0) return next;
    at = next + 1;
  }
  return bytes.length;
}

function afterSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at += 1;
  return at;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
