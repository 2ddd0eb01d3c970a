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
    const json: unknown = JSON.parse(text);
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
  if (!mayHoldLongNumber.test(text)) return parseObject(text);
  try {
    const json: unknown = JSON.parse(text, keepNumber);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

const mayHoldLongNumber = /\d[\d.]{15}|\d[eE][+-]?\d/;

function keepNumber(_: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  const { source } = context;
  const digits = source
    .replace(/[eE].*$/, "")
    .replace(/\D/g, "")
    .replace(/^0+/, "").length;
  const held = Number.isFinite(value) && (value !== 0 || digits === 0);
  return held && (digits <= 15 || String(value) === source) ? value : rawJson(source);
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
