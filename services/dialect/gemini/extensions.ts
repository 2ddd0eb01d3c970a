import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { JsonObject } from "../json.ts";
import { dialectName, invalid } from "./faults.ts";
import { isJsonObject, isRawNumber, memberNames, memberPath, sortMembers } from "./members.ts";
import type { Omissions } from "./omissions.ts";

/**
 * Members as a Struct holds them, whose numbers are doubles.
 * @throws WeirError INVALID_REQUEST for a number that a double would damage
 */
export function holdJson(members: JsonObject, param: string): Struct {
  refuseRaw(members, param);
  return members as Struct;
}

function refuseRaw(value: unknown, param: string): void {
  if (isRawNumber(value)) {
    throw invalid("A number has more digits than can be translated; shorten it, or send it as a text.", param);
  }
  if (Array.isArray(value)) for (const [index, inner] of value.entries()) refuseRaw(inner, `${param}[${index}]`);
  else if (isJsonObject(value)) {
    for (const [name, inner] of Object.entries(value)) refuseRaw(inner, memberPath(param, name));
  }
}

// What a budget was reserved for.
const limitNames = memberNames("maxOutputTokens candidateCount");
const configNames = memberNames("generationConfig");

/**
 * Adds this dialect's extension to a body, without changing what is set, and without limits of the output, which have fields
 * of their own. Other dialects' are noted as left out.
 */
export function addExtensions(body: JsonObject, { extensions }: GenerateRequest, omissions: Omissions): JsonObject {
  for (const name of Object.keys(extensions)) if (name !== dialectName) omissions.drop(`extensions.${name}`);
  const own = extensions[dialectName];
  if (own === undefined) return body;
  const path = `extensions.${dialectName}`;
  const { known, rest } = sortMembers(own, configNames, path);
  const config = known["generationConfig"];
  if (!isJsonObject(config)) return join(body, rest);
  const { known: limits, rest: settings } = sortMembers(config, limitNames, `${path}.generationConfig`);
  for (const name of Object.keys(limits)) omissions.drop(`${path}.generationConfig.${name}`);
  return join(body, Object.keys(settings).length === 0 ? rest : { ...rest, generationConfig: settings });
}

/** Both objects' members; of one that both have, the first one's value, joined in turn when both are plain objects. */
function join(set: JsonObject, added: JsonObject): JsonObject {
  const joined = Object.entries(added).map(([name, value]): [string, unknown] => {
    const own = Object.hasOwn(set, name) ? set[name] : undefined;
    if (own === undefined) return [name, value];
    return [name, isPlainObject(own) && isPlainObject(value) ? join(own, value) : own];
  });
  return { ...set, ...Object.fromEntries(joined) };
}

/** Whether a value is an object of members, not JSON kept as text, nor a list. */
function isPlainObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
