import type { ProviderError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";

// https://platform.claude.com/docs/en/api/errors
const statuses: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
};

/**
 * The error that a body or an event reports, also without the outer `type`, which servers that imitate the vendor forget.
 * The code is `error.details.error_code`, or theirs; for a conversation that is too long the vendor has none.
 */
export function readError(body: JsonObject): ProviderError | undefined {
  const { error } = body;
  if (isObject(error)) {
    const type = word(error["type"]);
    const details = isObject(error["details"]) ? error["details"] : undefined;
    const status = Object.hasOwn(statuses, type) ? statuses[type] : undefined;
    const { message } = error;
    const isTooLong = typeof message === "string" && tooLong.test(message);
    const code = isTooLong ? "context_length_exceeded" : word(details?.["error_code"] ?? error["code"]);
    return { code, type, ...(status === undefined ? {} : { status }) };
  }
  return (error == null || error === false || error === "") && body["type"] !== "error"
    ? undefined
    : { code: "", type: "" };
}

/** https://github.com/anthropics/claude-code/issues/12186, https://github.com/anymorph-ai/Claudable/issues/3 */
const tooLong = /^prompt is too long: \d+ tokens > \d+ maximum|^input length and `?max_tokens`? exceed context limit: /;

/** A code or type; anything that is not one short word is prose. */
function word(value: unknown): string {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && /^[\w.-]{1,64}$/.test(value) ? value : "";
}
