import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { isJsonObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { memberNames, sortMembers } from "./members.ts";
import { dialectName } from "./name.ts";

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
