import { readBase64 } from "../base64.ts";
import { invalid } from "../faults.ts";
import { refuseUnknown, requiredAnyText, requiredObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";

/** A count of tokens; undefined for anything else. */
export function readCount(value: unknown): number | undefined {
  const whole = Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff_ffff;
  return whole ? (value as number) : undefined;
}

/** Whether an object has no members but these. */
export function hasOnly(value: JsonObject, names: readonly string[]): boolean {
  return Object.keys(value).every((name) => names.includes(name));
}

/** An object without members that are not named: what is not known cannot be translated. */
export function readExactRecord(value: unknown, names: ReadonlySet<string>, param: string): JsonObject {
  const record = requiredObject(value, param);
  refuseUnknown(record, names, param);
  return record;
}

/** The one member of a union: `{"text": "..."}`. */
export function readUnion(value: unknown, param: string): readonly [kind: string, value: unknown] {
  const members = Object.entries(requiredObject(value, param)).filter(([, member]) => member != null);
  const [only] = members;
  if (only === undefined || members.length > 1) throw invalid(`\`${param}\` must have exactly one member.`, param);
  return only;
}

/** Bytes in base64, as AWS writes blobs in JSON. */
export function readBlob(value: unknown, param: string): Uint8Array {
  const bytes = readBase64(requiredAnyText(value, param));
  if (bytes === undefined) throw invalid(`\`${param}\` must be bytes in base64.`, param);
  return bytes;
}
