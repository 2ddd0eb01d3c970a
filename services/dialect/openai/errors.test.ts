import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { renderError, renderErrorEvent } from "./errors.ts";

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i renders its row", (reason) => {
  const row = errorTable[reason];
  const { status, headers, body } = renderError(new WeirError(reason));
  expect(status).toBe(row.openai.status);
  const parsed = JSON.parse(body) as { error: Record<string, unknown> };
  expect(parsed).toEqual({
    error: { message: row.text, type: row.openai.type, param: null, code: row.openai.code },
  });
  expect(headers["content-type"]).toMatch(/^application\/json/);
  if (row.retry === "never") {
    expect(headers).not.toHaveProperty("retry-after");
    const retriedByClients = [408, 409, 429].includes(status) || status >= 500;
    if (retriedByClients) expect(headers["x-should-retry"]).toBe("false");
  } else {
    expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(1);
    expect(headers).not.toHaveProperty("x-should-retry");
  }
  const event = renderErrorEvent(new WeirError(reason));
  expect(event).toBe(`data: ${body}\n\n`);
  expect(event.trimEnd()).not.toContain("\n");
});

test("a spent budget and a blocked text are final whatever their status", () => {
  expect(renderError(new WeirError(ErrorReason.BUDGET_EXHAUSTED)).headers["x-should-retry"]).toBe("false");
  expect(renderError(new WeirError(ErrorReason.GUARDRAIL_BLOCKED)).headers["x-should-retry"]).toBe("false");
});

test.each([
  [1, "1", "1"],
  [1_500, "2", "1500"],
  [60_000, "60", "60000"],
  [3_600_000, "3600", "3600000"],
  [0, "1", "1"],
])("a delay of %i ms", (retryAfterMs, seconds, milliseconds) => {
  const { headers } = renderError(new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs }));
  expect(headers["retry-after"]).toBe(seconds);
  expect(headers["retry-after-ms"]).toBe(milliseconds);
  // Clients would repeat after a second what they are told to repeat after more than a minute.
  expect(headers["x-should-retry"]).toBe(retryAfterMs > 60_000 ? "false" : undefined);
});

test("param and allow come from the metadata", () => {
  const invalid = new WeirError(ErrorReason.INVALID_REQUEST, {
    text: 'broken "quotes"\nand lines',
    metadata: { param: "n" },
  });
  expect(JSON.parse(renderError(invalid).body)).toEqual({
    error: { message: 'broken "quotes"\nand lines', type: "invalid_request_error", param: "n", code: null },
  });
  const method = new WeirError(ErrorReason.METHOD_NOT_ALLOWED, { metadata: { allow: "GET, HEAD" } });
  expect(renderError(method).headers["allow"]).toBe("GET, HEAD");
});
