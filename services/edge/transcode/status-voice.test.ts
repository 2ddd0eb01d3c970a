import { Code } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { eventVoice, lineVoice, statusVoice } from "./status-voice.ts";

// https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
const statuses: Readonly<Partial<Record<Code, number>>> = {
  [Code.InvalidArgument]: 400,
  [Code.DeadlineExceeded]: 504,
  [Code.NotFound]: 404,
  [Code.AlreadyExists]: 409,
  [Code.PermissionDenied]: 403,
  [Code.Unauthenticated]: 401,
  [Code.ResourceExhausted]: 429,
  [Code.FailedPrecondition]: 400,
  [Code.Aborted]: 409,
  [Code.Internal]: 500,
  [Code.Unavailable]: 503,
};

/** Where HTTP has a status that says more. */
const closer: Readonly<Partial<Record<Reason, number>>> = {
  [ErrorReason.REQUEST_TOO_LARGE]: 413,
  [ErrorReason.STREAM_TRUNCATED]: 502,
  [ErrorReason.METHOD_NOT_ALLOWED]: 405,
  [ErrorReason.UNSUPPORTED_MEDIA_TYPE]: 415,
  [ErrorReason.REQUEST_TIMEOUT]: 408,
  [ErrorReason.IDEMPOTENCY_KEY_SPENT]: 422,
};

const reasons = Object.keys(errorTable).map(Number) as Reason[];

test.each(reasons)("reason %i has the status of its code, or a closer one", (reason) => {
  const { status } = statusVoice.renderError(new WeirError(reason), "req_1");
  expect(status).toBe(closer[reason] ?? statuses[errorTable[reason].code]);
});

test("in a stream the same Status is an event of type error, or the one member of a line", () => {
  const error = new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_500 });
  const { body } = statusVoice.renderError(error, "req_1");
  expect(statusVoice.renderErrorEvent(error, "req_1")).toBe("");
  expect(eventVoice.renderErrorEvent(error, "req_1")).toBe(`event: error\ndata: ${String(body)}\n\n`);
  expect(lineVoice.renderErrorEvent(error, "req_1")).toBe(`{"error":${String(body)}}\n`);
});
