import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import type { WeirError } from "@weir/kit/weir-error";
import type { RenderedError } from "../codec.ts";
import { awsEventMessage } from "../framing/aws-event-stream.ts";

/** How one reason looks as an answer of its own, and inside a stream that has begun. */
interface Look {
  readonly status: number;
  readonly type: string;
  /** One of the five exceptions that ConverseStream can raise; others would be no error of the dialect. */
  readonly streamed: StreamException;
}

type StreamException =
  | "internalServerException"
  | "modelStreamErrorException"
  | "validationException"
  | "throttlingException"
  | "serviceUnavailableException";

const validation = look(400, "ValidationException", "validationException");
const throttling = look(429, "ThrottlingException", "throttlingException");
const unavailable = look(503, "ServiceUnavailableException", "serviceUnavailableException");
const timeout = look(408, "ModelTimeoutException", "modelStreamErrorException");

// Types of https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
// and https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html. AWS's clients repeat 429, 500, 502, 503
// and 504, whatever the headers say, so that what no repetition changes has another status, but for our own failures.
const looks = {
  [ErrorReason.INVALID_REQUEST]: validation,
  [ErrorReason.CONTEXT_TOO_LONG]: validation,
  [ErrorReason.REQUEST_TOO_LARGE]: look(413, "RequestEntityTooLargeException", "validationException"),
  [ErrorReason.API_KEY_INVALID]: look(403, "UnrecognizedClientException", "validationException"),
  [ErrorReason.MODEL_FORBIDDEN]: look(403, "AccessDeniedException", "validationException"),
  [ErrorReason.FORBIDDEN]: look(403, "AccessDeniedException", "validationException"),
  [ErrorReason.MODEL_NOT_FOUND]: look(404, "ResourceNotFoundException", "validationException"),
  [ErrorReason.RATE_LIMITED]: throttling,
  [ErrorReason.BUDGET_EXHAUSTED]: look(400, "ServiceQuotaExceededException", "validationException"),
  [ErrorReason.GUARDRAIL_BLOCKED]: validation,
  [ErrorReason.MODEL_UNPRICED]: validation,
  [ErrorReason.OVERLOADED]: unavailable,
  [ErrorReason.STORE_UNAVAILABLE]: unavailable,
  [ErrorReason.PROVIDER_UNAVAILABLE]: unavailable,
  [ErrorReason.PROVIDER_TIMEOUT]: timeout,
  [ErrorReason.STREAM_TRUNCATED]: look(424, "ModelErrorException", "modelStreamErrorException"),
  [ErrorReason.INTERNAL]: look(500, "InternalServerException", "internalServerException"),
  [ErrorReason.PROVIDER_RATE_LIMITED]: throttling,
  [ErrorReason.NOT_FOUND]: look(404, "UnknownOperationException", "validationException"),
  [ErrorReason.METHOD_NOT_ALLOWED]: look(405, "UnknownOperationException", "validationException"),
  [ErrorReason.UNSUPPORTED_MEDIA_TYPE]: look(415, "UnsupportedMediaTypeException", "validationException"),
  [ErrorReason.REQUEST_TIMEOUT]: look(408, "RequestTimeoutException", "validationException"),
  [ErrorReason.ALREADY_EXISTS]: look(400, "ConflictException", "validationException"),
  [ErrorReason.DEADLINE_EXCEEDED]: timeout,
  [ErrorReason.PROVIDER_REJECTED]: validation,
  [ErrorReason.TARGET_UNSUPPORTED]: validation,
  [ErrorReason.IDEMPOTENCY_KEY_IN_USE]: throttling,
  [ErrorReason.IDEMPOTENCY_KEY_SPENT]: look(400, "ConflictException", "validationException"),
} as const satisfies Record<Reason, Look>;

function look(status: number, type: string, streamed: StreamException): Look {
  return { status, type, streamed };
}

/** Longest delay that is asked for. */
const retryAfterMaxMs = 60_000;
/** Asked for when the failure passes with time and nobody said how much. */
const retryAfterDefaultMs = 1_000;

/** Renders a failure as an answer of its own. Its type is in a header, as AWS has it. */
export function renderError(error: WeirError, requestId: string): RenderedError {
  const { status, type } = looks[error.reason];
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "x-amzn-errortype": type,
    "x-amzn-requestid": requestId,
  };
  if (error.row.retry !== "never") {
    const delayMs = Math.min(Math.max(error.retryAfterMs ?? retryAfterDefaultMs, 1), retryAfterMaxMs);
    // AWS's clients read either; the first one that comes wins.
    headers["x-amz-retry-after"] = String(Math.ceil(delayMs));
    headers["retry-after"] = String(Math.ceil(delayMs / 1_000));
  }
  const allow = error.reason === ErrorReason.METHOD_NOT_ALLOWED ? error.metadata["allow"] : undefined;
  if (allow !== undefined) headers["allow"] = allow;
  return { status, headers, body: errorBody(error) };
}

/**
 * Renders a failure as the last message of a stream that has begun: the message's bytes, a character for each, to be
 * written as `latin1`.
 */
export function renderErrorEvent(error: WeirError): string {
  const message = awsEventMessage({ type: `exception:${looks[error.reason].streamed}`, data: errorBody(error) });
  return Buffer.from(message.buffer, message.byteOffset, message.byteLength).toString("latin1");
}

function errorBody(error: WeirError): string {
  return JSON.stringify({ message: error.message });
}
