import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { ollama } from "./codec.ts";

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i renders its row", (reason) => {
  const row = errorTable[reason];
  const { status, headers, body } = ollama.renderError(new WeirError(reason), "r");
  expect(status).toBe(row.openai.status);
  expect(JSON.parse(body)).toEqual({ error: row.text });
  expect(headers["content-type"]).toMatch(/^application\/json/);
  expect("retry-after" in headers).toBe(row.retry !== "never");
  expect(ollama.renderErrorEvent(new WeirError(reason), "r")).toBe(`${body}\n`);
});

test("a text of several lines stays one line", () => {
  const event = ollama.renderErrorEvent(new WeirError(ErrorReason.INTERNAL, { text: 'a "b"\nc' }), "r");
  expect(event.trimEnd()).not.toContain("\n");
  expect(JSON.parse(event)).toEqual({ error: 'a "b"\nc' });
});

test.each([
  [{ error: "model 'x' not found" }, { code: "", type: "" }],
  [{ error: { message: "m", type: "api_error", code: "x" } }, { code: "x", type: "api_error" }],
  [{ error: null, message: {} }, undefined],
  [{ message: {} }, undefined],
])("%o reports %o", (body, error) => {
  expect(ollama.readError(body)).toEqual(error);
});
