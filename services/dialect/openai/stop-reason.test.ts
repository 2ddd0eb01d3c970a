import { StopReason, StopReasonSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { type FinishReason, readStopReason, writeStopReason } from "./stop-reason.ts";

test.each<[string, StopReason]>([
  ["stop", StopReason.END],
  ["length", StopReason.LENGTH],
  ["tool_calls", StopReason.TOOL_CALLS],
  ["function_call", StopReason.TOOL_CALLS],
  ["content_filter", StopReason.CONTENT_FILTER],
])("OpenAI's %s, and back", (raw, reason) => {
  expect(readStopReason(raw, false)).toBe(reason);
  expect(writeStopReason(reason, raw === "function_call")).toBe(raw);
});

test.each<[string, StopReason]>([
  ["eos", StopReason.END],
  ["eos_token", StopReason.END],
  ["end_turn", StopReason.END],
  ["stop_sequence", StopReason.STOP_SEQUENCE],
  ["max_tokens", StopReason.LENGTH],
  ["model_length", StopReason.CONTEXT_FULL],
  ["tool_use", StopReason.TOOL_CALLS],
  ["insufficient_system_resource", StopReason.UNSPECIFIED],
  ["", StopReason.UNSPECIFIED],
])("a compatible vendor's %s", (raw, reason) => {
  expect(readStopReason(raw, false)).toBe(reason);
});

test("a forced call ends with stop, and waits for its result", () => {
  expect(readStopReason("stop", true)).toBe(StopReason.TOOL_CALLS);
  expect(readStopReason("length", true)).toBe(StopReason.LENGTH);
});

const words: Record<number, FinishReason> = {
  [StopReason.UNSPECIFIED]: "stop",
  [StopReason.END]: "stop",
  [StopReason.LENGTH]: "length",
  [StopReason.STOP_SEQUENCE]: "stop",
  [StopReason.TOOL_CALLS]: "tool_calls",
  [StopReason.CONTENT_FILTER]: "content_filter",
  [StopReason.CONTEXT_FULL]: "length",
  [StopReason.PAUSED]: "stop",
};

test.each(StopReasonSchema.values.map((value) => [value.localName, value.number as StopReason] as const))(
  "%s for clients",
  (_, reason) => {
    expect(writeStopReason(reason, false)).toBe(words[reason]);
  },
);
