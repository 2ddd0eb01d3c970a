import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AnswerOptions } from "../codec.ts";
import { choiceEnd, endEvent, imageEvent, refusalEvent, startEvent, textEvent, toolCallEvent } from "../events.ts";
import { parseExact } from "../json.ts";
import { readAnswer } from "./answer-reader.ts";
import { writeAnswer } from "./answer-writer.ts";
import { askingRequest, joined, replies } from "./testing/replies.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const options: AnswerOptions = { id: "reply", createTimeMs: 0, model: "m", includeUsage: true, request: askingRequest };

const end = endEvent([choiceEnd(0, StopReason.END, "stop")], undefined);
const start = startEvent({ id: "chatcmpl-1", model: "gpt" });

test("an answer comes back as it was", () => {
  fc.assert(
    fc.property(replies, (events) => {
      const body = parseExact(writeAnswer(events, options));
      const reading = body && readAnswer(body);
      expect(joined(reading?.events ?? [])).toEqual(joined(events));
      expect(reading?.usage?.sound ?? true).toBe(true);
    }),
    { numRuns },
  );
});

test("an answer of Claude's with tools, reasoning and a source", () => {
  const reading = readAnswer({
    output: {
      message: {
        role: "assistant",
        content: [
          { reasoningContent: { reasoningText: { text: "Hm.", signature: "c2ln" } } },
          {
            citationsContent: {
              content: [{ text: "Blüm" }, { text: "𝒜" }],
              citations: [
                {
                  title: "T",
                  sourceContent: [{ text: "q" }],
                  location: { documentPage: { documentIndex: 0, start: 2, end: 3 } },
                },
              ],
            },
          },
          { toolUse: { toolUseId: "tooluse_1", name: "add", input: { a: 1, b: [2] } } },
        ],
      },
    },
    stopReason: "tool_use",
    usage: { inputTokens: 18, outputTokens: 386, totalTokens: 404 },
    metrics: { latencyMs: 700 },
    serviceTier: { type: "flex" },
    trace: { promptRouter: { invokedModelId: "anthropic.claude" } },
  });
  const kinds = reading?.events.map(({ kind }) => kind) ?? [];
  expect(kinds[0]).toMatchObject({ case: "start", value: { model: "anthropic.claude", serviceTier: "flex" } });
  expect(kinds.slice(1, -1)).toMatchObject([
    { case: "delta", value: { part: 0, content: { value: { text: "Hm.", signature: Buffer.from("c2ln") } } } },
    { case: "delta", value: { part: 1, content: { case: "text", value: "Blüm𝒜" } } },
    {
      case: "citation",
      value: {
        part: 1,
        citation: {
          start: 0,
          end: 5,
          title: "T",
          quote: "q",
          url: "",
          details: { location: { documentPage: { documentIndex: 0, start: 2, end: 3 } } },
        },
      },
    },
    {
      case: "delta",
      value: { part: 2, content: { value: { id: "tooluse_1", name: "add", arguments: '{"a":1,"b":[2]}' } } },
    },
  ]);
  expect(kinds.at(-1)).toMatchObject({
    case: "end",
    value: {
      choices: [{ reason: StopReason.TOOL_CALLS, rawReason: "tool_use" }],
      usage: { inputTokens: 18, outputTokens: 386 },
      details: { metrics: { latencyMs: 700 }, trace: { promptRouter: { invokedModelId: "anthropic.claude" } } },
    },
  });
});

test("a block that cannot be translated leaves a warning and no part", () => {
  const content = [
    { toolUse: { toolUseId: "t", name: "nova_grounding", input: {}, type: "server_tool_use" } },
    { toolResult: { toolUseId: "t", content: [] } },
    { future: 1 },
    { text: "after" },
  ];
  const events = readAnswer({ output: { message: { role: "assistant", content } } })?.events ?? [];
  expect(events.filter(({ kind }) => kind.case === "warning")).toHaveLength(3);
  expect(events.find(({ kind }) => kind.case === "delta")?.kind.value).toMatchObject({ part: 0 });
});

test.each([[{}], [{ output: {} }], [{ output: { message: "m" } }], [{ message: "Too many requests" }]])(
  "%j is no answer",
  (body) => expect(readAnswer(body)).toBeUndefined(),
);

test("an answer without anything but a message is read", () => {
  expect(readAnswer({ output: { message: {} } })?.events.map(({ kind }) => kind.case)).toEqual(["start", "end"]);
});

function written(...events: Parameters<typeof writeAnswer>[0]): unknown {
  return JSON.parse(writeAnswer([start, ...events, end], options));
}

test("what other vendors say and this dialect has no word for is told as text", () => {
  const picture = {
    $typeName: "weir.chat.v1.Media" as const,
    source: { case: "url" as const, value: "https://example.com/a.png" },
    mediaType: "image/png",
    filename: "",
    detail: "",
  };
  expect(written(refusalEvent(0, 0, "No."), imageEvent(0, 1, picture))).toMatchObject({
    output: { message: { role: "assistant", content: [{ text: "No." }, { text: "https://example.com/a.png" }] } },
    stopReason: "end_turn",
    metrics: { latencyMs: 0 },
  });
});

test("arguments that are no object are wrapped, and empty ones are an empty object", () => {
  const broken = toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' });
  const empty = toolCallEvent(0, 1, { id: "b", name: "g" });
  expect(written(broken, empty)).toMatchObject({
    output: { message: { content: [{ toolUse: { input: { INVALID_JSON: '{"x":' } } }, { toolUse: { input: {} } }] } },
  });
});

test("no other choice than the first is written, and no usage where none was reported", () => {
  const body = written(textEvent(0, 0, "a"), textEvent(1, 0, "b")) as Record<string, unknown>;
  expect(body["output"]).toEqual({ message: { role: "assistant", content: [{ text: "a" }] } });
  expect(body).not.toHaveProperty("usage");
});

test("a stop sequence is told to those who asked", () => {
  const stop = endEvent([choiceEnd(0, StopReason.STOP_SEQUENCE, "stop", "###")], undefined);
  const asked = JSON.parse(writeAnswer([start, stop], options)) as Record<string, unknown>;
  expect(asked["additionalModelResponseFields"]).toEqual({ stop_sequence: "###" });
  const unasked = JSON.parse(writeAnswer([start, stop], { ...options, request: {} })) as Record<string, unknown>;
  expect(unasked).not.toHaveProperty("additionalModelResponseFields");
});
