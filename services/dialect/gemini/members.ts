import { isObject, type JsonObject } from "../json.ts";
import { invalid } from "./faults.ts";

declare global {
  interface JSON {
    /** Whether a value is a number too long for JavaScript, as `parseExact` keeps it. */
    isRawJSON(value: unknown): boolean;
  }
}

/** The members of one message of the API: each spelling that is read, to the name in lowerCamelCase. */
export type MemberNames = ReadonlyMap<string, string>;

/**
 * Names that are read in snake_case as well, as parsers of proto JSON do: https://protobuf.dev/programming-guides/json/
 * @param names in lowerCamelCase, separated by spaces
 */
export function memberNames(names: string): MemberNames {
  return new Map(names.split(" ").flatMap((name) => [[name, name] as const, [snakeCase(name), name] as const]));
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The members of an object. */
export interface Members {
  /** Those that were asked for, under their names in lowerCamelCase. */
  readonly known: JsonObject;
  /** All others, as they are spelt. */
  readonly rest: JsonObject;
}

// The readers below share one rule: null counts as absent, and a value of another type is INVALID_REQUEST with `param`.

/** Sorts members into known ones and others. A member that stands in both spellings is refused. */
export function sortMembers(object: JsonObject, names: MemberNames, param: string): Members {
  const known: Record<string, unknown> = {};
  const rest: (readonly [string, unknown])[] = [];
  for (const [spelling, value] of Object.entries(object)) {
    if (value === null) continue;
    const name = names.get(spelling);
    if (name === undefined) rest.push([spelling, value]);
    else if (Object.hasOwn(known, name)) {
      throw invalid(`\`${memberPath(param, name)}\` stands in two spellings.`, memberPath(param, name));
    } else known[name] = value;
  }
  return { known, rest: Object.fromEntries(rest) };
}

/** Known members; others are refused, since they may change what is meant and nothing here could hold them. */
export function knownMembers(object: JsonObject, names: MemberNames, param: string): JsonObject {
  const { known, rest } = sortMembers(object, names, param);
  refuse(rest, param);
  return known;
}

/** Refuses members that are there. */
export function refuse(members: JsonObject, param: string): void {
  const [name] = Object.keys(members);
  if (name === undefined) return;
  const path = memberPath(param, name);
  throw invalid("This member cannot be translated for another provider; leave it out.", path);
}

/** Where a member stands; where its object does when its name is no plain word, since errors do not quote the body. */
export function memberPath(param: string, name: string): string {
  if (!/^\w{1,64}$/.test(name)) return param;
  return param === "" ? name : `${param}.${name}`;
}

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

/** A list of texts; absent is empty. */
export function readTexts(value: unknown, param: string): string[] {
  return (readList(value, param) ?? []).map((item, index) => {
    const path = `${param}[${index}]`;
    return required(readText(item, path), path);
  });
}

/** What must be there. */
export function required<T>(value: T | undefined, param: string): T {
  if (value === undefined) throw invalid(`\`${param}\` is missing.`, param);
  return value;
}

/** A text that must be there and not be empty. */
export function requiredText(value: unknown, param: string, lengthMax = Infinity): string {
  const text = required(readText(value, param, lengthMax), param);
  if (text === "") throw invalid(`\`${param}\` must not be empty.`, param);
  return text;
}

/** An object that must be there. */
export function requiredObject(value: unknown, param: string): JsonObject {
  return required(readObject(value, param), param);
}

/** Whether a value is an object of JSON, not a number that `parseExact` kept as it stood. */
export function isJsonObject(value: unknown): value is JsonObject {
  return isObject(value) && !isRawNumber(value);
}

/** Whether a value is a number that `parseExact` kept as it stood. */
export function isRawNumber(value: unknown): value is { readonly rawJSON: string } {
  return JSON.isRawJSON(value);
}

function mustBe(param: string, wanted: string) {
  return invalid(`\`${param}\` must be ${wanted}.`, param);
}
