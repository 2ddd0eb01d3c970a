import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { reasonWord, WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { renderError, renderErrorEvent } from "./errors.ts";
import { readError, readRetryDelay } from "./provider-error.ts";

// https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
const statusWords =
  /^(INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ABORTED|ALREADY_EXISTS|PERMISSION_DENIED|UNAUTHENTICATED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS)$/;

interface Body {
  readonly error: { code: number; message: string; status: string; details: Record<string, unknown>[] };
}

const parse = (text: string) => JSON.parse(text) as Body;
const detail = ({ error }: Body, type: string) =>
  error.details.find((entry) => entry["@type"] === `type.googleapis.com/google.rpc.${type}`);

test.each(Object.keys(errorTable).map((key) => [Number(key) as Reason] as const))(
  "reason %i renders its row",
  (reason) => {
    const row = errorTable[reason];
    const { status, headers, body } = renderError(new WeirError(reason), "req-1");
    const parsed = parse(body);
    expect(parsed.error).toMatchObject({ code: status, message: row.text });
    expect(parsed.error.status).toMatch(statusWords);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(headers["content-type"]).toMatch(/^application\/json/);
    expect(detail(parsed, "ErrorInfo")).toMatchObject({ reason: reasonWord(reason), domain: "weir" });
    expect(detail(parsed, "RequestInfo")).toMatchObject({ requestId: "req-1" });
    const isRetried = [408, 409, 429].includes(status) || status >= 500;
    if (row.retry === "never") {
      expect(headers).not.toHaveProperty("retry-after");
      expect(detail(parsed, "RetryInfo")).toBeUndefined();
      expect(headers["x-should-retry"]).toBe(isRetried ? "false" : undefined);
    } else {
      expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(1);
      expect(detail(parsed, "RetryInfo")).toMatchObject({ retryDelay: "1s" });
      expect(headers).not.toHaveProperty("x-should-retry");
    }
    const event = renderErrorEvent(new WeirError(reason), "req-1");
    expect(event).toBe(`data: ${body}\n\n`);
    expect(readError(JSON.parse(body) as JsonObject)).toMatchObject({
      type: parsed.error.status,
      code: reasonWord(reason),
    });
  },
);

test("a spent budget is final for clients that go by the status alone", () => {
  expect(renderError(new WeirError(ErrorReason.BUDGET_EXHAUSTED), "r").status).toBe(400);
});

test("a delay, a field and what is allowed", () => {
  const slow = renderError(new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs: 1_500 }), "r");
  expect(slow.headers["retry-after"]).toBe("2");
  expect(detail(parse(slow.body), "RetryInfo")).toMatchObject({ retryDelay: "1.5s" });
  expect(readRetryDelay(JSON.parse(slow.body) as JsonObject)).toBe(1_500);
  const invalid = new WeirError(ErrorReason.INVALID_REQUEST, { text: "No.", metadata: { param: "contents[0].role" } });
  expect(detail(parse(renderError(invalid, "r").body), "BadRequest")).toMatchObject({
    fieldViolations: [{ field: "contents[0].role", description: "No." }],
  });
  const method = new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { metadata: { allow: "POST" } });
  expect(renderError(method, "r").headers["allow"]).toBe("POST");
});

test.each<[string, JsonObject, object | undefined]>([
  [
    "the usual one",
    { error: { code: 429, message: "secret", status: "RESOURCE_EXHAUSTED" } },
    { code: "429", type: "RESOURCE_EXHAUSTED", status: 429 },
  ],
  [
    "a key that Gemini does not know",
    {
      error: {
        code: 400,
        status: "INVALID_ARGUMENT",
        details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID" }],
      },
    },
    { code: "API_KEY_INVALID", type: "INVALID_ARGUMENT", status: 401 },
  ],
  [
    "too long an input",
    { error: { code: 400, message: "The input token count (9) exceeds the maximum number of tokens allowed (8)." } },
    { code: "context_length_exceeded", type: "", status: 400 },
  ],
  ["a status word alone", { error: { status: "UNAVAILABLE" } }, { code: "", type: "UNAVAILABLE", status: 503 }],
  ["prose", { error: { code: "secret words", status: "se cret" } }, { code: "", type: "" }],
  ["a text", { error: "secret" }, { code: "", type: "" }],
  ["none", { candidates: [] }, undefined],
  ["null", { error: null }, undefined],
])("an error of Gemini's: %s", (_, body, error) => {
  expect(readError(body)).toEqual(error);
});

test.each([
  {},
  { error: {} },
  { error: { details: [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "soon" }] } },
])("no delay in %j", (body) => {
  expect(readRetryDelay(body)).toBeUndefined();
});
