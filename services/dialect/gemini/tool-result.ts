import { isJsonObject } from "../fields.ts";
import { type JsonObject, parseExact, rawJson, writeJson } from "../json.ts";

/** What a function gave back, as one text. */
export interface ResultText {
  /** Undefined when it gave back nothing but media, or nothing. */
  readonly text: string | undefined;
  readonly failed: boolean;
}

// "Use `output` key to specify function output and `error` key to specify error details (if any). If `output` and `error`
// keys are not specified, then whole `response` is treated as function output." https://ai.google.dev/api/caching#FunctionResponse

/** Reads `response`: the text under `output` or `error` when there is no other member, else the whole of it as JSON. */
export function readResponse(response: JsonObject): ResultText {
  const names = Object.keys(response);
  const only = names.length === 1 ? response[names[0] as string] : undefined;
  if (names.length === 0) return { text: undefined, failed: false };
  if (names[0] === "output" && typeof only === "string") return { text: only, failed: false };
  if (names[0] === "error" && (typeof only === "string" || isStructured(only))) {
    return { text: typeof only === "string" ? only : writeJson(only), failed: true };
  }
  return { text: writeJson(response), failed: false };
}

/** Writes `response`, such that {@link readResponse} gives the same text. A text that is a JSON object goes as that object. */
export function writeResponse({ text, failed }: ResultText): JsonObject {
  if (text === undefined) return failed ? { error: "" } : {};
  if (failed) return { error: isCompactJson(text) ? rawJson(text) : text };
  const object = isCompactJson(text) ? parseExact(text) : undefined;
  const isWhole = object !== undefined && readResponse(object).text === text && !readResponse(object).failed;
  return isWhole ? object : { output: text };
}

function isStructured(value: unknown): boolean {
  return Array.isArray(value) || isJsonObject(value);
}

/** Whether a text is an object or list of JSON, in the very form in which {@link writeJson} would write it. */
function isCompactJson(text: string): boolean {
  const isObject = text.startsWith("{");
  if (!isObject && !text.startsWith("[")) return false;
  const parsed = parseExact(isObject ? text : `{"list":${text}}`);
  return parsed !== undefined && writeJson(isObject ? parsed : parsed["list"]) === text;
}
