import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { isJsonObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import { holdJson } from "../struct.ts";
import { dialectName } from "./name.ts";
import { dropped } from "./warnings.ts";

/**
 * What no canonical field holds, as an extension of this dialect. Its numbers are doubles.
 * @throws WeirError TARGET_UNSUPPORTED for a number that a double would damage
 */
export function heldExtensions(rest: JsonObject): Record<string, Struct> {
  return Object.keys(rest).length === 0 ? {} : { [dialectName]: holdJson(rest, "") };
}

/** How deep members of an extension join objects that the canonical form has set: `outputConfig.textFormat`. */
const joinDepth = 2;

/** Where output limits stand. Weir reserves by the request's own, so that an extension sets none. */
const limits: readonly (readonly [record: string, name: string])[] = [
  ["inferenceConfig", "maxTokens"],
  ["additionalModelRequestFields", "max_tokens"],
  ["additionalModelRequestFields", "max_completion_tokens"],
];

/** Adds this dialect's extension to a body, without changing what is set; other dialects' are warned of. */
export function writeExtensions(
  { extensions }: GenerateRequest,
  body: Record<string, unknown>,
  warnings: Warning[],
): void {
  for (const [name, members] of Object.entries(extensions)) {
    if (name === dialectName) join(body, withoutLimits(members, warnings), joinDepth);
    else warnings.push(dropped(`extensions.${name}`));
  }
}

function withoutLimits(members: JsonObject, warnings: Warning[]): JsonObject {
  const kept = new Map(Object.entries(members));
  for (const [record, name] of limits) {
    const value = kept.get(record);
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) continue;
    warnings.push(dropped(`extensions.${dialectName}.${record}.${name}`));
    const others = Object.entries(value).filter(([other]) => other !== name);
    if (others.length === 0) kept.delete(record);
    else kept.set(record, Object.fromEntries(others));
  }
  return Object.fromEntries(kept);
}

function join(target: Record<string, unknown>, members: JsonObject, depth: number): void {
  for (const [name, value] of Object.entries(members)) {
    const set = Object.hasOwn(target, name) ? target[name] : undefined;
    if (set === undefined) Object.defineProperty(target, name, { value, ...ownMember });
    else if (depth > 0 && isPlain(set) && isJsonObject(value)) join(set, value, depth - 1);
  }
}

// Plain assignment would take `__proto__` for more than a name.
const ownMember = { configurable: true, enumerable: true, writable: true };

/** Whether a value is an object of members, not JSON kept as text. */
function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
