import { StopReason, StopReasonSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { readStopReason, writeFinishReason } from "./stop-reason.ts";

const { UNSPECIFIED, END, LENGTH, CONTENT_FILTER, PAUSED, TOOL_CALLS, STOP_SEQUENCE, CONTEXT_FULL } = StopReason;

const ours: readonly (readonly [word: string, reason: StopReason])[] = [
  ["FINISH_REASON_UNSPECIFIED", UNSPECIFIED],
  ["STOP", END],
  ["MAX_TOKENS", LENGTH],
  ["SAFETY", CONTENT_FILTER],
  ["RECITATION", CONTENT_FILTER],
  ["LANGUAGE", CONTENT_FILTER],
  ["OTHER", UNSPECIFIED],
  ["BLOCKLIST", CONTENT_FILTER],
  ["PROHIBITED_CONTENT", CONTENT_FILTER],
  ["SPII", CONTENT_FILTER],
  ["MODEL_ARMOR", CONTENT_FILTER],
  ["MALFORMED_FUNCTION_CALL", UNSPECIFIED],
  ["UNEXPECTED_TOOL_CALL", UNSPECIFIED],
  ["TOO_MANY_TOOL_CALLS", UNSPECIFIED],
  ["MISSING_THOUGHT_SIGNATURE", UNSPECIFIED],
  ["MALFORMED_RESPONSE", UNSPECIFIED],
  ["IMAGE_SAFETY", CONTENT_FILTER],
  ["IMAGE_PROHIBITED_CONTENT", CONTENT_FILTER],
  ["IMAGE_RECITATION", CONTENT_FILTER],
  ["IMAGE_OTHER", UNSPECIFIED],
  ["NO_IMAGE", UNSPECIFIED],
  ["CONTINUATION", PAUSED],
];

test.each(ours)("%s is read as %i and written back as it was", (word, reason) => {
  expect(readStopReason(word, false)).toBe(reason);
  expect(writeFinishReason(reason, word)).toBe(word);
});

test("Gemini stops for calls as for any other end, and for nothing else", () => {
  expect(readStopReason("STOP", true)).toBe(TOOL_CALLS);
  expect(readStopReason("MAX_TOKENS", true)).toBe(LENGTH);
  expect(readStopReason("NEW_WORD", true)).toBe(UNSPECIFIED);
});

const words = new Map<StopReason, string>([
  [UNSPECIFIED, "OTHER"],
  [END, "STOP"],
  [LENGTH, "MAX_TOKENS"],
  [STOP_SEQUENCE, "STOP"],
  [TOOL_CALLS, "STOP"],
  [CONTENT_FILTER, "SAFETY"],
  [CONTEXT_FULL, "MAX_TOKENS"],
  [PAUSED, "CONTINUATION"],
]);

test.each(StopReasonSchema.values.map(({ number }) => [number as StopReason] as const))("%i has a word", (reason) => {
  expect(writeFinishReason(reason, "")).toBe(words.get(reason));
});

test("words of other vendors, and Gemini's for something else, do not stand", () => {
  expect(writeFinishReason(END, "end_turn")).toBe("STOP");
  expect(writeFinishReason(END, "SAFETY")).toBe("STOP");
  expect(writeFinishReason(STOP_SEQUENCE, "STOP")).toBe("STOP");
});
