import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { WeirError } from "@weir/kit/weir-error";
import type { ProviderError, RenderedError } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { renderError as renderOpenaiError } from "../openai/errors.ts";
import { readProviderError } from "../openai/provider-error.ts";

/**
 * Renders a failure as an answer of its own. A response that cannot be continued is no missing resource but a fault of the request, with
 * a code by which clients begin anew.
 */
export function renderError(error: WeirError): RenderedError {
  const rendered = renderOpenaiError(error);
  const { message, metadata, reason } = error;
  const param = metadata["param"];
  if (reason !== ErrorReason.NOT_FOUND || param !== "previous_response_id") return rendered;
  const body = { message, type: "invalid_request_error", param, code: "previous_response_not_found" };
  return { ...rendered, status: 400, body: JSON.stringify({ error: body }) };
}

/**
 * Renders a failure as the last event of a stream that has begun. OpenAI's reference has the members of the error beside
 * `type`, its service has them under `error` (https://github.com/openai/openai-dotnet/issues/881); clients read either.
 * The event does not know how many came before it.
 */
export function renderErrorEvent(error: WeirError): string {
  const { type, code } = error.row.openai;
  const { message } = error;
  const param = error.metadata["param"] ?? null;
  const data = { type: "error", code, message, param, sequence_number: 0, error: { message, type, param, code } };
  return `event: error\ndata: ${JSON.stringify(data)}\n\n`;
}

/**
 * The error that a body, an `error` event, or a Response that failed reports. A Response is an answer of status 200 all the
 * same, so that the status must come from its code.
 */
export function readError(json: JsonObject): ProviderError | undefined {
  if (json["type"] === "error" && !isObject(json["error"])) return withStatus(readProviderError({ error: flat(json) }));
  const response = json["response"];
  const failed = isObject(response) ? failureOf(response) : failureOf(json);
  return withStatus(failed ?? readProviderError(json));
}

/** In the flat form, `type` is the event's. */
function flat({ code }: JsonObject): JsonObject {
  return { code };
}

function failureOf(response: JsonObject): ProviderError | undefined {
  const { status, error } = response;
  if (status !== "failed" && status !== "cancelled") return undefined;
  return readProviderError({ error: isObject(error) ? error : { code: status } });
}

// https://platform.openai.com/docs/guides/error-codes; codes of a Response:
// https://platform.openai.com/docs/api-reference/responses/object#responses/object-error
const statuses: ReadonlyMap<string, number> = new Map([
  ["bio_policy", 400],
  ["context_length_exceeded", 400],
  ["credit_balance_exhausted", 429],
  ["data_residency_mismatch", 400],
  ["empty_image_file", 400],
  ["failed_to_download_image", 400],
  ["image_content_policy_violation", 400],
  ["image_file_not_found", 400],
  ["image_file_too_large", 400],
  ["image_parse_error", 400],
  ["image_too_large", 400],
  ["image_too_small", 400],
  ["insufficient_quota", 429],
  ["invalid_base64_image", 400],
  ["invalid_image", 400],
  ["invalid_image_format", 400],
  ["invalid_image_mode", 400],
  ["invalid_image_url", 400],
  ["invalid_prompt", 400],
  ["misalignment_policy_violation", 400],
  ["rate_limit_exceeded", 429],
  ["server_error", 500],
  ["server_is_overloaded", 503],
  ["slow_down", 503],
  ["unsupported_image_media_type", 400],
]);

function withStatus(error: ProviderError | undefined): ProviderError | undefined {
  const status = error === undefined ? undefined : statuses.get(error.code);
  return error === undefined || status === undefined ? error : { ...error, status };
}
