import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { createFrameReader } from "./frame-reader.ts";

type Json = Readonly<Record<string, unknown>>;

const head = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1_700_000_000, model: "gpt" };

function chunk(delta: Json, rest: Json = {}): string {
  const { index = 0, finish_reason = null, logprobs = null, ...more } = rest;
  return JSON.stringify({ ...head, choices: [{ index, delta, logprobs, finish_reason }], ...more });
}

const role = chunk({ role: "assistant", content: "", refusal: null });
const stop = chunk({}, { finish_reason: "stop" });
const done = "[DONE]";

function read(frames: readonly (string | readonly [type: string, data: string])[]) {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  for (const frame of frames) {
    const [type, data] = typeof frame === "string" ? ["", frame] : frame;
    reader.read(type, data, events);
  }
  return { reader, events };
}

/** What was said: the value of each delta under its kind, with choice and part where they are not 0. */
function said(...frames: string[]): unknown[] {
  const { reader, events } = read([role, ...frames]);
  expect(reader.fault).toBeUndefined();
  return events.slice(1).map(({ kind }) => {
    if (kind.case !== "delta") return kind;
    const { choice, part, content } = kind.value;
    return { ...(choice > 0 && { choice }), ...(part > 0 && { part }), [content.case ?? ""]: content.value };
  });
}

test("the usual stream", () => {
  const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
  const hello = chunk({ content: "Hello" });
  const { reader, events } = read([role, hello, stop, JSON.stringify({ ...head, choices: [], usage }), done]);
  expect(events).toMatchObject([
    { kind: { case: "start", value: { id: "chatcmpl-1", model: "gpt", createTime: { seconds: 1_700_000_000n } } } },
    { kind: { case: "delta", value: { choice: 0, part: 0, content: { case: "text", value: "Hello" }, logprobs: [] } } },
    { kind: { case: "usage", value: { inputTokens: 9, outputTokens: 3 } } },
    {
      kind: {
        case: "end",
        value: { choices: [{ choice: 0, reason: StopReason.END, rawReason: "stop" }], usage: { inputTokens: 9 } },
      },
    },
  ]);
  expect(events).toHaveLength(4);
  expect(reader).toMatchObject({ complete: true, fault: undefined, usage: { sound: true } });
});

const call = (index: number | undefined, id: string | undefined, name: string | undefined, text: string) => ({
  tool_calls: [{ index, id, type: "function", function: { name, arguments: text } }],
});

test.each<[string, Json[], unknown[]]>([
  [
    "side by side, the second one first",
    [
      call(1, "b", "g", ""),
      call(0, "a", "f", "{"),
      call(1, undefined, undefined, "[]"),
      call(0, undefined, undefined, "}"),
    ],
    [
      { toolCall: { id: "b", name: "g", arguments: "" } },
      { part: 1, toolCall: { id: "a", name: "f", arguments: "{" } },
      { toolCall: { id: "", name: "", arguments: "[]" } },
      { part: 1, toolCall: { arguments: "}" } },
    ],
  ],
  [
    "with id and name in every piece",
    [call(0, "a", "f", "{"), call(0, "a", "f", "}"), call(0, "a", "f", "")],
    [{ toolCall: { id: "a", name: "f", arguments: "{" } }, { toolCall: { id: "", name: "", arguments: "}" } }],
  ],
  [
    "that are all number 0",
    [call(0, "a", "f", "{}"), call(0, "b", "f", "[]")],
    [{ toolCall: { id: "a", arguments: "{}" } }, { part: 1, toolCall: { id: "b", arguments: "[]" } }],
  ],
  [
    "without an index",
    [call(undefined, "a", "f", "{"), call(undefined, undefined, undefined, "}"), call(undefined, "b", "g", "")],
    [
      { toolCall: { id: "a", arguments: "{" } },
      { toolCall: { arguments: "}" } },
      { part: 1, toolCall: { id: "b", name: "g" } },
    ],
  ],
  [
    "without ids",
    [call(0, undefined, "f", "{}"), call(1, "", "g", "{}")],
    [{ toolCall: { id: "call_chatcmpl-1_0_0" } }, { part: 1, toolCall: { id: "call_chatcmpl-1_0_1" } }],
  ],
  [
    "of tools without a schema",
    [
      { tool_calls: [{ index: 0, id: "a", type: "custom", custom: { name: "f", input: "free " } }] },
      { tool_calls: [{ index: 0, custom: { input: "text" } }] },
    ],
    [{ toolCall: { id: "a", name: "f", arguments: "free " } }, { toolCall: { arguments: "text" } }],
  ],
  [
    "by the old name",
    [{ function_call: { name: "f", arguments: "" } }, { function_call: { arguments: "{}" } }],
    [{ toolCall: { id: "call_chatcmpl-1_0_0", name: "f" } }, { toolCall: { id: "", arguments: "{}" } }],
  ],
  [
    "with Gemini's signature",
    [
      {
        tool_calls: [
          {
            index: 0,
            id: "a",
            function: { name: "f", arguments: "{}" },
            extra_content: { google: { thought_signature: "c2ln" } },
          },
        ],
      },
    ],
    [{ toolCall: { id: "a", signature: Buffer.from("c2ln") } }],
  ],
])("calls %s", (_, deltas, events) => {
  expect(said(...deltas.map((delta) => chunk(delta)))).toMatchObject(events);
});

const detail = (index: number | undefined, members: Json) => ({ reasoning_details: [{ index, ...members }] });

test.each<[string, Json[], unknown[]]>([
  ["DeepSeek's", [{ content: null, reasoning_content: "hm" }], [{ reasoning: { text: "hm" } }]],
  ["Groq's", [{ reasoning: "hm" }], [{ reasoning: { text: "hm" } }]],
  [
    "OpenRouter's, said twice",
    [
      { reasoning: "h", ...detail(0, { type: "reasoning.text", text: "h" }) },
      { reasoning: "m", ...detail(0, { type: "reasoning.text", text: "m" }) },
      { reasoning: null, ...detail(0, { type: "reasoning.text", signature: "sig" }) },
    ],
    [
      { reasoning: { text: "h" } },
      { reasoning: { text: "m" } },
      { reasoning: { text: "", signature: Buffer.from("sig") } },
    ],
  ],
  [
    "OpenRouter's, of two blocks and sealed",
    [
      detail(0, { type: "reasoning.summary", summary: "a", id: "rs_1" }),
      detail(1, { type: "reasoning.summary", summary: "b" }),
      detail(1, { type: "reasoning.encrypted", data: "xyz", id: "rs_2" }),
    ],
    [
      { reasoning: { text: "a", id: "rs_1" } },
      { part: 1, reasoning: { text: "b" } },
      { part: 1, reasoning: { sealed: Buffer.from("xyz"), id: "rs_2" } },
    ],
  ],
  [
    "a proof for text that stands elsewhere",
    [{ reasoning_content: "hm" }, detail(0, { type: "reasoning.text", signature: "sig" })],
    [{ reasoning: { text: "hm" } }, { reasoning: { text: "", signature: Buffer.from("sig") } }],
  ],
  [
    "another Weir's, whose details come at the end",
    [
      { reasoning_content: "a", ...detail(0, { type: "reasoning.text", text: "", id: "rs_1" }) },
      { reasoning_content: "b" },
      detail(1, { type: "reasoning.text", text: "" }),
      { reasoning_content: "c", ...detail(2, { type: "reasoning.text", text: "" }) },
      {
        reasoning_details: [
          { type: "reasoning.text", text: "ab", signature: "sig", id: "rs_1", index: 0 },
          { type: "reasoning.encrypted", data: "xyz", index: 1 },
          { type: "reasoning.text", text: "c", id: "rs_2", index: 2 },
        ],
      },
    ],
    [
      { reasoning: { text: "a", id: "rs_1" } },
      { reasoning: { text: "b" } },
      { part: 1, reasoning: { text: "" } },
      { part: 2, reasoning: { text: "c" } },
      { reasoning: { text: "", signature: Buffer.from("sig"), id: "" } },
      { part: 1, reasoning: { sealed: Buffer.from("xyz") } },
      { part: 2, reasoning: { text: "", id: "rs_2" } },
    ],
  ],
  [
    "two blocks with proofs, without index",
    [
      detail(undefined, { type: "reasoning.text", text: "a" }),
      detail(undefined, { type: "reasoning.text", signature: "s1" }),
      detail(undefined, { type: "reasoning.text", text: "b", signature: "s2" }),
    ],
    [
      { reasoning: { text: "a" } },
      { reasoning: { text: "", signature: Buffer.from("s1") } },
      { part: 1, reasoning: { text: "b", signature: Buffer.from("s2") } },
    ],
  ],
  [
    "details of no known type and without index",
    [detail(undefined, { type: "reasoning.smell" }), detail(undefined, { type: "reasoning.text", text: "a" })],
    [{ reasoning: { text: "a" } }],
  ],
  [
    "Mistral's",
    [
      { content: [{ type: "thinking", thinking: [{ type: "text", text: "hm" }] }] },
      { content: [{ type: "text", text: "Hi" }, { type: "reference" }] },
    ],
    [{ reasoning: { text: "hm" } }, { part: 1, text: "Hi" }],
  ],
])("reasoning: %s", (_, deltas, events) => {
  expect(said(...deltas.map((delta) => chunk(delta)))).toMatchObject(events);
});

test("one text whatever comes between, and parts as they appear", () => {
  const url = "data:image/png;base64,AQ==";
  const citation = { type: "url_citation", url_citation: { start_index: 1, end_index: 2, title: "t", url: "u" } };
  expect(
    said(
      chunk({ content: "a" }),
      chunk({ refusal: "no" }),
      chunk(call(0, "c", "f", "")),
      chunk({ content: "b" }),
      chunk({ images: [{ type: "image_url", image_url: { url } }] }),
      chunk({ audio: { id: "audio_1", data: "AQ==", transcript: "x" } }),
      chunk({ audio: { expires_at: 5 } }),
      chunk({ annotations: [citation, { type: "file_citation" }] }),
    ),
  ).toMatchObject([
    { text: "a" },
    { part: 1, refusal: "no" },
    { part: 2, toolCall: { id: "c" } },
    { text: "b" },
    { part: 3, image: { source: { case: "data", value: Buffer.of(1) }, mediaType: "image/png" } },
    { part: 4, audio: { id: "audio_1", data: Buffer.of(1), transcript: "x" } },
    { part: 4, audio: { expireTime: { seconds: 5n } } },
    { case: "citation", value: { part: 0, citation: { start: 1, end: 2, title: "t", url: "u" } } },
  ]);
});

test("several choices, each with its own parts and end", () => {
  const { reader, events } = read([
    chunk({ content: "a" }, { index: 1 }),
    chunk({ content: "b" }),
    chunk({ content: "c" }, { index: 1, finish_reason: "length" }),
    stop,
    done,
  ]);
  expect(reader.complete).toBe(true);
  expect(events.at(-1)?.kind.value).toMatchObject({
    choices: [
      { choice: 0, reason: StopReason.END },
      { choice: 1, reason: StopReason.LENGTH },
    ],
  });
});

test("logprobs of text, of a refusal and of no text at all", () => {
  const token = { token: "a", logprob: -0.5, bytes: [97], top_logprobs: [{ token: "b", logprob: -1, bytes: null }] };
  const { events } = read([
    chunk({ content: "a" }, { logprobs: { content: [token], refusal: null } }),
    chunk({ refusal: "b" }, { logprobs: { content: null, refusal: [token] } }),
    chunk({ content: "" }, { logprobs: { content: [{ token: "", logprob: -9999 }] } }),
  ]);
  const lists = events.slice(1).map(({ kind }) => (kind.case === "delta" ? kind.value.logprobs : undefined));
  const expected = { token: "a", logprob: -0.5, bytes: Uint8Array.of(97), top: [{ token: "b", logprob: -1 }] };
  expect(lists).toMatchObject([[expected], [expected], [{ token: "", logprob: -9999, top: [] }]]);
});

test.each<[string, Json, Json[], number]>([
  ["stop", {}, [], StopReason.END],
  ["stop after calls", {}, [call(0, "a", "f", "{}")], StopReason.TOOL_CALLS],
  ["vLLM's stop text", { stop_reason: "###" }, [], StopReason.STOP_SEQUENCE],
])("ends by %s", (_, members, deltas, reason) => {
  const last = JSON.stringify({ ...head, choices: [{ index: 0, delta: {}, finish_reason: "stop", ...members }] });
  const { events } = read([role, ...deltas.map((delta) => chunk(delta)), last, done]);
  const stopSequence = members["stop_reason"] ?? "";
  expect(events.at(-1)?.kind.value).toMatchObject({ choices: [{ reason, rawReason: "stop", stopSequence }] });
});

test.each<[string, string[]]>([
  [
    "Azure's first chunk",
    [JSON.stringify({ id: "", model: "", created: 0, choices: [], prompt_filter_results: [{}] })],
  ],
  ["a ping", ['{"type":"ping"}']],
  ["nothing", ["", "  "]],
  ["a chunk without choices", [JSON.stringify(head)]],
])("%s says nothing", (_, frames) => {
  const { reader, events } = read(frames);
  expect(events).toEqual([]);
  expect(reader.fault).toBeUndefined();
});

test("the last usage stands, whichever chunk it is in", () => {
  const first = chunk({ content: "a" }, { usage: { prompt_tokens: 5, completion_tokens: 1, total_tokens: 6 } });
  const last = chunk({}, { finish_reason: "stop", usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 8 } });
  const { reader, events } = read([first, last, done]);
  expect(reader.usage).toMatchObject({ usage: { outputTokens: 2 }, sound: false });
  expect(events.filter(({ kind }) => kind.case === "usage")).toHaveLength(2);
});

test("without [DONE] an answer is whole when all of its choices have ended", () => {
  const { reader, events } = read([role, stop]);
  expect(reader.complete).toBe(false);
  reader.finish(events);
  expect(reader.complete).toBe(true);
  expect(events.at(-1)?.kind.case).toBe("end");
  reader.finish(events);
  expect(events.filter(({ kind }) => kind.case === "end")).toHaveLength(1);
});

test("sound whose base64 is cut between characters, and that ends with its expiry", () => {
  const { reader, events } = read([
    chunk({ audio: { id: "audio_1", data: "AQ" } }),
    chunk({ audio: { data: "ID" } }),
    chunk({ audio: { data: "BA==" } }),
    chunk({ audio: { expires_at: 5 } }),
  ]);
  const pieces = events.flatMap(({ kind }) => (kind.case === "delta" ? [kind.value.content.value] : []));
  expect(pieces).toMatchObject([{ data: Buffer.of() }, { data: Buffer.of(1, 2, 3) }, { data: Buffer.of(4) }, {}]);
  reader.finish(events);
  expect(events.at(-1)?.kind.value).toMatchObject({ choices: [{ reason: StopReason.END, rawReason: "" }] });
});

test.each(["0", "-1", "1e400", "1700000000000", '"soon"'])("a time of expiry of %s is none", (time) => {
  const { reader, events } = read([`{"choices":[{"delta":{"audio":{"expires_at":${time}}}}]}`]);
  expect(reader.fault).toBeUndefined();
  expect(events[1]?.kind.value).not.toHaveProperty("content.value.expireTime");
});

test("the last characters of sound without padding, and what is none", () => {
  const { reader, events } = read([chunk({ audio: { data: "AQ" } }), stop, done]);
  expect(reader.complete).toBe(true);
  expect(events.at(-2)?.kind.value).toMatchObject({ content: { value: { data: Buffer.of(1) } } });
  expect(read([chunk({ audio: { data: "A" } }), stop, done]).reader).toMatchObject({
    complete: false,
    fault: { kind: "malformed" },
  });
});

test.each<[string, string[]]>([
  ["nothing", []],
  ["a choice that goes on", [role, chunk({ content: "a" })]],
  ["one of two choices that goes on", [stop, chunk({ content: "a" }, { index: 1 })]],
])("without [DONE], %s is no whole answer", (_, frames) => {
  const { reader, events } = read(frames);
  reader.finish(events);
  expect(reader).toMatchObject({ complete: false, fault: undefined });
  expect(events.some(({ kind }) => kind.case === "end")).toBe(false);
});

test("[DONE] alone is an empty answer", () => {
  const { events } = read([" [DONE]\r"]);
  expect(events.map(({ kind }) => kind.case)).toEqual(["start", "end"]);
});

test("what comes after the end is not read", () => {
  const { reader, events } = read([role, stop, done, chunk({ content: "more" }), "{", '{"error":{"code":"x"}}']);
  expect(events.at(-1)?.kind.case).toBe("end");
  expect(reader.fault).toBeUndefined();
});

test.each<[string, string | readonly [string, string]]>([
  ["no JSON", "{"],
  ["JSON that is no object", "[1]"],
  ["choices that are no list", '{"choices":{}}'],
  ["a choice that is no object", '{"choices":["a"]}'],
  ["a negative index", chunk({}, { index: -1 })],
  ["an index too large", chunk({}, { index: 128 })],
  ["an index with a fraction", chunk({}, { index: 0.5 })],
  ["a delta that is no object", '{"choices":[{"index":0,"delta":"a"}]}'],
  ["content that is a number", chunk({ content: 7 })],
  ["content of a list of texts", chunk({ content: ["a"] })],
  ["a refusal that is a number", chunk({ refusal: 7 })],
  ["more of a call that never began", chunk(call(0, undefined, undefined, "{}"))],
  ["more of a call that never began, without index", chunk(call(undefined, undefined, undefined, "{}"))],
  ["a call of negative index", chunk(call(-1, "a", "f", ""))],
  ["a call that is text", chunk({ tool_calls: ["f"] })],
  [
    "arguments that are no text",
    chunk({ tool_calls: [{ index: 0, id: "a", function: { name: "f", arguments: {} } }] }),
  ],
  ["sound that is no base64", chunk({ audio: { data: "****" } })],
  ["sound that is text", chunk({ audio: "AQ==" })],
  ["a picture without address", chunk({ images: [{ image_url: {} }] })],
  ["a picture that is no base64", chunk({ images: [{ image_url: { url: "data:image/png;base64,*" } }] })],
])("%s is one fault, and the end of reading", (_, frame) => {
  const { reader, events } = read([role, frame, chunk({ content: "more" }), done]);
  expect(reader).toMatchObject({ fault: { kind: "malformed" }, complete: false });
  expect(events.map(({ kind }) => kind.case)).toEqual(["start"]);
  reader.finish(events);
  expect(events).toHaveLength(1);
});

test("a chunk that is at fault says nothing, whatever stands before the fault", () => {
  const { reader, events } = read([role, chunk({ content: "a", audio: "AQ==" })]);
  expect(reader.fault).toEqual({ kind: "malformed" });
  expect(events).toHaveLength(1);
});

test.each<[string, string | readonly [string, string], object]>([
  ["OpenAI's", '{"error":{"message":"m","type":"server_error","code":null}}', { type: "server_error", status: 500 }],
  ["with its status", '{"error":{"code":429,"message":"m"},"choices":[]}', { code: "429", status: 429 }],
  ["by the event's type", ["error", '{"message":"m"}'], { code: "", type: "" }],
  ["by the event's type, without JSON", ["error", "overloaded"], { code: "", type: "" }],
])("an error %s is a fault", (_, frame, error) => {
  const { reader, events } = read([role, frame, done]);
  expect(reader).toMatchObject({ fault: { kind: "error", error }, complete: false });
  expect(events).toHaveLength(1);
});
