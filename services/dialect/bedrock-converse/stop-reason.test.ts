import { StopReason, StopReasonSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { readStopReason, writeStopReason } from "./stop-reason.ts";

const words = [
  ["end_turn", StopReason.END],
  ["tool_use", StopReason.TOOL_CALLS],
  ["max_tokens", StopReason.LENGTH],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["guardrail_intervened", StopReason.CONTENT_FILTER],
  ["content_filtered", StopReason.CONTENT_FILTER],
  ["malformed_model_output", StopReason.UNSPECIFIED],
  ["malformed_tool_use", StopReason.UNSPECIFIED],
  ["model_context_window_exceeded", StopReason.CONTEXT_FULL],
] as const;

test.each(words)("%s is read, and comes back", (word, reason) => {
  expect(readStopReason(word)).toBe(reason);
  expect(writeStopReason(reason, word)).toBe(word);
});

test("a word that is not known says nothing", () => {
  expect(readStopReason("future")).toBe(StopReason.UNSPECIFIED);
  expect(readStopReason("")).toBe(StopReason.UNSPECIFIED);
});

const written: Readonly<Record<number, string>> = {
  [StopReason.UNSPECIFIED]: "end_turn",
  [StopReason.END]: "end_turn",
  [StopReason.LENGTH]: "max_tokens",
  [StopReason.STOP_SEQUENCE]: "stop_sequence",
  [StopReason.TOOL_CALLS]: "tool_use",
  [StopReason.CONTENT_FILTER]: "content_filtered",
  [StopReason.CONTEXT_FULL]: "model_context_window_exceeded",
  [StopReason.PAUSED]: "end_turn",
};

test.each(StopReasonSchema.values.map(({ number, name }) => [name, number] as const))("%s has a word", (_, reason) => {
  expect(writeStopReason(reason as StopReason, "length")).toBe(written[reason]);
});

test("a raw word of this dialect with another meaning is not written", () => {
  expect(writeStopReason(StopReason.LENGTH, "end_turn")).toBe("max_tokens");
});
