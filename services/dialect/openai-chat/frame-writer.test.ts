import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import type { AnswerOptions } from "../codec.ts";
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
import { createFrameWriter } from "./frame-writer.ts";
import { writeAnswer } from "./write-answer.ts";

const options: AnswerOptions = {
  id: "chatcmpl-own",
  createTimeMs: 1_700_000_000_999,
  model: "alias",
  includeUsage: true,
  request: {},
};

const start = startEvent({ id: "r1", model: "m", createTimeMs: 5_000, serviceTier: "flex", systemFingerprint: "fp" });
const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {}, inputTokens: 9, outputTokens: 3 };
const end = endEvent([choiceEnd(0, StopReason.END, "stop")], usage);

function write(events: readonly GenerateEvent[], given: Partial<AnswerOptions> = {}): string[] {
  const writer = createFrameWriter({ ...options, ...given });
  return events.flatMap((event) => writer.write(event)).map(({ data }) => data);
}

/** The deltas of the first choice, without the one that carries the role. */
function deltas(events: readonly GenerateEvent[], given: Partial<AnswerOptions> = {}): unknown[] {
  return write(events, given)
    .slice(1)
    .filter((data) => data !== "[DONE]")
    .map((data) => (JSON.parse(data) as { choices: { delta: unknown }[] }).choices[0]?.delta);
}

/** The message of the same events as a whole answer. */
function message(events: readonly GenerateEvent[], given: Partial<AnswerOptions> = {}): Record<string, unknown> {
  const answer = JSON.parse(writeAnswer([...events, end], { ...options, ...given })) as {
    choices: { message: Record<string, unknown> }[];
  };
  return answer.choices[0]?.message ?? {};
}

test("the usual stream, as OpenAI writes it", () => {
  const head =
    '{"id":"r1","object":"chat.completion.chunk","created":5,"model":"m","service_tier":"flex","system_fingerprint":"fp","choices":[';
  expect(write([start, textEvent(0, 0, 'Say "hi"'), end])).toEqual([
    `${head}{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}`,
    `${head}{"index":0,"delta":{"content":"Say \\"hi\\""},"logprobs":null,"finish_reason":null}],"usage":null}`,
    `${head}{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`,
    `${head}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`,
    "[DONE]",
  ]);
});

test("the usual answer, as OpenAI writes it", () => {
  expect(JSON.parse(writeAnswer([start, textEvent(0, 0, "H"), textEvent(0, 0, "i"), end], options))).toEqual({
    id: "r1",
    object: "chat.completion",
    created: 5,
    model: "m",
    service_tier: "flex",
    system_fingerprint: "fp",
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: "Hi", refusal: null },
        logprobs: null,
        finish_reason: "stop",
      },
    ],
    usage: { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 },
  });
});

test("without include_usage no chunk speaks of usage", () => {
  const frames = write([start, textEvent(0, 0, "hi"), usageEvent(usage), end], { includeUsage: false });
  expect(frames.join()).not.toContain("usage");
  expect(frames).toHaveLength(4);
});

test("usage that came before the end is filled up by the last one", () => {
  const early: Usage = { ...usage, cachedInputTokens: 4, outputTokens: 1 };
  const frames = write([start, usageEvent(early), end]);
  const written = {
    prompt_tokens: 9,
    completion_tokens: 3,
    total_tokens: 12,
    prompt_tokens_details: { cached_tokens: 4 },
  };
  expect(JSON.parse(frames.at(-2) ?? "")).toMatchObject({ choices: [], usage: written });
  expect(JSON.parse(writeAnswer([start, usageEvent(early), end], options))).toMatchObject({ usage: written });
});

test("usage that nobody reported is not made up", () => {
  const bare = endEvent([choiceEnd(0, StopReason.END, "")], undefined);
  expect(write([start, bare])).toHaveLength(3);
  expect(JSON.parse(writeAnswer([start, bare], options))).not.toHaveProperty("usage");
});

test("what the vendor did not say of the reply is said by the gateway", () => {
  const frames = write([textEvent(0, 0, "hi"), end]);
  for (const data of frames.slice(0, -1)) {
    expect(JSON.parse(data)).toMatchObject({ id: "chatcmpl-own", created: 1_700_000_000, model: "alias" });
  }
  const answer: unknown = JSON.parse(writeAnswer([startEvent({ id: "", model: "" }), end], options));
  expect(answer).toMatchObject({ id: "chatcmpl-own", created: 1_700_000_000, model: "alias" });
});

test("each choice begins with its role", () => {
  const frames = write([
    start,
    textEvent(1, 0, "b"),
    textEvent(0, 0, "a"),
    textEvent(1, 0, "c"),
    endEvent(
      [choiceEnd(0, StopReason.END, ""), choiceEnd(1, StopReason.LENGTH, ""), choiceEnd(2, StopReason.END, "")],
      usage,
    ),
  ]);
  const choices = frames.slice(0, -2).map((data) => {
    const [choice] = (JSON.parse(data) as { choices: { index: number; delta: object; finish_reason: unknown }[] })
      .choices;
    return [choice?.index, ...Object.keys(choice?.delta ?? {}), choice?.finish_reason];
  });
  expect(choices).toEqual([
    [1, "role", "content", "refusal", null],
    [1, "content", null],
    [0, "role", "content", "refusal", null],
    [0, "content", null],
    [1, "content", null],
    [0, "stop"],
    [1, "length"],
    [2, "role", "content", "refusal", null],
    [2, "stop"],
  ]);
});

test("what says nothing makes no chunk", () => {
  const warning = { $typeName: "weir.chat.v1.Warning" as const, code: "field_dropped", param: "x", text: "X." };
  const events: GenerateEvent[] = [
    start,
    textEvent(0, 0, ""),
    refusalEvent(0, 1, ""),
    reasoningEvent(0, 2, {}),
    { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: "warning", value: warning } },
    { $typeName: "weir.chat.v1.GenerateEvent", kind: { case: undefined } },
  ];
  expect(write(events)).toEqual([]);
});

const calls = [
  start,
  toolCallEvent(0, 0, { id: "a", name: "f", arguments: "{" }),
  toolCallEvent(0, 1, { id: "b", name: "g", arguments: "" }),
  toolCallEvent(0, 0, { arguments: "}" }),
  toolCallEvent(0, 1, { arguments: "x", signature: Buffer.from("sig") }),
];

test("calls, piece by piece", () => {
  expect(deltas(calls)).toEqual([
    { tool_calls: [{ index: 0, id: "a", type: "function", function: { name: "f", arguments: "{" } }] },
    { tool_calls: [{ index: 1, id: "b", type: "function", function: { name: "g", arguments: "" } }] },
    { tool_calls: [{ index: 0, function: { arguments: "}" } }] },
    {
      tool_calls: [{ index: 1, function: { arguments: "x" }, extra_content: { google: { thought_signature: "sig" } } }],
    },
  ]);
  expect(message(calls)).toMatchObject({
    content: null,
    tool_calls: [
      { id: "a", type: "function", function: { name: "f", arguments: "{}" } },
      { id: "b", function: { name: "g", arguments: "x" }, extra_content: { google: { thought_signature: "sig" } } },
    ],
  });
});

test("calls of tools without a schema are `custom`", () => {
  const request = { tools: [{ type: "custom", custom: { name: "g" } }] };
  expect(deltas(calls, { request })).toMatchObject([
    { tool_calls: [{ index: 0, type: "function" }] },
    { tool_calls: [{ index: 1, type: "custom", custom: { name: "g", input: "" } }] },
    {},
    { tool_calls: [{ index: 1, custom: { input: "x" } }] },
  ]);
  expect(message(calls, { request })).toMatchObject({
    tool_calls: [{ type: "function" }, { type: "custom", custom: { name: "g", input: "x" } }],
  });
});

test("a client of `functions` gets `function_call`, and a second call all the same", () => {
  const request = { functions: [{ name: "f" }] };
  expect(deltas(calls, { request })).toMatchObject([
    { function_call: { name: "f", arguments: "{" } },
    { tool_calls: [{ index: 0, id: "b", function: { name: "g", arguments: "" } }] },
    { function_call: { arguments: "}" } },
    { tool_calls: [{ index: 0, function: { arguments: "x" } }] },
  ]);
  expect(message(calls, { request })).toMatchObject({
    function_call: { name: "f", arguments: "{}" },
    tool_calls: [{ id: "b", function: { name: "g", arguments: "x" } }],
  });
  const called = endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "")], usage);
  expect(write([...calls, called], { request }).at(-3)).toContain('"finish_reason":"function_call"');
  expect(write([...calls, called]).at(-3)).toContain('"finish_reason":"tool_calls"');
});

test("reasoning stands where clients look for it, and where they send it back from", () => {
  const events = [
    start,
    reasoningEvent(0, 0, { text: "h", id: "rs_1" }),
    reasoningEvent(0, 0, { text: "m" }),
    reasoningEvent(0, 0, { signature: Buffer.from("sig") }),
    reasoningEvent(0, 1, { sealed: Uint8Array.of(0xff) }),
  ];
  const sealed = { type: "reasoning.encrypted", data: "data:;base64,/w==", index: 1 };
  expect(deltas(events)).toEqual([
    { reasoning_content: "h", reasoning_details: [{ type: "reasoning.text", text: "", id: "rs_1", index: 0 }] },
    { reasoning_content: "m" },
    { reasoning_details: [{ type: "reasoning.text", text: "", index: 1 }] },
  ]);
  expect(message(events)).toMatchObject({
    content: "",
    reasoning_content: "hm",
    reasoning_details: [{ type: "reasoning.text", text: "hm", signature: "sig", id: "rs_1", index: 0 }, sealed],
  });
});

test("a stream's reasoning stands whole in one chunk at its end, since OpenAI's client keeps those of one chunk only", () => {
  const events = [
    start,
    reasoningEvent(0, 0, { text: "h", id: "rs_1" }),
    reasoningEvent(0, 1, { text: "second" }),
    reasoningEvent(0, 0, { text: "m", signature: Buffer.from("sig") }),
    textEvent(0, 2, "hi"),
    end,
  ];
  const beginning = (index: number, id = {}) => [{ type: "reasoning.text", text: "", ...id, index }];
  expect(deltas(events)).toEqual([
    { reasoning_content: "h", reasoning_details: beginning(0, { id: "rs_1" }) },
    { reasoning_content: "second", reasoning_details: beginning(1) },
    { reasoning_content: "m", reasoning_details: beginning(0, { id: "rs_1" }) },
    { content: "hi" },
    {
      reasoning_details: [
        { type: "reasoning.text", text: "hm", signature: "sig", id: "rs_1", index: 0 },
        { type: "reasoning.text", text: "second", index: 1 },
      ],
    },
    {},
    undefined,
  ]);
});

test("citations count characters of the whole text, whichever part they belong to", () => {
  const citation = { $typeName: "weir.chat.v1.Citation" as const, start: 1, end: 2, title: "t", url: "u", quote: "q" };
  const events = [
    start,
    textEvent(0, 0, "ab"),
    textEvent(0, 0, "👋"),
    toolCallEvent(0, 1, { id: "a", name: "f" }),
    textEvent(0, 2, "cd"),
    citationEvent(0, 0, citation),
    citationEvent(0, 2, { ...citation, quote: "" }),
    citationEvent(0, 2, { ...citation, url: "" }),
  ];
  const annotations = [
    { type: "url_citation", url_citation: { start_index: 1, end_index: 2, title: "t", url: "u", content: "q" } },
    { type: "url_citation", url_citation: { start_index: 4, end_index: 5, title: "t", url: "u" } },
  ];
  expect(deltas([...events, end]).slice(4, 6)).toEqual([{ annotations }, {}]);
  expect(message(events)).toMatchObject({ content: "ab👋cd", annotations });
});

test("sound is cut where the base64 of all chunks can be joined", () => {
  const events = [
    start,
    audioEvent(0, 0, { id: "audio_1", data: Uint8Array.of(1, 2, 3, 4), transcript: "a" }),
    audioEvent(0, 0, { data: Uint8Array.of(5), transcript: "b" }),
    audioEvent(0, 0, { expireTimeMs: 5_000 }),
  ];
  expect(deltas([...events, end]).slice(0, 5)).toEqual([
    { audio: { id: "audio_1", data: "AQID", transcript: "a" } },
    { audio: { transcript: "b" } },
    { audio: { expires_at: 5 } },
    { audio: { data: "BAU=" } },
    {},
  ]);
  expect(message(events)["audio"]).toEqual({ id: "audio_1", data: "AQIDBAU=", transcript: "ab", expires_at: 5 });
});

test("a picture that is only an id at its vendor is not shown", () => {
  const image = { $typeName: "weir.chat.v1.Media" as const, mediaType: "", filename: "", detail: "" };
  const events = [
    start,
    imageEvent(0, 0, { ...image, source: { case: "fileId", value: "f" } }),
    imageEvent(0, 1, { ...image, source: { case: "url", value: "https://example.org/a" } }),
  ];
  const images = [{ type: "image_url", image_url: { url: "https://example.org/a" } }];
  expect(deltas(events)).toEqual([{ images }]);
  expect(message(events)["images"]).toEqual(images);
});

test("a refusal stands apart from the text", () => {
  const events = [start, refusalEvent(0, 0, "n"), refusalEvent(0, 0, "o")];
  expect(deltas(events)).toEqual([{ refusal: "n" }, { refusal: "o" }]);
  expect(message(events)).toMatchObject({ content: null, refusal: "no" });
});

test("a probability that JSON cannot hold is OpenAI's word for very unlikely", () => {
  const token = { $typeName: "weir.chat.v1.TokenLogprob" as const, token: "a", bytes: new Uint8Array(0), top: [] };
  const [, frame = ""] = write([start, textEvent(0, 0, "a", [{ ...token, logprob: -Infinity }])]);
  expect(JSON.parse(frame)).toMatchObject({
    choices: [
      { logprobs: { content: [{ token: "a", logprob: -9999, bytes: null, top_logprobs: [] }], refusal: null } },
    ],
  });
});
