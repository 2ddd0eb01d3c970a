import { expect, test } from "vitest";
import { readChatAnswer } from "./answer.ts";

const read = (json: unknown) => readChatAnswer(Buffer.from(typeof json === "string" ? json : JSON.stringify(json)));

test("an answer with usage", () => {
  const answer = read({
    id: "chatcmpl-1",
    choices: [{ message: { role: "assistant", content: "Grüße!" } }],
    usage: { prompt_tokens: 3, completion_tokens: 4 },
  });
  expect(answer).toMatchObject({
    kind: "answer",
    replyId: "chatcmpl-1",
    usage: { usage: { inputTokens: 3 }, sound: true },
  });
});

test("an answer without usage is counted by its bytes, tool calls and all choices included", () => {
  const message = {
    role: "assistant",
    content: "x".repeat(40),
    tool_calls: [{ function: { name: "abcd", arguments: "y".repeat(36) } }],
  };
  const answer = read({ id: null, choices: [{ message }, { message }] });
  expect(answer).toEqual({ kind: "answer", usage: undefined, outputTokens: 40, replyId: "" });
});

test.each<[string, unknown, object]>([
  ["OpenAI's", { error: { message: "m", type: "t", code: "c" } }, { code: "c", type: "t" }],
  ["a text", { error: "no" }, { code: "", type: "" }],
  ["a number", { error: { code: 400 } }, { code: "400", type: "" }],
])("an error: %s", (_, json, error) => {
  expect(read(json)).toEqual({ kind: "error", error, hasErrorMember: true });
});

test("an error of vLLM's old form has no error member", () => {
  expect(read({ object: "error", message: "m", code: 400 })).toMatchObject({ kind: "error", hasErrorMember: false });
});

test.each(["", "<html>", "[]", "{}", '{"detail":"x"}', '{"choices":{}}', '{"choices":['])("malformed: %s", (text) => {
  expect(read(text)).toEqual({ kind: "malformed" });
});
