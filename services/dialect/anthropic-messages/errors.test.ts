import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { renderError, renderErrorEvent } from "./errors.ts";
import { readError } from "./provider-error.ts";

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

// https://platform.claude.com/docs/en/api/errors, and 405, 408, 415 and 422, which every server may answer.
const types = new Map([
  ["invalid_request_error", [400, 405, 408, 409, 415, 422]],
  ["authentication_error", [401]],
  ["billing_error", [402]],
  ["permission_error", [403]],
  ["not_found_error", [404]],
  ["request_too_large", [413]],
  ["rate_limit_error", [429]],
  ["api_error", [500, 503]],
  ["timeout_error", [504]],
  ["overloaded_error", [529]],
]);

test.each(reasons)("reason %i renders its row", (reason) => {
  const row = errorTable[reason];
  const { status, headers, body } = renderError(new WeirError(reason), "req_1");
  expect(types.get(row.anthropic.type)).toContain(status);
  expect(status).toBe(row.anthropic.status);
  expect(JSON.parse(body)).toEqual({
    type: "error",
    error: { type: row.anthropic.type, message: row.text },
    request_id: "req_1",
  });
  expect(headers).toMatchObject({ "content-type": "application/json", "request-id": "req_1" });
  if (row.retry === "never") {
    expect(headers).not.toHaveProperty("retry-after");
    const retriedByClients = [408, 409, 429].includes(status) || status >= 500;
    if (retriedByClients) expect(headers["x-should-retry"]).toBe("false");
  } else {
    expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(1);
    expect(headers).not.toHaveProperty("x-should-retry");
  }
  const event = renderErrorEvent(new WeirError(reason), "req_1");
  expect(event).toBe(`event: error\ndata: ${body}\n\n`);
});

test("a spent budget and a blocked text are final whatever their status", () => {
  expect(renderError(new WeirError(ErrorReason.BUDGET_EXHAUSTED), "r").headers["x-should-retry"]).toBe("false");
  expect(renderError(new WeirError(ErrorReason.GUARDRAIL_BLOCKED), "r").headers["x-should-retry"]).toBe("false");
});

test.each([
  [0, "1", "1"],
  [1, "1", "1"],
  [1_500, "2", "1500"],
  [3_600_000, "3600", "3600000"],
  [1e12, "2147484", "2147483647"],
])("a delay of %d ms", (retryAfterMs, seconds, milliseconds) => {
  const { headers } = renderError(new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs }), "r");
  expect(headers["retry-after"]).toBe(seconds);
  expect(headers["retry-after-ms"]).toBe(milliseconds);
});

test("the text begins with the parameter at fault, once, and stays on one line of the event", () => {
  const message = (text: string) => {
    const error = new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param: "max_tokens" } });
    expect(renderErrorEvent(error, "r").trimEnd().split("\n")).toHaveLength(2);
    return (JSON.parse(renderError(error, "r").body) as { error: { message: string } }).error.message;
  };
  expect(message("It is\nmissing.")).toBe("max_tokens: It is\nmissing.");
  expect(message("`max_tokens` is missing.")).toBe("`max_tokens` is missing.");
});

test("allow comes from the metadata", () => {
  const error = new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { metadata: { allow: "POST" } });
  expect(renderError(error, "r").headers["allow"]).toBe("POST");
});

test.each<[string, Record<string, unknown>, unknown]>([
  [
    "the vendor's",
    { type: "error", error: { type: "rate_limit_error", message: "x" } },
    { code: "", type: "rate_limit_error", status: 429 },
  ],
  [
    "one with a code",
    {
      type: "error",
      error: { type: "invalid_request_error", message: "x", details: { error_code: "thread_not_found" } },
    },
    { code: "thread_not_found", type: "invalid_request_error", status: 400 },
  ],
  [
    "one of an input that is too long",
    {
      type: "error",
      error: { type: "invalid_request_error", message: "prompt is too long: 207791 tokens > 200000 maximum" },
    },
    { code: "context_length_exceeded", type: "invalid_request_error", status: 400 },
  ],
  [
    "one of an input that is too long for the answer asked for",
    {
      type: "error",
      error: {
        type: "invalid_request_error",
        message: "input length and `max_tokens` exceed context limit: 198981 + 21333 > 200000, decrease ...",
      },
    },
    { code: "context_length_exceeded", type: "invalid_request_error", status: 400 },
  ],
  ["one of another server", { error: { code: 1302, message: "x" } }, { code: "1302", type: "" }],
  ["one whose type is prose", { error: { type: "oh no!", message: "x" } }, { code: "", type: "" }],
  ["one that is a text", { error: "model not found" }, { code: "", type: "" }],
  ["one without an error", { type: "error" }, { code: "", type: "" }],
  ["an answer", { type: "message", content: [] }, undefined],
  ["an answer with a null", { type: "message", error: null }, undefined],
])("reads an error: %s", (_, body, expected) => {
  expect(readError(body)).toEqual(expected);
});
