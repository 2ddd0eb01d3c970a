import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { parseExact } from "../json.ts";
import { readAnswer } from "./read-answer.ts";

const read = (body: object | string) =>
  readAnswer(parseExact(typeof body === "string" ? body : JSON.stringify(body)) ?? {});

test("an answer of a vendor that leaves much out", () => {
  const reading = read({
    choices: [{ message: { content: "hi" }, finish_reason: "stop" }, { message: { content: null } }],
  });
  expect(reading?.usage).toBeUndefined();
  expect(reading?.events).toMatchObject([
    { kind: { case: "start", value: { id: "", model: "" } } },
    { kind: { case: "delta", value: { choice: 0, part: 0, content: { case: "text", value: "hi" } } } },
    {
      kind: {
        case: "end",
        value: {
          choices: [
            { choice: 0, reason: StopReason.END },
            { choice: 1, reason: StopReason.UNSPECIFIED, rawReason: "" },
          ],
        },
      },
    },
  ]);
});

test("all members of a message, in the order of its parts", () => {
  const reading = read({
    id: "chatcmpl-1",
    created: 1.5,
    model: "m",
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    choices: [
      {
        index: 0,
        finish_reason: "tool_calls",
        message: {
          role: "assistant",
          content: "text",
          refusal: "no",
          reasoning: "hm",
          annotations: [{ type: "url_citation", url_citation: { start_index: 0, end_index: 1, url: "u", title: "t" } }],
          audio: { id: "audio_1", data: "AQ==", transcript: "x", expires_at: 5 },
          tool_calls: [
            { id: "a", type: "function", function: { name: "f", arguments: '{"n":12345678901234567890}' } },
            { id: "b", type: "custom", custom: { name: "g", input: "free" } },
          ],
          function_call: { name: "h", arguments: "{}" },
        },
      },
    ],
  });
  const [start, ...events] = reading?.events ?? [];
  expect(start?.kind.value).toMatchObject({ id: "chatcmpl-1", createTime: { seconds: 1n, nanos: 500_000_000 } });
  const said = events.map(({ kind }) =>
    kind.case === "delta" ? [kind.value.part, kind.value.content.case] : kind.case,
  );
  expect(said).toEqual([
    [0, "reasoning"],
    [1, "text"],
    [2, "refusal"],
    "citation",
    [3, "audio"],
    [4, "toolCall"],
    [5, "toolCall"],
    [6, "toolCall"],
    "end",
  ]);
  expect(events[5]?.kind.value).toMatchObject({ content: { value: { arguments: '{"n":12345678901234567890}' } } });
  expect(events[7]?.kind.value).toMatchObject({ content: { value: { id: "call_chatcmpl-1_0_2" } } });
  expect(reading?.usage).toMatchObject({ usage: { inputTokens: 1, outputTokens: 2 }, sound: true });
});

test("a probability of more digits than a double is rounded", () => {
  const token = '{"token":"a","logprob":-1.00000000000000000005,"bytes":null,"top_logprobs":[]}';
  const reading = read(`{"choices":[{"message":{"content":"a"},"logprobs":{"content":[${token}]}}]}`);
  expect(reading?.events[1]?.kind.value).toMatchObject({ logprobs: [{ logprob: -1 }] });
});

test("a time in milliseconds is none", () => {
  const reading = read({ created: 1_700_000_000_000, choices: [] });
  expect(reading?.events[0]?.kind.value).not.toHaveProperty("createTime");
});

test.each<[string, object]>([
  ["no choices", { id: "a" }],
  ["choices that are no list", { choices: {} }],
  ["a choice that is text", { choices: ["a"] }],
  ["a choice without a message", { choices: [{ index: 0 }] }],
  ["a choice out of range", { choices: [{ index: 128, message: {} }] }],
  ["content that is a number", { choices: [{ message: { content: 7 } }] }],
  ["a call without a name", { choices: [{ message: { tool_calls: [{ id: "a", function: { arguments: "" } }] } }] }],
])("%s is no answer", (_, body) => {
  expect(read(body)).toBeUndefined();
});
