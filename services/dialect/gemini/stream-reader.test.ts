import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { markOwn } from "./signature.ts";
import { createFrameReader } from "./stream-reader.ts";

function run(frames: readonly (object | string)[], type = "") {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  for (const frame of frames) reader.read(type, typeof frame === "string" ? frame : JSON.stringify(frame), events);
  reader.finish(events);
  return { reader, events, kinds: events.map(({ kind }) => kind.case) };
}

const origin = { modelVersion: "gemini-3-pro", responseId: "r1" };
const said = (...parts: unknown[]) => ({ candidates: [{ content: { parts, role: "model" }, index: 0 }], ...origin });
const end = (more: object = {}, top: object = {}) => ({
  candidates: [{ finishReason: "STOP", index: 0, ...more }],
  ...origin,
  ...top,
});
const hello = said({ text: "Hello" });

/** Deltas as `[part, case, value]`. */
function deltas(events: readonly GenerateEvent[]) {
  return events.flatMap(({ kind }) =>
    kind.case === "delta" ? [[kind.value.part, kind.value.content.case, kind.value.content.value]] : [],
  );
}

function endOf(events: readonly GenerateEvent[]) {
  const kind = events.at(-1)?.kind;
  return kind?.case === "end" ? kind.value : undefined;
}

test("the usual stream: text that goes on is one part, and the counts of the last frame stand", () => {
  const usage = (candidatesTokenCount: number) => ({
    usageMetadata: { promptTokenCount: 4, candidatesTokenCount, totalTokenCount: 4 + candidatesTokenCount },
  });
  const { events, kinds, reader } = run([
    { ...hello, ...usage(1) },
    { ...said({ text: " there" }), ...usage(2) },
    { ...end({ content: { parts: [{ text: "" }], role: "model" } }), ...usage(3) },
  ]);
  expect(kinds).toEqual(["start", "usage", "delta", "delta", "end"]);
  expect(events[0]?.kind.value).toMatchObject({ id: "r1", model: "gemini-3-pro" });
  expect(deltas(events)).toEqual([
    [0, "text", "Hello"],
    [0, "text", " there"],
  ]);
  expect(endOf(events)).toMatchObject({
    choices: [{ choice: 0, reason: StopReason.END, rawReason: "STOP" }],
    usage: { inputTokens: 4, outputTokens: 3 },
  });
  expect(reader.usage).toMatchObject({ usage: { outputTokens: 3 }, sound: true });
});

test("counts that come after the last word are not lost", () => {
  const late = { usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 9, totalTokenCount: 13 }, ...origin };
  expect(endOf(run([hello, end(), late]).events)?.usage).toMatchObject({ outputTokens: 9 });
});

test("later counts replace earlier ones one by one", () => {
  const { reader } = run([
    { ...hello, usageMetadata: { promptTokenCount: 4, cachedContentTokenCount: 2, totalTokenCount: 4 } },
    { ...end(), usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 1, totalTokenCount: 5 } },
  ]);
  expect(reader.usage?.usage).toMatchObject({ inputTokens: 4, cachedInputTokens: 2, outputTokens: 1 });
});

test("a thought ends with its signature; what follows is another one", () => {
  const thought = (text: string, thoughtSignature?: string) => ({ text, thought: true, thoughtSignature });
  const { events } = run([said(thought("a")), said(thought("b", "QQ==")), said(thought("c")), end()]);
  expect(deltas(events).map(([part, , value]) => [part, value])).toMatchObject([
    [0, { text: "a" }],
    [0, { text: "b", signature: markOwn("QQ==") }],
    [1, { text: "c" }],
  ]);
});

test("a signature in a part of its own ends the text", () => {
  const { events } = run([hello, said({ text: "", thoughtSignature: "QQ==" }), said({ text: "x" }), end()]);
  expect(deltas(events)).toMatchObject([
    [0, "text", "Hello"],
    [1, "reasoning", { text: "", signature: markOwn("QQ==") }],
    [2, "text", "x"],
  ]);
});

test("a call is whole, and one without id gets one that is always the same and in no other answer", () => {
  const calls = said(
    { functionCall: { name: "f", args: { a: 1 } }, thoughtSignature: "QQ==" },
    { functionCall: { name: "f" } },
  );
  const idsOf = (frames: object[]) => deltas(run(frames).events).map(([, , value]) => (value as { id: string }).id);
  const { events } = run([calls, end()]);
  expect(deltas(events)).toMatchObject([
    [0, "toolCall", { name: "f", arguments: '{"a":1}', signature: markOwn("QQ==") }],
    [1, "toolCall", { name: "f", arguments: "{}" }],
  ]);
  expect(endOf(events)?.choices).toMatchObject([{ reason: StopReason.TOOL_CALLS, rawReason: "STOP" }]);
  const ids = idsOf([calls, end()]);
  expect(new Set([...ids, ...idsOf([{ ...calls, responseId: "r2" }, end()])]).size).toBe(4);
  expect(idsOf([calls, end()])).toEqual(ids);
  for (const id of ids) expect(id).toMatch(/^[\w-]{1,40}$/);
});

test("the ids and the numbers of a call are Gemini's own", () => {
  const frame =
    '{"candidates":[{"content":{"parts":[{"functionCall":{"id":"x","name":"f","args":{"n":12345678901234567890}}}]}}]}';
  expect(deltas(run([frame, end()]).events)).toMatchObject([
    [0, "toolCall", { id: "x", arguments: '{"n":12345678901234567890}' }],
  ]);
});

test("a call that Vertex AI streams in pieces is put together", () => {
  const piece = (functionCall: object) => said({ functionCall });
  const { events } = run([
    piece({ name: "f", id: "c", willContinue: true }),
    piece({ partialArgs: [{ jsonPath: "$.place", stringValue: "New ", willContinue: true }], willContinue: true }),
    piece({ partialArgs: [{ jsonPath: "$.place", stringValue: "Delhi" }], willContinue: true }),
    said({
      functionCall: { partialArgs: [{ jsonPath: "$.days[0]", numberValue: 2 }], willContinue: true },
      thoughtSignature: "QQ==",
    }),
    piece({}),
    piece({ name: "g", args: {} }),
    end(),
  ]);
  expect(deltas(events)).toMatchObject([
    [0, "toolCall", { id: "c", name: "f", arguments: "" }],
    [0, "toolCall", { id: "", arguments: "", signature: markOwn("QQ==") }],
    [0, "toolCall", { id: "", arguments: '{"place":"New Delhi","days":[2]}' }],
    [1, "toolCall", { name: "g", arguments: "{}" }],
  ]);
});

test("pictures, sound and what was said in it", () => {
  const { events } = run([
    said({ inlineData: { mimeType: "image/png", data: "AAE=" } }),
    said({
      inlineData: { mimeType: "audio/L16;codec=pcm;rate=24000", data: "AAE=" },
      audioTranscription: { text: "hi" },
    }),
    said({ inlineData: { mimeType: "audio/L16;codec=pcm;rate=24000", data: "AgM=" } }),
    end(),
  ]);
  expect(deltas(events)).toMatchObject([
    [0, "image", { mediaType: "image/png", source: { value: Buffer.from([0, 1]) } }],
    [1, "audio", { data: Buffer.from([0, 1]), transcript: "hi" }],
    [1, "audio", { data: Buffer.from([2, 3]) }],
  ]);
});

test("parts of kinds that nobody else knows are sealed, and unknown members do no harm", () => {
  const code = { executableCode: { language: "PYTHON", code: "1" } };
  const { events, reader } = run([
    said(code),
    said({ text: "a", tone: 1 }),
    said({ hologram: {} }),
    { news: 1 },
    end(),
  ]);
  expect(deltas(events)).toMatchObject([
    [0, "reasoning", { sealed: markOwn(JSON.stringify(code)) }],
    [1, "text", "a"],
    [2, "reasoning", { sealed: markOwn('{"hologram":{}}') }],
  ]);
  expect(reader.complete).toBe(true);
  expect(endOf(events)?.details).toMatchObject({ gemini: { news: 1 } });
});

test("choices are apart", () => {
  const candidate = (index: number, text: string, more: object = {}) => ({
    index,
    content: { parts: [{ text }] },
    ...more,
  });
  const { events, reader } = run([
    { candidates: [candidate(1, "b"), candidate(0, "a")] },
    { candidates: [candidate(0, "c", { finishReason: "STOP" })] },
    { candidates: [candidate(1, "d", { finishReason: "MAX_TOKENS" })] },
  ]);
  expect(
    events.flatMap(({ kind }) => (kind.case === "delta" ? [[kind.value.choice, kind.value.content.value]] : [])),
  ).toEqual([
    [1, "b"],
    [0, "a"],
    [0, "c"],
    [1, "d"],
  ]);
  expect(reader.complete).toBe(true);
  expect(endOf(events)?.choices).toMatchObject([{ reason: StopReason.END }, { reason: StopReason.LENGTH }]);
});

test("probabilities go with the text of their frame, else with an empty one", () => {
  const logprobsResult = {
    chosenCandidates: [{ token: "a", logProbability: -0.5, tokenId: 1 }],
    topCandidates: [{ candidates: [{ token: "b", logProbability: -1 }] }],
  };
  const scored = { candidates: [{ content: { parts: [{ text: "a" }] }, logprobsResult }] };
  const { events } = run([scored, end({ logprobsResult })]);
  const logprobs = events.flatMap(({ kind }) =>
    kind.case === "delta" ? [[kind.value.content.value, kind.value.logprobs]] : [],
  );
  const expected = [{ token: "a", logprob: -0.5, top: [{ token: "b", logprob: -1 }] }];
  expect(logprobs).toMatchObject([
    ["a", expected],
    ["", expected],
  ]);
});

test("sources are told at the end, and what else the vendor said is kept", () => {
  const groundingMetadata = {
    webSearchQueries: ["q"],
    groundingChunks: [{ web: { uri: "https://a.example", title: "A" } }],
    groundingSupports: [{ segment: { startIndex: 3, endIndex: 8, text: "Hello" }, groundingChunkIndices: [0] }],
  };
  const { events, kinds } = run([said({ text: "€Hel" }), said({ text: "lo" }), end({ groundingMetadata })]);
  expect(kinds.slice(-2)).toEqual(["citation", "end"]);
  expect(events.at(-2)?.kind.value).toMatchObject({
    choice: 0,
    part: 0,
    citation: { start: 1, end: 6, title: "A", url: "https://a.example", quote: "Hello" },
  });
  expect(endOf(events)?.details).toEqual({ gemini: { candidates: [{ groundingMetadata, index: 0 }] } });
});

test("a refused prompt is an end, not a fault", () => {
  const promptFeedback = { blockReason: "PROHIBITED_CONTENT", safetyRatings: [] };
  const usageMetadata = { promptTokenCount: 4, totalTokenCount: 4 };
  const { events, reader } = run([{ promptFeedback, usageMetadata, ...origin }]);
  expect(reader.complete).toBe(true);
  expect(endOf(events)).toMatchObject({
    choices: [{ choice: 0, reason: StopReason.CONTENT_FILTER, rawReason: "PROHIBITED_CONTENT" }],
    usage: { inputTokens: 4, outputTokens: 0 },
    details: { gemini: { promptFeedback } },
  });
});

test("feedback without a reason to block is none", () => {
  expect(run([{ promptFeedback: { safetyRatings: [] } }, hello]).reader.complete).toBe(false);
});

test.each<[string, (object | string)[]]>([
  ["nothing", []],
  ["text", [hello]],
  ["a reason that says nothing", [hello, end({ finishReason: "FINISH_REASON_UNSPECIFIED" })]],
  ["one of two choices", [hello, { candidates: [{ index: 1, finishReason: "STOP" }] }]],
  ["usage alone", [{ usageMetadata: { promptTokenCount: 1, totalTokenCount: 1 } }]],
])("a stream that ends after %s is not complete, and no fault", (_, frames) => {
  const { reader, kinds } = run(frames);
  expect(reader.complete).toBe(false);
  expect(reader.fault).toBeUndefined();
  expect(kinds).not.toContain("end");
});

test.each<[string, object | string]>([
  ["no JSON", "<html>"],
  ["a number", "5"],
  ["a cut frame", '{"candidates":[{"con'],
  ["candidates that are an object", { candidates: {} }],
  ["a candidate that is a text", { candidates: ["a"] }],
  ["an index below zero", { candidates: [{ index: -1 }] }],
  ["a huge index", { candidates: [{ index: 1e9 }] }],
  ["an index that is a text", { candidates: [{ index: "0" }] }],
  ["a content that is a text", { candidates: [{ content: "a" }] }],
  ["parts that are an object", { candidates: [{ content: { parts: {} } }] }],
  ["a part that is a text", said("a")],
  ["a text that is a number", said({ text: 1 })],
  ["a call that is a text", said({ functionCall: "f" })],
  ["a piece of a call that never began", said({ functionCall: { partialArgs: [] } })],
  ["arguments that are a list", said({ functionCall: { name: "f", args: [] } })],
  [
    "arguments that are a long number",
    '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":12345678901234567890}}]}}]}',
  ],
  ["a piece without a path", said({ functionCall: { name: "f", partialArgs: [{ stringValue: "a" }] } })],
])("malformed: %s", (_, frame) => {
  const { reader, kinds } = run([hello, frame, hello, end()]);
  expect(reader.fault).toEqual({ kind: "malformed" });
  expect(reader.complete).toBe(false);
  expect(kinds.slice(0, 2)).toEqual(["start", "delta"]);
  expect(kinds).not.toContain("end");
});

test.each<[string, object | string, string, object]>([
  [
    "an error",
    { error: { code: 503, message: "secret", status: "UNAVAILABLE" } },
    "",
    { code: "503", type: "UNAVAILABLE", status: 503 },
  ],
  [
    "one in a list",
    [{ error: { code: 429, status: "RESOURCE_EXHAUSTED" } }],
    "",
    { code: "429", type: "RESOURCE_EXHAUSTED", status: 429 },
  ],
  ["an event of the type", "secret", "error", { code: "", type: "" }],
])("%s is a fault, and ends the reading", (_, frame, type, error) => {
  const reader = createFrameReader();
  const events: GenerateEvent[] = [];
  reader.read("", JSON.stringify(hello), events);
  reader.read(type, typeof frame === "string" ? frame : JSON.stringify(frame), events);
  const before = events.length;
  reader.read("", JSON.stringify(end()), events);
  reader.finish(events);
  expect(reader.fault).toEqual({ kind: "error", error });
  expect([reader.complete, events.length]).toEqual([false, before]);
});

test("nothing is read after the end, and empty frames are signs of life", () => {
  const { reader, events } = run([" ", hello, end()]);
  const length = events.length;
  reader.read("", "<html>", events);
  reader.finish(events);
  expect([reader.fault, events.length]).toEqual([undefined, length]);
});
