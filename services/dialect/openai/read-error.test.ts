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
  [
    "llama.cpp's word for what is too long",
    { error: { code: 400, message: "m", type: "exceed_context_size_error", n_prompt_tokens: 9, n_ctx: 4 } },
    { code: "context_length_exceeded", type: "exceed_context_size_error", status: 400 },
  ],
  [
    "vLLM's text for what is too long",
    {
      object: "error",
      message:
        "This model's maximum context length is 8192 tokens. However, you requested 8203 tokens (7691 in the ...",
      type: "BadRequestError",
      code: 400,
    },
    { code: "context_length_exceeded", type: "BadRequestError", status: 400 },
  ],
  [
    "vLLM's newer text for it",
    {
      error: {
        message:
          "You passed 25 input tokens and requested 1000 output tokens. However, the model's context length is only 1024 tokens, resulting in ...",
        type: "BadRequestError",
        code: 400,
      },
    },
    { code: "context_length_exceeded", type: "BadRequestError", status: 400 },
  ],
  ["a text", { error: "no" }, { code: "", type: "" }],
])("%s", (_, body, error) => {
  expect(readError({ ...body })).toMatchObject(error);
  expect(readError({ ...body })?.status).toBe((error as { status?: number }).status);
});

test.each([{}, { error: null }, { choices: [] }])("%o reports no error", (body) => {
  expect(readError(body)).toBeUndefined();
});
