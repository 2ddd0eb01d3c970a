import type { JsonObject as Struct } from "@bufbuild/protobuf";
import type { JsonObject } from "../json.ts";
import { invalid, isMembers, isRawNumber } from "./fields.ts";

/** The key of `GenerateRequest.extensions`. */
export const dialectName = "openai-chat";

/**
 * Members of a body as a Struct holds them.
 * @throws WeirError INVALID_REQUEST when they hold a number that a double cannot
 */
export function holdJson(members: JsonObject, param: string): Struct {
  refuseRaw(members, param);
  return members as Struct;
}

function refuseRaw(value: unknown, param: string): void {
  if (isRawNumber(value)) {
    throw invalid(`\`${param}\` holds a number of more digits than can be translated; send it as a text.`, param);
  }
  if (Array.isArray(value)) for (const inner of value as unknown[]) refuseRaw(inner, param);
  else if (isMembers(value)) for (const inner of Object.values(value)) refuseRaw(inner, param);
}
