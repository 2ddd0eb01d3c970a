import type { IncomingHttpHeaders } from "node:http";
import { readErrorType } from "@weir/dialect/bedrock-converse/provider-error";
import type { ProviderError } from "@weir/dialect/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** Why a provider gave no answer; the metadata `cause` of PROVIDER_UNAVAILABLE. */
export type Cause =
  | "connect"
  | "server"
  | "credential"
  | "protocol"
  /** One of several credentials was refused or limited; others are left. */
  | "key";

/** The timers of an attempt; the metadata `timer` of PROVIDER_TIMEOUT. */
export type Timer = "connect" | "first_token" | "idle" | "total";

export function unavailable(provider: string, cause: Cause, retryAfterMs?: number): WeirError {
  return new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, {
    metadata: { provider, cause },
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

export function timedOut(provider: string, timer: Timer): WeirError {
  return new WeirError(ErrorReason.PROVIDER_TIMEOUT, { metadata: { provider, timer } });
}

export function truncated(provider: string): WeirError {
  return new WeirError(ErrorReason.STREAM_TRUNCATED, { metadata: { provider } });
}

/** Codes and types by which providers say that our account, not our rate, is at its end. */
const spentWords: ReadonlySet<string> = new Set([
  "insufficient_quota",
  "billing_hard_limit_reached",
  "credit_balance_exhausted",
  "organization_spend_limit_exceeded",
  "project_spend_limit_exceeded",
]);

/**
 * What a provider calls its error, when a header says what the body does not: AWS names the class of its errors there.
 * https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
 */
export function nameError(error: ProviderError | undefined, headers: IncomingHttpHeaders): ProviderError | undefined {
  const named = headers["x-amzn-errortype"];
  if (named === undefined || (error !== undefined && error.type !== "")) return error;
  const { type, status } = readErrorType(named);
  if (type === "") return error;
  return { code: "", ...error, type, ...(status === undefined ? {} : { status }) };
}

/** Whether a status concerns the gateway's account, its rate, or the provider's own state: not the client's request. */
function isNoFaultOfClient(status: number): boolean {
  return [401, 402, 403, 408, 424, 429].includes(status) || status >= 500;
}

/**
 * Judges an HTTP status other than 2xx.
 * @returns undefined when the request itself is at fault, so that the client should see the provider's answer
 */
export function judgeStatus(
  provider: string,
  status: number,
  headers: IncomingHttpHeaders,
  error: ProviderError | undefined,
  nowMs: number,
): WeirError | undefined {
  const retryAfterMs = readRetryAfter(headers, nowMs) ?? error?.retryAfterMs;
  // Some vendors answer 400 and say inside that it is our key, our rate or their outage.
  if (status === 400 && error?.status !== undefined && isNoFaultOfClient(error.status)) {
    return judgeStatus(provider, error.status, headers, error, nowMs);
  }
  if (status === 429) {
    if (error && (spentWords.has(error.code) || spentWords.has(error.type))) return unavailable(provider, "credential");
    return rateLimited(provider, retryAfterMs);
  }
  // Our key, our account: no concern of the client's.
  if (status === 401 || status === 402 || status === 403) return unavailable(provider, "credential");
  // 424: Bedrock's model failed. https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
  if (status === 408 || status === 424 || status >= 500) return unavailable(provider, "server", retryAfterMs);
  return status >= 400 ? undefined : unavailable(provider, "protocol");
}

/** Judges an error that came with status 200, before any content. */
export function judgeError(provider: string, error: ProviderError): WeirError {
  if (error.code === "context_length_exceeded") return new WeirError(ErrorReason.CONTEXT_TOO_LONG);
  const status = error.status ?? (/^[1-5]\d\d$/.test(error.code) ? Number(error.code) : statusOf(error));
  return judgeStatus(provider, status, {}, error, 0) ?? rejected(provider, status, error);
}

/** Whether the request itself is at fault. */
export function isRefusal(failure: WeirError): boolean {
  return failure.reason === ErrorReason.PROVIDER_REJECTED || failure.reason === ErrorReason.CONTEXT_TOO_LONG;
}

/** @param error what the provider called it, for a caller who does not get the provider's own answer */
export function rejected(provider: string, status: number, error?: ProviderError): WeirError {
  const words = [error?.type, error?.code].filter((word) => word !== undefined && word !== "");
  return new WeirError(ErrorReason.PROVIDER_REJECTED, {
    ...(words.length === 0
      ? {}
      : { text: `The provider of this model refused the request with status ${status}: ${words.join(", ")}.` }),
    metadata: { provider, status: String(status) },
  });
}

function rateLimited(provider: string, retryAfterMs: number | undefined): WeirError {
  return new WeirError(ErrorReason.PROVIDER_RATE_LIMITED, {
    metadata: { provider },
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** The status that an error without one would have had. */
function statusOf({ code, type }: ProviderError): number {
  const words = `${code} ${type}`.toLowerCase();
  if (/rate_?limit|insufficient_quota|too_?many/.test(words)) return 429;
  if (/authentication|invalid_api_key|permission/.test(words)) return 401;
  if (/invalid_request|bad_?request|context_length|content_policy|content_filter|unsupported/.test(words)) return 400;
  return 500;
}

/** Longest delay that is passed on. */
const retryAfterMaxMs = 3_600_000;

/**
 * When a provider wants to be asked again, in milliseconds from now; at most an hour.
 * `retry-after-ms`, else `retry-after` in seconds or as a date.
 */
export function readRetryAfter(headers: IncomingHttpHeaders, nowMs: number): number | undefined {
  const milliseconds = readNumber(headers["retry-after-ms"]);
  if (milliseconds !== undefined) return Math.min(Math.ceil(milliseconds), retryAfterMaxMs);
  const text = headers["retry-after"];
  const seconds = readNumber(text);
  if (seconds !== undefined) return Math.min(Math.ceil(seconds * 1_000), retryAfterMaxMs);
  const dateMs = typeof text === "string" && /^[A-Z][a-z]{2,8}, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(dateMs) ? undefined : Math.min(Math.max(Math.ceil(dateMs - nowMs), 0), retryAfterMaxMs);
}

function readNumber(value: string | string[] | undefined): number | undefined {
  return typeof value === "string" && /^\d{1,12}(\.\d+)?$/.test(value) ? Number(value) : undefined;
}
