import type { ProviderError } from "../codec.ts";
import type { JsonObject } from "../json.ts";
import { readProviderError } from "./provider-error.ts";

// https://platform.openai.com/docs/guides/error-codes
const statuses: ReadonlyMap<string, number> = new Map([
  ["context_length_exceeded", 400],
  ["content_filter", 400],
  ["content_policy_violation", 400],
  ["unsupported_parameter", 400],
  ["invalid_api_key", 401],
  ["authentication_error", 401],
  ["permission_error", 403],
  ["unsupported_country_region_territory", 403],
  ["model_not_found", 404],
  ["not_found_error", 404],
  ["insufficient_quota", 429],
  ["rate_limit_exceeded", 429],
  ["rate_limit_error", 429],
  ["requests", 429],
  ["tokens", 429],
  ["server_error", 500],
  ["internal_error", 500],
  ["overloaded", 503],
  ["slow_down", 503],
  ["invalid_request_error", 400],
]);

/**
 * The error that a body or a chunk reports, with its status: the one that it names in place of a code, as OpenRouter and vLLM
 * do, else the one that OpenAI documents for its code, else for its type.
 */
export function readError(body: JsonObject): ProviderError | undefined {
  const error = readProviderError(body);
  if (error === undefined) return undefined;
  const status = /^[45]\d\d$/.test(error.code)
    ? Number(error.code)
    : (statuses.get(error.code) ?? statuses.get(error.type));
  return status === undefined ? error : { ...error, status };
}
