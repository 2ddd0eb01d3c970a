import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  audioEvent,
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "../events.ts";
import { type JsonObject, parseExact } from "../json.ts";
import { readAnswer } from "./answer-reader.ts";
import { openaiResponses } from "./codec.ts";
import { answerOptions, joined, numRuns, reply } from "./testing.ts";

const { writeAnswer } = openaiResponses;
const ended = endEvent([choiceEnd(0, StopReason.END, "")], undefined);

function parse(text: string): JsonObject {
  return JSON.parse(text) as JsonObject;
}

test("a whole answer comes back as it was", () => {
  fc.assert(
    fc.property(reply, (events) => {
      const reading = readAnswer(parse(writeAnswer(events, answerOptions)));
      expect(joined(reading?.events ?? [])).toEqual(joined(events));
    }),
    { numRuns },
  );
});

test("the last frame of a stream holds the whole answer", () => {
  fc.assert(
    fc.property(reply, (events) => {
      const writer = openaiResponses.createFrameWriter(answerOptions);
      const last = events.flatMap((event) => writer.write(event)).at(-1);
      expect(parse(last?.data ?? "{}")["response"]).toEqual(parse(writeAnswer(events, answerOptions)));
    }),
    { numRuns: 300 },
  );
});

test("an answer has every member that the types demand", () => {
  const events = [
    startEvent({ id: "chatcmpl-1", model: "m", createTimeMs: 1_700_000_001_500, serviceTier: "standard" }),
    textEvent(0, 0, "hello"),
    ended,
  ];
  expect(parse(writeAnswer(events, answerOptions))).toEqual({
    id: "resp_fallback",
    object: "response",
    created_at: 1_700_000_001,
    model: "m",
    service_tier: null,
    status: "completed",
    error: null,
    incomplete_details: null,
    output: [
      {
        type: "message",
        id: "msg_fallback_0",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "hello", annotations: [], logprobs: [] }],
      },
    ],
    access_programs: null,
    background: false,
    conversation: null,
    instructions: null,
    max_output_tokens: null,
    max_tool_calls: null,
    metadata: {},
    parallel_tool_calls: true,
    previous_response_id: null,
    prompt: null,
    prompt_cache_key: null,
    prompt_cache_retention: null,
    reasoning: { effort: null, summary: null },
    safety_identifier: null,
    temperature: 1,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: [],
    top_logprobs: 0,
    top_p: 1,
    truncation: "disabled",
  });
});

test("an answer repeats what the client asked, long numbers included", () => {
  const request = parseExact(`{
    "model": "alias", "instructions": "be brief", "temperature": 0.10, "top_p": null, "previous_response_id": "resp_0",
    "conversation": "conv_1", "metadata": {"a": "b"}, "max_output_tokens": 9, "user": "u", "safety_identifier": "s",
    "text": {"verbosity": "low", "format": null}, "reasoning": {"effort": "high"}, "tool_choice": "required",
    "tools": [{"type": "function", "name": "f", "parameters": {"maximum": 123456789012345678901}}, {"type": "web_search"}]
  }`);
  const text = writeAnswer([ended], { ...answerOptions, request: request ?? {} });
  expect(parse(text)).toMatchObject({
    instructions: "be brief",
    temperature: 0.1,
    top_p: 1,
    previous_response_id: "resp_0",
    conversation: { id: "conv_1" },
    metadata: { a: "b" },
    max_output_tokens: 9,
    user: "u",
    safety_identifier: "s",
    text: { verbosity: "low", format: { type: "text" } },
    reasoning: { effort: "high", summary: null },
    tool_choice: "required",
    tools: [{ type: "function", name: "f", strict: null }, { type: "web_search" }],
  });
  expect(text).toContain('"maximum":123456789012345678901');
});

test("ids are made from the answer's own, the same each time", () => {
  const events = [
    startEvent({ id: "resp_abc", model: "m" }),
    toolCallEvent(0, 0, { id: "", name: "f", arguments: "{}" }),
    toolCallEvent(0, 1, { id: "toolu_1", name: "g" }),
    ended,
  ];
  const output = [
    { type: "function_call", id: "fc_abc_0", call_id: "call_abc_0", name: "f", arguments: "{}", status: "completed" },
    { type: "function_call", id: "fc_abc_1", call_id: "toolu_1", name: "g", arguments: "", status: "completed" },
  ];
  expect(parse(writeAnswer(events, answerOptions))).toMatchObject({ id: "resp_abc", output });
  expect(writeAnswer(events, answerOptions)).toBe(writeAnswer(events, answerOptions));
  expect(parse(writeAnswer([ended], { ...answerOptions, id: "0b" }))["id"]).toBe("resp_0b");
});

test("a call of a tool that the client declared as custom is one", () => {
  const request = { model: "m", input: "hi", tools: [{ type: "custom", name: "patch" }] };
  const events = [toolCallEvent(0, 0, { id: "c", name: "patch", arguments: "*** Begin" }), ended];
  const answer = parse(writeAnswer(events, { ...answerOptions, request }));
  expect(answer["output"]).toEqual([
    {
      type: "custom_tool_call",
      id: "ctc_fallback_0",
      call_id: "c",
      name: "patch",
      input: "*** Begin",
      status: "completed",
    },
  ]);
  expect(joined(readAnswer(answer)?.events.slice(1, -1) ?? [])).toEqual(
    joined([toolCallEvent(0, 0, { id: "c", name: "patch", arguments: "*** Begin" })]),
  );
});

test("what was cut off is marked, and only that", () => {
  const cut = endEvent([choiceEnd(0, StopReason.LENGTH, "max_tokens")], undefined);
  const calls = [
    toolCallEvent(0, 0, { id: "a", name: "f" }),
    toolCallEvent(0, 1, { id: "b", name: "f", arguments: '{"x' }),
  ];
  expect(parse(writeAnswer([...calls, cut], answerOptions))).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ status: "completed" }, { status: "incomplete", arguments: '{"x' }],
  });
});

test("sources of other vendors are written as the nearest annotation", () => {
  const source = {
    $typeName: "weir.chat.v1.Citation" as const,
    start: 1,
    end: 4,
    title: "Report",
    url: "",
    quote: "q",
  };
  const events = [
    textEvent(0, 0, "text"),
    citationEvent(0, 0, { ...source, details: { type: "char_location", document_index: 0 } }),
    citationEvent(0, 0, { ...source, url: "https://a.test" }),
    ended,
  ];
  expect(parse(writeAnswer(events, answerOptions))).toMatchObject({
    output: [
      {
        content: [
          {
            annotations: [
              { type: "file_citation", file_id: "", filename: "Report", index: 4 },
              { type: "url_citation", start_index: 1, end_index: 4, title: "Report", url: "https://a.test" },
            ],
          },
        ],
      },
    ],
  });
});

test("a token of no chance has a number", () => {
  const logprobs = [
    {
      $typeName: "weir.chat.v1.TokenLogprob" as const,
      token: "a",
      logprob: -Infinity,
      bytes: new Uint8Array(0),
      top: [],
    },
  ];
  expect(parse(writeAnswer([textEvent(0, 0, "a", logprobs), ended], answerOptions))).toMatchObject({
    output: [{ content: [{ logprobs: [{ token: "a", logprob: -9999, bytes: [], top_logprobs: [] }] }] }],
  });
});

test.each([
  ["sound", audioEvent(0, 0, { transcript: "hi" })],
  [
    "a picture by address",
    imageEvent(0, 0, {
      $typeName: "weir.chat.v1.Media",
      source: { case: "url", value: "https://a.test" },
      mediaType: "",
      filename: "",
      detail: "",
    }),
  ],
])("%s is refused, not left out", (_, event) => {
  expect(() => writeAnswer([event, ended], answerOptions)).toThrow("cannot carry");
});

test.each([
  [{ object: "list", data: [] }],
  [{ object: "response", status: "in_progress", output: [] }],
  [{ object: "response", status: "queued", output: [] }],
  [{ object: "response", status: "failed", output: [], error: { code: "server_error" } }],
  [{ object: "response", status: "completed", output: ["text"] }],
  [{ object: "response", status: "completed", output: [{ type: "message", content: [] }, null] }],
])("%o is no answer", (body) => {
  expect(readAnswer(body)).toBeUndefined();
});

test("an answer is read whatever else is in it", () => {
  const reading = readAnswer({
    id: "resp_1",
    object: "response",
    created_at: 1_700_000_000.25,
    status: "completed",
    model: "gpt-6",
    service_tier: "auto",
    unheard: { of: 1 },
    output: [
      { type: "web_search_call", id: "ws_1", status: "completed", action: { type: "search" } },
      {
        type: "reasoning",
        id: "rs_1",
        summary: [
          { type: "summary_text", text: "a" },
          { type: "summary_text", text: "b" },
        ],
        encrypted_content: null,
      },
      { type: "new_item", id: "x" },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        phase: "final_answer",
        content: [
          { type: "new_part" },
          {
            type: "output_text",
            text: "see",
            annotations: [{ type: "new_annotation" }, { type: "file_path", file_id: "f", index: 2 }],
          },
        ],
      },
    ],
    usage: { input_tokens: 3, output_tokens: 4, total_tokens: 7 },
  });
  expect(joined(reading?.events ?? [])).toMatchObject({
    parts: [
      { kind: "reasoning", text: "a\n\nb", id: "rs_1" },
      {
        kind: "text",
        text: "see",
        citations: [{ start: 2, end: 2, details: { type: "file_path", file_id: "f", index: 2 } }],
      },
    ],
  });
  expect(reading?.events[0]?.kind.value).toMatchObject({
    id: "resp_1",
    serviceTier: "",
    createTime: { seconds: 1_700_000_000n, nanos: 250_000_000 },
  });
  expect(reading?.usage).toMatchObject({ sound: true, usage: { inputTokens: 3, serverToolUses: { web_search: 1 } } });
});
