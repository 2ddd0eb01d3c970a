import { invalid, untranslatable } from "../faults.ts";
import { memberPath } from "../fields.ts";
import type { JsonObject } from "../json.ts";

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
  throw untranslatable("This member cannot be translated for another provider; leave it out.", path);
}
