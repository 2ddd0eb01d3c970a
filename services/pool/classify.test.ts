import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { judgeError, readRetryAfter } from "./classify.ts";

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
