import { type MessageInitShape, create, toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { parseExact } from "../json.ts";
import { readRequest } from "./read-request.ts";

type Init = MessageInitShape<typeof GenerateRequestSchema>;

const hi = { role: "user", content: "hi" };

function read(members: object | string) {
  const text = typeof members === "string" ? members : JSON.stringify({ model: "m", messages: [hi], ...members });
  return toJson(GenerateRequestSchema, readRequest(parseExact(text) ?? {}));
}

function expected(init: Init) {
  const messages = [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }];
  return toJson(GenerateRequestSchema, create(GenerateRequestSchema, { model: "m", messages, ...init }));
}

function fault(members: object | string, reason: Reason = ErrorReason.INVALID_REQUEST): WeirError {
  try {
    read(members);
  } catch (error) {
    if (error instanceof WeirError && error.reason === reason) return error;
    throw error;
  }
  throw new Error("was accepted");
}

test.each<[string, object, Init]>([
  [
    "nulls are absent",
    { n: null, stop: null, tools: null, tool_choice: null, seed: null, audio: null, metadata: null },
    {},
  ],
  ["the newer limit counts", { max_tokens: 1, max_completion_tokens: 2 }, { maxOutputTokens: 2 }],
  ["the older limit", { max_tokens: 1 }, { maxOutputTokens: 1 }],
  ["one stop text", { stop: "a" }, { stopSequences: ["a"] }],
  ["an empty stop text", { stop: "" }, {}],
  ["stop texts", { stop: ["a", "b"] }, { stopSequences: ["a", "b"] }],
  ["logprobs alone", { logprobs: true }, { topLogprobs: 0 }],
  ["logprobs with a count", { logprobs: true, top_logprobs: 4 }, { topLogprobs: 4 }],
  ["no logprobs", { logprobs: false, top_logprobs: 0 }, {}],
  ["vLLM's top_k for no limit", { top_k: -1 }, {}],
  ["modalities besides text", { modalities: ["text", "audio"] }, { modalities: ["audio"] }],
  ["the end user", { user: "u" }, { user: "u" }],
  [
    "the end user twice",
    { user: "u", safety_identifier: "u2" },
    { user: "u2", extensions: { "openai-chat": { user: "u" } } },
  ],
  ["a choice by word", { tool_choice: "none" }, { toolChoice: { mode: ToolChoice_Mode.NONE } }],
  [
    "a choice by name",
    { tool_choice: { type: "function", function: { name: "f" } } },
    { toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] } },
  ],
  [
    "a choice of a tool without a schema",
    { tool_choice: { type: "custom", custom: { name: "c" } } },
    { toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["c"] } },
  ],
  [
    "a choice among some",
    {
      tool_choice: {
        type: "allowed_tools",
        allowed_tools: {
          mode: "auto",
          tools: [
            { type: "function", function: { name: "f" } },
            { type: "custom", custom: { name: "c" } },
          ],
        },
      },
    },
    { toolChoice: { mode: ToolChoice_Mode.AUTO, tools: ["f", "c"] } },
  ],
  ["the old choice by word", { function_call: "auto" }, { toolChoice: { mode: ToolChoice_Mode.AUTO } }],
  [
    "the old choice by name",
    { function_call: { name: "f" } },
    { toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] } },
  ],
  [
    "old functions",
    { functions: [{ name: "f", parameters: {} }] },
    { tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: "{}" } } }] },
  ],
  [
    "web search",
    { web_search_options: { search_context_size: "low" } },
    {
      tools: [
        {
          kind: { case: "server", value: { type: "web_search_options", settings: { search_context_size: "low" } } },
        },
      ],
    },
  ],
  [
    "a vendor's own tool",
    { tools: [{ type: "browser_search", level: 2 }] },
    { tools: [{ kind: { case: "server", value: { type: "browser_search", settings: { level: 2 } } } }] },
  ],
  [
    "a schema without a schema",
    { response_format: { type: "json_schema", json_schema: { name: "a" } } },
    { outputFormat: { kind: { case: "jsonSchema", value: { name: "a", schema: "{}" } } } },
  ],
  [
    "members that no field holds",
    { moderation: { model: "m" }, x: null },
    { extensions: { "openai-chat": { moderation: { model: "m" }, x: null } } },
  ],
  [
    "a voice of the caller's own",
    { audio: { voice: { id: "voice_1" }, format: "wav" } },
    { extensions: { "openai-chat": { audio: { voice: { id: "voice_1" }, format: "wav" } } } },
  ],
])("%s", (_, members, init) => {
  expect(read(members)).toEqual(expected(init));
});

test("what concerns the form of the answer alone is no part of the request", () => {
  expect(read({ stream: true, stream_options: { include_usage: true, include_obfuscation: false } })).toEqual(
    expected({}),
  );
});

test("numbers of more digits than a double holds", () => {
  const body = (members: string) => `{"model":"m","messages":[{"role":"user","content":"hi"}],${members}}`;
  expect(read(body('"seed":9007199254740993'))).toEqual(expected({ sampling: { seed: 9_007_199_254_740_993n } }));
  expect(read(body('"temperature":0.70000000000000001'))).toEqual(expected({ sampling: { temperature: 0.7 } }));
  expect(read(body('"tools":[{"type":"function","function":{"name":"f","parameters":{"max":1e400}}}]'))).toEqual(
    expected({ tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: '{"max":1e400}' } } }] }),
  );
  expect(fault(body('"seed":9223372036854775808')).metadata["param"]).toBe("seed");
  const damaged = (members: string) => fault(body(members), ErrorReason.TARGET_UNSUPPORTED);
  expect(damaged('"x":{"y":[12345678901234567890]}').metadata["param"]).toBe("x.y[0]");
  expect(damaged('"web_search_options":{"y":12345678901234567890}').metadata["param"]).toBe("web_search_options.y");
});

const messages = (...list: object[]) => ({ messages: list });
const parts = (...content: object[]) => messages({ role: "user", content });

function partsOf(members: object): unknown[] {
  const request = readRequest(parseExact(JSON.stringify({ model: "m", ...members })) ?? {});
  return request.messages.flatMap(({ parts: list }) =>
    list.map(({ content, cacheControl }) => ({ ...content, ...(cacheControl && { ttl: cacheControl.ttlSeconds }) })),
  );
}

test.each<[string, object, object]>([
  ["text", { type: "text", text: "" }, { case: "text", value: { text: "" } }],
  [
    "a picture by address",
    { type: "image_url", image_url: { url: "https://example.org/a", detail: "low" } },
    { case: "image", value: { source: { case: "url", value: "https://example.org/a" }, detail: "low" } },
  ],
  [
    "a picture by address alone",
    { type: "image_url", image_url: "https://example.org/a" },
    { case: "image", value: { source: { case: "url", value: "https://example.org/a" } } },
  ],
  [
    "a picture as bytes",
    { type: "image_url", image_url: { url: "data:image/png;base64,AQI=" } },
    { case: "image", value: { source: { case: "data", value: Buffer.of(1, 2) }, mediaType: "image/png" } },
  ],
  [
    "sound",
    { type: "input_audio", input_audio: { data: "AQI=", format: "mp3" } },
    { case: "audio", value: { source: { case: "data", value: Buffer.of(1, 2) }, mediaType: "audio/mpeg" } },
  ],
  [
    "a file as bytes with a type",
    { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AQI=" } },
    { case: "file", value: { source: { value: Buffer.of(1, 2) }, mediaType: "application/pdf", filename: "a.pdf" } },
  ],
  [
    "a file as bytes",
    { type: "file", file: { file_data: "AQI=" } },
    { case: "file", value: { source: { case: "data", value: Buffer.of(1, 2) }, mediaType: "" } },
  ],
  [
    "a file by address",
    { type: "file", file: { file_data: "https://example.org/a.pdf" } },
    { case: "file", value: { source: { case: "url", value: "https://example.org/a.pdf" } } },
  ],
  [
    "a file by id",
    { type: "file", file: { file_id: "f" } },
    { case: "file", value: { source: { case: "fileId", value: "f" } } },
  ],
  [
    "OpenAI's mark",
    { type: "text", text: "a", prompt_cache_breakpoint: { mode: "explicit", ttl: "30m" } },
    { ttl: 1800 },
  ],
  ["Anthropic's mark", { type: "text", text: "a", cache_control: { type: "ephemeral" } }, { ttl: 0 }],
])("a part: %s", (_, part, expectedPart) => {
  expect(partsOf(parts(part))).toMatchObject([expectedPart]);
});

test("an assistant's message, whatever its members", () => {
  const message = {
    role: "assistant",
    id: "msg_1",
    parsed: { a: 1 },
    content: [{ type: "text", text: "a" }],
    refusal: "no",
    annotations: [{ type: "url_citation", url_citation: { start_index: 0, end_index: 1, title: "t", url: "u" } }],
    reasoning_content: "hm",
    audio: { id: "audio_1", data: "AA==", expires_at: 1, transcript: "x" },
    images: [{ type: "image_url", image_url: { url: "https://example.org/a" } }],
    tool_calls: [
      { id: "c1", type: "function", function: { name: "f", arguments: "{", parsed_arguments: null } },
      { id: "c2", type: "custom", custom: { name: "g", input: "free" } },
      { id: "c3", function: { name: "f" }, extra_content: { google: { thought_signature: "c2ln" } } },
    ],
    function_call: { name: "h", arguments: "{}" },
  };
  expect(partsOf(messages(message))).toMatchObject([
    { case: "reasoning", value: { text: "hm" } },
    { case: "text", value: { text: "a", citations: [{ start: 0, end: 1, title: "t", url: "u" }] } },
    { case: "refusal", value: { text: "no" } },
    { case: "audio", value: { source: { case: "fileId", value: "audio_1" } } },
    { case: "image", value: { source: { case: "url" } } },
    { case: "toolCall", value: { id: "c1", name: "f", arguments: "{" } },
    { case: "toolCall", value: { id: "c2", name: "g", arguments: "free" } },
    { case: "toolCall", value: { id: "c3", name: "f", arguments: "", signature: Buffer.from("c2ln") } },
    { case: "toolCall", value: { id: "function_call_0", name: "h", arguments: "{}" } },
  ]);
});

test.each<[string, object, object[]]>([
  [
    "of one index belong together, and their text is the reasoning",
    {
      reasoning: "again",
      reasoning_details: [
        { type: "reasoning.summary", summary: "a", index: 0 },
        { type: "reasoning.summary", summary: "b", index: 0 },
        { type: "reasoning.encrypted", data: "xyz", id: "rs_1", index: 0 },
      ],
    },
    [{ text: "ab", sealed: Buffer.from("xyz"), id: "rs_1" }],
  ],
  [
    "without an index stand alone",
    {
      reasoning_details: [
        { type: "reasoning.text", text: "a", signature: "s1" },
        { type: "reasoning.text", text: "b", signature: "s2" },
      ],
    },
    [
      { text: "a", signature: Buffer.from("s1") },
      { text: "b", signature: Buffer.from("s2") },
    ],
  ],
  [
    "without text take the one beside them",
    { reasoning_content: "a", reasoning_details: [{ type: "reasoning.text", signature: "s" }] },
    [{ text: "a", signature: Buffer.from("s") }],
  ],
])("reasoning details %s", (_, members, pieces) => {
  expect(partsOf(messages({ role: "assistant", content: null, ...members }))).toMatchObject(
    pieces.map((value) => ({ case: "reasoning", value })),
  );
});

test("old function messages answer the last call of their name", () => {
  const call = { role: "assistant", content: null, function_call: { name: "f", arguments: "{}" } };
  const answer = { role: "function", name: "f", content: "1" };
  expect(partsOf(messages(hi, call, answer, call, answer))).toMatchObject([
    { case: "text" },
    { case: "toolCall", value: { id: "function_call_0" } },
    { case: "toolResult", value: { toolCallId: "function_call_0", parts: [{ content: { value: { text: "1" } } }] } },
    { case: "toolCall", value: { id: "function_call_1" } },
    { case: "toolResult", value: { toolCallId: "function_call_1" } },
  ]);
});

test("a mark on a whole message is one on its last part", () => {
  const content = [
    { type: "text", text: "a" },
    { type: "text", text: "b" },
  ];
  expect(partsOf(messages({ role: "system", content, cache_control: { type: "ephemeral", ttl: "1h" } }))).toMatchObject(
    [{ value: { text: "a" } }, { value: { text: "b" }, ttl: 3600 }],
  );
});

const toolCall = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };

test.each<[string, object, string]>([
  ["messages", {}, "messages"],
  ["content of another type", messages({ role: "user", content: 7 }), "messages[0].content"],
  ["a part that is text", messages({ role: "user", content: ["a"] }), "messages[0].content[0]"],
  ["a part without type", parts({ text: "a" }), "messages[0].content[0].type"],
  ["a part without text", parts({ type: "text" }), "messages[0].content[0].text"],
  ["a picture without address", parts({ type: "image_url", image_url: {} }), "messages[0].content[0].image_url.url"],
  [
    "a data URL that is no base64",
    parts({ type: "image_url", image_url: { url: "data:image/png,abc" } }),
    "messages[0].content[0].image_url.url",
  ],
  [
    "sound that is no base64",
    parts({ type: "input_audio", input_audio: { data: "***", format: "wav" } }),
    "messages[0].content[0].input_audio.data",
  ],
  ["an empty file", parts({ type: "file", file: {} }), "messages[0].content[0].file.file_id"],
  ["a long name", messages({ ...hi, name: "x".repeat(257) }), "messages[0].name"],
  ["a result of no call", messages({ role: "tool", content: "a" }), "messages[0].tool_call_id"],
  ["an old result of no call", messages({ role: "function", name: "f", content: "a" }), "messages[0].name"],
  [
    "a call without id",
    messages({ role: "assistant", tool_calls: [{ ...toolCall, id: "" }] }),
    "messages[0].tool_calls[0].id",
  ],
  [
    "arguments that are no text",
    messages({ role: "assistant", tool_calls: [{ ...toolCall, function: { name: "f", arguments: {} } }] }),
    "messages[0].tool_calls[0].function.arguments",
  ],
  ["a tool without type", { tools: [{ function: { name: "f" } }] }, "tools[0].type"],
  ["a tool without name", { tools: [{ type: "function", function: {} }] }, "tools[0].function.name"],
  [
    "a schema that is a list",
    { tools: [{ type: "function", function: { name: "f", parameters: [] } }] },
    "tools[0].function.parameters",
  ],
  ["a custom tool without name", { tools: [{ type: "custom", custom: {} }] }, "tools[0].custom.name"],
  [
    "a choice among none",
    { tool_choice: { type: "allowed_tools", allowed_tools: { mode: "auto", tools: [] } } },
    "tool_choice.allowed_tools.tools",
  ],
  ["a format without type", { response_format: {} }, "response_format.type"],
  ["a temperature too high", { temperature: 2.1 }, "temperature"],
  ["a temperature as text", { temperature: "1" }, "temperature"],
  ["top_p out of range", { top_p: -0.1 }, "top_p"],
  ["a seed with a fraction", { seed: 1.5 }, "seed"],
  ["a seed too large", { seed: 1e20 }, "seed"],
  ["a bias without token", { logit_bias: { hello: 1 } }, "logit_bias"],
  ["a bias too large", { logit_bias: { 7: 101 } }, "logit_bias"],
  ["a stop text that is a number", { stop: ["a", 1] }, "stop[1]"],
  ["top_logprobs alone", { top_logprobs: 3 }, "top_logprobs"],
  ["too many top_logprobs", { logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  ["labels that are no texts", { metadata: { a: 1 } }, "metadata"],
  ["a modality that is a number", { modalities: [1] }, "modalities[0]"],
  ["a store that is text", { store: "yes" }, "store"],
  ["n of zero", { n: 0 }, "n"],
])("refuses %s", (name, members, param) => {
  const error = fault(name === "messages" ? '{"model":"m"}' : members);
  expect(error.metadata["param"]).toBe(param);
  expect(error.message).toMatch(/\.$/);
});

test.each<[string, object, string]>([
  ["an unknown part", parts({ type: "video_url", video_url: {} }), "messages[0].content[0].type"],
  ["an unknown member of a part", parts({ type: "text", text: "a", tone: "b" }), "messages[0].content[0].tone"],
  [
    "a lifetime that is none",
    parts({ type: "text", text: "a", cache_control: { ttl: "soon" } }),
    "messages[0].content[0].cache_control.ttl",
  ],
  [
    "a picture in instructions",
    messages({ role: "system", content: [{ type: "image_url", image_url: "https://a" }] }),
    "messages[0].content[0].type",
  ],
  ["an unknown member of a message", messages({ ...hi, prefix: true }), "messages[0].prefix"],
  ["a member with a strange name", messages({ ...hi, "a b": true }), "messages[0]"],
  [
    "a call of unknown type",
    messages({ role: "assistant", tool_calls: [{ ...toolCall, type: "mcp" }] }),
    "messages[0].tool_calls[0].type",
  ],
  [
    "reasoning of unknown type",
    messages({ role: "assistant", reasoning_details: [{ type: "reasoning.smell" }] }),
    "messages[0].reasoning_details[0].type",
  ],
  [
    "a long tool name",
    { tools: [{ type: "function", function: { name: "x".repeat(129) } }] },
    "tools[0].function.name",
  ],
  ["an unknown choice", { tool_choice: "any" }, "tool_choice"],
  ["a choice of unknown type", { tool_choice: { type: "mcp" } }, "tool_choice.type"],
  [
    "a choice among some of unknown mode",
    { tool_choice: { type: "allowed_tools", allowed_tools: { mode: "none", tools: [] } } },
    "tool_choice.allowed_tools.mode",
  ],
  ["an unknown format", { response_format: { type: "grammar" } }, "response_format.type"],
  ["too many stop texts", { stop: Array.from({ length: 65 }, () => "a") }, "stop"],
  ["a prediction of unknown type", { prediction: { type: "tokens" } }, "prediction.type"],
])("leaves to targets of its own dialect: %s", (name, members, param) => {
  const error = fault(name === "messages" ? '{"model":"m"}' : members, ErrorReason.TARGET_UNSUPPORTED);
  expect(error.metadata["param"]).toBe(param);
  expect(error.message).toMatch(/\.$/);
});
