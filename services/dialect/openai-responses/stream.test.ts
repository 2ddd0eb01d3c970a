import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frame, FrameReader } from "../codec.ts";
import { choiceEnd, citationEvent, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import type { JsonObject } from "../json.ts";
import { createResponseWriter } from "./response-writer.ts";
import { createFrameReader } from "./stream-reader.ts";
import { answerOptions, joined, numRuns, reply } from "./testing.ts";

function write(events: readonly GenerateEvent[]): Frame[] {
  const writer = createResponseWriter(answerOptions);
  return events.flatMap((event) => writer.write(event));
}

function read(frames: readonly Frame[]): { events: GenerateEvent[]; reader: FrameReader } {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  for (const { type, data } of frames) reader.read(type, data, events);
  return { events, reader };
}

function frame(json: JsonObject): Frame {
  return { type: typeof json["type"] === "string" ? json["type"] : "", data: JSON.stringify(json) };
}

const response = { id: "resp_1", object: "response", created_at: 1, status: "in_progress", model: "m", output: [] };
const created = frame({ type: "response.created", response });
const completed = frame({ type: "response.completed", response: { ...response, status: "completed" } });
const message = frame({
  type: "response.output_item.added",
  output_index: 0,
  item: { type: "message", id: "msg_1", content: [] },
});
const part = frame({
  type: "response.content_part.added",
  output_index: 0,
  content_index: 0,
  part: { type: "output_text", text: "" },
});
const delta = (text: string) =>
  frame({ type: "response.output_text.delta", output_index: 0, content_index: 0, delta: text });
const call = frame({
  type: "response.output_item.added",
  output_index: 1,
  item: { type: "function_call", id: "fc_1", call_id: "c1", name: "f", arguments: "" },
});
const argue = (text: string) => frame({ type: "response.function_call_arguments.delta", output_index: 1, delta: text });

test("a stream comes back as it was", () => {
  fc.assert(
    fc.property(reply, (events) => {
      const { events: back, reader } = read(write(events));
      expect(reader).toMatchObject({ complete: true, fault: undefined });
      expect(joined(back)).toEqual(joined(events));
    }),
    { numRuns },
  );
});

test("frames are named as their data is, and numbered from 0", () => {
  fc.assert(
    fc.property(reply, (events) => {
      for (const [index, { type, data }] of write(events).entries()) {
        expect(JSON.parse(data)).toMatchObject({ type, sequence_number: index });
      }
    }),
    { numRuns: 300 },
  );
});

test("pieces of text and of arguments pass one by one", () => {
  const events = [
    startEvent({ id: "resp_1", model: "m", createTimeMs: 1_000 }),
    textEvent(0, 0, "a"),
    textEvent(0, 0, "b"),
    toolCallEvent(0, 1, { id: "c", name: "f" }),
    toolCallEvent(0, 1, { arguments: '{"x"' }),
    toolCallEvent(0, 1, { arguments: ":1}" }),
    endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "completed")], undefined),
  ];
  expect(read(write(events)).events).toEqual(events);
});

test("cut after any frame, a stream says the same so far and has no end", () => {
  fc.assert(
    fc.property(reply, fc.nat(), (events, at) => {
      const frames = write(events);
      const whole = read(frames).events;
      const { events: cut, reader } = read(frames.slice(0, at % frames.length));
      expect(cut).toEqual(whole.slice(0, cut.length));
      expect(cut.some(({ kind }) => kind.case === "end")).toBe(false);
      expect(reader).toMatchObject({ complete: false, fault: undefined });
      const count = cut.length;
      reader.finish(cut);
      expect(cut).toHaveLength(count);
      expect(reader).toMatchObject({ complete: false, fault: { kind: "malformed" } });
    }),
    { numRuns },
  );
});

test("the events of a simple stream, in order", () => {
  const types = write([
    startEvent({ id: "resp_1", model: "m" }),
    reasoningEvent(0, 0, { text: "hm", sealed: Buffer.from("s"), id: "rs_1" }),
    textEvent(0, 1, "hi"),
    citationEvent(0, 1, { $typeName: "weir.chat.v1.Citation", start: 0, end: 1, title: "t", url: "u", quote: "" }),
    toolCallEvent(0, 2, { id: "c", name: "f", arguments: "{}" }),
    endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "")], undefined),
  ]).map(({ type }) => type.replace("response.", ""));
  expect(types).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
    "output_item.done",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.annotation.added",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
    "completed",
  ]);
});

test("texts in turns with reasoning begin anew, and a late source finds its text", () => {
  const frames = write([
    textEvent(0, 0, "a"),
    reasoningEvent(0, 1, { text: "b" }),
    textEvent(0, 0, "c"),
    reasoningEvent(0, 1, { text: "d" }),
    citationEvent(0, 0, { $typeName: "weir.chat.v1.Citation", start: 0, end: 1, title: "t", url: "u", quote: "" }),
    endEvent([], undefined),
  ]);
  const { parts } = joined(read(frames).events) as { parts: object[] };
  expect(parts).toMatchObject([
    { text: "a" },
    { text: "b" },
    { text: "c", citations: [{ title: "t" }] },
    { text: "d" },
  ]);
});

test("nothing is written after the end, and other choices are not", () => {
  const writer = createResponseWriter(answerOptions);
  expect(writer.write(textEvent(1, 0, "other"))).toEqual([]);
  expect(writer.write(endEvent([], undefined)).at(-1)?.type).toBe("response.completed");
  expect(writer.write(textEvent(0, 0, "late"))).toEqual([]);
});

test.each<[string, Frame[]]>([
  ["bad JSON", [created, { type: "", data: "{" }]],
  ["JSON that is no object", [created, { type: "", data: "[1]" }]],
  ["an item before the beginning", [message]],
  ["an item twice", [created, message, message]],
  ["an item of a negative index", [created, frame({ type: "response.output_item.added", output_index: -1, item: {} })]],
  ["an item without index", [created, frame({ type: "response.output_item.added", item: {} })]],
  ["an item that is none", [created, frame({ type: "response.output_item.added", output_index: 0, item: 1 })]],
  ["text without item", [created, delta("a")]],
  ["text without part", [created, message, delta("a")]],
  [
    "text that is none",
    [created, message, part, frame({ type: "response.output_text.delta", output_index: 0, content_index: 0 })],
  ],
  [
    "a refusal inside a text",
    [created, message, part, frame({ type: "response.refusal.delta", output_index: 0, content_index: 0, delta: "x" })],
  ],
  ["a part without item", [created, part]],
  [
    "a part of another kind than before",
    [created, message, part, frame({ ...JSON.parse(part.data), part: { type: "refusal" } })],
  ],
  [
    "a source without text",
    [created, message, frame({ type: "response.output_text.annotation.added", output_index: 0, content_index: 0 })],
  ],
  ["arguments without call", [created, argue("{")]],
  [
    "arguments in a message",
    [created, message, frame({ type: "response.function_call_arguments.delta", output_index: 0, delta: "x" })],
  ],
  [
    "arguments that are none",
    [created, call, frame({ type: "response.function_call_arguments.delta", output_index: 1, delta: {} })],
  ],
  [
    "arguments that contradict their pieces",
    [
      created,
      call,
      argue('{"a'),
      frame({ type: "response.function_call_arguments.done", output_index: 1, arguments: '{"b":1}' }),
    ],
  ],
  [
    "reasoning without item",
    [created, frame({ type: "response.reasoning_summary_text.delta", output_index: 0, summary_index: 0, delta: "x" })],
  ],
  ["a beginning without Response", [frame({ type: "response.created" })]],
  ["an end without Response", [created, frame({ type: "response.completed" })]],
])("%s is one fault", (_, frames) => {
  const { events, reader } = read([...frames, completed]);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "malformed" } });
  expect(events.some(({ kind }) => kind.case === "end")).toBe(false);
  reader.finish(events);
  expect(reader.fault).toEqual({ kind: "malformed" });
});

test.each<[string, JsonObject, object]>([
  [
    "in the flat form",
    { type: "error", code: "rate_limit_exceeded", message: "secret", param: null, sequence_number: 3 },
    { code: "rate_limit_exceeded", type: "", status: 429 },
  ],
  [
    "in the nested form",
    { type: "error", error: { type: "server_error", code: "server_error", message: "secret" }, sequence_number: 3 },
    { code: "server_error", type: "server_error", status: 500 },
  ],
  ["without a code", { type: "error", message: "secret" }, { code: "", type: "" }],
  [
    "as a failed Response",
    { type: "response.failed", response: { status: "failed", error: { code: "invalid_prompt", message: "secret" } } },
    { code: "invalid_prompt", type: "", status: 400 },
  ],
  ["as a failed Response without a word", { type: "response.failed" }, { code: "", type: "" }],
  ["without a type", { error: { code: "x", type: "y" } }, { code: "x", type: "y" }],
])("an error %s is one fault", (_, json, error) => {
  const { events, reader } = read([created, message, part, delta("a"), frame(json), delta("b"), completed]);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "error", error } });
  expect(events).toHaveLength(2);
});

test("the usage of a failed Response is kept", () => {
  const usage = { input_tokens: 5, output_tokens: 1, total_tokens: 6 };
  const { reader } = read([
    created,
    frame({ type: "response.failed", response: { status: "failed", error: {}, usage } }),
  ]);
  expect(reader.usage).toMatchObject({ sound: true, usage: { inputTokens: 5, outputTokens: 1 } });
});

test("frames after the end are ignored", () => {
  const { events, reader } = read([created, completed, delta("a"), { type: "", data: "{" }, created]);
  expect(reader).toMatchObject({ complete: true, fault: undefined });
  expect(events.map(({ kind }) => kind.case)).toEqual(["start", "end"]);
  reader.finish(events);
  expect(events).toHaveLength(2);
});

test("signs of life and what nobody heard of are passed over", () => {
  const { events, reader } = read([
    frame({ type: "response.queued", response }),
    created,
    { type: "keepalive", data: '{"type":"keepalive","sequence_number":9}' },
    { type: "", data: "" },
    frame({ type: "response.output_item.added", output_index: 0, item: { type: "web_search_call", id: "ws_1" } }),
    frame({ type: "response.web_search_call.searching", output_index: 0, item_id: "ws_1" }),
    frame({ type: "response.output_text.delta", output_index: 0, content_index: 0, delta: "of an unknown item" }),
    frame({ type: "response.output_item.done", output_index: 0, item: { type: "web_search_call", id: "ws_1" } }),
    frame({ type: "response.new_event", output_index: 7 }),
    { type: "", data: "[DONE]" },
    completed,
    { type: "", data: "[DONE]" },
  ]);
  expect(reader).toMatchObject({ complete: true, fault: undefined });
  expect(events.map(({ kind }) => kind.case)).toEqual(["start", "end"]);
});

test("the name of an event may stand beside its data only", () => {
  const bare = ({ type, data }: Frame): Frame => {
    const { type: _, ...rest } = JSON.parse(data) as JsonObject;
    return { type, data: JSON.stringify(rest) };
  };
  const { events, reader } = read([created, message, part, delta("a"), completed].map(bare));
  expect(reader.complete).toBe(true);
  expect(events).toHaveLength(3);
});

test("what came only as a whole is read from there", () => {
  const text = {
    type: "output_text",
    text: "hello",
    annotations: [{ type: "url_citation", start_index: 0, end_index: 1, title: "t", url: "u" }],
  };
  const whole = { type: "message", id: "msg_1", content: [text] };
  const done = frame({ type: "response.output_item.done", output_index: 0, item: whole });
  const expected = { parts: [{ kind: "text", text: "hello", citations: [{ title: "t" }] }] };
  expect(joined(read([created, done, completed]).events)).toMatchObject(expected);
  expect(joined(read([created, message, part, delta("hel"), done, completed]).events)).toMatchObject(expected);
  const end = frame({ type: "response.completed", response: { ...response, status: "completed", output: [whole] } });
  expect(joined(read([created, end]).events)).toMatchObject(expected);
  // Streamed items are not read again from the final Response, whose order may differ.
  expect(joined(read([created, message, part, delta("hel"), done, end]).events)).toMatchObject(expected);
});

test("arguments that came only as a whole are read from there", () => {
  const item = { type: "function_call", id: "fc_1", call_id: "c1", name: "f", arguments: '{"a":1}' };
  const expected = { parts: [{ kind: "toolCall", id: "c1", name: "f", arguments: '{"a":1}' }] };
  const itemDone = frame({ type: "response.output_item.done", output_index: 1, item });
  const argumentsDone = frame({ type: "response.function_call_arguments.done", output_index: 1, arguments: '{"a":1}' });
  for (const frames of [
    [itemDone],
    [argumentsDone],
    [argue('{"a'), argumentsDone, itemDone],
    [argumentsDone, itemDone],
  ]) {
    expect(joined(read([created, call, ...frames, completed]).events)).toMatchObject(expected);
  }
});

test("reasoning is read from its summary or its text, whichever comes first", () => {
  const item = { type: "reasoning", id: "rs_1", summary: [] };
  const added = frame({ type: "response.output_item.added", output_index: 0, item });
  const summary = (section: number, text: string) =>
    frame({ type: "response.reasoning_summary_text.delta", output_index: 0, summary_index: section, delta: text });
  const content = (text: string) =>
    frame({ type: "response.reasoning_text.delta", output_index: 0, content_index: 0, delta: text });
  const done = (members: JsonObject) =>
    frame({ type: "response.output_item.done", output_index: 0, item: { ...item, ...members } });
  const sections = [
    { type: "summary_text", text: "one" },
    { type: "summary_text", text: "two" },
  ];
  const reasoning = (frames: Frame[]) =>
    (joined(read([created, added, ...frames, completed]).events) as { parts: object[] }).parts;
  expect(
    reasoning([
      summary(0, "on"),
      summary(0, "e"),
      summary(1, "tw"),
      summary(1, "o"),
      done({ summary: sections, encrypted_content: "gA" }),
    ]),
  ).toMatchObject([{ text: "one\n\ntwo", id: "rs_1", sealed: [...Buffer.from("gA")] }]);
  expect(reasoning([content("long"), summary(0, "short"), done({})])).toMatchObject([{ text: "long" }]);
  expect(reasoning([summary(0, "one"), done({ summary: sections })])).toMatchObject([{ text: "one\n\ntwo" }]);
  expect(reasoning([done({})])).toMatchObject([{ text: "", id: "rs_1" }]);
});

test("other statuses of the end are told", () => {
  const end = { ...response, status: "incomplete", incomplete_details: { reason: "max_output_tokens" } };
  const { events } = read([created, frame({ type: "response.incomplete", response: end })]);
  expect(events.at(-1)?.kind.value).toMatchObject({
    choices: [{ reason: StopReason.LENGTH, rawReason: "max_output_tokens" }],
  });
});

test("the tier that was served is known at the end", () => {
  const asked = frame({ type: "response.created", response: { ...response, service_tier: "auto" } });
  const end = { ...response, status: "completed", service_tier: "flex" };
  const { events } = read([asked, frame({ type: "response.completed", response: end })]);
  expect(events.map(({ kind }) => kind.value)).toMatchObject([
    { serviceTier: "" },
    { details: { service_tier: "flex" } },
  ]);
  const frames = write(events);
  expect(JSON.parse(frames[0]?.data ?? "")).toMatchObject({ response: { service_tier: null } });
  expect(JSON.parse(frames.at(-1)?.data ?? "")).toMatchObject({ response: { service_tier: "flex" } });
});
