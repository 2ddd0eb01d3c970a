import type { ProviderError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";

// https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
const statuses: Readonly<Record<string, number>> = {
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  UNAUTHENTICATED: 401,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 400,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
};

/**
 * Reads `{"error":{"code","message","status","details"}}`: `status` becomes the type, and the code is the reason of an
 * ErrorInfo, else the number. https://cloud.google.com/apis/design/errors
 */
export function readError(body: JsonObject): ProviderError | undefined {
  const error = body["error"];
  if (error == null) return undefined;
  if (!isObject(error)) return { code: "", type: "" };
  const type = word(error["status"]);
  const number = error["code"];
  const code = readCode(error) || (typeof number === "number" ? String(number) : word(number));
  // Gemini answers 400 to a key that it does not know.
  const status = code === "API_KEY_INVALID" ? 401 : isStatus(number) ? number : statuses[type];
  const retryAfterMs = readRetryDelay(body);
  return {
    code,
    type,
    ...(status === undefined ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 400 && (value as number) < 600;
}

// Gemini has no word for it.
const tooLong = /^The input token count \(?\d+\)? exceeds the maximum number of tokens allowed/;

function readCode(error: JsonObject): string {
  const { message } = error;
  if (typeof message === "string" && tooLong.test(message)) return "context_length_exceeded";
  return word(detailOf(error, "google.rpc.ErrorInfo")?.["reason"]);
}

/**
 * How long to wait before trying again, in milliseconds, as the RetryInfo of an error says; undefined when it has none.
 * https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
 */
export function readRetryDelay(body: JsonObject): number | undefined {
  const { error } = body;
  const delay = isObject(error) ? detailOf(error, "google.rpc.RetryInfo")?.["retryDelay"] : undefined;
  const seconds = typeof delay === "string" ? /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(delay)?.[1] : undefined;
  return seconds === undefined ? undefined : Math.ceil(Number(seconds) * 1_000);
}

function detailOf(error: JsonObject, type: string): JsonObject | undefined {
  const details: readonly unknown[] = Array.isArray(error["details"]) ? error["details"] : [];
  return details.filter(isObject).find((detail) => detail["@type"] === `type.googleapis.com/${type}`);
}

/** A code or type; anything that is not one short word is prose. */
function word(value: unknown): string {
  return typeof value === "string" && /^[\w.-]{1,64}$/.test(value) ? value : "";
}
