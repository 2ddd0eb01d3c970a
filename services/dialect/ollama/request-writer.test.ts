import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  MessageSchema,
  PartSchema,
  ReasoningOptionsSchema,
  Role,
  SamplingOptionsSchema,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { ollama } from "./codec.ts";
import {
  options,
  type RequestInit,
  type PartInit,
  text,
  user,
  hi,
  write,
  body,
  png,
  refusal,
} from "./testing/requests.ts";

// --- Law: nothing is dropped in silence.

const withTool: RequestInit = { tools: [{ kind: { case: "function", value: { name: "f" } } }] };

type Fate = "expressed" | "warned" | "refused";

const fields: Readonly<Record<string, readonly (readonly [Fate, RequestInit, string?])[]>> = {
  model: [["expressed", { model: "another" }]],
  messages: [["expressed", { messages: [user(text("bye"))] }]],
  tools: [
    ["expressed", withTool],
    ["refused", { tools: [{ kind: { case: "server", value: { type: "web_search" } } }] }, "tools[0]"],
    [
      "refused",
      { tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: "true" } } }] },
      "tools[0].function.parameters_schema",
    ],
    [
      "warned",
      { tools: [{ kind: { case: "function", value: { name: "f", strict: true } } }] },
      "tools[0].function.strict",
    ],
    [
      "warned",
      { tools: [{ kind: { case: "function", value: { name: "f" } }, cacheControl: {} }] },
      "tools[0].cache_control",
    ],
  ],
  max_output_tokens: [["expressed", { maxOutputTokens: 5 }]],
  tool_choice: [
    ["refused", { ...withTool, toolChoice: { mode: ToolChoice_Mode.REQUIRED } }, "tool_choice"],
    ["refused", { toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] } }, "tool_choice"],
  ],
  parallel_tool_calls: [["refused", { ...withTool, parallelToolCalls: false }, "parallel_tool_calls"]],
  output_format: [
    ["expressed", { outputFormat: { kind: { case: "json", value: {} } } }],
    [
      "refused",
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: "[]" } } } },
      "output_format.json_schema.schema",
    ],
    [
      "warned",
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: "{}", name: "n" } } } },
      "output_format.json_schema.name",
    ],
    [
      "warned",
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: "{}", description: "d" } } } },
      "output_format.json_schema.description",
    ],
  ],
  reasoning: [["expressed", { reasoning: { effort: "high" } }]],
  sampling: [["expressed", { sampling: { temperature: 1 } }]],
  stop_sequences: [["expressed", { stopSequences: ["x"] }]],
  choice_count: [["refused", { choiceCount: 2 }, "choice_count"]],
  top_logprobs: [["expressed", { topLogprobs: 0 }]],
  service_tier: [["warned", { serviceTier: "flex" }, "service_tier"]],
  metadata: [["warned", { metadata: { a: "b" } }, "metadata"]],
  user: [["warned", { user: "u" }, "user"]],
  prompt_cache_key: [["warned", { promptCacheKey: "k" }, "prompt_cache_key"]],
  prompt_cache_retention: [["warned", { promptCacheRetention: "24h" }, "prompt_cache_retention"]],
  modalities: [["refused", { modalities: ["text", "audio"] }, "modalities"]],
  audio: [["refused", { audio: { voice: "v" } }, "audio"]],
  prediction: [["warned", { prediction: [text("x")] }, "prediction"]],
  verbosity: [["warned", { verbosity: "low" }, "verbosity"]],
  store: [["warned", { store: true }, "store"]],
  extensions: [
    ["expressed", { extensions: { ollama: { keep_alive: 0 } } }],
    ["warned", { extensions: { gemini: { a: 1 } } }, "extensions.gemini"],
    ["warned", { extensions: { ollama: { options: 1 } } }, "extensions.ollama.options"],
  ],
  wire: [], // a request that has it is not translated
};

function checkFate(fate: Fate, init: RequestInit, param: string | undefined): void {
  if (fate === "refused") {
    expect(refusal(() => write(init))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
    return;
  }
  const { json, warned } = write(init);
  expect(warned).toEqual(fate === "warned" ? [param] : []);
  if (fate === "expressed") expect(json).not.toBe(write(hi).json);
}

test("every field of a request has a rule", () => {
  expect(Object.keys(fields)).toEqual(GenerateRequestSchema.fields.map(({ name }) => name));
});

test.each(
  Object.entries(fields).flatMap(([name, cases]) =>
    cases.map(([fate, init, param]) => [name, fate, init, param] as const),
  ),
)("%s is %s", (name, fate, init, param) => {
  if (name !== "model") checkFate(fate, { ...hi, ...init }, param);
  else expect(ollama.writeRequest(create(GenerateRequestSchema, { ...hi, ...init }), options).body["model"]).toBe("m");
});

const partFates: Readonly<Record<string, readonly (readonly [Fate, PartInit, string?])[]>> = {
  text: [
    ["expressed", text("x")],
    [
      "warned",
      { content: { case: "text", value: { text: "x", citations: [{ url: "u" }] } } },
      "messages[0].parts[0].text.citations",
    ],
  ],
  image: [
    ["expressed", { content: { case: "image", value: { source: { case: "data", value: png } } } }],
    [
      "warned",
      { content: { case: "image", value: { source: { case: "data", value: png }, detail: "low" } } },
      "messages[0].parts[0].image.detail",
    ],
    [
      "warned",
      { content: { case: "image", value: { source: { case: "data", value: png }, filename: "a" } } },
      "messages[0].parts[0].image.filename",
    ],
    [
      "refused",
      { content: { case: "image", value: { source: { case: "url", value: "https://a/" } } } },
      "messages[0].parts[0].image.url",
    ],
    [
      "refused",
      { content: { case: "image", value: { source: { case: "fileId", value: "f" } } } },
      "messages[0].parts[0].image.file_id",
    ],
  ],
  audio: [
    [
      "refused",
      { content: { case: "audio", value: { source: { case: "data", value: png } } } },
      "messages[0].parts[0]",
    ],
  ],
  file: [
    ["refused", { content: { case: "file", value: { source: { case: "data", value: png } } } }, "messages[0].parts[0]"],
  ],
  tool_call: [
    ["expressed", { content: { case: "toolCall", value: { id: "c", name: "f", arguments: "{}" } } }],
    [
      "refused",
      { content: { case: "toolCall", value: { id: "c", name: "f", arguments: '{"a":' } } },
      "messages[0].parts[0].tool_call.arguments",
    ],
    [
      "refused",
      { content: { case: "toolCall", value: { id: "c", name: "f", arguments: "free text" } } },
      "messages[0].parts[0].tool_call.arguments",
    ],
    [
      "warned",
      { content: { case: "toolCall", value: { id: "c", name: "f", arguments: "", signature: png } } },
      "messages[0].parts[0].tool_call.signature",
    ],
  ],
  tool_result: [
    ["expressed", { content: { case: "toolResult", value: { toolCallId: "c", parts: [text("x")] } } }],
    [
      "warned",
      { content: { case: "toolResult", value: { toolCallId: "c", failed: true } } },
      "messages[0].parts[0].tool_result.failed",
    ],
    [
      "refused",
      {
        content: {
          case: "toolResult",
          value: {
            toolCallId: "c",
            parts: [{ content: { case: "file", value: { source: { case: "data", value: png } } } }],
          },
        },
      },
      "messages[0].parts[0].tool_result.parts[0]",
    ],
  ],
  reasoning: [
    ["expressed", { content: { case: "reasoning", value: { text: "x" } } }],
    [
      "warned",
      { content: { case: "reasoning", value: { text: "x", signature: png } } },
      "messages[0].parts[0].reasoning.signature",
    ],
    ["warned", { content: { case: "reasoning", value: { sealed: png } } }, "messages[0].parts[0].reasoning.sealed"],
    ["warned", { content: { case: "reasoning", value: { text: "x", id: "r" } } }, "messages[0].parts[0].reasoning.id"],
  ],
  refusal: [["expressed", { content: { case: "refusal", value: { text: "no" } } }]],
  cache_control: [
    [
      "warned",
      { content: { case: "text", value: { text: "x" } }, cacheControl: { ttlSeconds: 300 } },
      "messages[0].parts[0].cache_control",
    ],
  ],
};

test("every kind of part has a rule", () => {
  expect(Object.keys(partFates)).toEqual(PartSchema.fields.map(({ name }) => name));
});

test.each(
  Object.entries(partFates).flatMap(([name, cases]) =>
    cases.map(([fate, init, param]) => [name, fate, init, param] as const),
  ),
)("a part that is %s is %s", (_, fate, part, param) => {
  checkFate(fate, { ...hi, messages: [{ role: Role.ASSISTANT, parts: [part] }] }, param);
});

test("every setting of the sampler has a rule", () => {
  const set = { temperature: 1, topP: 1, topK: 1, minP: 1, presencePenalty: 1, frequencyPenalty: 1, seed: 1n };
  const { json, warned } = write({ ...hi, sampling: { ...set, logitBias: { 1: 1 } } });
  expect(warned).toEqual(["sampling.logit_bias"]);
  const names = SamplingOptionsSchema.fields.map(({ name }) => name).filter((name) => name !== "logit_bias");
  expect((JSON.parse(json) as JsonObject)["options"]).toEqual(Object.fromEntries(names.map((name) => [name, 1])));
});

test("every option of reasoning has a rule below", () => {
  expect(ReasoningOptionsSchema.fields.map(({ name }) => name)).toEqual(["effort", "budget_tokens", "summary"]);
});

test("a speaker's name is left out with a warning", () => {
  expect(MessageSchema.fields.map(({ name }) => name)).toEqual(["role", "parts", "name"]);
  expect(write({ ...hi, messages: [{ ...user(text("hi")), name: "Ann" }] }).warned).toEqual(["messages[0].name"]);
});

test.each<[MessageInitShape<typeof ReasoningOptionsSchema>, unknown, string[]]>([
  [{}, true, []],
  [{ effort: "none" }, false, []],
  [{ effort: "minimal" }, "low", []],
  [{ effort: "xhigh" }, "high", []],
  [{ effort: "max" }, "high", []],
  [{ effort: "heroic" }, undefined, ["reasoning.effort"]],
  [{ budgetTokens: 0 }, false, []],
  [{ budgetTokens: 100 }, true, ["reasoning.budget_tokens"]],
  [{ effort: "low", summary: "auto" }, "low", ["reasoning.summary"]],
])("reasoning %o is written as think %s", (reasoningOptions, think, warnings) => {
  const { json, warned } = write({ ...hi, reasoning: reasoningOptions });
  expect((JSON.parse(json) as JsonObject)["think"]).toBe(think);
  expect(warned).toEqual(warnings);
});

test("an extension never stands above what the request says, and sets no output limit", () => {
  const extensions = {
    ollama: { model: "x", stream: false, messages: [], options: { temperature: 9, num_ctx: 1, num_predict: 9 } },
  };
  const { json, warned } = write({ ...hi, sampling: { temperature: 1 }, extensions });
  const written = JSON.parse(json) as JsonObject;
  expect(written).toEqual({ ...body(hi), options: { temperature: 1, num_ctx: 1 } });
  expect(warned.toSorted()).toEqual(
    ["messages", "model", "options.num_predict", "options.temperature", "stream"].map(
      (it) => `extensions.ollama.${it}`,
    ),
  );
  const unlimited = { ollama: { options: { num_predict: -2 } } };
  expect(body({ ...hi, extensions: unlimited })).toMatchObject({ options: { num_predict: -2 } });
  expect(body({ ...hi, maxOutputTokens: 5, extensions: unlimited })).toMatchObject({ options: { num_predict: 5 } });
});

test("a field that is left out of many messages is noted once", () => {
  const messages = [{ ...user(text("a")), name: "Ann" }, user(text("b")), { ...user(text("c")), name: "Ben" }];
  expect(write({ ...hi, messages }).warned).toEqual(["messages[0].name"]);
});

// --- How conversations are written.

test("parts that a message has no order for continue in messages of the same role", () => {
  const toolCall: PartInit = { content: { case: "toolCall", value: { id: "c", name: "f", arguments: "" } } };
  const picture: PartInit = { content: { case: "image", value: { source: { case: "data", value: png } } } };
  const messages = [
    user(text("look"), picture, picture, text("well?")),
    { role: Role.ASSISTANT, parts: [text("a"), text("b"), toolCall, text("c")] },
    { role: Role.DEVELOPER, parts: [] },
  ];
  const base64 = png.toString("base64");
  expect(body({ ...hi, messages })["messages"]).toEqual([
    { role: "user", content: "look" },
    { role: "user", content: "well?", images: [base64, base64] },
    { role: "assistant", content: "a" },
    { role: "assistant", content: "b", tool_calls: [{ id: "c", function: { name: "f", arguments: {} } }] },
    { role: "assistant", content: "c" },
    { role: "system", content: "" },
  ]);
});

test("the results of one turn are messages of their own, with the names of the tools", () => {
  const result = (toolCallId: string): PartInit => ({
    content: { case: "toolResult", value: { toolCallId, parts: [text("1"), text("2")] } },
  });
  const calls = ["a", "b"].map(
    (id): PartInit => ({ content: { case: "toolCall", value: { id, name: `f_${id}`, arguments: "{}" } } }),
  );
  const messages = [
    { role: Role.ASSISTANT, parts: calls },
    { role: Role.TOOL, parts: [result("b"), result("a"), result("unknown")] },
  ];
  expect((body({ ...hi, messages })["messages"] as unknown[]).slice(1)).toEqual([
    { role: "tool", content: "1\n2", tool_name: "f_b", tool_call_id: "b" },
    { role: "tool", content: "1\n2", tool_name: "f_a", tool_call_id: "a" },
    { role: "tool", content: "1\n2", tool_call_id: "unknown" },
  ]);
});

test("tools that may not be called are not sent", () => {
  const tools = ["f", "g"].map((name) => ({ kind: { case: "function" as const, value: { name } } }));
  expect(body({ ...hi, tools, toolChoice: { mode: ToolChoice_Mode.NONE } })).not.toHaveProperty("tools");
  const written = body({ ...hi, tools, toolChoice: { mode: ToolChoice_Mode.AUTO, tools: ["g"] } });
  expect(written["tools"]).toEqual([{ type: "function", function: { name: "g" } }]);
});

test("a schema is written as it stands", () => {
  const schema = '{ "type" : "object", "maximum": 1.0 }';
  const tools = [{ kind: { case: "function" as const, value: { name: "f", parametersSchema: schema } } }];
  expect(write({ ...hi, tools }).json).toContain(`"parameters":${schema}`);
});
