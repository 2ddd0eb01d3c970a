import { invalid, untranslatable } from "./faults.ts";
import { isObject, type JsonObject } from "./json.ts";

declare global {
  interface JSON {
    /** Whether a value is a number too long for JavaScript, as `parseExact` keeps it. */
    isRawJSON(value: unknown): boolean;
  }
}

// The readers below share one rule: null counts as absent, and a value of another type is INVALID_REQUEST with `param`.

/** @param lengthMax most characters; absent: any number */
export function readText(value: unknown, param: string, lengthMax = Infinity): string | undefined {
  if (value == null) return undefined;
  if (typeof value === "string" && value.length <= lengthMax) return value;
  throw mustBe(param, lengthMax === Infinity ? "a text" : `a text of at most ${lengthMax} characters`);
}

export function readFlag(value: unknown, param: string): boolean | undefined {
  if (value == null || typeof value === "boolean") return value ?? undefined;
  throw mustBe(param, "true or false");
}

/** A number within bounds; one with more digits than a double holds is rounded to the nearest. */
export function readNumber(value: unknown, param: string, min: number, max: number): number | undefined {
  if (value == null) return undefined;
  const number = isRawNumber(value) ? Number(value.rawJSON) : value;
  if (typeof number === "number" && Number.isFinite(number) && number >= min && number <= max) return number;
  throw mustBe(param, `a number from ${min} to ${max}`);
}

export function readWhole(value: unknown, param: string, min: number, max: number): number | undefined {
  if (value == null) return undefined;
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw mustBe(param, `a whole number from ${min} to ${max}`);
}

/** A whole number of 64 bits, with a sign. */
export function readLong(value: unknown, param: string): bigint | undefined {
  if (value == null) return undefined;
  // What `parseExact` left a number is written by String with the digits that stood in the body.
  const text = isRawNumber(value) ? value.rawJSON : typeof value === "number" ? String(value) : "";
  const long = /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (long === undefined || BigInt.asIntN(64, long) !== long) {
    throw invalid(`\`${param}\` must be a whole number of at most 64 bits.`, param);
  }
  return long;
}

export function readObject(value: unknown, param: string): JsonObject | undefined {
  if (value == null) return undefined;
  if (isJsonObject(value)) return value;
  throw mustBe(param, "an object");
}

export function readList(value: unknown, param: string): readonly unknown[] | undefined {
  if (value == null) return undefined;
  if (Array.isArray(value)) return value as readonly unknown[];
  throw mustBe(param, "a list");
}

/** A list that must be there. */
export function requiredList(value: unknown, param: string): readonly unknown[] {
  return required(readList(value, param), param);
}

/** A list of texts; absent is empty. */
export function readTexts(value: unknown, param: string): string[] {
  return (readList(value, param) ?? []).map((item, index) => requiredAnyText(item, `${param}[${index}]`));
}

/** What must be there. */
export function required<T>(value: T | undefined, param: string): T {
  if (value === undefined) throw invalid(`\`${param}\` is missing.`, param);
  return value;
}

/** A text that must be there; it may be empty. */
export function requiredAnyText(value: unknown, param: string): string {
  return required(readText(value, param), param);
}

/** A text that must be there and not be empty. @param lengthMax most characters; absent: any number */
export function requiredText(value: unknown, param: string, lengthMax = Infinity): string {
  const text = required(readText(value, param, lengthMax), param);
  if (text === "") throw invalid(`\`${param}\` must not be empty.`, param);
  return text;
}

/** An object that must be there. */
export function requiredObject(value: unknown, param: string): JsonObject {
  return required(readObject(value, param), param);
}

/** Refuses members that are not known and not null: they may change what is meant, and nothing here could hold them. */
export function refuseUnknown(members: JsonObject, known: ReadonlySet<string>, param: string): void {
  for (const name of Object.keys(members)) {
    if (known.has(name) || members[name] == null) continue;
    const path = memberPath(param, name);
    throw untranslatable(`\`${path}\` cannot be translated for another provider; leave it out.`, path);
  }
}

/** Where a member stands; where the object does when the member's name is no plain word, since errors do not quote the body. */
export function memberPath(param: string, name: string): string {
  if (!/^\w{1,64}$/.test(name)) return param;
  return param === "" ? name : `${param}.${name}`;
}

function mustBe(param: string, wanted: string) {
  return invalid(`\`${param}\` must be ${wanted}.`, param);
}

/** Whether a value is an object of JSON, not a number that `parseExact` kept as it stood. */
export function isJsonObject(value: unknown): value is JsonObject {
  return isObject(value) && !isRawNumber(value);
}

/** Whether a value is a number that `parseExact` kept as it stood. */
export function isRawNumber(value: unknown): value is { readonly rawJSON: string } {
  return JSON.isRawJSON(value);
}
