import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  MessageSchema,
  PartSchema,
  ReasoningOptionsSchema,
  Role,
  SamplingOptionsSchema,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { imageType } from "../image-type.ts";
import { type JsonObject, parseExact, writeJson } from "../json.ts";
import { ollama } from "./codec.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const options = { model: "m", stream: true, maxOutputTokensDefault: 4096 };

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
type MessageInit = MessageInitShape<typeof MessageSchema>;
type PartInit = MessageInitShape<typeof PartSchema>;

const text = (value: string): PartInit => ({ content: { case: "text", value: { text: value } } });
const user = (...parts: PartInit[]): MessageInit => ({ role: Role.USER, parts });
const hi = { model: "m", messages: [user(text("hi"))] };

function write(request: RequestInit) {
  const { body, warnings } = ollama.writeRequest(create(GenerateRequestSchema, request), options);
  return { json: writeJson(body), warned: warnings.map(({ param }) => param) };
}

function body(request: RequestInit): JsonObject {
  return JSON.parse(write(request).json) as JsonObject;
}

function read(json: string | JsonObject): GenerateRequest {
  const parsed = parseExact(typeof json === "string" ? json : JSON.stringify(json));
  if (parsed === undefined) throw new Error("is no JSON object");
  return ollama.readRequest(parsed);
}

function messagesOf(request: GenerateRequest) {
  return (toJson(GenerateRequestSchema, request) as { messages: unknown }).messages;
}

/** What was thrown: the reason and the `param`. */
function refusal(act: () => unknown): readonly [ErrorReason, string | undefined] {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError) return [error.reason, error.metadata["param"]];
    throw error;
  }
  throw new Error("was accepted");
}

// --- Law: what the dialect can express survives the way there and back.

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const word = fc.stringMatching(/^[a-zA-Z_]\w{0,11}$/);
const jsonObject = fc
  .dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
  .map((value) => JSON.stringify(value));
const longNumbers = fc.constant('{"a":12345678901234567890,"b":[0.12345678901234567890,1e400]}');
const objectText = fc.oneof({ weight: 5, arbitrary: jsonObject }, { weight: 1, arbitrary: longNumbers });

const png = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
const image = fc
  .tuple(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 20 }))
  .map(([typed, bytes]) => (typed ? Buffer.concat([png, bytes]) : Buffer.from(bytes)))
  .map(
    (data): PartInit => ({
      content: { case: "image", value: { source: { case: "data", value: data }, mediaType: imageType(data) } },
    }),
  );
const textPart = someText.map(text);
const reasoning = someText.map((value): PartInit => ({ content: { case: "reasoning", value: { text: value } } }));
const call = fc
  .record({ id: word, name: word, arguments: objectText })
  .map((value): PartInit => ({ content: { case: "toolCall", value } }));

const upTo = <T>(max: number, arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: max });
const parts = (...lists: fc.Arbitrary<PartInit[]>[]) => fc.tuple(...lists).map((found) => found.flat());

const message: fc.Arbitrary<MessageInit> = fc.oneof(
  upTo(1, textPart).map((list) => ({ role: Role.SYSTEM, parts: list })),
  parts(upTo(2, image), upTo(1, textPart)).map((list) => ({ role: Role.USER, parts: list })),
  parts(upTo(1, reasoning), upTo(1, textPart), upTo(2, call)).map((list) => ({ role: Role.ASSISTANT, parts: list })),
  fc
    .record({ toolCallId: word, parts: parts(upTo(2, image), upTo(1, textPart)) })
    .map((value): MessageInit => ({ role: Role.TOOL, parts: [{ content: { case: "toolResult", value } }] })),
);

const tool = fc
  .record({
    name: word,
    description: fc.string({ maxLength: 8 }),
    parametersSchema: fc.oneof(fc.constant(""), objectText),
  })
  .map((value) => ({ kind: { case: "function" as const, value } }));

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const double = (min: number, max: number) => fc.double({ min, max, noNaN: true }).map((value) => value + 0);

const sampling = fc
  .record(
    {
      temperature: double(0, 2),
      topP: double(0, 1),
      topK: fc.nat({ max: 0xffff_ffff }),
      minP: double(0, 1),
      presencePenalty: double(-2, 2),
      frequencyPenalty: double(-2, 2),
      seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    },
    { requiredKeys: [] },
  )
  .filter((value) => Object.keys(value).length > 0);

const extension = fc.constantFrom<JsonObject>(
  { keep_alive: "5m", truncate: false },
  { keep_alive: -1, options: { num_ctx: 4096, mirostat: 0 } },
  { options: { num_keep: 5 }, further: { a: [1, null, { b: "x" }] } },
);

const request: fc.Arbitrary<RequestInit> = fc
  .record({
    model: fc.constant("m"),
    messages: fc.array(message, { minLength: 1, maxLength: 4 }),
    tools: upTo(2, tool),
    maxOutputTokens: optional(fc.integer({ min: 1, max: 10_000_000 })),
    outputFormat: optional(
      fc.oneof(
        fc.constant({ kind: { case: "json" as const, value: {} } }),
        objectText.map((schema) => ({ kind: { case: "jsonSchema" as const, value: { schema } } })),
      ),
    ),
    reasoning: optional(fc.constantFrom("", "none", "low", "medium", "high").map((effort) => ({ effort }))),
    sampling: optional(sampling),
    stopSequences: upTo(3, someText),
    topLogprobs: optional(fc.nat({ max: 20 })),
    extensions: fc.oneof(
      fc.constant({}),
      extension.map((value) => ({ ollama: value })),
    ),
  })
  .map((value) => value as RequestInit);

test("what can be expressed survives the way to JSON and back, without a warning", () => {
  fc.assert(
    fc.property(request, (init) => {
      const { json, warned } = write(init);
      expect(warned).toEqual([]);
      expect(toJson(GenerateRequestSchema, read(json))).toEqual(
        toJson(GenerateRequestSchema, create(GenerateRequestSchema, init)),
      );
    }),
    { numRuns },
  );
});

test("the way from JSON to JSON keeps every number and the order of messages", () => {
  const json =
    '{"model":"m","messages":[{"role":"assistant","content":"","tool_calls":[{"id":"c","function":{"name":"f",' +
    '"arguments":{"big":12345678901234567890,"small":1e-400,"list":[1.50]}}}]},' +
    '{"role":"tool","content":"ok","tool_name":"f","tool_call_id":"c"}],"stream":true}';
  expect(write(read(json)).json).toBe(json.replace("1.50", "1.5"));
});

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

// --- How requests of clients are read.

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
