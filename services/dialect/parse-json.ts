/**
 * `JSON.parse`, of which V8 14.6 (Node 26.10) is not to be trusted with names that are written with escapes: it takes the raw text of
 * one for the name that an earlier text had in the same place. After `{"x":1,"\\u006":2}` it reads `{"x":1,"\u006dodel":"m"}` as
 * another `\u006`, so that whoever sends the first hides what the second says from every check. Such names are read apart here;
 * a text without a backslash costs one search for it, any other one a look at what stands before its colons.
 * @throws SyntaxError as JSON.parse does; its message quotes the text. RangeError for a text with such names that nests too deep
 */
export function parseJson(
  text: string,
  reviver?: (name: string, value: unknown, context: ReviverContext) => unknown,
): unknown {
  // Called by the language with the text of each value as well, of which TypeScript's library does not know yet.
  const parse = (json: string): unknown => JSON.parse(json, reviver as Parameters<typeof JSON.parse>[1]);
  const names = text.includes("\\") ? escapedNames(text) : [];
  if (names.length === 0) return parse(text);
  try {
    const { rewritten, hasMarks } = withoutEscapes(text, names);
    const json = parse(rewritten);
    return hasMarks ? unmarkNames(json) : json;
  } catch (fault) {
    JSON.parse(text); // its fault says where in the text
    throw fault;
  }
}

/**
 * The same text with the names of members written without escapes, for a library that calls `JSON.parse` by itself.
 * @returns undefined where a name cannot do without: it holds a quote, a backslash, a control character or a lone surrogate
 * @throws SyntaxError for some texts that are not JSON
 */
export function withPlainNames(text: string): string | undefined {
  const names = text.includes("\\") ? escapedNames(text) : [];
  if (names.length === 0) return text;
  const { rewritten, hasMarks } = withoutEscapes(text, names);
  return hasMarks ? undefined : rewritten;
}

/** What a reviver is told beside name and value. */
export interface ReviverContext {
  /** The text of a primitive value. */
  readonly source?: string;
}

/** Where a name stands in a text, with its quotes. */
interface NameSpan {
  readonly start: number;
  readonly end: number;
}

/**
 * The names of members that hold an escape: of what stands before colons, each character is looked at once. Of a text that is not JSON
 * the answer is anything that leaves it so.
 */
function escapedNames(text: string): readonly NameSpan[] {
  const found: NameSpan[] = [];
  for (let at = text.indexOf(":"); at >= 0; at = text.indexOf(":", at + 1)) {
    let last = at - 1;
    while (isSpace(text.charCodeAt(last))) last -= 1;
    // An escaped quote stands inside of a string, and so does the colon.
    if (text.charCodeAt(last) !== quote || isEscaped(text, last)) continue;
    let hasEscape = false;
    let start = last - 1;
    for (; start >= 0; start -= 1) {
      const code = text.charCodeAt(start);
      if (code === backslash) hasEscape = true;
      else if (code === quote && !isEscaped(text, start)) break;
    }
    if (hasEscape) found.push({ start, end: last + 1 });
  }
  return found;
}

const quote = 0x22;
const backslash = 0x5c;

/** Whether an odd number of backslashes stands before a character. */
function isEscaped(text: string, at: number): boolean {
  let first = at;
  while (text.charCodeAt(first - 1) === backslash) first -= 1;
  return (at - first) % 2 === 1;
}

/** White space of JSON. */
function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

// Drawn once for each process, so that no name of a caller can be taken for it.
const mark = `name:${crypto.randomUUID()}:`;

/** Writes names as they are or, where they cannot do without an escape, under a mark. @throws SyntaxError for what is no string */
function withoutEscapes(
  text: string,
  names: readonly NameSpan[],
): { readonly rewritten: string; readonly hasMarks: boolean } {
  let rewritten = "";
  let hasMarks = false;
  let at = 0;
  for (const { start, end } of names) {
    const name = JSON.parse(text.slice(start, end)) as string;
    const plain = JSON.stringify(name);
    const needsEscape = plain.includes("\\");
    hasMarks ||= needsEscape;
    rewritten += text.slice(at, start);
    rewritten += needsEscape ? `"${mark}${Buffer.from(name, "utf16le").toString("hex")}"` : plain;
    at = end;
  }
  return { rewritten: rewritten + text.slice(at), hasMarks };
}

function unmarkNames(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(unmarkNames);
  // Not what a reviver has put there.
  if (typeof json !== "object" || json === null || Object.getPrototypeOf(json) !== Object.prototype) return json;
  const whole = {};
  for (const [name, value] of Object.entries(json)) {
    const own = name.startsWith(mark) ? Buffer.from(name.slice(mark.length), "hex").toString("utf16le") : name;
    // Defined, so that a member named `__proto__` stays a member.
    Object.defineProperty(whole, own, {
      value: unmarkNames(value),
      enumerable: true,
      writable: true,
      configurable: true,
    });
  }
  return whole;
}
