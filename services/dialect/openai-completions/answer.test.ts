import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions } from "../codec.ts";
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
import type { JsonObject } from "../json.ts";
import { openaiCompletions } from "./codec.ts";
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
} from "./testing/plain-answers.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const read = (frames: readonly string[], finish = true) => readWith(openaiCompletions, frames, finish);
const write = (events: readonly GenerateEvent[], further: Partial<AnswerOptions> = {}) =>
  writeWith(openaiCompletions, events, further);

// --- Law: what the dialect can express survives the way there and back.

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 8 });
const logprob = fc.double({ max: 0, noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
const token = (text: string, value: number, top: TokenLogprob[]): TokenLogprob => ({
  $typeName: "weir.chat.v1.TokenLogprob",
  token: text,
  logprob: value,
  bytes: new Uint8Array(),
  top,
});
/** Tokens are names of members here, and Node 26 takes one name with an escape for another: docs/failure-modes.md. */
const name = fc.string({ maxLength: 3 }).filter((text) => !text.includes("\\"));
const top = fc
  .uniqueArray(fc.tuple(name, logprob), { maxLength: 3, selector: ([text]) => text })
  .filter((list) => new Set(list.map(([, value]) => value)).size === list.length)
  .map((list) => list.sort(([, a], [, b]) => b - a).map(([text, value]) => token(text, value, [])));
const logprobs = fc.array(
  fc.tuple(someText, logprob, top).map(([text, value, list]) => token(text, value, list)),
  { maxLength: 2 },
);

const completion = fc
  .record({
    id: fc.string({ minLength: 1, maxLength: 5 }),
    created: fc.nat({ max: 4_000_000_000 }),
    fingerprint: fc.constantFrom("", "fp_1"),
    usage: fc.option(usage, { nil: undefined }),
    choices: fc.array(fc.tuple(fc.array(fc.tuple(someText, logprobs), { maxLength: 3 }), fc.constantFrom(...ends)), {
      minLength: 1,
      maxLength: 3,
    }),
  })
  .map(({ id, created, fingerprint, usage: counts, choices }) => [
    startEvent({ id, model: "m", createTimeMs: created * 1_000, systemFingerprint: fingerprint }),
    ...choices.flatMap(([pieces], choice) => pieces.map(([text, list]) => textEvent(choice, 0, text, list))),
    endEvent(
      choices.map(([, [reason, raw]], choice) => choiceEnd(choice, reason, raw)),
      counts,
    ),
  ]);

test("a whole answer survives the way to JSON and back", () => {
  fc.assert(
    fc.property(completion, (events) => {
      expectWholeRoundTrip(openaiCompletions, events);
    }),
    { numRuns },
  );
});

test("a streamed answer survives the way to frames and back", () => {
  fc.assert(
    fc.property(completion, (events) => {
      expectStreamRoundTrip(openaiCompletions, events);
    }),
    { numRuns },
  );
});

test("a stream cut after any frame gives the same events so far, and no end", () => {
  fc.assert(
    fc.property(completion, fc.nat(), (events, at) => {
      expectCut(openaiCompletions, events, at);
    }),
    { numRuns },
  );
});

// --- What providers send.

const chunk = (choices: readonly JsonObject[], further: JsonObject = {}) =>
  JSON.stringify({ id: "cmpl-1", object: "text_completion", created: 7, model: "m", choices, ...further });

test("reads a stream of two choices, with the usage of its own chunk", () => {
  const {
    events,
    usage: reported,
    complete,
  } = read([
    chunk([{ index: 1, text: "b" }], { usage: null }),
    chunk([{ text: "a", index: 0, logprobs: null, finish_reason: null }]),
    chunk([{ index: 0, text: "", finish_reason: "stop" }]),
    chunk([{ index: 1, text: "!", finish_reason: "length" }]),
    chunk([], { usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } }),
    "[DONE]",
  ]);
  const counts = usageOf({ inputTokens: 3, outputTokens: 4 });
  expect(events).toEqual([
    startEvent({ id: "cmpl-1", model: "m", createTimeMs: 7_000 }),
    textEvent(1, 0, "b"),
    textEvent(0, 0, "a"),
    textEvent(1, 0, "!"),
    endEvent([choiceEnd(0, StopReason.END, "stop"), choiceEnd(1, StopReason.LENGTH, "length")], counts),
  ]);
  expect({ reported, complete }).toEqual({ reported: { usage: counts, sound: true }, complete: true });
});

test("the last usage of a stream stands, and counts that cannot be are told", () => {
  const continuous = (prompt: number, completion_: number) =>
    chunk([{ text: "a" }], { usage: { prompt_tokens: prompt, completion_tokens: completion_ } });
  const { usage: reported } = read([continuous(3, 1), continuous(3, 2), continuous(-3, 4)], false);
  expect(reported).toEqual({ usage: usageOf({ outputTokens: 4 }), sound: false });
});

test("a stream that closes after every choice has ended is whole; one that closes before is not", () => {
  const [open, ended] = [chunk([{ text: "a" }]), chunk([{ text: "", finish_reason: "stop" }])];
  expect(read([open, ended])).toMatchObject({ complete: true });
  expect(read([open])).toMatchObject({ complete: false, fault: undefined });
  expect(read([open, ended, chunk([{ index: 1, text: "a" }])])).toMatchObject({ complete: false });
  expect(read([])).toMatchObject({ complete: false });
});

test("an end mark with nothing before it ends an empty reply", () => {
  expect(read(["[DONE]"]).events).toEqual([startEvent({ id: "", model: "" }), endEvent([], undefined)]);
});

test("what is odd in a chunk counts as absent", () => {
  const frames = [
    "{}",
    chunk([]),
    '{"choices":[1,{"text":2,"logprobs":3,"finish_reason":4}],"created":"x"}',
    '{"choices":{}}',
  ];
  const { events, fault } = read(frames, false);
  expect(events).toEqual([startEvent({ id: "", model: "" })]);
  expect(fault).toBeUndefined();
});

test.each<[string, string, object]>([
  [
    "an error",
    '{"error":{"message":"m","type":"server_error","code":"x"}}',
    { kind: "error", error: { code: "x", type: "server_error" } },
  ],
  ["no JSON", "{", { kind: "malformed" }],
  ["a list", "[]", { kind: "malformed" }],
  ["a negative index", chunk([{ index: -1, text: "a" }]), { kind: "malformed" }],
  ["an index of no choice", chunk([{ index: 128, text: "a" }]), { kind: "malformed" }],
  ["an index that is text", chunk([{ index: "0", text: "a" }]), { kind: "malformed" }],
])("%s is one fault, and nothing follows it", (_, frame, fault) => {
  const reading = read([chunk([{ text: "a" }]), frame, chunk([{ text: "b" }]), "[DONE]", "{"]);
  expect(reading).toMatchObject({ fault, complete: false });
  expect(reading.events).toHaveLength(2);
});

test("an event of the type error is one, whatever it says", () => {
  const reader = openaiCompletions.createFrameReader();
  reader.read("error", "{}", []);
  expect(reader.fault).toEqual({ kind: "error", error: { code: "", type: "" } });
});

test("frames after the end are not read", () => {
  const reading = read([chunk([{ text: "a" }]), "[DONE]", "{", chunk([{ text: "b" }])]);
  expect(reading).toMatchObject({ complete: true, fault: undefined });
  expect(reading.events).toHaveLength(3);
});

test.each<[string, JsonObject]>([
  ["no choices", { id: "x" }],
  ["an error", { error: { message: "m" }, choices: [] }],
  ["an index that cannot be", { choices: [{ index: -1 }] }],
])("%s is no answer of completions", (_, json) => {
  expect(openaiCompletions.readAnswer(json)).toBeUndefined();
});

test("probabilities stand side by side, and those of the prompt's first token may be missing", () => {
  const reading = openaiCompletions.readAnswer({
    choices: [
      {
        text: "ab",
        logprobs: {
          tokens: ["a", "b"],
          token_logprobs: [null, -1],
          top_logprobs: [null, { c: -3, b: -1 }],
          text_offset: [0, 1],
        },
      },
    ],
  });
  const event = reading?.events[1]?.kind;
  expect(event?.case === "delta" ? event.value.logprobs : []).toEqual([
    token("a", -9999, []),
    token("b", -1, [token("b", -1, []), token("c", -3, [])]),
  ]);
});

// --- What clients get.

const start = startEvent({ id: "i", model: "served", createTimeMs: 7_999, systemFingerprint: "fp" });
const counts = usageOf({ inputTokens: 1, outputTokens: 2 });
const end = endEvent([choiceEnd(0, StopReason.END, "end_turn")], counts);
const head = { id: "i", object: "text_completion", created: 7, model: "served", system_fingerprint: "fp" };
const written = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

const spoken = [
  start,
  reasoningEvent(0, 0, { text: "hm" }),
  textEvent(0, 1, 'a "quoted"\n'),
  refusalEvent(0, 2, "no"),
  toolCallEvent(0, 3, { id: "c", name: "f" }),
  end,
];

test("completions get a chunk for each piece of text, an end, the usage and the end mark", () => {
  const frames = write(spoken);
  expect(frames.at(-1)).toBe("[DONE]");
  const choice = (text: string, finish: string | null) => ({
    ...head,
    choices: [{ text, index: 0, logprobs: null, finish_reason: finish }],
    usage: null,
  });
  expect(frames.slice(0, -1).map((data) => JSON.parse(data) as unknown)).toEqual([
    choice('a "quoted"\n', null),
    choice("no", null),
    choice("", "stop"),
    { ...head, choices: [], usage: written },
  ]);
});

test("without include_usage no chunk speaks of it; a whole answer does always", () => {
  expect(write(spoken, { includeUsage: false }).join("")).not.toContain("usage");
  expect(JSON.parse(openaiCompletions.writeAnswer(spoken, { ...options, includeUsage: false }))).toEqual({
    ...head,
    choices: [{ text: 'a "quoted"\nno', index: 0, logprobs: null, finish_reason: "stop" }],
    usage: written,
  });
});

test("a vendor that named nothing gets what the caller named, and counts that are half known are left out", () => {
  const events = [textEvent(0, 0, "a"), endEvent([choiceEnd(0, StopReason.END, "")], usageOf({ outputTokens: 3 }))];
  expect(JSON.parse(openaiCompletions.writeAnswer(events, options))).toEqual({
    id: "x",
    object: "text_completion",
    created: 5,
    model: "alias",
    choices: [{ text: "a", index: 0, logprobs: null, finish_reason: "stop" }],
  });
  expect(write(events).filter((data) => data.includes('"choices":[]'))).toEqual([]);
});

test("an answer without any choice has an empty one", () => {
  const answer = JSON.parse(openaiCompletions.writeAnswer([start], options)) as JsonObject;
  expect(answer["choices"]).toEqual([{ text: "", index: 0, logprobs: null, finish_reason: "stop" }]);
});

test("later counts replace earlier ones, field by field", () => {
  const first = usageEvent(usageOf({ inputTokens: 5, outputTokens: 1 }));
  const second = usageEvent(usageOf({ outputTokens: 3 }));
  const bare = endEvent([choiceEnd(0, StopReason.END, "")], undefined);
  const merged = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
  const events = [start, first, second, bare];
  expect(JSON.parse(openaiCompletions.writeAnswer(events, options))).toMatchObject({ usage: merged });
  expect(JSON.parse(write(events).at(-2) ?? "")).toMatchObject({ usage: merged });
});

test("offsets of tokens count characters from the beginning of the prompt, on over the chunks", () => {
  const list = (...texts: string[]) => texts.map((text) => token(text, -1, []));
  const events = [start, textEvent(0, 0, "🙂b", list("🙂", "b")), textEvent(0, 0, "c", list("c")), end];
  const further = { request: { prompt: ["é🙂"] } };
  const offsets = write(events, further).flatMap((data) =>
    [...data.matchAll(/"text_offset":(\[[^\]]*\])/g)].map(([, text]) => text),
  );
  expect(offsets).toEqual(["[2,3]", "[4]"]);
  expect(openaiCompletions.writeAnswer(events, { ...options, ...further })).toContain('"text_offset":[2,3,4]');
});

test("of likeliest tokens that look the same the likeliest stands, and no number is infinite", () => {
  const same = [token("?", -5, []), token("?", -2, []), token("!", -Infinity, [])];
  const events = [start, textEvent(0, 0, "a", [token("a", -Infinity, same), token("b", -1, [])]), end];
  expect(JSON.parse(openaiCompletions.writeAnswer(events, options))).toMatchObject({
    choices: [{ logprobs: { token_logprobs: [-9999, -1], top_logprobs: [{ "?": -2, "!": -9999 }, {}] } }],
  });
});

// --- Stop reasons.

const vocabulary: readonly (readonly [string, StopReason])[] = [
  ["stop", StopReason.END],
  ["length", StopReason.LENGTH],
  ["content_filter", StopReason.CONTENT_FILTER],
  ["", StopReason.UNSPECIFIED],
  ["further", StopReason.UNSPECIFIED],
];

test.each(vocabulary)("finish_reason %j is read as %i", (raw, reason) => {
  const reading = openaiCompletions.readAnswer({ choices: [{ text: "a", finish_reason: raw }] });
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
  for (const raw of ["", "end_turn", word]) {
    const events = [endEvent([choiceEnd(0, Number(reason) as StopReason, raw)], undefined)];
    expect(JSON.parse(openaiCompletions.writeAnswer(events, options))).toMatchObject({
      choices: [{ finish_reason: word }],
    });
  }
});

// --- Errors, which are those of OpenAI's chat.

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("reason %i renders its row", (reason) => {
  const row = errorTable[reason];
  const { status, body } = openaiCompletions.renderError(new WeirError(reason), "r");
  expect(status).toBe(row.openai.status);
  expect(JSON.parse(body)).toEqual({
    error: { message: row.text, type: row.openai.type, param: null, code: row.openai.code },
  });
  expect(openaiCompletions.renderErrorEvent(new WeirError(reason), "r")).toBe(`data: ${body}\n\n`);
  expect(openaiCompletions.readError(parse(body))).toMatchObject({
    type: row.openai.type,
    code: row.openai.code ?? "",
  });
});

test("an error event ends no stream", () => {
  const event = openaiCompletions.renderErrorEvent(new WeirError(ErrorReason.STREAM_TRUNCATED), "r");
  expect(read([event.slice("data: ".length).trim()])).toMatchObject({ complete: false });
});
