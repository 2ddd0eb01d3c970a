import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { ollama } from "./codec.ts";
import { body, messagesOf, read, refusal } from "./testing/requests.ts";

const plain = { model: "m", messages: [{ role: "user", content: "hi" }] };

test("calls without ids get them by their place, and results find them by name and order", () => {
  const called = (name: string) => ({ function: { name, arguments: { n: 1 } } });
  const conversation = [
    { role: "assistant", content: "", tool_calls: [called("f"), called("g"), called("f")] },
    { role: "tool", tool_name: "g", content: "g" },
    { role: "tool", tool_name: "f", content: "f1" },
    { role: "tool", content: "f2" },
  ];
  const written = body(read({ ...plain, messages: conversation }))["messages"] as JsonObject[];
  expect(written.slice(1).map((it) => [it["tool_call_id"], it["tool_name"], it["content"]])).toEqual([
    ["call_0_1", "g", "g"],
    ["call_0_0", "f", "f1"],
    ["call_0_2", "f", "f2"],
  ]);
});

test("what a message leaves out is nothing", () => {
  const messages = [{ role: "USER" }, { role: "assistant", content: null, thinking: "", images: null, tool_calls: [] }];
  expect(messagesOf(read({ ...plain, messages }))).toEqual([{ role: "ROLE_USER" }, { role: "ROLE_ASSISTANT" }]);
});

test("no limit, no format and members that say nothing are absent", () => {
  const request = read({ ...plain, format: "", think: null, top_logprobs: 3, options: { num_predict: -1, stop: "x" } });
  expect(request.maxOutputTokens).toBeUndefined();
  expect(request.outputFormat).toBeUndefined();
  expect(request.topLogprobs).toBeUndefined();
  expect(request.stopSequences).toEqual(["x"]);
  expect(request.extensions).toEqual({ ollama: { options: { num_predict: -1 } } });
});

test.each<[string, JsonObject | string, string | undefined]>([
  ["no model", { messages: plain.messages }, "model"],
  ["an empty model", { ...plain, model: "" }, "model"],
  ["a model that is a number", { ...plain, model: 1 }, "model"],
  ["no messages", { model: "m" }, "messages"],
  ["empty messages", { ...plain, messages: [] }, "messages"],
  ["messages that are text", { ...plain, messages: "hi" }, "messages"],
  ["a message that is text", { ...plain, messages: ["hi"] }, "messages[0]"],
  ["no role", { ...plain, messages: [{}] }, "messages[0].role"],
  ["an unknown role", { ...plain, messages: [{ role: "root" }] }, "messages[0].role"],
  ["content that is a list", { ...plain, messages: [{ role: "user", content: [] }] }, "messages[0].content"],
  ["thinking that is a flag", { ...plain, messages: [{ role: "user", thinking: true }] }, "messages[0].thinking"],
  ["an image that is no base64", { ...plain, messages: [{ role: "user", images: ["*"] }] }, "messages[0].images[0]"],
  ["an empty image", { ...plain, messages: [{ role: "user", images: [""] }] }, "messages[0].images[0]"],
  [
    "a call without function",
    { ...plain, messages: [{ role: "assistant", tool_calls: [{}] }] },
    "messages[0].tool_calls[0].function",
  ],
  [
    "a call without name",
    { ...plain, messages: [{ role: "assistant", tool_calls: [{ function: {} }] }] },
    "messages[0].tool_calls[0].function.name",
  ],
  [
    "arguments that are text",
    { ...plain, messages: [{ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{}" } }] }] },
    "messages[0].tool_calls[0].function.arguments",
  ],
  [
    "arguments that are a long number",
    '{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":12345678901234567890}}]}]}',
    "messages[0].tool_calls[0].function.arguments",
  ],
  [
    "a result of no call",
    { ...plain, messages: [{ role: "tool", tool_name: "f", content: "x" }] },
    "messages[0].tool_name",
  ],
  ["a tool without function", { ...plain, tools: [{ type: "function" }] }, "tools[0].function"],
  [
    "a schema that is text",
    { ...plain, tools: [{ function: { name: "f", parameters: "{}" } }] },
    "tools[0].function.parameters",
  ],
  ["an unknown format", { ...plain, format: "xml" }, "format"],
  ["a think that is a number", { ...plain, think: 1 }, "think"],
  ["logprobs that are a number", { ...plain, logprobs: 1 }, "logprobs"],
  ["too many logprobs", { ...plain, logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  ["options that are a list", { ...plain, options: [] }, "options"],
  ["a temperature that is text", { ...plain, options: { temperature: "1" } }, "options.temperature"],
  ["a temperature out of range", { ...plain, options: { temperature: 2.1 } }, "options.temperature"],
  ["half a top_k", { ...plain, options: { top_k: 0.5 } }, "options.top_k"],
  [
    "a seed of too many bits",
    '{"model":"m","messages":[{"role":"user"}],"options":{"seed":9223372036854775808}}',
    "options.seed",
  ],
  ["a num_predict of -3", { ...plain, options: { num_predict: -3 } }, "options.num_predict"],
  ["a stop that is a number", { ...plain, options: { stop: [1] } }, "options.stop[0]"],
  ["too many stops", { ...plain, options: { stop: Array.from({ length: 65 }, String) } }, "options.stop"],
])("refuses %s", (_, json, param) => {
  expect(refusal(() => read(json))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});

test.each<[string, JsonObject | string, string | undefined]>([
  ["a tool of an unknown type", { ...plain, tools: [{ type: "web_search" }] }, "tools[0].type"],
  [
    "a long number in a further member",
    '{"model":"m","messages":[{"role":"user"}],"further":[12345678901234567890]}',
    "further[0]",
  ],
])("leaves to targets of its own dialect: %s", (_, json, param) => {
  expect(refusal(() => read(json))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
});

test("faults never quote the body", () => {
  const secret = "s3cret";
  const bodies: JsonObject[] = [
    { ...plain, model: { [secret]: 1 } },
    { ...plain, messages: [{ role: secret }] },
    { ...plain, format: secret },
    { ...plain, messages: [{ role: "tool", tool_name: secret }] },
    { ...plain, options: { temperature: secret } },
  ];
  for (const json of bodies) {
    expect(() => read(json)).toThrow(/^(?!.*s3cret)/s);
  }
});

// --- The envelope.

test("the envelope holds what limits and routing need", () => {
  expect(ollama.readEnvelope({ ...plain, stream: false, options: { num_predict: 7 } })).toEqual({
    model: "m",
    stream: false,
    includeUsage: true,
    maxOutputTokens: 7,
    choiceCount: 1,
  });
  const least = { model: "m", stream: true, includeUsage: true, choiceCount: 1 };
  expect(ollama.readEnvelope({ model: "m" })).toEqual(least);
  expect(ollama.readEnvelope({ model: "m", messages: [], options: { num_predict: -1 } })).toEqual(least);
});

test.each<[string, JsonObject, string]>([
  ["no model", { messages: [] }, "model"],
  ["a long model", { model: "x".repeat(513) }, "model"],
  ["a stream that is text", { ...plain, stream: "true" }, "stream"],
  ["messages that are text", { ...plain, messages: "hi" }, "messages"],
  ["a message that is text", { ...plain, messages: ["hi"] }, "messages[0]"],
  ["a role that is a number", { ...plain, messages: [{ role: 1 }] }, "messages[0].role"],
  ["options that are text", { ...plain, options: "x" }, "options"],
  ["a num_predict that is text", { ...plain, options: { num_predict: "5" } }, "options.num_predict"],
  ["a num_predict that is too large", { ...plain, options: { num_predict: 10_000_001 } }, "options.num_predict"],
])("the envelope refuses %s", (_, json, param) => {
  expect(refusal(() => ollama.readEnvelope(json))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});
