import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions, Frame, FrameReader } from "../codec.ts";
import { choiceEnd, citationEvent, endEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { createFrameReader } from "./stream-reader.ts";
import { createFrameWriter } from "./stream-writer.ts";
import { askingRequest, joined, replies } from "./testing/replies.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const options: AnswerOptions = { id: "reply", createTimeMs: 0, model: "m", includeUsage: true, request: askingRequest };

function framesOf(events: readonly GenerateEvent[]): Frame[] {
  const writer = createFrameWriter(options);
  return events.flatMap((event) => [...writer.write(event)]);
}

function eventsOf(frames: readonly Frame[]): { reader: FrameReader; events: GenerateEvent[] } {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  for (const { type, data } of frames) reader.read(type, data, events);
  return { reader, events };
}

function frame(type: string, data: unknown): Frame {
  return { type, data: JSON.stringify(data) };
}

const start = startEvent({ id: "", model: "" });
const end = endEvent([choiceEnd(0, StopReason.END, "end_turn")], undefined);

test("a stream comes back as it was", () => {
  fc.assert(
    fc.property(replies, (events) => {
      const { reader, events: read } = eventsOf(framesOf(events));
      expect(joined(read)).toEqual(joined(events));
      expect(reader.complete).toBe(true);
      expect(reader.fault).toBeUndefined();
    }),
    { numRuns },
  );
});

test("a stream cut after any frame gives the same events so far, and no end", () => {
  fc.assert(
    fc.property(replies, (whole) => {
      const frames = framesOf(whole);
      const all = eventsOf(frames).events;
      for (let count = 0; count < frames.length; count += 1) {
        const { reader, events } = eventsOf(frames.slice(0, count));
        expect(events).toEqual(all.slice(0, events.length));
        expect(reader.complete).toBe(false);
        expect(events.some(({ kind }) => kind.case === "end")).toBe(false);
        reader.finish(events);
        // Without `metadata` an answer is whole all the same; its usage is not known.
        expect(reader.complete).toBe(count === frames.length - 1);
        expect(reader.fault).toEqual(reader.complete ? undefined : { kind: "malformed" });
      }
    }),
    { numRuns: Math.ceil(numRuns / 10) },
  );
});

test("blocks come one after another, each from its first delta to its stop", () => {
  fc.assert(
    fc.property(replies, (events) => {
      let open: unknown;
      const ended = new Set<unknown>();
      for (const { type, data } of framesOf(events)) {
        const index = (JSON.parse(data) as Record<string, unknown>)["contentBlockIndex"];
        if (!type.startsWith("contentBlock")) continue;
        expect(open ?? index).toBe(index);
        expect(ended.has(index)).toBe(false);
        open = type === "contentBlockStop" ? undefined : index;
        if (type === "contentBlockStop") ended.add(index);
      }
      expect(open).toBeUndefined();
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

test("calls that a provider interleaves come out whole, one after another", () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.nat(2)), (turns) => {
      const texts = ['{"city":"Rome"}', '{"n":[1,2,3]}', "{}"];
      const left = texts.map((text, part) => [
        toolCallEvent(0, part, { id: `id-${part}`, name: "f" }),
        ...Array.from(text, (char) => toolCallEvent(0, part, { arguments: char })),
      ]);
      const events: GenerateEvent[] = [start];
      while (left.some((queue) => queue.length > 0)) {
        const event = left[turns.next().value ?? 0]?.shift();
        if (event !== undefined) events.push(event);
      }
      const { events: read } = eventsOf(framesOf([...events, end]));
      const calls = joined(read).parts.map(([, part]) => part);
      expect(calls.toSorted((a, b) => String(a["toolCall.id"]).localeCompare(String(b["toolCall.id"])))).toEqual(
        texts.map((text, part) => ({ "toolCall.id": `id-${part}`, "toolCall.name": "f", "toolCall.arguments": text })),
      );
    }),
    { numRuns: Math.ceil(numRuns / 10) },
  );
});

test("a call whose arguments never become whole lets the others out at the end", () => {
  const events = [
    start,
    toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' }),
    textEvent(0, 1, "text"),
    toolCallEvent(0, 2, { id: "b", name: "g", arguments: '{"y":' }),
    textEvent(0, 3, "more"),
    end,
  ];
  const { reader, events: read } = eventsOf(framesOf(events));
  expect(joined(read).parts).toEqual(joined(events).parts);
  expect(reader.complete).toBe(true);
});

test("a source that comes late is told in a block of its own", () => {
  const cite = { $typeName: "weir.chat.v1.Citation" as const, start: 0, end: 1, title: "T", url: "", quote: "" };
  const frames = framesOf([
    start,
    textEvent(0, 0, "a"),
    toolCallEvent(0, 1, { id: "t", name: "f", arguments: "{}" }),
    citationEvent(0, 0, cite),
    end,
  ]);
  expect(
    frames.filter(({ type }) => type === "contentBlockDelta").map(({ data }) => JSON.parse(data) as unknown),
  ).toEqual([
    { contentBlockIndex: 0, delta: { text: "a" } },
    { contentBlockIndex: 1, delta: { toolUse: { input: "{}" } } },
    { contentBlockIndex: 2, delta: { citation: { title: "T" } } },
  ]);
});

// As AWS's user guide shows the events of an answer with a tool:
// https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html
const answer: readonly Frame[] = [
  frame("messageStart", { p: "abcd", role: "assistant" }),
  frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "Let me" }, p: "ab" }),
  frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: " see." }, p: "a" }),
  frame("contentBlockStop", { contentBlockIndex: 0, p: "abc" }),
  frame("contentBlockStart", {
    contentBlockIndex: 1,
    start: { toolUse: { name: "top_song", toolUseId: "tooluse_1" } },
  }),
  frame("contentBlockDelta", { contentBlockIndex: 1, delta: { toolUse: { input: "" } } }),
  frame("contentBlockDelta", { contentBlockIndex: 1, delta: { toolUse: { input: '{"sign": "WZ' } } }),
  frame("contentBlockDelta", { contentBlockIndex: 1, delta: { toolUse: { input: 'PZ"}' } } }),
  frame("contentBlockStop", { contentBlockIndex: 1 }),
  frame("messageStop", { stopReason: "tool_use" }),
  frame("metadata", { metrics: { latencyMs: 500 }, usage: { inputTokens: 4, outputTokens: 6, totalTokens: 10 } }),
];

test("an answer with a tool", () => {
  const { reader, events } = eventsOf(answer);
  expect(joined(events)).toEqual({
    parts: [
      [0, { text: "Let me see." }],
      [1, { "toolCall.id": "tooluse_1", "toolCall.name": "top_song", "toolCall.arguments": '{"sign": "WZPZ"}' }],
    ],
    others: [start.kind, expect.objectContaining({ case: "end" })],
  });
  expect(events.at(-1)?.kind.value).toMatchObject({
    choices: [{ choice: 0, reason: StopReason.TOOL_CALLS, rawReason: "tool_use" }],
    usage: { inputTokens: 4, outputTokens: 6 },
    details: { metrics: { latencyMs: 500 } },
  });
  expect(reader.usage).toMatchObject({ sound: true, usage: { inputTokens: 4, outputTokens: 6 } });
});

test("after the end nothing comes any more", () => {
  const { reader, events } = eventsOf(answer);
  const count = events.length;
  for (const { type, data } of [...answer, frame("exception:throttlingException", { message: "m" })]) {
    reader.read(type, data, events);
  }
  reader.finish(events);
  expect(events).toHaveLength(count);
  expect(reader.fault).toBeUndefined();
});

test("unknown events, members, deltas and starts do no harm", () => {
  const { reader, events } = eventsOf([
    frame("initial-response", {}),
    { type: "future", data: "no JSON" },
    frame("messageStart", { role: "assistant", future: 1 }),
    frame("contentBlockStart", { contentBlockIndex: 0, start: { future: {} } }),
    frame("contentBlockDelta", { contentBlockIndex: 0, delta: { future: {} } }),
    frame("contentBlockStop", { contentBlockIndex: 0 }),
    frame("contentBlockStart", {
      contentBlockIndex: 1,
      start: { toolUse: { toolUseId: "t", name: "nova_grounding", type: "server_tool_use" } },
    }),
    frame("contentBlockDelta", { contentBlockIndex: 1, delta: { toolUse: { input: "{}" } } }),
    frame("contentBlockStop", { contentBlockIndex: 1 }),
    frame("contentBlockDelta", { contentBlockIndex: 2, delta: { text: "a" } }),
    frame("messageStop", { stopReason: "end_turn" }),
    frame("metadata", {}),
  ]);
  expect(events.map(({ kind }) => kind.case)).toEqual(["start", "warning", "delta", "end"]);
  expect(reader).toMatchObject({ complete: true, fault: undefined, usage: undefined });
});

test("a call without arguments has an empty object, also when its block is not ended", () => {
  const frames = [
    frame("messageStart", { role: "assistant" }),
    frame("contentBlockStart", { contentBlockIndex: 0, start: { toolUse: { toolUseId: "t", name: "now" } } }),
    frame("contentBlockDelta", { contentBlockIndex: 0, delta: { toolUse: { input: "" } } }),
    frame("messageStop", { stopReason: "tool_use" }),
  ];
  const { events } = eventsOf(frames);
  expect(joined(events)).toMatchObject({ parts: [[0, { "toolCall.arguments": "{}" }]] });
});

test("metadata may come before messageStop", () => {
  const [first, last] = [
    frame("metadata", { usage: { inputTokens: 1, outputTokens: 2 } }),
    frame("messageStop", { stopReason: "end_turn" }),
  ];
  const { reader, events } = eventsOf([frame("messageStart", { role: "assistant" }), first, last]);
  expect(reader.complete).toBe(true);
  expect(events.at(-1)?.kind.value).toMatchObject({ usage: { inputTokens: 1, outputTokens: 2 } });
});

test("reasoning and text may share a block's index", () => {
  const { events } = eventsOf([
    frame("messageStart", { role: "assistant" }),
    frame("contentBlockDelta", { contentBlockIndex: 0, delta: { reasoningContent: { text: "hm" } } }),
    frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "yes" } }),
  ]);
  expect(joined(events)).toMatchObject({
    parts: [
      [0, { "reasoning.text": "hm" }],
      [1, { text: "yes" }],
    ],
  });
});

const begun = frame("messageStart", { role: "assistant" });
const call = frame("contentBlockStart", { contentBlockIndex: 0, start: { toolUse: { toolUseId: "t", name: "f" } } });

test.each<[string, readonly Frame[]]>([
  ["bad JSON", [{ type: "contentBlockDelta", data: '{"contentBlockIndex":0,' }]],
  ["JSON that is no object", [{ type: "messageStop", data: "[]" }]],
  ["no index", [frame("contentBlockDelta", { delta: { text: "a" } })]],
  ["a negative index", [frame("contentBlockDelta", { contentBlockIndex: -1, delta: { text: "a" } })]],
  ["an index that is no whole number", [frame("contentBlockStart", { contentBlockIndex: 0.5, start: {} })]],
  ["no delta", [frame("contentBlockDelta", { contentBlockIndex: 0 })]],
  [
    "input of a call that never began",
    [frame("contentBlockDelta", { contentBlockIndex: 0, delta: { toolUse: { input: "{}" } } })],
  ],
  ["text in a call", [call, frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "a" } })]],
  [
    "input that is no text",
    [call, frame("contentBlockDelta", { contentBlockIndex: 0, delta: { toolUse: { input: {} } } })],
  ],
  ["a block that begins twice", [call, call]],
  [
    "a block that ends twice",
    [call, frame("contentBlockStop", { contentBlockIndex: 0 }), frame("contentBlockStop", { contentBlockIndex: 0 })],
  ],
  [
    "a delta behind its block",
    [
      frame("contentBlockStop", { contentBlockIndex: 0 }),
      frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "a" } }),
    ],
  ],
  [
    "a delta behind the message",
    [
      frame("messageStop", { stopReason: "end_turn" }),
      frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "a" } }),
    ],
  ],
  ["two ends", [frame("messageStop", { stopReason: "end_turn" }), frame("messageStop", { stopReason: "end_turn" })]],
  ["two beginnings", [begun]],
])("%s is one fault, and the last that is said", (_, frames) => {
  const { reader, events } = eventsOf([begun, ...frames]);
  expect(reader.fault).toEqual({ kind: "malformed" });
  const count = events.length;
  for (const { type, data } of answer.slice(1)) reader.read(type, data, events);
  reader.finish(events);
  expect(events).toHaveLength(count);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "malformed" } });
});

test("a stream that stops before its end is a fault", () => {
  const { reader, events } = eventsOf(answer.slice(0, 3));
  reader.finish(events);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "malformed" } });
});

test.each([
  [
    "exception:throttlingException",
    { message: "Too many tokens" },
    { code: "", type: "ThrottlingException", status: 429 },
  ],
  [
    "exception:modelStreamErrorException",
    { message: "m", originalStatusCode: 500, originalMessage: "m" },
    { code: "500", type: "ModelStreamErrorException", status: 424 },
  ],
  [
    "exception:validationException",
    { message: "Input is too long for requested model." },
    { code: "context_length_exceeded", type: "ValidationException", status: 400 },
  ],
  ["exception:futureException", {}, { code: "", type: "FutureException" }],
  ["exception:", "no object", { code: "", type: "" }],
  ["error:InternalFailure", {}, { code: "", type: "InternalFailure" }],
])("%s is an error", (type, data, error) => {
  const { reader, events } = eventsOf([begun, frame(type, data), ...answer.slice(1)]);
  expect(reader.fault).toEqual({ kind: "error", error });
  expect(events).toHaveLength(1);
});
