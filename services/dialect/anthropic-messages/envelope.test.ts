import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { readEnvelope } from "./envelope.ts";

const hi = { model: "claude-opus-5", max_tokens: 100, messages: [{ role: "user", content: "hi" }] };

test("reads what limits and routing need", () => {
  expect(readEnvelope(hi)).toEqual({
    model: "claude-opus-5",
    stream: false,
    includeUsage: true,
    maxOutputTokens: 100,
    choiceCount: 1,
  });
  expect(readEnvelope({ ...hi, stream: true, metadata: { user_id: "u" } })).toMatchObject({ stream: true, user: "u" });
});

test("a request that only counts tokens names no longest reply", () => {
  const { max_tokens: _, ...counting } = hi;
  expect(readEnvelope(counting)).not.toHaveProperty("maxOutputTokens");
});

test("a longest reply of 0 fills the vendor's cache", () => {
  expect(readEnvelope({ ...hi, max_tokens: 0 }).maxOutputTokens).toBe(0);
});

test("null stands for absent, and content is not looked into", () => {
  const messages = [{ role: "assistant", content: 7 }, { role: "system" }];
  const envelope = readEnvelope({ ...hi, messages, stream: null, metadata: null, max_tokens: null });
  expect(envelope).toEqual({ model: "claude-opus-5", stream: false, includeUsage: true, choiceCount: 1 });
});

test.each<[string, JsonObject, string]>([
  ["no model", { messages: hi.messages }, "model"],
  ["an empty model", { ...hi, model: "" }, "model"],
  ["a model that is a number", { ...hi, model: 1 }, "model"],
  ["a long model", { ...hi, model: "x".repeat(513) }, "model"],
  ["no messages", { model: "m" }, "messages"],
  ["empty messages", { ...hi, messages: [] }, "messages"],
  ["messages that are text", { ...hi, messages: "hi" }, "messages"],
  ["a message that is text", { ...hi, messages: [hi.messages[0], "hi"] }, "messages[1]"],
  ["a message without role", { ...hi, messages: [{ content: "hi" }] }, "messages[0].role"],
  ["a role of another dialect", { ...hi, messages: [{ role: "tool" }] }, "messages[0].role"],
  ["stream as text", { ...hi, stream: "true" }, "stream"],
  ["a negative max_tokens", { ...hi, max_tokens: -1 }, "max_tokens"],
  ["a fractional max_tokens", { ...hi, max_tokens: 1.5 }, "max_tokens"],
  ["a huge max_tokens", { ...hi, max_tokens: 1e300 }, "max_tokens"],
  ["metadata as list", { ...hi, metadata: [] }, "metadata"],
  ["a user that is a number", { ...hi, metadata: { user_id: 7 } }, "metadata.user_id"],
  ["a long user", { ...hi, metadata: { user_id: "x".repeat(257) } }, "metadata.user_id"],
])("refuses %s", (_, body, param) => {
  let fault: unknown;
  try {
    readEnvelope(body);
  } catch (error) {
    fault = error;
  }
  expect(fault).toBeInstanceOf(WeirError);
  expect(fault).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param } });
});
