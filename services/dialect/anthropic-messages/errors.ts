import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import type { WeirError } from "@weir/kit/weir-error";
import type { RenderedError } from "../codec.ts";

/** Sent when the failure passes with time and nobody said how much. */
const retryAfterDefaultMs = 1_000;
/** The longest delay that the vendor's clients obey; beyond it they choose their own, of a second. */
const retryAfterMaxMs = 2 ** 31 - 1;

/** Refusals that no repetition changes, whatever their status says. */
const finalReasons: ReadonlySet<Reason> = new Set([ErrorReason.BUDGET_EXHAUSTED, ErrorReason.GUARDRAIL_BLOCKED]);

/** Renders a failure as an answer of its own. */
export function renderError(error: WeirError, requestId: string): RenderedError {
  const { row } = error;
  const headers: Record<string, string> = { "content-type": "application/json", "request-id": requestId };
  if (row.retry !== "never") {
    const delayMs = Math.ceil(Math.min(Math.max(error.retryAfterMs ?? retryAfterDefaultMs, 1), retryAfterMaxMs));
    headers["retry-after"] = String(Math.ceil(delayMs / 1_000));
    headers["retry-after-ms"] = String(delayMs);
  } else if (finalReasons.has(error.reason) || clientsRetry(row.anthropic.status)) {
    headers["x-should-retry"] = "false";
  }
  const allow = error.reason === ErrorReason.METHOD_NOT_ALLOWED ? error.metadata["allow"] : undefined;
  if (allow !== undefined) headers["allow"] = allow;
  return { status: row.anthropic.status, headers, body: errorBody(error, requestId) };
}

/** Renders a failure as the last event of a stream that has begun; no `message_stop` may follow it. */
export function renderErrorEvent(error: WeirError, requestId: string): string {
  return `event: error\ndata: ${errorBody(error, requestId)}\n\n`;
}

/** The vendor has no member for the parameter at fault: it begins its text with it, and so does this. */
function errorBody(error: WeirError, requestId: string): string {
  const { param } = error.metadata;
  const message = param === undefined || error.message.includes(param) ? error.message : `${param}: ${error.message}`;
  return JSON.stringify({ type: "error", error: { type: error.row.anthropic.type, message }, request_id: requestId });
}

/** Whether the vendor's clients send the request again on this status alone. */
function clientsRetry(status: number): boolean {
  return status === 408 || status === 409 || status === 429 || status >= 500;
}
