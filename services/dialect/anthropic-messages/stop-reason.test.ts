import { StopReason, StopReasonSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { readStopReason, writeStopReason } from "./stop-reason.ts";

const words: readonly (readonly [string, StopReason])[] = [
  ["end_turn", StopReason.END],
  ["max_tokens", StopReason.LENGTH],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["tool_use", StopReason.TOOL_CALLS],
  ["pause_turn", StopReason.PAUSED],
  ["compaction", StopReason.PAUSED],
  ["refusal", StopReason.CONTENT_FILTER],
  ["model_context_window_exceeded", StopReason.CONTEXT_FULL],
];

test.each(words)("%s is read, and written back as it was", (word, reason) => {
  expect(readStopReason(word)).toBe(reason);
  expect(writeStopReason(reason, word, true)).toBe(word);
});

test("a word that is new is not reported, and written as a plain end", () => {
  expect(readStopReason("sleepy")).toBe(StopReason.UNSPECIFIED);
  expect(writeStopReason(StopReason.UNSPECIFIED, "sleepy", false)).toBe("end_turn");
});

const reasons: Record<string, string> = {
  STOP_REASON_UNSPECIFIED: "end_turn",
  STOP_REASON_END: "end_turn",
  STOP_REASON_LENGTH: "max_tokens",
  STOP_REASON_STOP_SEQUENCE: "stop_sequence",
  STOP_REASON_TOOL_CALLS: "tool_use",
  STOP_REASON_CONTENT_FILTER: "refusal",
  STOP_REASON_CONTEXT_FULL: "model_context_window_exceeded",
  STOP_REASON_PAUSED: "pause_turn",
};

test("every reason of the canonical form has a word", () => {
  expect(Object.keys(reasons)).toEqual(StopReasonSchema.values.map(({ name }) => name));
});

test.each(StopReasonSchema.values)("$name of another vendor is written", ({ name, number }) => {
  expect(writeStopReason(number as StopReason, "stop", false)).toBe(reasons[name]);
});

test("a word of this vendor that means something else elsewhere is not taken over", () => {
  expect(writeStopReason(StopReason.END, "max_tokens", false)).toBe("end_turn");
});

test("a reply with calls says so when its vendor named no other reason", () => {
  expect(writeStopReason(StopReason.END, "STOP", true)).toBe("tool_use");
  expect(writeStopReason(StopReason.UNSPECIFIED, "", true)).toBe("tool_use");
  expect(writeStopReason(StopReason.LENGTH, "length", true)).toBe("max_tokens");
  expect(writeStopReason(StopReason.END, "end_turn", true)).toBe("end_turn");
});
