import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import { reasonWord, type WeirError } from "@weir/kit/weir-error";
import type { RenderedError } from "../codec.ts";

/** How a reason looks to Google's clients: an HTTP status and a word of google.rpc.Code. */
interface GoogleStatus {
  readonly code: number;
  readonly status: string;
}

// https://ai.google.dev/gemini-api/docs/troubleshooting, https://cloud.google.com/apis/design/errors#error_model
const statuses = {
  [ErrorReason.INVALID_REQUEST]: { code: 400, status: "INVALID_ARGUMENT" },
  [ErrorReason.CONTEXT_TOO_LONG]: { code: 400, status: "INVALID_ARGUMENT" },
  [ErrorReason.REQUEST_TOO_LARGE]: { code: 413, status: "INVALID_ARGUMENT" },
  [ErrorReason.API_KEY_INVALID]: { code: 401, status: "UNAUTHENTICATED" },
  [ErrorReason.MODEL_FORBIDDEN]: { code: 403, status: "PERMISSION_DENIED" },
  [ErrorReason.FORBIDDEN]: { code: 403, status: "PERMISSION_DENIED" },
  [ErrorReason.MODEL_NOT_FOUND]: { code: 404, status: "NOT_FOUND" },
  [ErrorReason.RATE_LIMITED]: { code: 429, status: "RESOURCE_EXHAUSTED" },
  // As where billing is not set up; clients repeat what was answered with 429.
  [ErrorReason.BUDGET_EXHAUSTED]: { code: 400, status: "FAILED_PRECONDITION" },
  [ErrorReason.GUARDRAIL_BLOCKED]: { code: 400, status: "FAILED_PRECONDITION" },
  [ErrorReason.MODEL_UNPRICED]: { code: 400, status: "FAILED_PRECONDITION" },
  [ErrorReason.OVERLOADED]: { code: 503, status: "UNAVAILABLE" },
  [ErrorReason.STORE_UNAVAILABLE]: { code: 503, status: "UNAVAILABLE" },
  [ErrorReason.PROVIDER_UNAVAILABLE]: { code: 503, status: "UNAVAILABLE" },
  [ErrorReason.PROVIDER_TIMEOUT]: { code: 504, status: "DEADLINE_EXCEEDED" },
  [ErrorReason.STREAM_TRUNCATED]: { code: 500, status: "DATA_LOSS" },
  [ErrorReason.INTERNAL]: { code: 500, status: "INTERNAL" },
  [ErrorReason.PROVIDER_RATE_LIMITED]: { code: 429, status: "RESOURCE_EXHAUSTED" },
  [ErrorReason.NOT_FOUND]: { code: 404, status: "NOT_FOUND" },
  [ErrorReason.METHOD_NOT_ALLOWED]: { code: 405, status: "UNIMPLEMENTED" },
  [ErrorReason.UNSUPPORTED_MEDIA_TYPE]: { code: 415, status: "INVALID_ARGUMENT" },
  [ErrorReason.REQUEST_TIMEOUT]: { code: 408, status: "DEADLINE_EXCEEDED" },
  [ErrorReason.ALREADY_EXISTS]: { code: 409, status: "ALREADY_EXISTS" },
  [ErrorReason.DEADLINE_EXCEEDED]: { code: 504, status: "DEADLINE_EXCEEDED" },
  [ErrorReason.PROVIDER_REJECTED]: { code: 400, status: "FAILED_PRECONDITION" },
  [ErrorReason.TARGET_UNSUPPORTED]: { code: 400, status: "FAILED_PRECONDITION" },
  [ErrorReason.IDEMPOTENCY_KEY_IN_USE]: { code: 409, status: "ABORTED" },
  [ErrorReason.IDEMPOTENCY_KEY_SPENT]: { code: 422, status: "FAILED_PRECONDITION" },
} as const satisfies Record<Reason, GoogleStatus>;

/** Sent when the failure passes with time and nobody said how much. */
const retryAfterDefaultMs = 1_000;

/** Renders a failure as an answer of its own. */
export function renderError(error: WeirError, requestId: string): RenderedError {
  const { code } = statuses[error.reason];
  const delayMs = retryDelayMs(error);
  const headers: Record<string, string> = { "content-type": "application/json; charset=UTF-8" };
  if (delayMs !== undefined) headers["retry-after"] = String(Math.ceil(delayMs / 1_000));
  else if (isRetried(code)) headers["x-should-retry"] = "false";
  const allow = error.reason === ErrorReason.METHOD_NOT_ALLOWED ? error.metadata["allow"] : undefined;
  if (allow !== undefined) headers["allow"] = allow;
  return { status: code, headers, body: errorBody(error, requestId) };
}

/** Renders a failure as the last event of a stream: Google's clients raise it for its `code`. */
export function renderErrorEvent(error: WeirError, requestId: string): string {
  return `data: ${errorBody(error, requestId)}\n\n`;
}

function retryDelayMs(error: WeirError): number | undefined {
  if (error.row.retry === "never") return undefined;
  return Math.max(Math.ceil(error.retryAfterMs ?? retryAfterDefaultMs), 1);
}

/** Whether clients send the request again on this status alone. */
function isRetried(code: number): boolean {
  return code === 408 || code === 409 || code === 429 || code >= 500;
}

/** The details are those of https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto */
function errorBody(error: WeirError, requestId: string): string {
  const { param } = error.metadata;
  const delayMs = retryDelayMs(error);
  const details = [
    { "@type": typeOf("ErrorInfo"), reason: reasonWord(error.reason), domain: "weir" },
    ...(param === undefined
      ? []
      : [{ "@type": typeOf("BadRequest"), fieldViolations: [{ field: param, description: error.message }] }]),
    ...(delayMs === undefined ? [] : [{ "@type": typeOf("RetryInfo"), retryDelay: `${delayMs / 1_000}s` }]),
    { "@type": typeOf("RequestInfo"), requestId },
  ];
  return JSON.stringify({ error: { ...statusOf(error), details } });
}

function statusOf(error: WeirError) {
  const { code, status } = statuses[error.reason];
  return { code, message: error.message, status };
}

function typeOf(detail: string): string {
  return `type.googleapis.com/google.rpc.${detail}`;
}
