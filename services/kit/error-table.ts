import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";

/** When a client should send the same request again. */
export type Retry =
  /** Never: the answer would be the same. */
  | "never"
  /** After the delay in Retry-After. */
  | "after-delay"
  /** The router may try another target, as long as no content was sent. */
  | "other-target";

/** How one reason looks at each door. */
export interface ErrorRow {
  /** Status code of gRPC and Connect. */
  readonly code: Code;
  readonly retry: Retry;
  /** What a caller reads when the error carries no text of its own. Never text of a provider. */
  readonly text: string;
  /** https://platform.openai.com/docs/guides/error-codes */
  readonly openai: { readonly status: number; readonly type: string; readonly code: string | null };
  /** https://docs.anthropic.com/en/api/errors */
  readonly anthropic: { readonly status: number; readonly type: string };
}

/** Every failure a caller can see. A reason without a row does not compile. */
export const errorTable = {
  [ErrorReason.INVALID_REQUEST]: {
    code: Code.InvalidArgument,
    retry: "never",
    text: "The request is not valid.",
    openai: { status: 400, type: "invalid_request_error", code: null },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.CONTEXT_TOO_LONG]: {
    code: Code.InvalidArgument,
    retry: "never",
    text: "The conversation and the reply asked for do not fit the model's context; shorten one of them.",
    openai: { status: 400, type: "invalid_request_error", code: "context_length_exceeded" },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.REQUEST_TOO_LARGE]: {
    code: Code.ResourceExhausted,
    retry: "never",
    text: "The request body is too large.",
    openai: { status: 413, type: "invalid_request_error", code: "request_too_large" },
    anthropic: { status: 413, type: "request_too_large" },
  },
  [ErrorReason.API_KEY_INVALID]: {
    code: Code.Unauthenticated,
    retry: "never",
    text: "The API key is missing or not valid; send one as `Authorization: Bearer weir_...`.",
    openai: { status: 401, type: "invalid_request_error", code: "invalid_api_key" },
    anthropic: { status: 401, type: "authentication_error" },
  },
  [ErrorReason.MODEL_FORBIDDEN]: {
    code: Code.PermissionDenied,
    retry: "never",
    text: "This API key may not use the model; ask for a key whose scope names it.",
    openai: { status: 403, type: "invalid_request_error", code: "model_forbidden" },
    anthropic: { status: 403, type: "permission_error" },
  },
  [ErrorReason.MODEL_NOT_FOUND]: {
    code: Code.NotFound,
    retry: "never",
    text: "There is no such model; GET /v1/models lists those that your key may use.",
    openai: { status: 404, type: "invalid_request_error", code: "model_not_found" },
    anthropic: { status: 404, type: "not_found_error" },
  },
  [ErrorReason.RATE_LIMITED]: {
    code: Code.ResourceExhausted,
    retry: "after-delay",
    text: "Too many requests; retry after the delay in Retry-After.",
    openai: { status: 429, type: "requests", code: "rate_limit_exceeded" },
    anthropic: { status: 429, type: "rate_limit_error" },
  },
  [ErrorReason.BUDGET_EXHAUSTED]: {
    code: Code.ResourceExhausted,
    retry: "never",
    text: "The budget for this call is spent.",
    openai: { status: 429, type: "insufficient_quota", code: "insufficient_quota" },
    anthropic: { status: 402, type: "billing_error" },
  },
  [ErrorReason.GUARDRAIL_BLOCKED]: {
    code: Code.FailedPrecondition,
    retry: "never",
    text: "A policy of your organisation refused this content.",
    openai: { status: 400, type: "invalid_request_error", code: "content_filter" },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.MODEL_UNPRICED]: {
    code: Code.FailedPrecondition,
    retry: "never",
    text: "The model has no price; add one under `prices`, or set `allow_unpriced` on its alias.",
    openai: { status: 400, type: "invalid_request_error", code: "model_unpriced" },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.OVERLOADED]: {
    code: Code.Unavailable,
    retry: "after-delay",
    text: "The gateway is at its limit; retry after the delay in Retry-After.",
    openai: { status: 503, type: "server_error", code: "overloaded" },
    anthropic: { status: 529, type: "overloaded_error" },
  },
  [ErrorReason.STORE_UNAVAILABLE]: {
    code: Code.Unavailable,
    retry: "after-delay",
    text: "A store of the gateway does not answer; retry after the delay in Retry-After.",
    openai: { status: 503, type: "server_error", code: null },
    anthropic: { status: 503, type: "api_error" },
  },
  [ErrorReason.PROVIDER_UNAVAILABLE]: {
    code: Code.Unavailable,
    retry: "other-target",
    text: "No provider of this model answers.",
    openai: { status: 503, type: "server_error", code: null },
    anthropic: { status: 529, type: "overloaded_error" },
  },
  [ErrorReason.PROVIDER_TIMEOUT]: {
    code: Code.DeadlineExceeded,
    retry: "other-target",
    text: "The provider of this model did not answer in time.",
    openai: { status: 504, type: "server_error", code: null },
    anthropic: { status: 504, type: "timeout_error" },
  },
  [ErrorReason.STREAM_TRUNCATED]: {
    code: Code.Aborted,
    retry: "never",
    text: "The provider broke off its answer; what came before is incomplete.",
    openai: { status: 502, type: "server_error", code: "stream_truncated" },
    anthropic: { status: 500, type: "api_error" },
  },
  [ErrorReason.INTERNAL]: {
    code: Code.Internal,
    retry: "never",
    text: "The gateway failed; quote the request id when you report it.",
    openai: { status: 500, type: "server_error", code: null },
    anthropic: { status: 500, type: "api_error" },
  },
  [ErrorReason.PROVIDER_RATE_LIMITED]: {
    code: Code.ResourceExhausted,
    retry: "other-target",
    text: "The provider of this model limits the gateway's rate; retry after the delay in Retry-After.",
    openai: { status: 429, type: "requests", code: "rate_limit_exceeded" },
    anthropic: { status: 429, type: "rate_limit_error" },
  },
  [ErrorReason.NOT_FOUND]: {
    code: Code.NotFound,
    retry: "never",
    text: "There is nothing at this path.",
    openai: { status: 404, type: "invalid_request_error", code: "not_found" },
    anthropic: { status: 404, type: "not_found_error" },
  },
  [ErrorReason.METHOD_NOT_ALLOWED]: {
    code: Code.Unimplemented,
    retry: "never",
    text: "This path does not answer this method; see the Allow header.",
    openai: { status: 405, type: "invalid_request_error", code: "method_not_allowed" },
    anthropic: { status: 405, type: "invalid_request_error" },
  },
  [ErrorReason.UNSUPPORTED_MEDIA_TYPE]: {
    code: Code.InvalidArgument,
    retry: "never",
    text: "Send the body as application/json, not compressed.",
    openai: { status: 415, type: "invalid_request_error", code: "unsupported_media_type" },
    anthropic: { status: 415, type: "invalid_request_error" },
  },
  [ErrorReason.REQUEST_TIMEOUT]: {
    code: Code.DeadlineExceeded,
    retry: "after-delay",
    text: "The request did not arrive in time.",
    openai: { status: 408, type: "invalid_request_error", code: "request_timeout" },
    anthropic: { status: 408, type: "invalid_request_error" },
  },
  [ErrorReason.ALREADY_EXISTS]: {
    code: Code.AlreadyExists,
    retry: "never",
    text: "A resource of this name exists already.",
    openai: { status: 409, type: "invalid_request_error", code: "already_exists" },
    anthropic: { status: 409, type: "invalid_request_error" },
  },
  [ErrorReason.DEADLINE_EXCEEDED]: {
    code: Code.DeadlineExceeded,
    retry: "never",
    text: "The deadline passed before the answer was complete.",
    openai: { status: 504, type: "server_error", code: "deadline_exceeded" },
    anthropic: { status: 504, type: "timeout_error" },
  },
  [ErrorReason.PROVIDER_REJECTED]: {
    code: Code.FailedPrecondition,
    retry: "never",
    text: "The provider of this model refused the request.",
    openai: { status: 400, type: "invalid_request_error", code: "provider_rejected" },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.TARGET_UNSUPPORTED]: {
    code: Code.FailedPrecondition,
    retry: "never",
    text: "The model's provider cannot express a part of this request; leave it out, or call another model.",
    openai: { status: 400, type: "invalid_request_error", code: "unsupported_parameter" },
    anthropic: { status: 400, type: "invalid_request_error" },
  },
  [ErrorReason.FORBIDDEN]: {
    code: Code.PermissionDenied,
    retry: "never",
    text: "This caller's role or key does not allow this; ask an admin of the tenant for one that does.",
    openai: { status: 403, type: "permission_error", code: "forbidden" },
    anthropic: { status: 403, type: "permission_error" },
  },
  // https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ section 2.7
  [ErrorReason.IDEMPOTENCY_KEY_IN_USE]: {
    code: Code.Aborted,
    retry: "after-delay",
    text: "A request with this Idempotency-Key is being answered; retry after the delay in Retry-After.",
    openai: { status: 409, type: "invalid_request_error", code: "idempotency_key_in_use" },
    anthropic: { status: 409, type: "invalid_request_error" },
  },
  [ErrorReason.IDEMPOTENCY_KEY_SPENT]: {
    code: Code.FailedPrecondition,
    retry: "never",
    text: "This Idempotency-Key belongs to another request; send a new one.",
    openai: { status: 422, type: "invalid_request_error", code: "idempotency_key_spent" },
    anthropic: { status: 422, type: "invalid_request_error" },
  },
} as const satisfies Record<Exclude<ErrorReason, typeof ErrorReason.UNSPECIFIED>, ErrorRow>;

/** A reason that has a row: all but UNSPECIFIED. */
export type Reason = keyof typeof errorTable;
