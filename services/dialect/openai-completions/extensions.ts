import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { JsonObject } from "../json.ts";
import { holdJson } from "../openai-chat/extensions.ts";
import type { Omissions } from "../ollama/omissions.ts";

/**
 * Members that the canonical form does not know, as extensions under a dialect's name.
 * @param known members of the dialect's own
 * @throws WeirError INVALID_REQUEST for numbers that a double cannot hold
 */
export function readExtensions(body: JsonObject, known: ReadonlySet<string>, dialect: string): Record<string, Struct> {
  const further = Object.entries(body).filter(([name]) => !known.has(name));
  for (const [name, value] of further) holdJson({ value }, name);
  return further.length === 0 ? {} : { [dialect]: Object.fromEntries(further) as Struct };
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
  for (const name of Object.keys(extensions)) omissions.add(`extensions.${name}`, name !== dialect);
  const further = Object.entries(extensions[dialect] ?? {});
  for (const [name] of further) omissions.add(`extensions.${dialect}.${name}`, taken.has(name));
  return Object.fromEntries(further.filter(([name]) => !taken.has(name)));
}
