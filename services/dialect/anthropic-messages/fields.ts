import type { JsonObject as Struct } from "@bufbuild/protobuf";
import { isObject, type JsonObject } from "../json.ts";
import { invalid } from "./faults.ts";

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

export function readNumber(value: unknown, param: string, min: number, max: number): number | undefined {
  if (value == null) return undefined;
  const number = isRawNumber(value) ? Number(value.rawJSON) : value;
  if (typeof number === "number" && number >= min && number <= max) return number;
  throw mustBe(param, `a number from ${min} to ${max}`);
}

export function readWhole(value: unknown, param: string, min: number, max: number): number | undefined {
  if (value == null) return undefined;
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number;
  throw mustBe(param, `a whole number from ${min} to ${max}`);
}

export function readMembers(value: unknown, param: string): JsonObject | undefined {
  if (value == null) return undefined;
  if (isMembers(value)) return value;
  throw mustBe(param, "an object");
}

export function readItems(value: unknown, param: string): readonly unknown[] | undefined {
  if (value == null) return undefined;
  if (Array.isArray(value)) return value as readonly unknown[];
  throw mustBe(param, "a list");
}

/** What must be there. */
export function required<T>(value: T | undefined, param: string): T {
  if (value === undefined) throw invalid(`\`${param}\` is missing.`, param);
  return value;
}

/** A text that must be there and not be empty. */
export function requiredText(value: unknown, param: string): string {
  const text = required(readText(value, param), param);
  if (text === "") throw invalid(`\`${param}\` must not be empty.`, param);
  return text;
}

/** An object that must be there. */
export function requiredMembers(value: unknown, param: string): JsonObject {
  return required(readMembers(value, param), param);
}

/** Refuses members that are not known and not null: they may change what is meant, and nothing here could hold them. */
export function refuseUnknown(members: JsonObject, known: ReadonlySet<string>, param: string): void {
  for (const name of Object.keys(members)) {
    if (known.has(name) || members[name] == null) continue;
    const path = isPlainName.test(name) ? `${param}.${name}` : param;
    throw invalid(`\`${path}\` cannot be translated for another provider; leave it out.`, path);
  }
}

const isPlainName = /^\w{1,64}$/;

/**
 * Members as a Struct holds them.
 * @throws WeirError INVALID_REQUEST when they cannot be held
 */
export function holdJson(members: JsonObject, param: string): Struct {
  if (isHoldable(members)) return members;
  throw invalid(`\`${param}\` holds a number of more digits than can be translated; send it as a text.`, param);
}

/** Whether a Struct can hold members: no number in them was kept as it stood by `parseExact`, and they nest no deeper than bodies may. */
export function isHoldable(members: JsonObject): members is Struct {
  return every(members, levelsMax, (value) => !isRawNumber(value));
}

/** Whether a value nests no deeper than bodies may, so that it can be written again. */
export function isShallow(value: unknown): boolean {
  return every(value, levelsMax, () => true);
}

const levelsMax = 128;

function every(value: unknown, levels: number, holds: (value: unknown) => boolean): boolean {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && holds(value) && Object.values(value).every((inner) => every(inner, levels - 1, holds));
}

/** Whether a value is an object of JSON, not a number that `parseExact` kept as it stood. */
export function isMembers(value: unknown): value is JsonObject {
  return isObject(value) && !isRawNumber(value);
}

function isRawNumber(value: unknown): value is { readonly rawJSON: string } {
  return JSON.isRawJSON(value);
}

function mustBe(param: string, wanted: string) {
  return invalid(`\`${param}\` must be ${wanted}.`, param);
}
