import { create } from "@bufbuild/protobuf";
import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import {
  audioEvent,
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
  usageEvent,
} from "../events.ts";
import { imageType } from "../image-type.ts";
import type { JsonObject } from "../json.ts";
import { ollama } from "./codec.ts";
import { options, writeFrames, readFrames, stream, usageOf } from "./testing/answers.ts";

// --- What servers send. The lines are those of https://docs.ollama.com/api/chat and https://ollama.com/blog/streaming-tool

const documented = [
  '{"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","message":{"role":"assistant","content":"The"},"done":false}',
  '{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}',
];

test("reads the documented stream", () => {
  const { events, usage } = readFrames(documented);
  expect(events).toEqual([
    startEvent({ id: "", model: "llama3.2", createTimeMs: 1_691_164_339_385 }),
    textEvent(0, 0, "The"),
    endEvent([choiceEnd(0, StopReason.END, "stop")], usageOf({ inputTokens: 26, outputTokens: 282 }), {
      total_duration: 4_883_583_458,
      load_duration: 1_334_875,
      prompt_eval_duration: 342_546_000,
      eval_duration: 4_535_599_000,
    }),
  ]);
  expect(usage).toEqual({ usage: usageOf({ inputTokens: 26, outputTokens: 282 }), sound: true });
});

const called =
  '{"model":"qwen3","created_at":"2025-05-27T22:54:58.100509Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"get_current_weather","arguments":{"format":"celsius","location":"Toronto"}}},{"id":"call_1","function":{"index":1,"name":"f","arguments":{}}}]},"done":false}';

test("calls without ids get one that depends on nothing but the bytes, and differs between answers", () => {
  const ids = (line: string) =>
    readFrames([line]).events.flatMap(({ kind }) =>
      kind.case === "delta" && kind.value.content.case === "toolCall" ? [kind.value.content.value.id] : [],
    );
  expect(ids(called)).toEqual([expect.stringMatching(/^call_[0-9a-f]{24}$/), "call_1"]);
  expect(ids(called)).toEqual(ids(called));
  expect(ids(called)[0]).not.toBe(ids(called.replace("58.100509", "58.100510"))[0]);
  const twice = ids(
    called
      .replace('"id":"call_1",', "")
      .replace('"f","arguments":{}', '"get_current_weather","arguments":{"format":"celsius","location":"Toronto"}'),
  );
  expect(new Set(twice).size).toBe(2);
});

test("a reply that ends with `stop` after a call waits for results", () => {
  const { events } = readFrames([called, documented[1] ?? ""]);
  expect(events.at(-1)?.kind).toMatchObject({
    value: { choices: [{ reason: StopReason.TOOL_CALLS, rawReason: "stop" }] },
  });
});

test("a whole answer of every kind of content is read in order", () => {
  const png = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  const message = {
    role: "assistant",
    content: "text",
    thinking: "thought",
    images: [png.toString("base64"), "*"],
    tool_calls: [{ function: { name: "f" } }],
  };
  const reading = ollama.readAnswer({
    model: "m",
    message,
    done: true,
    eval_count: 3,
    logprobs: [{ token: "t", logprob: -1 }],
  });
  const picture = {
    $typeName: "weir.chat.v1.Media",
    source: { case: "data", value: png },
    mediaType: imageType(png),
    filename: "",
    detail: "",
  } as const;
  expect(reading?.events.slice(1, -1)).toEqual([
    reasoningEvent(0, 0, { text: "thought" }),
    imageEvent(0, 1, picture),
    textEvent(0, 2, "text", [
      { $typeName: "weir.chat.v1.TokenLogprob", token: "t", logprob: -1, bytes: new Uint8Array(), top: [] },
    ]),
    toolCallEvent(0, 3, { id: expect.any(String) as string, name: "f", arguments: "{}" }),
  ]);
  expect(reading?.usage).toEqual({ usage: usageOf({ outputTokens: 3 }), sound: true });
});

test("probabilities of thoughts, and of tokens without text, are kept", () => {
  const list = [{ token: "t", logprob: -1, bytes: [116] }];
  const line = (message: JsonObject) => JSON.stringify({ model: "m", message, logprobs: list, done: false });
  const { events } = readFrames([line({ thinking: "t" }), line({ content: "" })]);
  const deltas = events.flatMap(({ kind }) => (kind.case === "delta" ? [kind.value] : []));
  expect(deltas.map((delta) => [delta.content.case, delta.part, delta.logprobs.length])).toEqual([
    ["reasoning", 0, 1],
    ["text", 1, 1],
  ]);
});

test.each<[string, JsonObject]>([
  ["no message", { model: "m", done: true }],
  ["an error", { error: "x", message: {} }],
  ["a call without name", { message: { tool_calls: [{ function: {} }] } }],
])("%s is no answer", (_, json) => {
  expect(ollama.readAnswer(json)).toBeUndefined();
});

test("what is odd in a stream counts as absent", () => {
  const lines = [
    "{}",
    '{"message":1}',
    '{"message":{"content":1,"thinking":[],"images":[1],"tool_calls":{}},"created_at":"x","done":"true","further":{}}',
  ];
  const { events, fault, complete } = readFrames(lines);
  expect(events).toEqual([startEvent({ id: "", model: "" })]);
  expect({ fault, complete }).toEqual({ fault: undefined, complete: false });
});

test.each<[string, string, object]>([
  [
    "an error",
    '{"error":"an error was encountered while running the model"}',
    { kind: "error", error: { code: "", type: "" } },
  ],
  [
    "an error of a server in between",
    '{"error":{"message":"x","type":"api_error","code":429}}',
    { kind: "error", error: { code: "429", type: "api_error", status: 429 } },
  ],
  ["a line that is no JSON", "{", { kind: "malformed" }],
  ["a line that is a list", "[]", { kind: "malformed" }],
  ["a call without function", '{"message":{"tool_calls":[1]}}', { kind: "malformed" }],
  ["a call without name", '{"message":{"tool_calls":[{"function":{"arguments":{}}}]}}', { kind: "malformed" }],
])("%s is one fault, and nothing follows it", (_, line, fault) => {
  const [first = "", last = ""] = documented;
  const reading = readFrames([first, line, first, last, "{"]);
  expect(reading).toMatchObject({ fault, complete: false });
  expect(reading.events).toHaveLength(2);
});

test("lines after the end are not read", () => {
  const [first = "", last = ""] = documented;
  const reading = readFrames([first, last, first, "{", last]);
  expect(reading).toMatchObject({ complete: true, fault: undefined });
  expect(reading.events).toHaveLength(3);
});

test.each<[JsonObject, Partial<Usage> | undefined, boolean]>([
  [{}, undefined, true],
  [{ prompt_eval_count: 0, eval_count: 0 }, { inputTokens: 0, outputTokens: 0 }, true],
  [{ eval_count: 5 }, { outputTokens: 5 }, true],
  [{ prompt_eval_count: -1, eval_count: 5 }, { outputTokens: 5 }, false],
  [{ prompt_eval_count: 1.5, eval_count: 2 ** 32 }, {}, false],
  [{ prompt_eval_count: "5", eval_count: 2 ** 32 - 1 }, { outputTokens: 2 ** 32 - 1 }, false],
])("counts %o are read as %o", (json, expected, sound) => {
  const { usage } = readFrames([JSON.stringify({ ...json, done: true })]);
  expect(usage).toEqual(expected && { usage: usageOf(expected), sound });
});

// --- What clients get.

const start = startEvent({ id: "i", model: "served", createTimeMs: 1_691_164_339_385 });
const end = endEvent(
  [choiceEnd(0, StopReason.END, "end_turn")],
  usageOf({ inputTokens: 1, outputTokens: 2, cachedInputTokens: 1 }),
);
const head = { model: "served", created_at: "2023-08-04T15:52:19.385Z" };
const lines = (events: readonly GenerateEvent[]) => writeFrames(events).map(({ data }) => JSON.parse(data) as unknown);
const say = (message: JsonObject) => ({
  ...head,
  message: { role: "assistant", content: "", ...message },
  done: false,
});
const lastLine = {
  ...head,
  message: { role: "assistant", content: "" },
  done: true,
  done_reason: "stop",
  prompt_eval_count: 1,
  eval_count: 2,
};

test("writes a line for each piece, and calls whole", () => {
  const events = [
    start,
    reasoningEvent(0, 0, { text: "hm" }),
    reasoningEvent(0, 0, { signature: Buffer.from("s") }),
    textEvent(0, 1, 'a "quoted"\n'),
    toolCallEvent(0, 2, { id: "a", name: "f" }),
    toolCallEvent(0, 3, { id: "b", name: "g", arguments: '{"n":' }),
    toolCallEvent(0, 2, { arguments: '{"x":1}' }),
    toolCallEvent(0, 3, { arguments: "12345678901234567890}" }),
    refusalEvent(0, 4, "no"),
    toolCallEvent(0, 5, { id: "c", name: "h" }),
    citationEvent(0, 1, { $typeName: "weir.chat.v1.Citation", start: 0, end: 1, title: "", url: "", quote: "" }),
    audioEvent(0, 6, { data: Buffer.from("x") }),
    textEvent(1, 0, "another choice"),
    end,
  ];
  expect(writeFrames(events).some(({ data }) => data.includes('"arguments":{"n":12345678901234567890}'))).toBe(true);
  expect(lines(events)).toEqual([
    say({ thinking: "hm" }),
    say({ content: 'a "quoted"\n' }),
    say({
      tool_calls: [
        { id: "a", function: { index: 0, name: "f", arguments: { x: 1 } } },
        { id: "b", function: { index: 1, name: "g", arguments: { n: Number("12345678901234567890") } } },
      ],
    }),
    say({ content: "no" }),
    say({ tool_calls: [{ id: "c", function: { index: 2, name: "h", arguments: {} } }] }),
    lastLine,
  ]);
});

test("a call whose arguments are not whole waits, whatever comes between", () => {
  const events = [
    start,
    toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' }),
    textEvent(0, 1, "between"),
    toolCallEvent(0, 0, { arguments: "1}" }),
    end,
  ];
  expect(lines(events)).toEqual([
    say({ content: "between" }),
    say({ tool_calls: [{ id: "a", function: { index: 0, name: "f", arguments: { x: 1 } } }] }),
    lastLine,
  ]);
});

const cut = toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' });

test.each([StopReason.LENGTH, StopReason.CONTEXT_FULL, StopReason.CONTENT_FILTER])(
  "a call that was cut off with its reply is left out (reason %i)",
  (reason) => {
    const events = [start, textEvent(0, 1, "a"), cut, endEvent([choiceEnd(0, reason, "")], undefined)];
    expect(JSON.parse(ollama.writeAnswer(events, options))).not.toHaveProperty("message.tool_calls");
    expect(lines(events)).toHaveLength(2);
  },
);

test("a call with broken arguments in a reply that claims to be whole is an error in place of the end", () => {
  const error = { error: expect.stringContaining("tool call") as unknown };
  expect(lines([start, textEvent(0, 1, "a"), cut, end])).toEqual([say({ content: "a" }), error]);
  expect(stream([start, cut, end])).toMatchObject({ complete: false, fault: { kind: "error" } });
  expect(JSON.parse(ollama.writeAnswer([start, cut, end], options))).toEqual(error);
});

test("a vendor that named no model, no time and no end gets what the caller named", () => {
  const answer = JSON.parse(ollama.writeAnswer([textEvent(0, 0, "a")], options)) as unknown;
  const message = { role: "assistant", content: "a" };
  expect(answer).toEqual({
    model: "alias",
    created_at: "1970-01-01T00:00:00.000Z",
    message,
    done: true,
    done_reason: "stop",
  });
});

test("later counts replace earlier ones, field by field, and the end's replace all", () => {
  const first = usageEvent(usageOf({ inputTokens: 5, outputTokens: 1 }));
  const second = usageEvent(usageOf({ outputTokens: 3 }));
  const last = (events: readonly GenerateEvent[]) => lines(events).at(-1);
  const bare = endEvent([choiceEnd(0, StopReason.END, "")], undefined);
  expect(last([start, first, second, bare])).toMatchObject({ prompt_eval_count: 5, eval_count: 3 });
  expect(last([start, first, second, end])).toMatchObject({ prompt_eval_count: 1, eval_count: 2 });
  const created = create(UsageSchema, { outputTokens: 9 });
  expect(last([start, first, usageEvent(created), bare])).toMatchObject({ prompt_eval_count: 5, eval_count: 9 });
  expect(JSON.parse(ollama.writeAnswer([start, first, second, bare], options))).toMatchObject({
    prompt_eval_count: 5,
    eval_count: 3,
  });
});

test("details of other vendors are not written", () => {
  const other = endEvent([choiceEnd(0, StopReason.END, "")], undefined, { container: "x", total_duration: 5 });
  expect(lines([start, other])[0]).toMatchObject({ total_duration: 5 });
  expect(lines([start, other])[0]).not.toHaveProperty("container");
});

test("a probability of zero is written as a number", () => {
  const never: TokenLogprob = {
    $typeName: "weir.chat.v1.TokenLogprob",
    token: "t",
    logprob: -Infinity,
    bytes: new Uint8Array(),
    top: [],
  };
  expect(lines([textEvent(0, 0, "t", [never])])[0]).toMatchObject({ logprobs: [{ token: "t", logprob: -9999 }] });
});

// --- Stop reasons.

const words: readonly (readonly [string, boolean, StopReason])[] = [
  ["stop", false, StopReason.END],
  ["stop", true, StopReason.TOOL_CALLS],
  ["length", false, StopReason.LENGTH],
  ["length", true, StopReason.LENGTH],
  ["load", false, StopReason.END],
  ["unload", false, StopReason.END],
  ["", false, StopReason.UNSPECIFIED],
  ["further", true, StopReason.UNSPECIFIED],
];

test.each(words)("done_reason %j (calls: %s) is read as %i, and its word is kept", (word_, calls, reason) => {
  const call = { function: { name: "f", arguments: {} } };
  const json = { message: { content: "", tool_calls: calls ? [call] : [] }, done: true, done_reason: word_ };
  const last = ollama.readAnswer(json)?.events.at(-1)?.kind;
  expect(last).toMatchObject({ value: { choices: [{ reason, rawReason: word_ }] } });
});

const written: Readonly<Record<StopReason, string>> = {
  [StopReason.UNSPECIFIED]: "stop",
  [StopReason.END]: "stop",
  [StopReason.LENGTH]: "length",
  [StopReason.STOP_SEQUENCE]: "stop",
  [StopReason.TOOL_CALLS]: "stop",
  [StopReason.CONTENT_FILTER]: "stop",
  [StopReason.CONTEXT_FULL]: "length",
  [StopReason.PAUSED]: "stop",
};

test.each(Object.entries(written))("reason %s is written as %s", (reason, word_) => {
  for (const raw of ["", "end_turn"]) {
    const last = endEvent([choiceEnd(0, Number(reason) as StopReason, raw)], undefined);
    expect(lines([last])[0]).toMatchObject({ done_reason: word_ });
  }
});

test("a word of the dialect's own is written back", () => {
  expect(lines([endEvent([choiceEnd(0, StopReason.END, "unload")], undefined)])[0]).toMatchObject({
    done_reason: "unload",
  });
});
