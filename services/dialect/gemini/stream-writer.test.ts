import { create } from "@bufbuild/protobuf";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
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
import { writeAnswer } from "./answer-writer.ts";
import { createFrameWriter } from "./stream-writer.ts";

const options = { id: "own", createTimeMs: 0, model: "m", includeUsage: true, request: {} };
const start = startEvent({ id: "r1", model: "gemini-3-pro", createTimeMs: 1_000 });
const origin = { modelVersion: "gemini-3-pro", createTime: "1970-01-01T00:00:01.000Z", responseId: "r1" };
const end = (reason: StopReason, raw = "") => endEvent([choiceEnd(0, reason, raw)], undefined);

function frames(...events: GenerateEvent[]) {
  const writer = createFrameWriter(options);
  return events.flatMap((event) => writer.write(event)).map(({ data }) => JSON.parse(data) as Record<string, unknown>);
}

/** The parts of each frame, and the reason of the last one. */
function shown(...events: GenerateEvent[]) {
  return frames(start, ...events).map(({ candidates }) => {
    const [candidate] = candidates as { content: { parts: unknown[] }; finishReason?: string }[];
    return [candidate?.content.parts, ...(candidate?.finishReason === undefined ? [] : [candidate.finishReason])];
  });
}

const empty = [{ text: "" }];

test("each frame is a whole response", () => {
  expect(frames(start, textEvent(0, 0, 'Hi "there"\n'), end(StopReason.END))).toEqual([
    { candidates: [{ content: { parts: [{ text: 'Hi "there"\n' }], role: "model" }, index: 0 }], ...origin },
    { candidates: [{ content: { parts: empty, role: "model" }, index: 0, finishReason: "STOP" }], ...origin },
  ]);
});

test("what the vendor did not tell is the gateway's own", () => {
  expect(frames(textEvent(0, 0, "a"))).toMatchObject([
    { modelVersion: "m", responseId: "own", createTime: "1970-01-01T00:00:00.000Z" },
  ]);
});

test("the last frame has the counts, the final ones or the last ones", () => {
  const early = create(UsageSchema, { inputTokens: 4 });
  const late = create(UsageSchema, { inputTokens: 4, outputTokens: 3, reasoningTokens: 1 });
  const usageOf = (...events: GenerateEvent[]) => frames(...events).at(-1)?.["usageMetadata"];
  expect(usageOf(usageEvent(early), endEvent([], late))).toEqual({
    promptTokenCount: 4,
    candidatesTokenCount: 2,
    thoughtsTokenCount: 1,
    totalTokenCount: 7,
  });
  expect(usageOf(usageEvent(early), endEvent([], undefined))).toEqual({ promptTokenCount: 4 });
  expect(usageOf(endEvent([], undefined))).toBeUndefined();
});

test("calls are whole, in their order, when another kind of part begins or at the end", () => {
  const call = (part: number, more: object) => toolCallEvent(0, part, more);
  expect(
    shown(
      call(0, { id: "a", name: "f" }),
      call(1, { id: "b", name: "g", arguments: "{}" }),
      call(0, { arguments: '{"x":' }),
      call(0, { arguments: "1}" }),
      textEvent(0, 2, "t"),
      call(3, { id: "c", name: "h", arguments: "" }),
      end(StopReason.TOOL_CALLS),
    ),
  ).toEqual([
    [[{ functionCall: { id: "a", name: "f", args: { x: 1 } } }]],
    [[{ functionCall: { id: "b", name: "g", args: {} } }]],
    [[{ text: "t" }]],
    [[{ functionCall: { id: "c", name: "h", args: {} } }]],
    [empty, "STOP"],
  ]);
});

test("a frame stays one line, whatever line breaks its arguments have", () => {
  const writer = createFrameWriter(options);
  writer.write(toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{\r\n  "x": "a\\nb"\n}' }));
  const [frame] = writer.write(end(StopReason.TOOL_CALLS));
  expect(frame?.data).not.toMatch(/[\r\n]/);
  expect(JSON.parse(frame?.data ?? "")).toMatchObject({
    candidates: [{ content: { parts: [{ functionCall: { args: { x: "a\nb" } } }] } }],
  });
});

test.each<[StopReason, string]>([
  [StopReason.TOOL_CALLS, "MALFORMED_FUNCTION_CALL"],
  [StopReason.END, "MALFORMED_FUNCTION_CALL"],
  [StopReason.LENGTH, "MAX_TOKENS"],
  [StopReason.CONTENT_FILTER, "SAFETY"],
])("a call that is no JSON is left out, which the end %i tells as %s", (reason, word) => {
  const events = [toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' }), end(reason)];
  expect(shown(...events)).toEqual([[empty, word]]);
  expect(JSON.parse(writeAnswer(events, options))).toMatchObject({
    candidates: [{ content: { parts: empty }, finishReason: word }],
  });
});

test("a piece for a call that has gone is a defect, not half a call", () => {
  const writer = createFrameWriter(options);
  writer.write(toolCallEvent(0, 0, { id: "a", name: "f", arguments: "{}" }));
  writer.write(textEvent(0, 1, "t"));
  expect(() => writer.write(toolCallEvent(0, 0, { arguments: "x" }))).toThrow("The gateway failed");
});

test("thoughts come at once, their proof when they end", () => {
  const signature = Buffer.from("EqoB");
  const foreign = Buffer.from(`weir:${signature.toString("base64url")}..${Buffer.from("rs_1").toString("base64url")}`);
  expect(
    shown(
      reasoningEvent(0, 0, { id: "rs_1" }),
      reasoningEvent(0, 0, { text: "hm" }),
      reasoningEvent(0, 0, { signature }),
      textEvent(0, 1, "t"),
      end(StopReason.END),
    ),
  ).toEqual([
    [[{ text: "hm", thought: true }]],
    [[{ text: "", thought: true, thoughtSignature: foreign.toString("base64") }]],
    [[{ text: "t" }]],
    [empty, "STOP"],
  ]);
});

test("refusals are texts, and empty pieces nothing", () => {
  const events = [textEvent(0, 0, ""), refusalEvent(0, 1, "no"), end(StopReason.CONTENT_FILTER)];
  expect(shown(...events)).toEqual([[[{ text: "no" }]], [empty, "SAFETY"]]);
});

test("a refused prompt has no candidates, streamed or not", () => {
  const promptFeedback = { blockReason: "SAFETY" };
  const events = [
    start,
    endEvent([choiceEnd(0, StopReason.CONTENT_FILTER, "SAFETY")], undefined, { gemini: { promptFeedback } }),
  ];
  expect(frames(...events)).toEqual([{ promptFeedback, ...origin }]);
  expect(JSON.parse(writeAnswer(events, options))).toEqual({ promptFeedback, ...origin });
});

test("events that do not end are no answer", () => {
  expect(() => writeAnswer([start], options)).toThrow("end with `end`");
});
