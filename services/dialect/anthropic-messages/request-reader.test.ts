import { create, toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { type JsonObject, parseExact } from "../json.ts";
import { readRequest } from "./request-reader.ts";

const hi = { model: "m", max_tokens: 10, messages: [{ role: "user", content: "hi" }] };

function read(body: unknown) {
  return readRequest(parseExact(typeof body === "string" ? body : JSON.stringify(body)) ?? {});
}

const refusals = [ErrorReason.INVALID_REQUEST, ErrorReason.TARGET_UNSUPPORTED];

function fault(body: unknown, reasons: readonly Reason[] = [ErrorReason.INVALID_REQUEST]): WeirError {
  try {
    read(body);
  } catch (error) {
    if (error instanceof WeirError && reasons.includes(error.reason)) return error;
    throw error;
  }
  throw new Error("was accepted");
}

function userContent(content: unknown) {
  return { ...hi, messages: [{ role: "user", content }] };
}

function assistantContent(content: unknown) {
  return { ...hi, messages: [hi.messages[0], { role: "assistant", content }] };
}

test("reads a turn of an agent", () => {
  const request = read({
    ...hi,
    system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral", ttl: "1h" } }],
    messages: [
      { role: "user", content: "What is in the picture?" },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Look.", signature: "c2ln" },
          { type: "redacted_thinking", data: "sealed" },
          { type: "tool_use", id: "toolu_1", name: "look", input: { at: 1 }, caller: { type: "direct" } },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "toolu_1", is_error: true, content: [{ type: "text", text: "no file" }] },
          { type: "text", text: "Go on.", cache_control: { type: "ephemeral" } },
        ],
      },
    ],
  });
  const expected = create(GenerateRequestSchema, {
    model: "m",
    maxOutputTokens: 10,
    messages: [
      {
        role: Role.SYSTEM,
        parts: [{ content: { case: "text", value: { text: "Be brief." } }, cacheControl: { ttlSeconds: 3_600 } }],
      },
      { role: Role.USER, parts: [{ content: { case: "text", value: { text: "What is in the picture?" } } }] },
      {
        role: Role.ASSISTANT,
        parts: [
          { content: { case: "reasoning", value: { text: "Look.", signature: Buffer.from("c2ln") } } },
          { content: { case: "reasoning", value: { sealed: Buffer.from("sealed") } } },
          { content: { case: "toolCall", value: { id: "toolu_1", name: "look", arguments: '{"at":1}' } } },
        ],
      },
      {
        role: Role.TOOL,
        parts: [
          {
            content: {
              case: "toolResult",
              value: {
                toolCallId: "toolu_1",
                failed: true,
                parts: [{ content: { case: "text", value: { text: "no file" } } }],
              },
            },
          },
        ],
      },
      {
        role: Role.USER,
        parts: [{ content: { case: "text", value: { text: "Go on." } }, cacheControl: { ttlSeconds: 0 } }],
      },
    ],
  });
  expect(toJson(GenerateRequestSchema, request)).toEqual(toJson(GenerateRequestSchema, expected));
});

test("numbers of arguments and schemas stay as they were written", () => {
  const request = read(
    `{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b",` +
      `"input":{"id":12345678901234567890,"big":1e400}}]}],` +
      `"tools":[{"name":"b","input_schema":{"type":"object","maximum":12345678901234567890}}]}`,
  );
  expect(request.messages[0]?.parts[0]?.content.value).toMatchObject({
    arguments: '{"id":12345678901234567890,"big":1e400}',
  });
  expect(request.tools[0]?.kind.value).toMatchObject({
    parametersSchema: '{"type":"object","maximum":12345678901234567890}',
  });
});

test("images and documents of every source", () => {
  const blocks = [
    { type: "image", source: { type: "base64", media_type: "image/png", data: "AAEC" } },
    { type: "image", source: { type: "url", url: "https://example.com/a.png" } },
    { type: "image", source: { type: "file", file_id: "file_1" }, transformations: { oversized_image: "downsize" } },
    { type: "document", source: { type: "base64", media_type: "application/pdf", data: "AAEC" }, title: "A" },
    { type: "document", source: { type: "text", media_type: "text/plain", data: "é" }, citations: { enabled: false } },
    { type: "document", source: { type: "url", url: "https://example.com/a.pdf" }, context: null },
    { type: "document", source: { type: "file", file_id: "file_2" } },
  ];
  const data = { case: "data", value: Buffer.from([0, 1, 2]) };
  expect(read(userContent(blocks)).messages[0]?.parts.map(({ content }) => content)).toMatchObject([
    { case: "image", value: { source: data, mediaType: "image/png" } },
    { case: "image", value: { source: { case: "url", value: "https://example.com/a.png" } } },
    { case: "image", value: { source: { case: "fileId", value: "file_1" } } },
    { case: "file", value: { source: data, mediaType: "application/pdf", filename: "A" } },
    { case: "file", value: { source: { case: "data", value: Buffer.from("é") }, mediaType: "text/plain" } },
    { case: "file", value: { source: { case: "url" }, mediaType: "application/pdf" } },
    { case: "file", value: { source: { case: "fileId", value: "file_2" }, mediaType: "" } },
  ]);
});

test("members that only this vendor understands are kept, and null ones are not", () => {
  const request = read({
    ...hi,
    container: { id: "c", skills: [1.5] },
    inference_geo: null,
    metadata: { user_id: "u", team: "t" },
    thinking: { type: "between_tools" },
    output_config: { effort: "high", task_budget: { total: 1 } },
  });
  expect(request.extensions).toEqual({
    "anthropic-messages": {
      container: { id: "c", skills: [1.5] },
      metadata: { team: "t" },
      thinking: { type: "between_tools" },
      output_config: { effort: "high", task_budget: { total: 1 } },
    },
  });
  expect([request.user, request.reasoning?.effort]).toEqual(["u", "high"]);
});

test.each<[JsonObject, JsonObject | undefined, JsonObject]>([
  [{}, undefined, {}],
  [{ output_config: { effort: "low" } }, { effort: "low" }, {}],
  [{ thinking: { type: "adaptive" } }, undefined, { thinking: { type: "adaptive" } }],
  [{ thinking: { type: "adaptive", display: "omitted" } }, { effort: "", summary: "none" }, {}],
  [{ thinking: { type: "adaptive" }, output_config: { effort: "max" } }, { effort: "max", summary: "" }, {}],
  [{ thinking: { type: "disabled" } }, { effort: "none" }, {}],
  [
    { thinking: { type: "disabled" }, output_config: { effort: "low" } },
    { effort: "none" },
    { output_config: { effort: "low" } },
  ],
  [
    { thinking: { type: "enabled", budget_tokens: 2_000, display: "summarized" } },
    { effort: "", budgetTokens: 2_000, summary: "auto" },
    {},
  ],
  [
    { thinking: { type: "enabled", budget_tokens: 2_000, display: "new", more: 1 } },
    { effort: "", budgetTokens: 2_000, summary: "" },
    { thinking: { display: "new", more: 1 } },
  ],
])("how much to think: %j", (members, reasoning, extension) => {
  const request = read({ ...hi, ...members });
  expect(request.reasoning === undefined ? undefined : { ...request.reasoning }).toEqual(
    reasoning === undefined
      ? undefined
      : { $typeName: "weir.chat.v1.ReasoningOptions", effort: "", summary: "", ...reasoning },
  );
  expect(request.extensions["anthropic-messages"] ?? {}).toEqual(extension);
});

test.each([
  [{ type: "auto" }, { mode: ToolChoice_Mode.AUTO, tools: [] }, undefined],
  [{ type: "any", disable_parallel_tool_use: true }, { mode: ToolChoice_Mode.REQUIRED, tools: [] }, false],
  [
    { type: "tool", name: "f", disable_parallel_tool_use: false },
    { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] },
    true,
  ],
  [{ type: "none" }, { mode: ToolChoice_Mode.NONE, tools: [] }, undefined],
])("tool choice %j", (choice, expected, parallel) => {
  const request = read({ ...hi, tool_choice: choice });
  expect(request.toolChoice).toMatchObject(expected);
  expect(request.parallelToolCalls).toBe(parallel);
});

test("tools: functions, with what makes no difference elsewhere, and tools of the vendor", () => {
  const request = read({
    ...hi,
    tools: [
      { name: "f", input_schema: { type: "object" }, strict: true, eager_input_streaming: true, defer_loading: true },
      { type: "custom", name: "g", description: "G", input_schema: {}, allowed_callers: ["direct"] },
      { type: "web_search_20250305", name: "web_search", max_uses: 3, cache_control: { type: "ephemeral", ttl: "5m" } },
    ],
  });
  expect(request.tools.map(({ kind }) => kind.value)).toMatchObject([
    { name: "f", description: "", parametersSchema: '{"type":"object"}', strict: true },
    { name: "g", description: "G", parametersSchema: "{}" },
    { type: "web_search_20250305", settings: { name: "web_search", max_uses: 3 } },
  ]);
  expect(request.tools[2]?.cacheControl?.ttlSeconds).toBe(300);
  expect(request.tools[2]?.kind.value).not.toHaveProperty("settings.cache_control");
});

test("the old place of the output format is read as well", () => {
  const format = { type: "json_schema", schema: { type: "object" } };
  for (const members of [{ output_config: { format } }, { output_format: format }]) {
    expect(read({ ...hi, ...members }).outputFormat?.kind.value).toMatchObject({
      schema: '{"type":"object"}',
      strict: true,
    });
    expect(read({ ...hi, ...members }).extensions).toEqual({});
  }
});

test("invalid JSON that a client wrapped as the vendor advises is the model's own text again", () => {
  const block = { type: "tool_use", id: "a", name: "f", input: { INVALID_JSON: '{"a":' } };
  expect(read(assistantContent([block])).messages[1]?.parts[0]?.content.value).toMatchObject({ arguments: '{"a":' });
});

test.each<[string, unknown, string]>([
  ["content that is missing", { ...hi, messages: [{ role: "user" }] }, "messages[0].content"],
  ["content that is a number", userContent(1), "messages[0].content"],
  ["a block that is text", userContent(["hi"]), "messages[0].content[0]"],
  ["a block without type", userContent([{ text: "hi" }]), "messages[0].content[0].type"],
  ["thoughts of the user", userContent([{ type: "thinking", thinking: "" }]), "messages[0].content[0].type"],
  ["a result by the assistant", assistantContent([{ type: "tool_result" }]), "messages[1].content[0].type"],
  ["an image in system", { ...hi, system: [{ type: "image" }] }, "system[0].type"],
  ["text that is missing", userContent([{ type: "text" }]), "messages[0].content[0].text"],
  [
    "another cache control",
    userContent([{ type: "text", text: "a", cache_control: {} }]),
    "messages[0].content[0].cache_control.type",
  ],
  [
    "an image that is not base64",
    userContent([{ type: "image", source: { type: "base64", media_type: "image/png", data: "*" } }]),
    "messages[0].content[0].source.data",
  ],
  ["an image of no source", userContent([{ type: "image" }]), "messages[0].content[0].source"],
  [
    "an image that is text",
    userContent([{ type: "image", source: { type: "text", data: "a" } }]),
    "messages[0].content[0].source.type",
  ],
  [
    "input that is text",
    assistantContent([{ type: "tool_use", id: "a", name: "f", input: "{}" }]),
    "messages[1].content[0].input",
  ],
  [
    "input that is a long number",
    `{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":1e400}]}]}`,
    "messages[0].content[0].input",
  ],
  ["a call without id", assistantContent([{ type: "tool_use", name: "f", input: {} }]), "messages[1].content[0].id"],
  ["a result without id", userContent([{ type: "tool_result" }]), "messages[0].content[0].tool_use_id"],
  [
    "a result in a result",
    userContent([{ type: "tool_result", tool_use_id: "a", content: [{ type: "tool_result" }] }]),
    "messages[0].content[0].content[0].type",
  ],
  [
    "is_error as text",
    userContent([{ type: "tool_result", tool_use_id: "a", is_error: "yes" }]),
    "messages[0].content[0].is_error",
  ],
  ["a high temperature", { ...hi, temperature: 1.5 }, "temperature"],
  ["top_k as text", { ...hi, top_k: "5" }, "top_k"],
  ["a stop sequence that is a number", { ...hi, stop_sequences: ["a", 1] }, "stop_sequences[1]"],
  ["tools that are an object", { ...hi, tools: {} }, "tools"],
  ["a tool without name", { ...hi, tools: [{ input_schema: {} }] }, "tools[0].name"],
  ["a tool without schema", { ...hi, tools: [{ name: "f" }] }, "tools[0].input_schema"],
  ["a tool choice without name", { ...hi, tool_choice: { type: "tool" } }, "tool_choice.name"],
  ["a budget that is missing", { ...hi, thinking: { type: "enabled" } }, "thinking.budget_tokens"],
  [
    "a format without schema",
    { ...hi, output_config: { format: { type: "json_schema" } } },
    "output_config.format.schema",
  ],
])("refuses %s", (_, body, param) => {
  const error = fault(body);
  expect(error.metadata["param"]).toBe(param);
  expect(error.message).toMatch(/\.$/);
});

test.each<[string, unknown, string]>([
  ["a block of an unknown type", userContent([{ type: "hologram" }]), "messages[0].content[0].type"],
  ["a search result", userContent([{ type: "search_result" }]), "messages[0].content[0].type"],
  ["a server tool's call", assistantContent([{ type: "server_tool_use" }]), "messages[1].content[0].type"],
  ["an unknown member of a block", userContent([{ type: "text", text: "", mood: 1 }]), "messages[0].content[0].mood"],
  ["an unknown member of a message", { ...hi, messages: [{ ...hi.messages[0], name: "n" }] }, "messages[0].name"],
  [
    "a lifetime of a day",
    userContent([{ type: "text", text: "a", cache_control: { type: "ephemeral", ttl: "1d" } }]),
    "messages[0].content[0].cache_control.ttl",
  ],
  [
    "an image that may not be scaled",
    userContent([
      { type: "image", source: { type: "file", file_id: "f" }, transformations: { oversized_image: "error" } },
    ]),
    "messages[0].content[0].transformations",
  ],
  [
    "a document of blocks",
    userContent([{ type: "document", source: { type: "content", content: [] } }]),
    "messages[0].content[0].source.type",
  ],
  [
    "a document with context",
    userContent([{ type: "document", source: { type: "file", file_id: "f" }, context: "c" }]),
    "messages[0].content[0].context",
  ],
  [
    "a document to cite",
    userContent([{ type: "document", source: { type: "file", file_id: "f" }, citations: { enabled: true } }]),
    "messages[0].content[0].citations.enabled",
  ],
  [
    "a call by another tool",
    assistantContent([
      { type: "tool_use", id: "a", name: "f", input: {}, caller: { type: "code_execution_20250825" } },
    ]),
    "messages[1].content[0].caller",
  ],
  ["a reply of no length", { ...hi, max_tokens: 0 }, "max_tokens"],
  [
    "examples of input",
    { ...hi, tools: [{ name: "f", input_schema: {}, input_examples: [{}] }] },
    "tools[0].input_examples",
  ],
  [
    "calls by code",
    { ...hi, tools: [{ name: "f", input_schema: {}, allowed_callers: ["code_execution_20260120"] }] },
    "tools[0].allowed_callers",
  ],
  ["an unknown tool choice", { ...hi, tool_choice: { type: "some" } }, "tool_choice.type"],
  ["an unknown format", { ...hi, output_config: { format: { type: "xml" } } }, "output_config.format.type"],
  [
    "a long number that no field holds",
    `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"container":{"n":[12345678901234567890]}}`,
    "container.n[0]",
  ],
  [
    "a long number in a citation",
    `{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"text","text":"a","citations":[{"n":1e400}]}]}]}`,
    "messages[0].content[0].citations[0].n",
  ],
])("leaves to targets of its own dialect: %s", (_, body, param) => {
  const error = fault(body, [ErrorReason.TARGET_UNSUPPORTED]);
  expect(error.metadata["param"]).toBe(param);
  expect(error.message).toMatch(/\.$/);
});

test("never quotes the body", () => {
  const secret = "sk-very-secret";
  for (const body of [
    { ...hi, system: 7, [secret]: 1 },
    userContent([{ type: secret }]),
    userContent([{ type: "text", text: "a", [secret]: 1 }]),
    { ...hi, tool_choice: { type: secret } },
    { ...hi, thinking: { type: "enabled", budget_tokens: secret } },
  ]) {
    const error = fault(body, refusals);
    expect(`${error.message} ${JSON.stringify(error.metadata)}`).not.toContain("very-secret");
  }
});
