import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  choiceEnd,
  endEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
  usageEvent,
} from "../events.ts";
import {
  ends,
  expectCut,
  expectStreamRoundTrip,
  expectWholeRoundTrip,
  options,
  parse,
  read as readWith,
  usage,
  usageOf,
  write as writeWith,
} from "../openai-completions/testing/plain-answers.ts";
import { weirGenerate } from "./codec.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const read = (frames: readonly string[]) => readWith(weirGenerate, frames);

// --- Law: what the dialect can express survives the way there and back. A stream names neither id nor model.

const facts = {
  texts: fc.array(fc.string({ unit: "binary", minLength: 1, maxLength: 8 }), { maxLength: 3 }),
  end: fc.constantFrom(...ends),
  counts: fc.option(usage, { nil: undefined }),
};
const replies = (name: fc.Arbitrary<string>) =>
  fc
    .record({ id: name, model: name, ...facts })
    .map(({ id, model, texts, end: [reason, raw], counts }) => [
      startEvent({ id, model }),
      ...texts.map((text) => textEvent(0, 0, text)),
      endEvent([choiceEnd(0, reason, raw)], counts),
    ]);

const whole = replies(fc.string({ minLength: 1, maxLength: 5 }));
const streamed = replies(fc.constant(""));

test("a whole answer survives the way to JSON and back", () => {
  fc.assert(
    fc.property(whole, (events) => {
      expectWholeRoundTrip(weirGenerate, events);
    }),
    { numRuns },
  );
});

test("a streamed answer survives the way to frames and back", () => {
  fc.assert(
    fc.property(streamed, (events) => {
      expectStreamRoundTrip(weirGenerate, events);
    }),
    { numRuns },
  );
});

test("a stream cut after any frame gives the same events so far, and no end", () => {
  fc.assert(
    fc.property(streamed, fc.nat(), (events, at) => {
      expectCut(weirGenerate, events, at);
    }),
    { numRuns },
  );
});

// --- What clients get.

const start = startEvent({ id: "i", model: "served" });
const end = endEvent([choiceEnd(0, StopReason.END, "end_turn")], usageOf({ inputTokens: 1, outputTokens: 2 }));
const spoken = [
  start,
  reasoningEvent(0, 0, { text: "hm" }),
  textEvent(0, 1, 'a "quoted"\n'),
  refusalEvent(0, 2, "no"),
  toolCallEvent(0, 3, { id: "c", name: "f" }),
  textEvent(1, 0, "another choice"),
  end,
];

test("a stream has a frame for each piece of text, one that says how it ended, and the end mark", () => {
  expect(writeWith(weirGenerate, spoken)).toEqual([
    '{"text":"a \\"quoted\\"\\n"}',
    '{"text":"no"}',
    '{"done":true,"finish_reason":"stop","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
    "[DONE]",
  ]);
});

test("a whole answer has the text of the first choice", () => {
  expect(JSON.parse(weirGenerate.writeAnswer(spoken, options))).toEqual({
    id: "i",
    model: "served",
    generated_text: 'a "quoted"\nno',
    finish_reason: "stop",
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
  });
});

test("a vendor that named nothing gets what the caller named, and counts that are half known are left out", () => {
  const events = [textEvent(0, 0, "a"), endEvent([choiceEnd(0, StopReason.END, "")], usageOf({ outputTokens: 3 }))];
  const answer = { id: "x", model: "alias", generated_text: "a", finish_reason: "stop" };
  expect(JSON.parse(weirGenerate.writeAnswer(events, options))).toEqual(answer);
});

test("later counts replace earlier ones, field by field", () => {
  const first = usageEvent(usageOf({ inputTokens: 5, outputTokens: 1 }));
  const second = usageEvent(usageOf({ outputTokens: 3 }));
  const events = [start, first, second, endEvent([choiceEnd(0, StopReason.END, "")], undefined)];
  const merged = { usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 } };
  expect(JSON.parse(weirGenerate.writeAnswer(events, options))).toMatchObject(merged);
  expect(JSON.parse(writeWith(weirGenerate, events).at(-2) ?? "")).toMatchObject(merged);
});

// --- What is read.

const done = '{"done":true,"finish_reason":"stop"}';

test.each<[string, string[], object]>([
  ["an end mark before `done`", ['{"text":"a"}', "[DONE]"], { kind: "malformed" }],
  ["no JSON", ['{"text":"a"}', "{", done], { kind: "malformed" }],
  [
    "an error",
    ['{"text":"a"}', '{"error":{"message":"m","code":"x"}}', "[DONE]"],
    { kind: "error", error: { code: "x", type: "" } },
  ],
])("%s is one fault", (_, frames, fault) => {
  const reading = read(frames);
  expect(reading).toMatchObject({ fault, complete: false });
  expect(reading.events).toHaveLength(2);
});

test("the end mark is needed, and nothing is read after it", () => {
  expect(read(['{"text":"a"}', done])).toMatchObject({ complete: false, fault: undefined });
  expect(read(["{}", done, "[DONE]", "{"])).toMatchObject({ complete: true, fault: undefined });
});

test("the last usage is known beside the events", () => {
  const counts = '"usage":{"prompt_tokens":1,"completion_tokens":-2}';
  expect(read([`{"done":true,${counts}}`]).usage).toEqual({ usage: usageOf({ inputTokens: 1 }), sound: false });
});

test("what has no text, or an error, is no answer", () => {
  expect(weirGenerate.readAnswer({ id: "x" })).toBeUndefined();
  expect(weirGenerate.readAnswer({ generated_text: "x", error: "y" })).toBeUndefined();
});

// --- Stop reasons.

test.each([
  ["stop", StopReason.END],
  ["length", StopReason.LENGTH],
  ["content_filter", StopReason.CONTENT_FILTER],
  ["", StopReason.UNSPECIFIED],
  ["further", StopReason.UNSPECIFIED],
])("finish_reason %j is read as %i", (raw, reason) => {
  const reading = weirGenerate.readAnswer({ generated_text: "a", finish_reason: raw });
  expect(reading?.events.at(-1)?.kind).toMatchObject({ value: { choices: [{ reason, rawReason: raw }] } });
});

const words: Readonly<Record<StopReason, string>> = {
  [StopReason.UNSPECIFIED]: "stop",
  [StopReason.END]: "stop",
  [StopReason.LENGTH]: "length",
  [StopReason.STOP_SEQUENCE]: "stop",
  [StopReason.TOOL_CALLS]: "stop",
  [StopReason.CONTENT_FILTER]: "content_filter",
  [StopReason.CONTEXT_FULL]: "length",
  [StopReason.PAUSED]: "stop",
};

test.each(Object.entries(words))("reason %s is written as %s", (reason, word) => {
  const events = [endEvent([choiceEnd(0, Number(reason) as StopReason, "")], undefined)];
  expect(JSON.parse(weirGenerate.writeAnswer(events, options))).toMatchObject({ finish_reason: word });
});

// --- Errors, which are those of OpenAI's chat.

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i renders its row", (reason) => {
  const { openai } = errorTable[reason];
  const { status, body } = weirGenerate.renderError(new WeirError(reason), "r");
  expect(status).toBe(openai.status);
  expect(weirGenerate.readError(parse(body))).toMatchObject({ type: openai.type, code: openai.code ?? "" });
  expect(weirGenerate.renderErrorEvent(new WeirError(reason), "r")).toBe(`data: ${body}\n\n`);
});
