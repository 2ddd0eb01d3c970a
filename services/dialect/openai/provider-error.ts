import type { ProviderError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";

/** The error that an answer or a chunk reports: under `error`, or as the whole of it, which is vLLM's old way. */
export function readProviderError(json: JsonObject): ProviderError | undefined {
  const error = json["error"];
  if (isObject(error)) return { code: word(error["code"]), type: word(error["type"]) };
  if (json["object"] === "error") return { code: word(json["code"]), type: word(json["type"]) };
  return error == null || error === false || error === "" ? undefined : { code: "", type: "" };
}

/** A code or type; anything that is not one short word is prose. */
function word(value: unknown): string {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && /^[\w.-]{1,64}$/.test(value) ? value : "";
}
