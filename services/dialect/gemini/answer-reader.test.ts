import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { readAnswer } from "./answer-reader.ts";

test("parts of a whole answer are apart, also those of one kind", () => {
  const answer = readAnswer({
    candidates: [
      { content: { role: "model", parts: [{ text: "a" }, { text: "b" }] }, finishReason: "STOP", avgLogprobs: -0.5 },
    ],
    usageMetadata: { promptTokenCount: 4, candidatesTokenCount: 2, totalTokenCount: 6 },
    modelVersion: "gemini-3-pro",
    createTime: "2026-01-02T03:04:05.678901Z",
    responseId: "r1",
  });
  expect(answer?.events.map(({ kind }) => [kind.case, kind.value])).toMatchObject([
    ["start", { id: "r1", model: "gemini-3-pro", createTime: { seconds: 1_767_323_045n, nanos: 678_000_000 } }],
    ["usage", { inputTokens: 4 }],
    ["delta", { part: 0, content: { value: "a" } }],
    ["delta", { part: 1, content: { value: "b" } }],
    ["end", { choices: [{ reason: StopReason.END }], details: { gemini: { candidates: [{ avgLogprobs: -0.5 }] } } }],
  ]);
  expect(answer?.usage).toMatchObject({ usage: { outputTokens: 2 }, sound: true });
});

test.each<[string, JsonObject, object]>([
  [
    "no reason",
    { candidates: [{ content: { parts: [{ text: "a" }] } }] },
    { reason: StopReason.UNSPECIFIED, rawReason: "" },
  ],
  [
    "no content",
    { candidates: [{ finishReason: "SAFETY" }] },
    { reason: StopReason.CONTENT_FILTER, rawReason: "SAFETY" },
  ],
  ["a new reason", { candidates: [{ finishReason: "BORED" }] }, { reason: StopReason.UNSPECIFIED, rawReason: "BORED" }],
  [
    "no candidates, and why",
    { promptFeedback: { blockReason: "OTHER" } },
    { reason: StopReason.CONTENT_FILTER, rawReason: "OTHER" },
  ],
])("a whole answer ends even with %s", (_, body, choice) => {
  const kind = readAnswer(body)?.events.at(-1)?.kind;
  expect(kind).toMatchObject({ case: "end", value: { choices: [choice] } });
});

test.each([{}, { candidates: {} }, { candidates: [5] }, { error: {} }, { usageMetadata: {} }])(
  "%j is no answer",
  (body) => {
    expect(readAnswer(body)).toBeUndefined();
  },
);
