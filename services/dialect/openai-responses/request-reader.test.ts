import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { Role, ToolChoice_Mode as Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { type JsonObject, parseExact } from "../json.ts";
import { readEnvelope } from "./envelope.ts";
import { readRequest } from "./request-reader.ts";

const hi = { model: "m", input: "hi" };

function read(body: unknown) {
  return readRequest(exact(body));
}

function exact(body: unknown): JsonObject {
  const json = parseExact(typeof body === "string" ? body : JSON.stringify(body));
  if (json === undefined) throw new Error("no JSON object");
  return json;
}

const refusals = [ErrorReason.INVALID_REQUEST, ErrorReason.TARGET_UNSUPPORTED];

function fault(act: () => unknown, reasons: readonly Reason[] = [ErrorReason.INVALID_REQUEST]): WeirError {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError && reasons.includes(error.reason)) return error;
    throw error;
  }
  throw new Error("was accepted");
}

/** The messages, with roles and parts as plain values. */
function conversation(body: unknown) {
  return read(body).messages.map(({ role, parts }) => [role, parts.map(({ content }) => content)]);
}

const text = (value: string) =>
  expect.objectContaining({ case: "text", value: expect.objectContaining({ text: value }) });

test("instructions and a text are a system and a user message", () => {
  expect(conversation({ ...hi, instructions: "be brief" })).toEqual([
    [Role.SYSTEM, [text("be brief")]],
    [Role.USER, [text("hi")]],
  ]);
  expect(conversation({ ...hi, instructions: null })).toEqual([[Role.USER, [text("hi")]]]);
});

test("messages in the easy and the full form, of every role", () => {
  expect(
    conversation({
      model: "m",
      input: [
        { role: "system", content: "s" },
        { type: "message", role: "developer", content: [{ type: "input_text", text: "d" }], status: "completed" },
        {
          role: "user",
          content: [
            { type: "input_text", text: "a" },
            { type: "input_text", text: "b" },
          ],
        },
        { role: "assistant", content: "c", phase: "final_answer" },
      ],
    }),
  ).toEqual([
    [Role.SYSTEM, [text("s")]],
    [Role.DEVELOPER, [text("d")]],
    [Role.USER, [text("a"), text("b")]],
    [Role.ASSISTANT, [text("c")]],
  ]);
});

test("what the model said in a row is one message, each output of a tool one of its own", () => {
  const turns = conversation({
    model: "m",
    tools: [{ type: "custom", name: "patch" }],
    input: [
      {
        type: "reasoning",
        id: "rs_1",
        summary: [
          { type: "summary_text", text: "one" },
          { type: "summary_text", text: "two" },
        ],
        encrypted_content: "gAAAA",
      },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [
          {
            type: "output_text",
            text: "see",
            annotations: [{ type: "url_citation", start_index: 0, end_index: 3, title: "t", url: "u" }],
            logprobs: [],
          },
          { type: "refusal", refusal: "no" },
        ],
      },
      { type: "function_call", id: "fc_1", call_id: "c1", name: "f", arguments: '{"a": 1}', status: "completed" },
      { type: "custom_tool_call", call_id: "c2", name: "patch", input: "*** Begin" },
      { type: "function_call_output", call_id: "c1", output: "42" },
      { type: "custom_tool_call_output", call_id: "c2", output: [{ type: "input_text", text: "done" }] },
    ],
  });
  expect(turns).toMatchObject([
    [
      Role.ASSISTANT,
      [
        { case: "reasoning", value: { id: "rs_1", text: "one\n\ntwo", sealed: Buffer.from("gAAAA") } },
        { case: "text", value: { text: "see", citations: [{ start: 0, end: 3, title: "t", url: "u" }] } },
        { case: "refusal", value: { text: "no" } },
        { case: "toolCall", value: { id: "c1", name: "f", arguments: '{"a": 1}' } },
        { case: "toolCall", value: { id: "c2", name: "patch", arguments: "*** Begin" } },
      ],
    ],
    [Role.TOOL, [{ case: "toolResult", value: { toolCallId: "c1", parts: [{ content: { value: { text: "42" } } }] } }]],
    [
      Role.TOOL,
      [{ case: "toolResult", value: { toolCallId: "c2", parts: [{ content: { value: { text: "done" } } }] } }],
    ],
  ]);
});

test("reasoning that is readable stands before its summary", () => {
  const [message] = read({
    model: "m",
    input: [
      {
        type: "reasoning",
        id: "rs_1",
        summary: [{ type: "summary_text", text: "short" }],
        content: [{ type: "reasoning_text", text: "long" }],
      },
    ],
  }).messages;
  expect(message?.parts[0]?.content.value).toMatchObject({ text: "long" });
});

test("pictures, files and sound, as bytes, by address and by id", () => {
  const content = [
    { type: "input_image", image_url: "data:image/png;base64,aGk=", detail: "auto" },
    { type: "input_image", image_url: "https://p.test/a.png", detail: "high" },
    { type: "input_image", file_id: "file-1" },
    { type: "input_file", filename: "a.pdf", file_data: "data:application/pdf;base64,aGk=" },
    { type: "input_file", file_data: "aGk=", filename: "a.txt", detail: "low" },
    { type: "input_file", file_url: "https://f.test/a.pdf" },
    {
      type: "input_audio",
      input_audio: { data: "aGk=", format: "mp3" },
      prompt_cache_breakpoint: { mode: "explicit", ttl: "12h" },
    },
  ];
  const [message] = read({ model: "m", input: [{ role: "user", content }] }).messages;
  const bytes = { case: "data", value: Buffer.from("hi") };
  expect(message?.parts.map((part) => part.content.value)).toMatchObject([
    { source: bytes, mediaType: "image/png", detail: "" },
    { source: { case: "url", value: "https://p.test/a.png" }, detail: "high" },
    { source: { case: "fileId", value: "file-1" } },
    { source: bytes, mediaType: "application/pdf", filename: "a.pdf" },
    { source: bytes, mediaType: "", filename: "a.txt", detail: "low" },
    { source: { case: "url", value: "https://f.test/a.pdf" } },
    { source: bytes, mediaType: "audio/mpeg" },
  ]);
  expect(message?.parts.at(-1)?.cacheControl?.ttlSeconds).toBe(43_200);
});

test("what another vendor wants back survives a client of this dialect", () => {
  const signed = `weir:${Buffer.from("sig").toString("base64url")}..`;
  const callSigned = `weir:${Buffer.from("thought").toString("base64url")}..${Buffer.from("c1").toString("base64url")}`;
  const [message] = read({
    model: "m",
    input: [
      { type: "reasoning", id: "rs_weir_1", summary: [{ type: "summary_text", text: "t" }], encrypted_content: signed },
      { type: "reasoning", id: "rs_weir_2", summary: [], encrypted_content: callSigned },
      { type: "function_call", call_id: "c1", name: "f", arguments: "{}" },
    ],
  }).messages;
  expect(message?.parts.map((part) => part.content)).toMatchObject([
    { case: "reasoning", value: { id: "", text: "t", signature: Buffer.from("sig") } },
    { case: "toolCall", value: { id: "c1", signature: Buffer.from("thought") } },
  ]);
  expect(message?.parts).toHaveLength(2);
});

test("a generated picture is one of the model's parts", () => {
  const png = Buffer.from("\x89PNG....", "latin1");
  const [message] = read({
    model: "m",
    input: [{ type: "image_generation_call", id: "ig_1", status: "completed", result: png.toString("base64") }],
  }).messages;
  expect(message?.parts[0]?.content).toMatchObject({
    case: "image",
    value: { mediaType: "image/png", source: { value: png } },
  });
});

test("tools of every kind, and long numbers in schemas", () => {
  const body = `{"model":"m","input":"hi","tools":[
    {"type":"function","name":"f","description":"d","strict":true,"parameters":{"maximum":123456789012345678901,"multipleOf":0.10}},
    {"type":"function","name":"g","parameters":null,"strict":null,"async":false},
    {"type":"web_search","search_context_size":"low"},
    {"type":"local_shell"}]}`;
  expect(read(body).tools.map(({ kind }) => kind)).toMatchObject([
    {
      case: "function",
      value: {
        name: "f",
        description: "d",
        strict: true,
        parametersSchema: '{"maximum":123456789012345678901,"multipleOf":0.1}',
      },
    },
    { case: "function", value: { name: "g", parametersSchema: "" } },
    { case: "server", value: { type: "web_search", settings: { search_context_size: "low" } } },
    { case: "server", value: { type: "local_shell" } },
  ]);
});

test.each<[unknown, Mode, string[]]>([
  ["auto", Mode.AUTO, []],
  ["none", Mode.NONE, []],
  ["required", Mode.REQUIRED, []],
  [{ type: "function", name: "f" }, Mode.REQUIRED, ["f"]],
  [{ type: "custom", name: "patch" }, Mode.REQUIRED, ["patch"]],
  [{ type: "web_search_preview" }, Mode.REQUIRED, ["web_search_preview"]],
  [{ type: "mcp", server_label: "docs" }, Mode.REQUIRED, ["docs"]],
  [
    {
      type: "allowed_tools",
      mode: "auto",
      tools: [
        { type: "function", name: "f" },
        { type: "mcp", server_label: "docs" },
      ],
    },
    Mode.AUTO,
    ["f", "docs"],
  ],
])("tool_choice %o", (choice, mode, names) => {
  const tools = [
    { type: "function", name: "f" },
    { type: "custom", name: "patch" },
    { type: "web_search_preview" },
    { type: "mcp", server_label: "docs" },
  ];
  expect(read({ ...hi, tools, tool_choice: choice }).toolChoice).toMatchObject({ mode, tools: names });
});

test("probabilities are asked for by `include`, or by a count above zero", () => {
  const include = ["message.output_text.logprobs"];
  expect(read({ ...hi, include }).topLogprobs).toBe(0);
  expect(read({ ...hi, include, top_logprobs: 5 }).topLogprobs).toBe(5);
  expect(read({ ...hi, top_logprobs: 5 }).topLogprobs).toBe(5);
  expect(read({ ...hi, top_logprobs: 0 }).topLogprobs).toBeUndefined();
  expect(read({ ...hi, include }).extensions).toEqual({});
});

test("what the canonical form does not know is kept", () => {
  const { extensions } = read({
    ...hi,
    background: true,
    truncation: "auto",
    max_tool_calls: 3,
    include: ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
    reasoning: { effort: "low", mode: "pro", context: null },
    text: { verbosity: "low", unheard: [1] },
    prompt: { id: "pmpt_1", version: "2" },
    unheard: { of: [1, 2.5, null] },
  });
  expect(extensions).toEqual({
    "openai-responses": {
      background: true,
      truncation: "auto",
      max_tool_calls: 3,
      include: ["file_search_call.results"],
      reasoning: { mode: "pro" },
      text: { unheard: [1] },
      prompt: { id: "pmpt_1", version: "2" },
      unheard: { of: [1, 2.5, null] },
    },
  });
});

test("what says no more than its absence leaves nothing behind", () => {
  const request = read({
    ...hi,
    background: false,
    truncation: "disabled",
    previous_response_id: null,
    conversation: null,
    stream: true,
    stream_options: { include_obfuscation: false },
    reasoning: { effort: null, summary: null },
    text: {},
    user: "",
    prompt: null,
    tool_choice: null,
    temperature: null,
  });
  expect(request).toEqual(read(hi));
});

test("the end user is the safety identifier, else `user`; both are kept when they differ", () => {
  expect(read({ ...hi, user: "u" })).toMatchObject({ user: "u", extensions: {} });
  expect(read({ ...hi, user: "u", safety_identifier: "u" })).toMatchObject({ user: "u", extensions: {} });
  expect(read({ ...hi, user: "u", safety_identifier: "s" })).toMatchObject({
    user: "s",
    extensions: { "openai-responses": { user: "u" } },
  });
});

test("a number of many digits is taken where a double will do, and refused where it would be damaged", () => {
  expect(read('{"model":"m","input":"hi","temperature":0.10000000000000000001}').sampling?.temperature).toBe(0.1);
  const damaged = () => read('{"model":"m","input":"hi","x":{"y":[12345678901234567890]}}');
  expect(fault(damaged, [ErrorReason.TARGET_UNSUPPORTED]).metadata["param"]).toBe("x");
});

const item = (value: unknown) => ({ model: "m", input: [{ role: "user", content: "hi" }, value] });
const part = (value: unknown) => item({ role: "user", content: [value] });

test.each<[string, unknown, string]>([
  ["no model", { input: "hi" }, "model"],
  ["an empty model", { ...hi, model: "" }, "model"],
  ["no input", { model: "m" }, "input"],
  ["empty input", { model: "m", input: [] }, "input"],
  ["input that is a number", { model: "m", input: 1 }, "input"],
  ["an item that is text", { model: "m", input: ["hi"] }, "input[0]"],
  ["a stored response", { ...hi, previous_response_id: "resp_1" }, "previous_response_id"],
  ["a stored conversation", { ...hi, conversation: { id: "conv_1" } }, "conversation"],
  ["a reference", item({ type: "item_reference", id: "msg_1" }), "input[1]"],
  ["a reference without type", item({ id: "msg_1" }), "input[1]"],
  ["an unknown role", item({ role: "tool", content: "x" }), "input[1].role"],
  ["no content", item({ role: "user" }), "input[1].content"],
  ["a part without text", part({ type: "input_text" }), "input[1].content[0].text"],
  ["an image without source", part({ type: "input_image" }), "input[1].content[0].image_url"],
  [
    "an image of broken base64",
    part({ type: "input_image", image_url: "data:image/png;base64,*" }),
    "input[1].content[0].image_url",
  ],
  ["a file without source", part({ type: "input_file" }), "input[1].content[0].file_url"],
  ["a call without id", item({ type: "function_call", name: "f", arguments: "" }), "input[1].call_id"],
  ["a call without name", item({ type: "function_call", call_id: "c", arguments: "" }), "input[1].name"],
  [
    "arguments that are no text",
    item({ type: "function_call", call_id: "c", name: "f", arguments: {} }),
    "input[1].arguments",
  ],
  [
    "an undeclared custom tool",
    item({ type: "custom_tool_call", call_id: "c", name: "f", input: "" }),
    "input[1].name",
  ],
  ["an output without call", item({ type: "function_call_output", output: "x" }), "input[1].call_id"],
  ["an output without content", item({ type: "function_call_output", call_id: "c" }), "input[1].output"],
  ["a picture without result", item({ type: "image_generation_call", id: "i", result: null }), "input[1].result"],
  ["a summary that is text", item({ type: "reasoning", id: "r", summary: "x" }), "input[1].summary"],
  ["a tool without type", { ...hi, tools: [{ name: "f" }] }, "tools[0].type"],
  ["a function without name", { ...hi, tools: [{ type: "function" }] }, "tools[0].name"],
  ["a function of a long name", { ...hi, tools: [{ type: "function", name: "f".repeat(129) }] }, "tools[0].name"],
  [
    "a schema that is text",
    { ...hi, tools: [{ type: "function", name: "f", parameters: "{}" }] },
    "tools[0].parameters",
  ],
  ["too many tools", { ...hi, tools: Array.from({ length: 1_001 }, () => ({ type: "function", name: "f" })) }, "tools"],
  ["a choice of a tool that is not there", { ...hi, tool_choice: { type: "web_search" } }, "tool_choice"],
  [
    "a choice of nothing",
    { ...hi, tool_choice: { type: "allowed_tools", mode: "auto", tools: [] } },
    "tool_choice.tools",
  ],
  [
    "allowed tools without mode",
    { ...hi, tool_choice: { type: "allowed_tools", tools: [{ type: "function", name: "f" }] } },
    "tool_choice.mode",
  ],
  ["a temperature above 2", { ...hi, temperature: 2.1 }, "temperature"],
  ["a temperature as text", { ...hi, temperature: "1" }, "temperature"],
  ["top_p below 0", { ...hi, top_p: -0.1 }, "top_p"],
  ["21 top_logprobs", { ...hi, top_logprobs: 21 }, "top_logprobs"],
  ["an include that is text", { ...hi, include: "x" }, "include"],
  ["an include of numbers", { ...hi, include: [1] }, "include[0]"],
  ["no output tokens", { ...hi, max_output_tokens: 0 }, "max_output_tokens"],
  ["a format without schema", { ...hi, text: { format: { type: "json_schema", name: "n" } } }, "text.format.schema"],
  ["a format without name", { ...hi, text: { format: { type: "json_schema", schema: {} } } }, "text.format.name"],
  ["reasoning as text", { ...hi, reasoning: "high" }, "reasoning"],
  ["metadata of numbers", { ...hi, metadata: { a: 1 } }, "metadata"],
  [
    "much metadata",
    { ...hi, metadata: Object.fromEntries(Array.from({ length: 65 }, (_, key) => [key, ""])) },
    "metadata",
  ],
  ["store as text", { ...hi, store: "yes" }, "store"],
  ["a long user", { ...hi, user: "u".repeat(257) }, "user"],
  ["stream as text", { ...hi, stream: "true" }, "stream"],
])("refuses %s", (_, body, param) => {
  expect(fault(() => read(body)).metadata["param"]).toBe(param);
});

test.each<[string, unknown, string]>([
  ["an item of a built-in tool", item({ type: "web_search_call", id: "ws_1" }), "input[1].type"],
  ["an item nobody heard of", item({ type: "new_item" }), "input[1].type"],
  ["an unknown part", part({ type: "input_video" }), "input[1].content[0].type"],
  ["the model's text from a user", part({ type: "output_text", text: "x" }), "input[1].content[0].type"],
  ["a refusal from a user", part({ type: "refusal", refusal: "x" }), "input[1].content[0].type"],
  [
    "sound of an unknown format",
    part({ type: "input_audio", input_audio: { data: "aGk=", format: "ogg" } }),
    "input[1].content[0].input_audio.format",
  ],
  [
    "an unknown lifetime",
    part({ type: "input_text", text: "x", prompt_cache_breakpoint: { ttl: "1y" } }),
    "input[1].content[0].prompt_cache_breakpoint.ttl",
  ],
  [
    "an unknown annotation",
    item({ role: "assistant", content: [{ type: "output_text", text: "x", annotations: [{ type: "new" }] }] }),
    "input[1].content[0].annotations[0].type",
  ],
  [
    "a call in a namespace",
    item({ type: "function_call", call_id: "c", name: "f", arguments: "", namespace: "n" }),
    "input[1].namespace",
  ],
  [
    "a call by a program",
    item({
      type: "function_call",
      call_id: "c",
      name: "f",
      arguments: "",
      caller: { type: "program", caller_id: "p" },
    }),
    "input[1].caller",
  ],
  [
    "a deferred function",
    { ...hi, tools: [{ type: "function", name: "f", defer_loading: true }] },
    "tools[0].defer_loading",
  ],
  ["an unknown tool_choice", { ...hi, tool_choice: "any" }, "tool_choice"],
  [
    "a choice of one tool of a server",
    { ...hi, tools: [{ type: "mcp", server_label: "s" }], tool_choice: { type: "mcp", server_label: "s", name: "t" } },
    "tool_choice.name",
  ],
  ["an unknown format", { ...hi, text: { format: { type: "xml" } } }, "text.format.type"],
])("leaves to targets of its own dialect: %s", (_, body, param) => {
  expect(fault(() => read(body), [ErrorReason.TARGET_UNSUPPORTED]).metadata["param"]).toBe(param);
});

test("never quotes the body", () => {
  const secret = "sk-very-secret";
  for (const body of [
    { ...hi, stream: secret },
    { ...hi, tool_choice: secret },
    part({ type: secret }),
    item({ type: secret }),
    item({ role: secret }),
    { ...hi, text: { format: { type: secret } } },
    { ...hi, metadata: { [secret]: 1 } },
  ]) {
    const error = fault(() => read(body), refusals);
    expect(`${error.message} ${JSON.stringify(error.metadata)}`).not.toContain("secret");
  }
});

test("the envelope holds what limits need", () => {
  expect(readEnvelope(exact(hi))).toEqual({ model: "m", stream: false, includeUsage: true, choiceCount: 1 });
  expect(
    readEnvelope(exact({ ...hi, stream: true, max_output_tokens: 20, user: "u", safety_identifier: "s" })),
  ).toEqual({ model: "m", stream: true, includeUsage: true, choiceCount: 1, maxOutputTokens: 20, user: "s" });
  // Stored turns may be all the input there is.
  expect(readEnvelope(exact({ model: "m", previous_response_id: "resp_1" })).model).toBe("m");
});

test.each<[object, string]>([
  [{ input: "hi" }, "model"],
  [{ ...hi, model: 7 }, "model"],
  [{ ...hi, model: "x".repeat(513) }, "model"],
  [{ ...hi, stream: 1 }, "stream"],
  [{ ...hi, input: 1 }, "input"],
  [{ ...hi, max_output_tokens: 1.5 }, "max_output_tokens"],
  [{ ...hi, max_output_tokens: 1e300 }, "max_output_tokens"],
  [{ ...hi, safety_identifier: 7 }, "safety_identifier"],
])("the envelope of %o is refused", (body, param) => {
  expect(fault(() => readEnvelope(exact(body))).metadata["param"]).toBe(param);
});
