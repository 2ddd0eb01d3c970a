import { isObject, type JsonObject } from "../json.ts";
import { invalid } from "./faults.ts";

// Part of the language since 2025; TypeScript's library does not know it yet.
declare global {
  interface JSON {
    isRawJSON(value: unknown): boolean;
  }
}

/** An object; a number that `parseExact` keeps as text is none. */
export function isRecord(value: unknown): value is JsonObject {
  return isObject(value) && !JSON.isRawJSON(value);
}

/** A number as a double, also one that `parseExact` keeps as text; undefined for anything else. */
export function asNumber(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return JSON.isRawJSON(value) ? Number((value as { readonly rawJSON: string }).rawJSON) : undefined;
}

/** A count of tokens; undefined for anything else. */
export function readCount(value: unknown): number | undefined {
  const whole = Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff;
  return whole ? (value as number) : undefined;
}

/** Whether an object has no members but these. */
export function hasOnly(value: JsonObject, names: readonly string[]): boolean {
  return Object.keys(value).every((name) => names.includes(name));
}

// Readers of a client's request: each throws INVALID_REQUEST with `param`.

export function readRecord(value: unknown, param: string): JsonObject {
  if (!isRecord(value)) throw invalid(`\`${param}\` must be an object.`, param);
  return value;
}

/** An object without members that are not named: what is not known cannot be translated. */
export function readExactRecord(value: unknown, names: ReadonlySet<string>, param: string): JsonObject {
  const record = readRecord(value, param);
  for (const name of Object.keys(record)) {
    if (names.has(name) || record[name] == null) continue;
    throw invalid(
      `\`${param}\` has a member that cannot be translated for this model; leave it out.`,
      path(param, name),
    );
  }
  return record;
}

export function readList(value: unknown, param: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(`\`${param}\` must be a list.`, param);
  return value;
}

export function readText(value: unknown, param: string): string {
  if (typeof value !== "string") throw invalid(`\`${param}\` must be a text.`, param);
  return value;
}

export function readName(value: unknown, param: string): string {
  if (typeof value !== "string" || value === "") throw invalid(`\`${param}\` must be a text that is not empty.`, param);
  return value;
}

export function readOptionalText(value: unknown, param: string): string | undefined {
  return value == null ? undefined : readText(value, param);
}

export function readOptionalBoolean(value: unknown, param: string): boolean | undefined {
  if (value == null) return undefined;
  if (typeof value !== "boolean") throw invalid(`\`${param}\` must be true or false.`, param);
  return value;
}

export function readOptionalNumber(value: unknown, max: number, param: string): number | undefined {
  if (value == null) return undefined;
  const number = asNumber(value);
  if (number === undefined || !(number >= 0 && number <= max)) {
    throw invalid(`\`${param}\` must be a number from 0 to ${max}.`, param);
  }
  return number;
}

export function readOptionalInteger(value: unknown, max: number, param: string): number | undefined {
  if (value == null) return undefined;
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > max) {
    throw invalid(`\`${param}\` must be a whole number from 1 to ${max}.`, param);
  }
  return value as number;
}

/** The one member of a union: `{"text": "..."}`. */
export function readUnion(value: unknown, param: string): readonly [kind: string, value: unknown] {
  const members = Object.entries(readRecord(value, param)).filter(([, member]) => member != null);
  const [only] = members;
  if (only === undefined || members.length > 1) throw invalid(`\`${param}\` must have exactly one member.`, param);
  return only;
}

/** Bytes in base64, as AWS writes blobs in JSON. */
export function readBlob(value: unknown, param: string): Uint8Array {
  const text = readText(value, param);
  const bytes = Buffer.from(text, "base64");
  // Node takes what it can and skips the rest.
  if (text.length % 4 !== 0 || bytes.length !== Buffer.byteLength(text, "base64")) {
    throw invalid(`\`${param}\` must be bytes in base64.`, param);
  }
  return bytes;
}

export function writeBlob(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** A path to a member; the member's name only where it is a plain word, since it is the caller's text. */
export function path(param: string, name: string): string {
  return /^[A-Za-z]\w{0,63}$/.test(name) ? `${param}.${name}` : param;
}
