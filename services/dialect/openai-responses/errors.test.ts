import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { openaiResponses } from "./codec.ts";

const { readError, renderError, renderErrorEvent } = openaiResponses;
const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i renders its row, as a body and as an event, and is read back", (reason) => {
  const { type, code, status } = errorTable[reason].openai;
  const error = new WeirError(reason, { text: 'a "text"\nof lines', metadata: { param: "input[0]" } });
  const rendered = renderError(error, "req_1");
  const body = { message: 'a "text"\nof lines', type, param: "input[0]", code };
  expect([rendered.status, JSON.parse(rendered.body)]).toEqual([status, { error: body }]);
  expect(rendered.headers["content-type"]).toMatch(/^application\/json/);
  expect(readError(JSON.parse(rendered.body) as object as never)).toMatchObject({ code: code ?? "", type });

  const [name, data = "", ...rest] = renderErrorEvent(error, "req_1").split("\n");
  expect([name, ...rest]).toEqual(["event: error", "", ""]);
  const json = JSON.parse(data.replace("data: ", "")) as never;
  expect(json).toEqual({
    type: "error",
    code,
    message: 'a "text"\nof lines',
    param: "input[0]",
    sequence_number: 0,
    error: body,
  });
  expect(readError(json)).toMatchObject({ code: code ?? "", type });
});

test("an event has a param, null when there is none", () => {
  const [, data = ""] = renderErrorEvent(new WeirError(reasons[0] as Reason), "").split("\n");
  expect(JSON.parse(data.replace("data: ", ""))).toMatchObject({ param: null, error: { param: null } });
});

test.each<[string, object, object | undefined]>([
  [
    "an error body",
    { error: { code: "invalid_api_key", type: "t", message: "m" } },
    { code: "invalid_api_key", type: "t" },
  ],
  ["a code with a known status", { error: { code: "slow_down" } }, { code: "slow_down", type: "", status: 503 }],
  ["a flat event", { type: "error", code: "server_error" }, { code: "server_error", type: "", status: 500 }],
  ["prose as code", { type: "error", code: "something went wrong" }, { code: "", type: "" }],
  [
    "a failed Response",
    { object: "response", status: "failed", error: { code: "server_error" } },
    { code: "server_error", type: "", status: 500 },
  ],
  ["a failed Response without error", { status: "failed", error: null }, { code: "failed", type: "" }],
  ["a cancelled Response", { status: "cancelled" }, { code: "cancelled", type: "" }],
  ["vLLM's old way", { object: "error", code: 404, type: "NotFoundError" }, { code: "404", type: "NotFoundError" }],
  ["an answer", { object: "response", status: "completed", error: null, output: [] }, undefined],
  ["an event", { type: "response.created", response: { status: "in_progress", error: null } }, undefined],
])("%s", (_, body, error) => {
  expect(readError({ ...body })).toEqual(error);
});
