import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import type { WeirError } from "@weir/kit/weir-error";
import type { RenderedError } from "../codec.ts";

/** OpenAI's clients take no notice of a longer Retry-After, and repeat after a second; then they are told not to. */
const retryAfterMaxMs = 60_000;
/** Sent when the failure passes with time and nobody said how much. */
const retryAfterDefaultMs = 1_000;

/** Refusals that no repetition changes, whatever their status says. */
const finalReasons: ReadonlySet<Reason> = new Set([ErrorReason.BUDGET_EXHAUSTED, ErrorReason.GUARDRAIL_BLOCKED]);

/** Renders a failure as an answer of its own. */
export function renderError(error: WeirError): RenderedError {
  const { row } = error;
  const headers: Record<string, string> = { "content-type": "application/json; charset=utf-8" };
  if (row.retry !== "never") {
    const delayMs = Math.max(error.retryAfterMs ?? retryAfterDefaultMs, 1);
    headers["retry-after"] = String(Math.ceil(delayMs / 1_000));
    headers["retry-after-ms"] = String(Math.ceil(delayMs));
    if (delayMs > retryAfterMaxMs) headers["x-should-retry"] = "false";
  } else if (finalReasons.has(error.reason) || clientsRetry(row.openai.status)) {
    headers["x-should-retry"] = "false";
  }
  const allow = error.reason === ErrorReason.METHOD_NOT_ALLOWED ? error.metadata["allow"] : undefined;
  if (allow !== undefined) headers["allow"] = allow;
  return { status: row.openai.status, headers, body: errorBody(error) };
}

/**
 * Renders a failure as the last event of a stream that has begun. No `[DONE]` may follow it: reset the connection, since
 * clients take a clean end for success.
 */
export function renderErrorEvent(error: WeirError): string {
  return `data: ${errorBody(error)}\n\n`;
}

function errorBody(error: WeirError): string {
  const { type, code } = error.row.openai;
  return JSON.stringify({ error: { message: error.message, type, param: error.metadata["param"] ?? null, code } });
}

/** Whether OpenAI's clients send the request again on this status alone. */
function clientsRetry(status: number): boolean {
  return status === 408 || status === 409 || status === 429 || status >= 500;
}
