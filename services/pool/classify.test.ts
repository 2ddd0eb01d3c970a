import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { judgeError, judgeStatus, nameError, readRetryAfter } from "./classify.ts";

const now = Date.UTC(2026, 10, 21, 12, 0, 0);

test.each<[Record<string, string>, number | undefined]>([
  [{}, undefined],
  [{ "retry-after": "7" }, 7_000],
  [{ "retry-after": "0" }, 0],
  [{ "retry-after": "0.25" }, 250],
  [{ "retry-after": "-1" }, undefined],
  [{ "retry-after": "1e9" }, undefined],
  [{ "retry-after": "Sat, 21 Nov 2026 12:00:30 GMT" }, 30_000],
  [{ "retry-after": "Sat, 21 Nov 2026 11:00:00 GMT" }, 0],
  [{ "retry-after": "Sat, 21 Nov 2027 12:00:00 GMT" }, 3_600_000],
  [{ "retry-after": "Xyz, nonsense" }, undefined],
  [{ "retry-after-ms": "12.5" }, 13],
  [{ "retry-after-ms": "99999999999" }, 3_600_000],
])("%o", (headers, delay) => {
  expect(readRetryAfter(headers, now)).toBe(delay);
});

test.each<[string, string, ErrorReason, string | undefined]>([
  ["", "", ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["503", "", ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["200", "", ErrorReason.PROVIDER_UNAVAILABLE, "protocol"],
  ["", "server_error", ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["429", "", ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["rate_limit_exceeded", "", ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["", "RateLimitError", ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["insufficient_quota", "", ErrorReason.PROVIDER_UNAVAILABLE, "credential"],
  ["invalid_api_key", "invalid_request_error", ErrorReason.PROVIDER_UNAVAILABLE, "credential"],
  ["context_length_exceeded", "invalid_request_error", ErrorReason.CONTEXT_TOO_LONG, undefined],
  ["", "invalid_request_error", ErrorReason.PROVIDER_REJECTED, undefined],
  ["400", "BadRequestError", ErrorReason.PROVIDER_REJECTED, undefined],
])("an error inside an answer: code %s, type %s", (code, type, reason, cause) => {
  const error = judgeError("p", { code, type });
  expect(error.reason).toBe(reason);
  expect(error.metadata["cause"]).toBe(cause);
});

const plain = { code: "", type: "" };

test.each<[string, number, object | undefined, ErrorReason | undefined, string | undefined]>([
  ["ThrottlingException", 400, plain, ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["ThrottlingException:http://internal.amazon.com/coral/", 429, plain, ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["com.amazon.coral.service#ThrottlingException", 400, undefined, ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["ModelNotReadyException", 400, plain, ErrorReason.PROVIDER_RATE_LIMITED, undefined],
  ["AccessDeniedException", 400, plain, ErrorReason.PROVIDER_UNAVAILABLE, "credential"],
  ["ModelTimeoutException", 408, plain, ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["ModelErrorException", 424, plain, ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["ServiceUnavailableException", 400, plain, ErrorReason.PROVIDER_UNAVAILABLE, "server"],
  ["ValidationException", 400, plain, undefined, undefined],
  ["ServiceQuotaExceededException", 400, plain, undefined, undefined],
  ["something new: of AWS's", 400, plain, undefined, undefined],
])("a header that names %s with status %i", (named, status, body, reason, cause) => {
  const headers = { "x-amzn-errortype": named };
  const error = nameError(body === undefined ? undefined : plain, headers);
  const failure = judgeStatus("p", status, headers, error, now);
  expect(failure?.reason).toBe(reason);
  expect(failure?.metadata["cause"]).toBe(cause);
});

test("a header adds to what a body says, and never contradicts it", () => {
  const headers = { "x-amzn-errortype": "ValidationException" };
  expect(nameError({ code: "context_length_exceeded", type: "" }, headers)).toEqual({
    code: "context_length_exceeded",
    type: "ValidationException",
    status: 400,
  });
  const typed = { code: "", type: "ThrottlingException", status: 429 };
  expect(nameError(typed, headers)).toBe(typed);
  expect(nameError(undefined, {})).toBeUndefined();
  expect(nameError(undefined, { "x-amzn-errortype": "<html>" })).toBeUndefined();
});
