import type { JsonObject as Struct } from "@bufbuild/protobuf";
import { untranslatable } from "./faults.ts";
import { isRawNumber, memberPath } from "./fields.ts";
import type { JsonObject } from "./json.ts";

// google.protobuf.Struct holds JSON whose numbers are doubles.

/**
 * Members as a Struct holds them.
 * @throws WeirError TARGET_UNSUPPORTED for a number that a double would damage
 */
export function holdJson(members: JsonObject, param: string): Struct {
  const fault = faultOf(members, param, levelsMax);
  if (fault === undefined) return members as Struct;
  throw untranslatable("A number has more digits than can be translated; shorten it, or send it as a text.", fault);
}

/** Where in a value something stands that a Struct cannot hold; undefined: nowhere. */
function faultOf(value: unknown, param: string, levels: number): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (levels === 0 || isRawNumber(value)) return param;
  for (const [name, inner] of Object.entries(value)) {
    const fault = faultOf(inner, Array.isArray(value) ? `${param}[${name}]` : memberPath(param, name), levels - 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
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
