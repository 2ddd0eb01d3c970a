// Looks over the bytes of JSON for members by their names, without building anything. Of what is no JSON it says one thing or another.

/** When a string that has the name tells something: always, as the name of a member, as that of an object, as a value. */
export type TellTale = "member" | "member of an object" | "value";

const quote = 0x22;
const backslash = 0x5c;
const colon = 0x3a;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Longest string that may be a name: one of 31 letters, each written as an escape. */
const hiddenMax = 192;
/** An escape of a character that names consist of: who writes ASCII so hides something, or is very unusual. */
const hidden = /\\u00[4-7]/;

/** Finds out whether JSON has one of some strings where it tells something. */
export class MemberScan {
  private readonly tellTales: ReadonlyMap<string, TellTale>;
  /** By length and first letter of the strings: their last letters, a bit for each. Most others are told apart by it. */
  private readonly lasts = new Uint32Array(nameMax << 8);

  /** @param tellTales names of 3 to 31 letters and low lines */
  constructor(tellTales: ReadonlyMap<string, TellTale>) {
    this.tellTales = tellTales;
    for (const name of tellTales.keys()) {
      const at = (name.length << 8) | name.charCodeAt(0);
      this.lasts[at] = (this.lasts[at] as number) | (1 << (name.charCodeAt(name.length - 1) & 31));
    }
  }

  /**
   * Whether a body has one of the strings, however it is escaped, or an object with a `type` of null, or one that may be nothing but
   * an `id` for who leaves out what is null and takes one of two members. Reads each byte of what is short once, and searches through
   * what is long.
   */
  tells(body: Uint8Array): boolean {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    for (let open = nextQuote(bytes, 0); open >= 0; ) {
      let isEscaped = false;
      let end = open + 1;
      const stop = Math.min(end + nameMax, bytes.length);
      while (end < stop) {
        const byte = bytes[end];
        if (byte === quote) break;
        if (byte === backslash) {
          isEscaped = true;
          end += 1;
        }
        end += 1;
      }
      if (end < stop) {
        if (this.isTold(bytes, open, end)) return true;
      } else {
        end = stringEnd(bytes, end);
        isEscaped = end - open <= hiddenMax;
      }
      if (isEscaped && this.isHidden(bytes, open, end)) return true;
      open = nextQuote(bytes, end + 1);
    }
    return false;
  }

  /** Of a string that is as short as a name. */
  private isTold(bytes: Buffer, open: number, end: number): boolean {
    const length = end - open - 1;
    if (length < 3) return length === 2 && isId(bytes, open) && tellsAlone(bytes, open, end);
    const first = bytes[open + 1] as number;
    if (length === 4 && first === 0x74 && isType(bytes, open)) return isNull(bytes, end);
    const lasts = this.lasts[(length << 8) | first] as number;
    if ((lasts & (1 << ((bytes[end - 1] as number) & 31))) !== 0) {
      const tale = this.tellTales.get(bytes.toString("latin1", open + 1, end));
      if (tale !== undefined) return tells(tale, bytes, end);
    }
    return false;
  }

  /** Of a string some of whose letters may be escaped. */
  private isHidden(bytes: Buffer, open: number, end: number): boolean {
    const name = unhidden(bytes, open, end);
    if (name === undefined) return false;
    if (name === "id") return true;
    if (name === "type") return isNull(bytes, end);
    const tale = this.tellTales.get(name);
    return tale !== undefined && tells(tale, bytes, end);
  }
}

/** Names are shorter. */
const nameMax = 32;

function isId(bytes: Buffer, open: number): boolean {
  return bytes[open + 1] === 0x69 && bytes[open + 2] === 0x64;
}

function isType(bytes: Buffer, open: number): boolean {
  return bytes[open + 2] === 0x79 && bytes[open + 3] === 0x70 && bytes[open + 4] === 0x65;
}

/** Where the value of a member begins; below 0: the string is no name. @param end of the string */
function valueStart(bytes: Buffer, end: number): number {
  const after = afterSpace(bytes, end + 1);
  return bytes[after] === colon ? afterSpace(bytes, after + 1) : -1;
}

function tells(tale: TellTale, bytes: Buffer, end: number): boolean {
  const value = valueStart(bytes, end);
  if (tale === "value") return value < 0;
  return value >= 0 && (tale === "member" || bytes[value] === openBrace);
}

function isNull(bytes: Buffer, end: number): boolean {
  const value = valueStart(bytes, end);
  return value >= 0 && bytes[value] === 0x6e;
}

/**
 * Whether an `id` is all that its object says: what stands beside it is null, or an `id` too. Of an object with more than two members
 * only what is next to it is looked at.
 */
function tellsAlone(bytes: Buffer, open: number, end: number): boolean {
  const value = valueStart(bytes, end);
  if (value < 0) return false;
  const before = beforeSpace(bytes, open - 1);
  if (bytes[before] === comma) return bytes[beforeSpace(bytes, before - 1)] === 0x6c;
  // Numbers and the like are no ids, unless another one follows.
  if (bytes[value] !== quote) return true;
  const after = afterSpace(bytes, stringEnd(bytes, value + 1) + 1);
  if (bytes[after] !== comma) return bytes[after] === closeBrace;
  const next = afterSpace(bytes, after + 1);
  const nextEnd = stringEnd(bytes, next + 1);
  return (nextEnd - next === 3 && isId(bytes, next)) || isNull(bytes, nextEnd);
}

/** How many members a text of JSON has, at all depths. Of two with one name both count. */
export function countMembers(body: Uint8Array): number {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let count = 0;
  for (let open = nextQuote(bytes, 0); open >= 0; ) {
    const end = stringEnd(bytes, open + 1);
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

/** Between strings there is little, but for lists of numbers. */
const gapMax = 64;

function nextQuote(bytes: Buffer, from: number): number {
  const stop = Math.min(from + gapMax, bytes.length);
  for (let at = from; at < stop; at += 1) if (bytes[at] === quote) return at;
  return stop === bytes.length ? -1 : bytes.indexOf(quote, stop);
}

/** Bytes to look at one by one: texts have many escaped quotes, each of which would cost a search. */
const stride = 48;

/**
 * Where the quote stands that closes a string; the length of the bytes: nowhere.
 * @param from a place within the string, not behind a backslash
 */
function stringEnd(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length) {
    const stop = Math.min(at + stride, bytes.length);
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

function beforeSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at -= 1;
  return at;
}

function afterSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at += 1;
  return at;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
