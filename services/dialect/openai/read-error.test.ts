import { expect, test } from "vitest";
import { readError } from "./read-error.ts";

test.each<[string, object, object]>([
  [
    "OpenAI's code",
    { error: { message: "m", type: "requests", param: null, code: "rate_limit_exceeded" } },
    { code: "rate_limit_exceeded", type: "requests", status: 429 },
  ],
  ["OpenAI's type", { error: { message: "m", type: "server_error" } }, { code: "", type: "server_error", status: 500 }],
  ["a status in place of a code", { error: { code: 502 } }, { code: "502", type: "", status: 502 }],
  ["vLLM's old form", { object: "error", type: "BadRequestError", code: 400 }, { code: "400", status: 400 }],
  ["a code that nobody documents", { error: { code: "teapot" } }, { code: "teapot", type: "" }],
  ["a text", { error: "no" }, { code: "", type: "" }],
])("%s", (_, body, error) => {
  expect(readError({ ...body })).toMatchObject(error);
  expect(readError({ ...body })?.status).toBe((error as { status?: number }).status);
});

test.each([{}, { error: null }, { choices: [] }])("%o reports no error", (body) => {
  expect(readError(body)).toBeUndefined();
});
