import type { ResponseFailure } from "@weir/dialect/openai-responses/stored/response";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import type { WeirError } from "@weir/kit/weir-error";

const codes: ReadonlyMap<Reason, ResponseFailure["code"]> = new Map<Reason, ResponseFailure["code"]>([
  [ErrorReason.RATE_LIMITED, "rate_limit_exceeded"],
  [ErrorReason.PROVIDER_RATE_LIMITED, "rate_limit_exceeded"],
  [ErrorReason.BUDGET_EXHAUSTED, "rate_limit_exceeded"],
  [ErrorReason.INVALID_REQUEST, "invalid_prompt"],
  [ErrorReason.CONTEXT_TOO_LONG, "invalid_prompt"],
  [ErrorReason.GUARDRAIL_BLOCKED, "invalid_prompt"],
  [ErrorReason.PROVIDER_REJECTED, "invalid_prompt"],
  [ErrorReason.TARGET_UNSUPPORTED, "invalid_prompt"],
]);

/** A failure as a stored response tells it. */
export function failureOf(error: WeirError): ResponseFailure {
  return { code: codes.get(error.reason) ?? "server_error", message: error.message };
}
