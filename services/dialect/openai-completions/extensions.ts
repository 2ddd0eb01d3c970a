import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { holdJson } from "../struct.ts";

/**
 * Members that the canonical form does not know, as extensions under a dialect's name.
 * @param known members of the dialect's own
 * @throws WeirError TARGET_UNSUPPORTED for numbers that a double cannot hold
 */
export function readExtensions(body: JsonObject, known: ReadonlySet<string>, dialect: string): Record<string, Struct> {
  const further = Object.entries(body).filter(([name]) => !known.has(name));
  return further.length === 0 ? {} : { [dialect]: holdJson(Object.fromEntries(further), "") };
}

/**
 * The members of a dialect's own extension that may stand in its body.
 * @param taken members of the dialect's own: the request alone sets them, since Weir limits and meters by it
 */
export function writeExtensions(
  extensions: Readonly<Record<string, Struct>>,
  taken: ReadonlySet<string>,
  dialect: string,
  omissions: Omissions,
): JsonObject {
  for (const name of Object.keys(extensions)) omissions.drop(`extensions.${name}`, name !== dialect);
  const further = Object.entries(extensions[dialect] ?? {});
  for (const [name] of further) omissions.drop(`extensions.${dialect}.${name}`, taken.has(name));
  return Object.fromEntries(further.filter(([name]) => !taken.has(name)));
}
