import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { Frame } from "../codec.ts";
import { createFrameSplitter } from "../framing/splitter.ts";
import { renderError, renderErrorEvent } from "./errors.ts";
import { readProviderError } from "./provider-error.ts";
import { createFrameReader } from "./stream-reader.ts";

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

/** Statuses that AWS's clients repeat a request on. */
const repeated: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

const statuses: Readonly<Record<Reason, readonly [status: number, type: string]>> = {
  [ErrorReason.INVALID_REQUEST]: [400, "ValidationException"],
  [ErrorReason.CONTEXT_TOO_LONG]: [400, "ValidationException"],
  [ErrorReason.REQUEST_TOO_LARGE]: [413, "RequestEntityTooLargeException"],
  [ErrorReason.API_KEY_INVALID]: [403, "UnrecognizedClientException"],
  [ErrorReason.MODEL_FORBIDDEN]: [403, "AccessDeniedException"],
  [ErrorReason.FORBIDDEN]: [403, "AccessDeniedException"],
  [ErrorReason.MODEL_NOT_FOUND]: [404, "ResourceNotFoundException"],
  [ErrorReason.RATE_LIMITED]: [429, "ThrottlingException"],
  [ErrorReason.BUDGET_EXHAUSTED]: [400, "ServiceQuotaExceededException"],
  [ErrorReason.GUARDRAIL_BLOCKED]: [400, "ValidationException"],
  [ErrorReason.MODEL_UNPRICED]: [400, "ValidationException"],
  [ErrorReason.OVERLOADED]: [503, "ServiceUnavailableException"],
  [ErrorReason.STORE_UNAVAILABLE]: [503, "ServiceUnavailableException"],
  [ErrorReason.PROVIDER_UNAVAILABLE]: [503, "ServiceUnavailableException"],
  [ErrorReason.PROVIDER_TIMEOUT]: [408, "ModelTimeoutException"],
  [ErrorReason.STREAM_TRUNCATED]: [424, "ModelErrorException"],
  [ErrorReason.INTERNAL]: [500, "InternalServerException"],
  [ErrorReason.PROVIDER_RATE_LIMITED]: [429, "ThrottlingException"],
  [ErrorReason.NOT_FOUND]: [404, "UnknownOperationException"],
  [ErrorReason.METHOD_NOT_ALLOWED]: [405, "UnknownOperationException"],
  [ErrorReason.UNSUPPORTED_MEDIA_TYPE]: [415, "UnsupportedMediaTypeException"],
  [ErrorReason.REQUEST_TIMEOUT]: [408, "RequestTimeoutException"],
  [ErrorReason.ALREADY_EXISTS]: [400, "ConflictException"],
  [ErrorReason.DEADLINE_EXCEEDED]: [408, "ModelTimeoutException"],
  [ErrorReason.IDEMPOTENCY_KEY_IN_USE]: [429, "ThrottlingException"],
  [ErrorReason.IDEMPOTENCY_KEY_SPENT]: [400, "ConflictException"],
  [ErrorReason.PROVIDER_REJECTED]: [400, "ValidationException"],
  [ErrorReason.TARGET_UNSUPPORTED]: [400, "ValidationException"],
};

test.each(reasons)("reason %i renders its row", (reason) => {
  const row = errorTable[reason];
  const { status, headers, body } = renderError(new WeirError(reason), "request-1");
  const [wanted, type] = statuses[reason];
  expect(status).toBe(wanted);
  expect(JSON.parse(body)).toEqual({ message: row.text });
  expect(headers).toMatchObject({
    "content-type": "application/json",
    "x-amzn-errortype": type,
    "x-amzn-requestid": "request-1",
  });
  if (row.retry === "never") {
    expect(headers).not.toHaveProperty("retry-after");
    // Our own failures are told as AWS tells its own, although clients repeat them.
    expect(repeated.has(status)).toBe(reason === ErrorReason.INTERNAL);
  } else {
    expect(headers).toMatchObject({ "retry-after": "1", "x-amz-retry-after": "1000" });
  }
});

test.each(reasons)("reason %i is an exception inside a stream, which our own reader takes for one", (reason) => {
  const error = new WeirError(reason, { text: "Grüße" });
  const splitter = createFrameSplitter("aws-event-stream");
  const frames: Frame[] = [];
  splitter.push(Buffer.from(renderErrorEvent(error), "latin1"), frames);
  splitter.end(frames);
  expect(splitter.fault).toBeUndefined();
  expect(frames).toHaveLength(1);
  const [{ type, data } = { type: "", data: "" }] = frames;
  expect(type).toMatch(
    /^exception:(internalServer|modelStreamError|validation|throttling|serviceUnavailable)Exception$/,
  );
  expect(JSON.parse(data)).toEqual({ message: "Grüße" });
  const reader = createFrameReader();
  reader.read(type, data, []);
  expect(reader.fault?.kind).toBe("error");
});

test.each([
  [1, "1", "1"],
  [1_500, "2", "1500"],
  [3_600_000, "60", "60000"],
  [0, "1", "1"],
])("a delay of %i ms", (retryAfterMs, seconds, milliseconds) => {
  const { headers } = renderError(new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs }), "");
  expect(headers).toMatchObject({ "retry-after": seconds, "x-amz-retry-after": milliseconds });
});

test("allow comes from the metadata", () => {
  const error = new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { metadata: { allow: "POST" } });
  expect(renderError(error, "").headers["allow"]).toBe("POST");
});

test.each([
  [{ message: "Too many requests" }, { code: "", type: "" }],
  [
    { Message: "User is not authorized", __type: "AccessDeniedException" },
    { code: "", type: "AccessDeniedException", status: 403 },
  ],
  [
    { __type: "com.amazon.coral.service#ThrottlingException", message: "Rate exceeded" },
    { code: "", type: "ThrottlingException", status: 429 },
  ],
  [
    { __type: "ValidationException:http://internal.amazon.com/", message: "m" },
    { code: "", type: "ValidationException", status: 400 },
  ],
  [
    { message: "m", originalStatusCode: 429, resourceName: "r" },
    { code: "429", type: "" },
  ],
  [
    { message: "The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum" },
    { code: "context_length_exceeded", type: "" },
  ],
  [
    { message: 7, __type: 8 },
    { code: "", type: "" },
  ],
])("%j is an error", (body, error) => {
  expect(readProviderError(body)).toEqual(error);
});

test.each([[{}], [{ output: { message: {} } }], [{ output: {}, message: "m" }], [{ contentBlockIndex: 0, delta: {} }]])(
  "%j is no error",
  (body) => expect(readProviderError(body)).toBeUndefined(),
);
