import type { Script } from "./script.ts";

// https://platform.openai.com/docs/guides/error-codes
const rows: Readonly<Record<number, readonly [type: string, code: string | null]>> = {
  400: ["invalid_request_error", null],
  401: ["invalid_request_error", "invalid_api_key"],
  402: ["insufficient_quota", "insufficient_quota"],
  403: ["invalid_request_error", "unsupported_country_region_territory"],
  404: ["invalid_request_error", "model_not_found"],
  408: ["timeout", null],
  409: ["conflict", null],
  413: ["invalid_request_error", "request_too_large"],
  422: ["invalid_request_error", null],
  429: ["requests", "rate_limit_exceeded"],
  529: ["overloaded_error", "overloaded"],
};

/** An error body of OpenAI's shape for a status. */
export function errorJson(status: number, script: Pick<Script, "errorMessage" | "errorCode">): string {
  const [type, code] = rows[status] ?? ["server_error", null];
  const message = script.errorMessage ?? `The simulator was told to answer ${status}.`;
  return JSON.stringify({ error: { message, type, param: null, code: script.errorCode ?? code } });
}
