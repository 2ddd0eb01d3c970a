import type { Codec } from "@weir/dialect/codec";
import { isJsonObject } from "@weir/dialect/fields";
import type { JsonObject } from "@weir/dialect/json";
import type { GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";

/** What a client's dialect says of names. */
export type NamingCodec = Pick<Codec, "name" | "params">;

/**
 * A path of the canonical request as a dialect names it, as far as it can: what stands below the longest known beginning has
 * names and places of its own there.
 */
export function paramIn({ params }: NamingCodec, path: string): string {
  for (let end = path.length; end > 0; end = Math.max(path.lastIndexOf(".", end - 1), path.lastIndexOf("[", end - 1))) {
    const known = path.slice(0, end);
    const [, list, index] = /^(.*)(\[\d+\])$/.exec(known) ?? [];
    const name = list === undefined ? params[known] : params[`${list}[]`]?.replace("[]", index ?? "");
    if (name !== undefined) return name;
  }
  return path;
}

/**
 * Warnings of a translation with each `param` as the client's dialect names it. A warning of the extension that holds what only the client's
 * dialect knows becomes one for each member, by its name; beyond 32 members the others stay one of the extension.
 */
export function warningsIn(
  client: NamingCodec,
  { extensions }: GenerateRequest,
  warnings: readonly Warning[],
): Warning[] {
  const extension = `extensions.${client.name}`;
  return warnings.flatMap((warning) => {
    if (warning.param !== extension) return [{ ...warning, param: paramIn(client, warning.param) }];
    const names = memberPaths(client, extensions[client.name] ?? {});
    const told = names.length > membersMax ? [...names.slice(0, membersMax), extension] : names;
    return told.map((param) => ({ ...warning, param }));
  });
}

const membersMax = 32;

/** Where an extension's members stand in the body; those of an object that also holds fields of the canonical request one by one. */
function memberPaths(client: NamingCodec, members: JsonObject, above = ""): string[] {
  const places = Object.values(client.params);
  return Object.entries(members).flatMap(([name, value]) => {
    const path = above + name;
    const isShared = isJsonObject(value) && places.some((place) => place.startsWith(`${path}.`));
    return isShared ? memberPaths(client, value, `${path}.`) : [path];
  });
}
