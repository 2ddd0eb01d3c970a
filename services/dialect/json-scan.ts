/** Where a JSON value stands in a body: offsets of its first byte and of the byte after its last. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What a scan of the outermost object found. */
export interface Members {
  /** Offset of the byte after the opening brace. */
  readonly bodyStart: number;
  /** Spans of the values of the members asked for, by name. */
  readonly spans: ReadonlyMap<string, Span>;
  /** The first of the members asked for that stands twice. */
  readonly duplicate: string | undefined;
  /** Whether brackets nest deeper than allowed; the scan stopped there. */
  readonly tooDeep: boolean;
  /** Bytes in strings that are `data:` URLs in base 64: embedded images, files and sound. */
  readonly dataBytes: number;
  /** How many such strings there are. */
  readonly dataCount: number;
}

const quote = 0x22;
const backslash = 0x5c;

// A member's name of up to this many raw bytes may still be one of ours once its escapes are resolved (`\u006d` is six
// bytes for one); a longer one cannot be.
const keyBytesMax = 160;

/**
 * Walks once over the bytes of a JSON object and finds members of its outermost level, in linear time and without
 * building anything. Right for every valid document; what is not valid gives some answer or other, without failing, so
 * check with `JSON.parse` as well.
 * @param names members to look for
 * @returns undefined when the document is not an object
 */
export function scanMembers(body: Buffer, names: ReadonlySet<string>, depthMax: number): Members | undefined {
  let at = skipSpace(body, 0);
  if (body[at] !== 0x7b) return undefined;
  const bodyStart = at + 1;
  const spans = new Map<string, Span>();
  let duplicate: string | undefined;
  let depth = 1;
  let dataBytes = 0;
  let dataCount = 0;
  // On the outermost level: a string is a name until the colon, then its value follows.
  let name: string | undefined;
  let inName = true;
  let valueStart = -1;
  const found = (tooDeep: boolean): Members => ({ bodyStart, spans, duplicate, tooDeep, dataBytes, dataCount });

  for (at = bodyStart; at < body.length; at += 1) {
    switch (body[at]) {
      case quote: {
        const end = stringEnd(body, at);
        if (depth === 1 && inName) name = ownName(body, at, end, names);
        else if (body[at + 1] === 0x64 && isEmbedded(body, at + 1, end - 1)) {
          dataBytes += end - at;
          dataCount += 1;
        }
        at = end - 1;
        break;
      }
      case 0x7b: // {
      case 0x5b: // [
        depth += 1;
        if (depth > depthMax) return found(true);
        break;
      case 0x5d: // ]
        depth -= 1;
        break;
      case 0x3a: // :
        if (depth === 1) {
          inName = false;
          valueStart = skipSpace(body, at + 1);
        }
        break;
      case 0x7d: // }
      case 0x2c: // ,
        if (body[at] === 0x7d) depth -= 1;
        if (depth > (body[at] === 0x7d ? 0 : 1)) break;
        if (name !== undefined && valueStart >= 0) {
          if (spans.has(name)) duplicate ??= name;
          else spans.set(name, { start: valueStart, end: trimEnd(body, at) });
        }
        if (depth === 0) return found(false);
        name = undefined;
        inName = true;
        valueStart = -1;
        break;
      default:
    }
  }
  return found(false);
}

const dataHead = /^data:[\w.+-]+\\?\/[\w.+-]+(?:;[\w.+=-]+){0,8};base64,/;
const headBytesMax = 256;
const samples = 64;

/**
 * Whether a string is a `data:` URL in base 64: by its head, and by bytes of its data here and there, since a text may begin in the
 * same way and cost what texts cost.
 */
function isEmbedded(body: Buffer, start: number, end: number): boolean {
  const head = dataHead.exec(body.toString("latin1", start, Math.min(start + headBytesMax, end)));
  if (head === null) return false;
  const from = start + head[0].length;
  const stride = Math.max(1, Math.floor((end - from) / samples));
  for (let at = from; at < end; at += stride) {
    if (!isBase64(body[at] as number)) return false;
  }
  return true;
}

/** Of either alphabet; a backslash escapes a slash. */
function isBase64(byte: number): boolean {
  const letter = byte | 0x20;
  if (letter >= 0x61 && letter <= 0x7a) return true;
  // From the slash to the digit 9, and + - = _ and the backslash.
  return (
    (byte >= 0x2f && byte <= 0x39) || byte === 0x2b || byte === 0x2d || byte === 0x3d || byte === 0x5f || byte === 0x5c
  );
}

/** The name between two quotes, when it is one of those asked for. */
function ownName(body: Buffer, start: number, end: number, names: ReadonlySet<string>): string | undefined {
  if (end - start > keyBytesMax) return undefined;
  let name = body.toString("latin1", start + 1, end - 1);
  if (name.includes("\\")) {
    try {
      name = JSON.parse(body.toString("utf8", start, end)) as string;
    } catch {
      return undefined; // not JSON; the parse of the whole will say so
    }
  }
  return names.has(name) ? name : undefined;
}

// Bytes to look at one by one after an escaped quote, before the native search takes over again: text full of escaped
// quotes would otherwise cost a native call for each of them.
const stride = 128;

/** The offset after the quote that closes a string. */
function stringEnd(body: Buffer, open: number): number {
  let at = open + 1;
  for (;;) {
    const next = body.indexOf(quote, at);
    if (next < 0) return body.length;
    let slashes = 0;
    while (body[next - 1 - slashes] === backslash && next - 1 - slashes > open) slashes += 1;
    if (slashes % 2 === 0) return next + 1;
    at = next + 1;
    const stop = Math.min(at + stride, body.length);
    while (at < stop) {
      const byte = body[at];
      if (byte === quote) return at + 1;
      at += byte === backslash ? 2 : 1;
    }
  }
}

function skipSpace(body: Buffer, from: number): number {
  let at = from;
  while (isSpace(body[at])) at += 1;
  return at;
}

function trimEnd(body: Buffer, end: number): number {
  let at = end;
  while (isSpace(body[at - 1])) at -= 1;
  return at;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
