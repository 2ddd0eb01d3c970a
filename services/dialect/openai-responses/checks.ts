import type { JsonObject as StructJson, JsonValue } from "@bufbuild/protobuf";
import { invalid, untranslatable } from "../faults.ts";
import { isObject, type JsonObject } from "../json.ts";

// Part of the language since 2025, like `rawJSON`.
declare global {
  interface JSON {
    isRawJSON(value: unknown): boolean;
  }
}

/** A member that may be absent or null. */
export function readOptional<T>(
  value: unknown,
  param: string,
  wanted: string,
  is: (value: unknown) => value is T,
): T | undefined {
  if (value == null) return undefined;
  if (!is(value)) throw invalid(`\`${param}\` must be ${wanted}.`, param);
  return value;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

/** Empty when absent. */
export function readText(value: unknown, param: string): string {
  return readOptional(value, param, "a text", isText) ?? "";
}

export function requireText(value: unknown, param: string): string {
  if (typeof value !== "string" || value === "") throw invalid(`\`${param}\` must be a text that is not empty.`, param);
  return value;
}

export function readBoolean(value: unknown, param: string): boolean | undefined {
  return readOptional(value, param, "true or false", isBoolean);
}

export function readWhole(value: unknown, param: string, min: number, max: number): number | undefined {
  const is = (whole: unknown): whole is number =>
    Number.isInteger(whole) && (whole as number) >= min && (whole as number) <= max;
  return readOptional(value, param, `a whole number from ${min} to ${max}`, is);
}

export function readNumber(value: unknown, param: string, min: number, max: number): number | undefined {
  const is = (number: unknown): number is number => typeof number === "number" && number >= min && number <= max;
  // Digits beyond a double mean nothing here.
  const held = JSON.isRawJSON(value) ? Number((value as { readonly rawJSON: string }).rawJSON) : value;
  return readOptional(held, param, `a number from ${min} to ${max}`, is);
}

export function requireObject(value: unknown, param: string): JsonObject {
  if (!isObject(value) || JSON.isRawJSON(value)) throw invalid(`\`${param}\` must be an object.`, param);
  return value;
}

export function readObject(value: unknown, param: string): JsonObject | undefined {
  return value == null ? undefined : requireObject(value, param);
}

/** Empty when absent. */
export function readList(value: unknown, param: string): readonly unknown[] {
  return readOptional(value, param, "a list", isList) ?? [];
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/**
 * A value as google.protobuf.Struct holds it.
 * @throws WeirError TARGET_UNSUPPORTED for a number that a double cannot hold
 */
export function requireStruct(value: unknown, param: string): StructJson {
  requireObject(value, param);
  requireDoubles(value, param);
  return value as StructJson;
}

/** See {@link requireStruct}. */
export function requireStructValue(value: unknown, param: string): JsonValue {
  requireDoubles(value, param);
  return value as JsonValue;
}

function requireDoubles(value: unknown, param: string): void {
  if (typeof value !== "object" || value === null) return;
  if (JSON.isRawJSON(value)) {
    throw untranslatable(`\`${param}\` holds a number with more digits than can be passed on; shorten it.`, param);
  }
  for (const inner of Object.values(value)) requireDoubles(inner, param);
}
