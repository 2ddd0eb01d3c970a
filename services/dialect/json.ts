import { parseJson } from "./parse-json.ts";

// Part of the language since 2025; TypeScript's library does not know it yet.
declare global {
  interface JSON {
    rawJSON(text: string): unknown;
  }
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses a JSON object; undefined when the text is not one. */
export function parseObject(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Parses a JSON object so that no number is damaged: one that JavaScript cannot hold becomes a raw value, which
 * {@link writeJson} and JSON.stringify write as it stood. Such a value is an object to `typeof`.
 * @returns undefined when the text is no JSON object
 */
export function parseExact(text: string): JsonObject | undefined {
  if (!longNumber.test(text)) return parseObject(text);
  const json = parseObject(markNumbers(text));
  return json && (unmark(json) as JsonObject);
}

// Sixteen digits may be more than a double holds, and so may an exponent of three.
const longNumber = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;
const longNumbers = /-?\d[\d.]{15,}(?:[eE][+-]?\d+)?|-?\d+(?:\.\d+)?[eE][+-]?\d{3,}/g;

// https://www.rfc-editor.org/rfc/rfc8259#section-6
const jsonNumber = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** Puts long numbers into marked texts: a reviver, called for every value, would take fifty times as long as the parse. */
function markNumbers(text: string): string {
  let marked = "";
  for (let at = 0; at < text.length; ) {
    const quote = text.indexOf('"', at);
    const end = quote < 0 ? text.length : quote;
    const between = text.slice(at, end);
    marked += longNumber.test(between) ? between.replace(longNumbers, markNumber) : between;
    at = quote < 0 ? text.length : stringEnd(text, quote);
    if (quote >= 0) marked += text.slice(quote, at);
  }
  return marked;
}

function markNumber(source: string): string {
  if (!jsonNumber.test(source)) return source; // the parse will say so
  const value = Number(source);
  const digits = source
    .replace(/[eE].*$/, "")
    .replace(/\D/g, "")
    .replace(/^0+/, "").length;
  const held = Number.isFinite(value) && (value !== 0 || digits === 0);
  return held && (digits <= 15 || String(value) === source) ? source : `"${mark}${source}"`;
}

/** The offset after the quote that closes a string. @param open where its first quote stands */
export function stringEnd(text: string, open: number): number {
  for (let at = open + 1; ; ) {
    const next = text.indexOf('"', at);
    if (next < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(next - 1 - slashes) === 0x5c && next - 1 - slashes > open) slashes += 1;
    if (slashes % 2 === 0) return next + 1;
    at = next + 1;
  }
}

/** Turns marked texts into raw numbers, in place. */
function unmark(value: unknown): unknown {
  if (typeof value === "string") return value.startsWith(mark) ? rawJson(value.slice(mark.length)) : value;
  if (typeof value !== "object" || value === null) return value;
  const members = value as Record<string, unknown>;
  for (const name of Object.keys(members)) {
    const inner = members[name];
    if (typeof inner === "string" ? inner.startsWith(mark) : typeof inner === "object") {
      // Defined, so that a member named `__proto__` stays a member.
      Object.defineProperty(members, name, {
        value: unmark(inner),
        enumerable: true,
        writable: true,
        configurable: true,
      });
    }
  }
  return value;
}

/** A JSON value as text, to be written as it stands. */
class RawJson {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Marks a text that is JSON already, such as a tool's schema or arguments; only {@link writeJson} understands it. */
export function rawJson(text: string): unknown {
  return isPrimitive.test(text) ? JSON.rawJSON(text.trim()) : new RawJson(text);
}

const isPrimitive = /^\s*[^\s{[]/;

/** JSON text of a value in which {@link rawJson} may stand anywhere. */
export function writeJson(value: unknown): string {
  const raw: string[] = [];
  const text = JSON.stringify(value, (_, inner: unknown) => {
    if (!(inner instanceof RawJson)) return inner;
    raw.push(inner.text);
    return `${mark}${raw.length - 1}`;
  });
  return raw.length === 0 ? text : text.replace(markShape, (_, index: string) => raw[Number(index)] ?? "null");
}

// Drawn once for each process, so that no text of a caller can be taken for it.
const mark = `raw-json:${crypto.randomUUID()}:`;
const markShape = new RegExp(`"${mark}(\\d+)"`, "g");
