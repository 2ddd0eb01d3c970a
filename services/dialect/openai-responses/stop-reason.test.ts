import { StopReason, StopReasonSchema } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { choiceEnd } from "../events.ts";
import { readStop, writeStop } from "./stop-reason.ts";

const incomplete = (reason: string | undefined) => ({ status: "incomplete", incomplete_details: { reason } });

test.each<[object, boolean, StopReason, string]>([
  [{ status: "completed" }, false, StopReason.END, "completed"],
  [{ status: "completed" }, true, StopReason.TOOL_CALLS, "completed"],
  [{}, false, StopReason.END, "completed"],
  [incomplete("max_output_tokens"), false, StopReason.LENGTH, "max_output_tokens"],
  [incomplete("max_output_tokens"), true, StopReason.LENGTH, "max_output_tokens"],
  [incomplete("max_messages"), false, StopReason.LENGTH, "max_messages"],
  [incomplete("content_filter"), false, StopReason.CONTENT_FILTER, "content_filter"],
  [incomplete("steered"), false, StopReason.PAUSED, "steered"],
  [incomplete("new_reason"), false, StopReason.UNSPECIFIED, "new_reason"],
  [incomplete(undefined), false, StopReason.UNSPECIFIED, "incomplete"],
  [{ status: "incomplete", incomplete_details: null }, false, StopReason.UNSPECIFIED, "incomplete"],
])("%o, with calls %s, is read", (response, hasToolCalls, reason, raw) => {
  expect(readStop({ ...response }, hasToolCalls)).toEqual(choiceEnd(0, reason, raw));
});

const written = new Map<StopReason, object>([
  [StopReason.UNSPECIFIED, { status: "completed", reason: undefined }],
  [StopReason.END, { status: "completed", reason: undefined }],
  [StopReason.LENGTH, { status: "incomplete", reason: "max_output_tokens" }],
  [StopReason.STOP_SEQUENCE, { status: "completed", reason: undefined }],
  [StopReason.TOOL_CALLS, { status: "completed", reason: undefined }],
  [StopReason.CONTENT_FILTER, { status: "incomplete", reason: "content_filter" }],
  [StopReason.CONTEXT_FULL, { status: "incomplete", reason: "max_output_tokens" }],
  [StopReason.PAUSED, { status: "incomplete", reason: undefined }],
]);

test.each(StopReasonSchema.values.map(({ number, localName }) => [localName, number] as const))(
  "%s of another vendor is written",
  (_, reason) => {
    expect(writeStop(choiceEnd(0, reason as StopReason, "their_word"))).toEqual(written.get(reason as StopReason));
  },
);

test.each(["max_output_tokens", "max_messages", "content_filter", "steered"])("%s is written back as it was", (raw) => {
  const end = readStop(incomplete(raw), false);
  expect(writeStop(end)).toEqual({ status: "incomplete", reason: raw });
});

test("a status without a word is written back as it was", () => {
  expect(writeStop(readStop(incomplete(undefined), false))).toEqual({ status: "incomplete", reason: undefined });
  expect(writeStop(undefined)).toEqual({ status: "completed", reason: undefined });
});

test("a word that contradicts the reason gives way", () => {
  expect(writeStop(choiceEnd(0, StopReason.END, "max_output_tokens"))).toEqual({
    status: "completed",
    reason: undefined,
  });
});
