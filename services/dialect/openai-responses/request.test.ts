import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role, ToolChoice_Mode as Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { type JsonObject, parseExact, writeJson } from "../json.ts";
import { params } from "./params.ts";
import { writeRequest } from "./request-writer.ts";

const options = { model: "gpt-6", stream: false, maxOutputTokensDefault: 4_096 };
const hello = { role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hello" } } }] };

type Init = MessageInitShape<typeof GenerateRequestSchema>;
type PartInit = NonNullable<NonNullable<Init["messages"]>[number]["parts"]>[number];

function request(init: Init = {}): GenerateRequest {
  return create(GenerateRequestSchema, { model: "gpt-6", messages: [hello], ...init });
}

/** Through JSON text, as between client and provider. */
function send(canonical: GenerateRequest): JsonObject {
  const body = parseExact(writeJson(writeRequest(canonical, options).body));
  if (body === undefined) throw new Error("wrote no JSON object");
  return body;
}

function fault(act: () => unknown): WeirError {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

// Every field of the canonical request has a rule here; a new one without a rule fails.
type Rule =
  | { readonly set: Init; readonly body: JsonObject }
  | { readonly set: Init; readonly dropped: readonly string[] }
  | { readonly set: Init; readonly refused: string };

const sampled = { temperature: 0.5, topP: 0.25 };
const odd = { topK: 1, minP: 0.1, presencePenalty: 1, frequencyPenalty: 1, seed: 7n, logitBias: { 5: 1 } };
const rules: Record<string, Rule> = {
  model: { set: {}, body: { model: "gpt-6" } },
  messages: { set: {}, body: { input: [{ role: "user", content: "hello" }] } },
  tools: {
    set: { tools: [{ kind: { case: "function", value: { name: "f" } } }] },
    body: { tools: [{ type: "function", name: "f", parameters: null, strict: null }] },
  },
  max_output_tokens: { set: { maxOutputTokens: 9 }, body: { max_output_tokens: 9 } },
  tool_choice: { set: { toolChoice: { mode: Mode.REQUIRED } }, body: { tool_choice: "required" } },
  parallel_tool_calls: { set: { parallelToolCalls: false }, body: { parallel_tool_calls: false } },
  output_format: {
    set: { outputFormat: { kind: { case: "json", value: {} } } },
    body: { text: { format: { type: "json_object" } } },
  },
  reasoning: {
    set: { reasoning: { effort: "high" } },
    body: { reasoning: { effort: "high" }, include: ["reasoning.encrypted_content"] },
  },
  "reasoning.budget_tokens": {
    set: { reasoning: { budgetTokens: 0 } },
    dropped: ["reasoning.budget_tokens"],
  },
  sampling: { set: { sampling: sampled }, body: { temperature: 0.5, top_p: 0.25 } },
  "sampling.rest": {
    set: { sampling: odd },
    dropped: [
      "sampling.top_k",
      "sampling.min_p",
      "sampling.presence_penalty",
      "sampling.frequency_penalty",
      "sampling.seed",
      "sampling.logit_bias",
    ],
  },
  stop_sequences: { set: { stopSequences: ["x"] }, refused: "stop_sequences" },
  choice_count: { set: { choiceCount: 2 }, refused: "choice_count" },
  top_logprobs: {
    set: { topLogprobs: 3 },
    body: { include: ["message.output_text.logprobs"], top_logprobs: 3 },
  },
  service_tier: { set: { serviceTier: "flex" }, body: { service_tier: "flex" } },
  metadata: { set: { metadata: { team: "a" } }, body: { metadata: { team: "a" } } },
  user: { set: { user: "u" }, body: { safety_identifier: "u" } },
  "user.long": { set: { user: "u".repeat(129) }, dropped: ["user"] },
  prompt_cache_key: { set: { promptCacheKey: "k" }, body: { prompt_cache_key: "k" } },
  prompt_cache_retention: { set: { promptCacheRetention: "24h" }, body: { prompt_cache_retention: "24h" } },
  modalities: { set: { modalities: ["text", "audio"] }, refused: "modalities" },
  audio: { set: { audio: { voice: "alloy", format: "wav" } }, refused: "audio" },
  prediction: {
    set: { prediction: [{ content: { case: "text", value: { text: "x" } } }] },
    dropped: ["prediction"],
  },
  verbosity: { set: { verbosity: "low" }, body: { text: { verbosity: "low" } } },
  store: { set: { store: false }, body: { store: false } },
  extensions: { set: { extensions: { "openai-responses": { truncation: "auto" } } }, body: { truncation: "auto" } },
  "extensions.other": { set: { extensions: { gemini: { x: 1 } } }, dropped: ["extensions.gemini"] },
  wire: { set: { wire: { body: Buffer.from("{}") } }, refused: "wire" },
};

test("every field of the canonical request has a rule", () => {
  const ruled = new Set(Object.keys(rules).map((name) => name.split(".")[0]));
  expect(GenerateRequestSchema.fields.map((field) => field.name).filter((name) => !ruled.has(name))).toEqual([]);
});

test.each(Object.entries(rules))("%s is expressed, dropped with a warning, or refused", (_, rule) => {
  const canonical = request(rule.set);
  if ("refused" in rule) {
    const error = fault(() => writeRequest(canonical, options));
    expect(error.reason).toBe(ErrorReason.TARGET_UNSUPPORTED);
    expect(error.metadata["param"]).toBe(rule.refused);
    return;
  }
  const { body, warnings } = writeRequest(canonical, options);
  expect(warnings.map(({ code, param }) => [code, param])).toEqual(
    ("dropped" in rule ? rule.dropped : []).map((param) => ["field_dropped", param]),
  );
  const expected = "body" in rule ? rule.body : {};
  expect(JSON.parse(writeJson(body))).toEqual({
    model: "gpt-6",
    input: [{ role: "user", content: "hello" }],
    ...expected,
  });
});

test("a stream is asked for only when wanted", () => {
  expect(send(request())).not.toHaveProperty("stream");
  expect(writeRequest(request(), { ...options, stream: true }).body["stream"]).toBe(true);
});

test("extensions never override what the canonical form set", () => {
  const own = { model: "other", input: [], temperature: 2, text: { verbosity: "low", format: { type: "text" } } };
  const body = send(
    request({
      sampling: { temperature: 0.5 },
      outputFormat: { kind: { case: "json", value: {} } },
      extensions: { "openai-responses": own },
    }),
  );
  expect(body).toMatchObject({
    model: "gpt-6",
    input: [{ role: "user", content: "hello" }],
    temperature: 0.5,
    text: { format: { type: "json_object" }, verbosity: "low" },
  });
});

test.each<[string, PartInit, Role, string]>([
  [
    "a call by the user",
    { content: { case: "toolCall", value: { id: "c", name: "n" } } },
    Role.USER,
    "messages[0].parts[0]",
  ],
  [
    "a result by the model",
    { content: { case: "toolResult", value: { toolCallId: "c" } } },
    Role.ASSISTANT,
    "messages[0].parts[0]",
  ],
  ["a picture by the model", { content: { case: "image", value: {} } }, Role.ASSISTANT, "messages[0].parts[0]"],
  ["text in a tool's message", { content: { case: "text", value: { text: "x" } } }, Role.TOOL, "messages[0].parts[0]"],
  ["a picture without bytes", { content: { case: "image", value: {} } }, Role.USER, "messages[0].parts[0].image"],
  [
    "sound by address",
    { content: { case: "audio", value: { source: { case: "url", value: "https://a.test" } } } },
    Role.USER,
    "messages[0].parts[0].audio",
  ],
  [
    "sound of another format",
    {
      content: { case: "audio", value: { source: { case: "data", value: Buffer.from("x") }, mediaType: "audio/flac" } },
    },
    Role.USER,
    "messages[0].parts[0].audio.media_type",
  ],
  [
    "sound from a tool",
    {
      content: {
        case: "toolResult",
        value: { toolCallId: "c", parts: [{ content: { case: "audio", value: {} } }] },
      },
    },
    Role.TOOL,
    "messages[0].parts[0].tool_result",
  ],
])("%s is refused", (_, part, role, param) => {
  const error = fault(() => writeRequest(request({ messages: [{ role, parts: [part] }] }), options));
  expect([error.reason, error.metadata["param"]]).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
});

test("what is lost of a conversation is told", () => {
  const cacheControl = { ttlSeconds: 300 };
  const { body, warnings } = writeRequest(
    request({
      messages: [
        { role: Role.SYSTEM, parts: [{ content: { case: "text", value: { text: "s" } }, cacheControl }] },
        { role: Role.USER, name: "ann", parts: [{ content: { case: "text", value: { text: "u" } } }] },
        {
          role: Role.ASSISTANT,
          parts: [
            { content: { case: "reasoning", value: { text: "foreign", signature: Buffer.from("s") } } },
            {
              content: { case: "toolCall", value: { id: "c", name: "n", arguments: "{", signature: Buffer.from("s") } },
            },
          ],
        },
        { role: Role.TOOL, parts: [{ content: { case: "toolResult", value: { toolCallId: "c", failed: true } } }] },
      ],
      tools: [{ kind: { case: "function", value: { name: "n" } }, cacheControl }],
    }),
    options,
  );
  expect(warnings.map((warning) => warning.param)).toEqual([
    "messages[0].parts[0].cache_control",
    "messages[1].name",
    "messages[2].parts[0].reasoning",
    "messages[2].parts[1].tool_call.signature",
    "messages[3].parts[0].tool_result.failed",
    "tools[0].cache_control",
  ]);
  expect(body["input"]).toEqual([
    { role: "system", content: "s" },
    { role: "user", content: "u" },
    { type: "function_call", call_id: "c", name: "n", arguments: "{" },
    { type: "function_call_output", call_id: "c", output: "" },
  ]);
});

test("a schema cannot write other members of the body", () => {
  const schema = '{}}],"model":"expensive","tools":[{"x":{}';
  const inTool = request({ tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: schema } } }] });
  expect(fault(() => writeRequest(inTool, options)).metadata["param"]).toBe("tools[0].function.parameters_schema");
  const inFormat = request({ outputFormat: { kind: { case: "jsonSchema", value: { name: "n", schema } } } });
  expect(fault(() => writeRequest(inFormat, options)).metadata["param"]).toBe("output_format.json_schema.schema");
});

test.each<[string, Init, string]>([
  [
    "a tool of another vendor",
    { tools: [{ kind: { case: "server", value: { type: "bash_20250124" } } }] },
    "tools[0].server.type",
  ],
  ["a tool of no kind", { tools: [{}] }, "tools[0]"],
  ["a ban of single tools", { toolChoice: { mode: Mode.NONE, tools: ["x"] } }, "tool_choice.tools"],
  ["an unknown role", { messages: [{ role: 99 as Role }] }, "messages[0].role"],
])("%s is refused", (_, init, param) => {
  expect(fault(() => writeRequest(request(init), options)).metadata["param"]).toBe(param);
});

test("a grammar is written where this dialect has it, whichever form it came in", () => {
  const grammar = { syntax: "lark", definition: "start: /a/" };
  for (const format of [
    { type: "grammar", grammar },
    { type: "grammar", ...grammar },
  ]) {
    const tools = [
      { kind: { case: "server" as const, value: { type: "custom", settings: { name: "patch", format } } } },
    ];
    expect(send(request({ tools }))["tools"]).toEqual([
      { type: "custom", name: "patch", format: { type: "grammar", ...grammar } },
    ]);
  }
});

test("a field has at most one place here, and it is one of the canonical fields", () => {
  const fields = new Set(GenerateRequestSchema.fields.map((field) => field.name));
  const unknown = Object.keys(params).filter((path) => !fields.has(path.split(".")[0] ?? ""));
  expect(unknown).toEqual([]);
});

test("a first system message becomes instructions only beside other input", () => {
  const system = { role: Role.SYSTEM, parts: [{ content: { case: "text" as const, value: { text: "be brief" } } }] };
  expect(send(request({ messages: [system, hello] }))).toMatchObject({
    instructions: "be brief",
    input: [{ role: "user", content: "hello" }],
  });
  const alone = send(request({ messages: [system] }));
  expect(alone["input"]).toEqual([{ role: "system", content: "be brief" }]);
  expect(alone).not.toHaveProperty("instructions");
});

test("reasoning is asked for in sealed form unless the vendor keeps the answer, or nothing reasons", () => {
  const include = (init: Init) => send(request(init))["include"];
  const thought: PartInit = { content: { case: "reasoning", value: { id: "rs_1", text: "hm" } } };
  const sealed = ["reasoning.encrypted_content"];
  expect(include({ reasoning: { effort: "low" } })).toEqual(sealed);
  expect(include({ reasoning: { summary: "auto" }, store: false })).toEqual(sealed);
  expect(include({ messages: [hello, { role: Role.ASSISTANT, parts: [thought] }, hello] })).toEqual(sealed);
  expect(include({ reasoning: { effort: "low" }, topLogprobs: 0 })).toEqual([
    "message.output_text.logprobs",
    ...sealed,
  ]);
  for (const init of [{}, { reasoning: { effort: "none" } }, { reasoning: { effort: "low" }, store: true }]) {
    expect(include(init)).toBeUndefined();
  }
});
