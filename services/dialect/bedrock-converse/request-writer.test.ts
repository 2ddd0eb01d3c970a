import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  MediaSchema,
  MessageSchema,
  PartSchema,
  ReasoningSchema,
  Role,
  SamplingOptionsSchema,
  ToolCallSchema,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { expect, test } from "vitest";
import { writeJson } from "../json.ts";
import { writeRequest } from "./request-writer.ts";
import {
  type RequestInit,
  type PartInit,
  type Content,
  claude,
  newest,
  nova,
  llama,
  profile,
  write,
  refused,
  add,
  user,
  contentOf,
  names,
} from "./testing/written.ts";

/** What becomes of a field: where it stands in the body, which warning it leaves, or which field is refused. */
type Rule = { readonly at: string } | { readonly dropped: string } | { readonly refused: string };

interface FieldCase {
  readonly init: RequestInit;
  readonly rule: Rule;
}

function check({ init, rule }: FieldCase): void {
  if ("refused" in rule) expect(refused(init)).toBe(rule.refused);
  else if ("dropped" in rule) expect(write(init).warnings).toEqual([`field_dropped ${rule.dropped}`]);
  else expect(write(init)).toEqual({ body: { [rule.at]: expect.anything() as unknown }, warnings: [] });
}

const fields: Readonly<Record<string, FieldCase>> = {
  messages: { init: user({ case: "text", value: { text: "a" } }), rule: { at: "messages" } },
  tools: { init: { tools: [add] }, rule: { at: "toolConfig" } },
  max_output_tokens: { init: { maxOutputTokens: 1 }, rule: { at: "inferenceConfig" } },
  tool_choice: { init: { toolChoice: { mode: ToolChoice_Mode.REQUIRED } }, rule: { refused: "tool_choice" } },
  parallel_tool_calls: {
    init: { tools: [add], toolChoice: { mode: ToolChoice_Mode.AUTO, tools: ["add"] }, parallelToolCalls: false },
    rule: { refused: "tool_choice.tools" },
  },
  output_format: {
    init: { outputFormat: { kind: { case: "jsonSchema", value: { schema: "{}" } } } },
    rule: { at: "outputConfig" },
  },
  reasoning: { init: { reasoning: { effort: "none" } }, rule: { at: "additionalModelRequestFields" } },
  sampling: { init: { sampling: { temperature: 1 } }, rule: { at: "inferenceConfig" } },
  stop_sequences: { init: { stopSequences: ["a"] }, rule: { at: "inferenceConfig" } },
  choice_count: { init: { choiceCount: 2 }, rule: { refused: "choice_count" } },
  top_logprobs: { init: { topLogprobs: 0 }, rule: { refused: "top_logprobs" } },
  service_tier: { init: { serviceTier: "flex" }, rule: { at: "serviceTier" } },
  metadata: { init: { metadata: { team: "a" } }, rule: { at: "requestMetadata" } },
  user: { init: { user: "u" }, rule: { dropped: "user" } },
  prompt_cache_key: { init: { promptCacheKey: "k" }, rule: { dropped: "prompt_cache_key" } },
  prompt_cache_retention: { init: { promptCacheRetention: "24h" }, rule: { dropped: "prompt_cache_retention" } },
  modalities: { init: { modalities: ["text", "audio"] }, rule: { refused: "modalities" } },
  audio: { init: { audio: { voice: "v" } }, rule: { refused: "audio" } },
  prediction: {
    init: { prediction: [{ content: { case: "text", value: { text: "a" } } }] },
    rule: { dropped: "prediction" },
  },
  verbosity: { init: { verbosity: "low" }, rule: { dropped: "verbosity" } },
  store: { init: { store: true }, rule: { dropped: "store" } },
  extensions: { init: { extensions: { "openai-chat": { logit: 1 } } }, rule: { dropped: "extensions.openai-chat" } },
};

test("every field of a request has a rule", () => {
  // The model is in the path; `wire` is another way to ask.
  expect([...Object.keys(fields), "model", "wire"].toSorted()).toEqual(names(GenerateRequestSchema));
});

test.each(Object.entries(fields))("the rule of %s holds", (_, fieldCase) => check(fieldCase));

const sampling: Readonly<Record<string, FieldCase>> = {
  temperature: { init: { sampling: { temperature: 0 } }, rule: { at: "inferenceConfig" } },
  top_p: { init: { sampling: { topP: 0.5 } }, rule: { at: "inferenceConfig" } },
  top_k: { init: { sampling: { topK: 5 } }, rule: { at: "additionalModelRequestFields" } },
  min_p: { init: { sampling: { minP: 0 } }, rule: { dropped: "sampling.min_p" } },
  presence_penalty: { init: { sampling: { presencePenalty: 0 } }, rule: { dropped: "sampling.presence_penalty" } },
  frequency_penalty: { init: { sampling: { frequencyPenalty: 1 } }, rule: { dropped: "sampling.frequency_penalty" } },
  seed: { init: { sampling: { seed: 0n } }, rule: { dropped: "sampling.seed" } },
  logit_bias: { init: { sampling: { logitBias: { 5: 1 } } }, rule: { dropped: "sampling.logit_bias" } },
};

test("every field of the sampler has a rule", () => {
  expect(Object.keys(sampling).toSorted()).toEqual(names(SamplingOptionsSchema));
});

test.each(Object.entries(sampling))("the rule of the sampler's %s holds", (_, fieldCase) => check(fieldCase));

const nobody = { case: "text" as const, value: { text: "a" } };
const bytes = new Uint8Array([1]);

/** Fields of messages and parts: the request that has one, and the warning or refusal; undefined where it is written. */
const contents: Readonly<Record<string, readonly [init: RequestInit, told: string | undefined]>> = {
  "Message.role": [{ messages: [{ role: Role.UNSPECIFIED, parts: [{ content: nobody }] }] }, "messages[0].role"],
  "Message.parts": [user(nobody), undefined],
  "Message.name": [
    { messages: [{ role: Role.USER, name: "ann", parts: [{ content: nobody }] }] },
    "field_dropped messages[0].name",
  ],
  "Part.text": [user(nobody), undefined],
  "Part.image": [
    user({ case: "image", value: { source: { case: "data", value: bytes }, mediaType: "image/png" } }),
    undefined,
  ],
  "Part.audio": [
    user({ case: "audio", value: { source: { case: "data", value: bytes }, mediaType: "audio/wav" } }),
    undefined,
  ],
  "Part.file": [user({ case: "file", value: { source: { case: "data", value: bytes } } }), undefined],
  "Part.tool_call": [user({ case: "toolCall", value: { id: "a", name: "f" } }), undefined],
  "Part.tool_result": [user({ case: "toolResult", value: { toolCallId: "a" } }), undefined],
  "Part.reasoning": [
    user({ case: "reasoning", value: { text: "hm" } }),
    "field_dropped messages[0].parts[0].reasoning",
  ],
  "Part.refusal": [user({ case: "refusal", value: { text: "no" } }), undefined],
  "Part.cache_control": [
    { messages: [{ role: Role.USER, parts: [{ content: nobody, cacheControl: { ttlSeconds: 86_400 } }] }] },
    "field_approximated messages[0].parts[0].cache_control.ttl_seconds",
  ],
  "Media.data": [
    user({ case: "image", value: { source: { case: "data", value: bytes }, mediaType: "image/gif" } }),
    undefined,
  ],
  "Media.url": [
    user({ case: "image", value: { source: { case: "url", value: "https://a.example" }, mediaType: "image/png" } }),
    "messages[0].parts[0].image.url",
  ],
  "Media.file_id": [
    user({ case: "file", value: { source: { case: "fileId", value: "f" } } }),
    "messages[0].parts[0].file.file_id",
  ],
  "Media.media_type": [
    user({ case: "image", value: { source: { case: "data", value: bytes } } }),
    "messages[0].parts[0].image.media_type",
  ],
  "Media.filename": [
    user({ case: "image", value: { source: { case: "data", value: bytes }, mediaType: "image/png", filename: "a" } }),
    "field_dropped messages[0].parts[0].image.filename",
  ],
  "Media.detail": [
    user({ case: "image", value: { source: { case: "data", value: bytes }, mediaType: "image/png", detail: "low" } }),
    "field_dropped messages[0].parts[0].image.detail",
  ],
  "ToolCall.id": [user({ case: "toolCall", value: { id: "a", name: "f" } }), undefined],
  "ToolCall.name": [user({ case: "toolCall", value: { id: "a", name: "f" } }), undefined],
  "ToolCall.arguments": [user({ case: "toolCall", value: { id: "a", name: "f", arguments: "{" } }), undefined],
  "ToolCall.signature": [
    user({ case: "toolCall", value: { id: "a", name: "f", signature: bytes } }),
    "field_dropped messages[0].parts[0].tool_call.signature",
  ],
  "Reasoning.text": [user({ case: "reasoning", value: { text: "hm", signature: bytes } }), undefined],
  "Reasoning.signature": [
    user({ case: "reasoning", value: { signature: new Uint8Array([255]) } }),
    "field_dropped messages[0].parts[0].reasoning",
  ],
  "Reasoning.sealed": [user({ case: "reasoning", value: { sealed: bytes } }), undefined],
  "Reasoning.id": [
    user({ case: "reasoning", value: { id: "rs_1", sealed: bytes } }),
    "field_dropped messages[0].parts[0].reasoning",
  ],
};

test("every field of the conversation has a rule", () => {
  const schemas = [MessageSchema, PartSchema, MediaSchema, ToolCallSchema, ReasoningSchema];
  const wanted = schemas.flatMap((schema) => schema.fields.map(({ name }) => `${schema.name}.${name}`));
  expect(Object.keys(contents).toSorted()).toEqual(wanted.toSorted());
});

test.each(Object.entries(contents))("the rule of %s holds", (_, [init, told]) => {
  if (told === undefined) expect(write(init).warnings).toEqual([]);
  else if (told.startsWith("field_")) expect(write(init).warnings).toEqual([told]);
  else expect(refused(init)).toBe(told);
});

test("neighbours of one role are one turn, with the results of tools first", () => {
  const text = (value: string): PartInit => ({ content: { case: "text", value: { text: value } } });
  const result: PartInit = {
    content: { case: "toolResult", value: { toolCallId: "a", failed: true } },
    cacheControl: {},
  };
  const written = write({
    messages: [
      { role: Role.DEVELOPER, parts: [text("be"), text("")] },
      { role: Role.SYSTEM, parts: [text("kind")] },
      { role: Role.ASSISTANT, parts: [text("hi")] },
      { role: Role.ASSISTANT, parts: [] },
      { role: Role.ASSISTANT, parts: [text("there")] },
      { role: Role.USER, parts: [text("a")] },
      { role: Role.TOOL, parts: [result] },
      { role: Role.USER, parts: [text("b")] },
    ],
  });
  expect(written.body).toEqual({
    system: [{ text: "be" }, { text: "kind" }],
    messages: [
      { role: "assistant", content: [{ text: "hi" }, { text: "there" }] },
      {
        role: "user",
        content: [
          { toolResult: { toolUseId: "a", content: [], status: "error" } },
          { cachePoint: { type: "default" } },
          { text: "a" },
          { text: "b" },
        ],
      },
    ],
  });
});

test("later instructions stay where the model takes them, else they join the first ones", () => {
  const say = (role: Role, value: string) => ({
    role,
    parts: [{ content: { case: "text" as const, value: { text: value } } }],
  });
  const messages = [say(Role.USER, "a"), say(Role.SYSTEM, "s"), say(Role.ASSISTANT, "b"), say(Role.USER, "c")];
  expect(write({ messages }, newest).body["messages"]).toMatchObject([{}, { role: "system" }, {}, {}]);
  const moved = write({ messages }, nova);
  expect(moved.body).toMatchObject({ system: [{ text: "s" }], messages: [{}, { role: "assistant" }, {}] });
  expect(moved.warnings).toEqual(["field_approximated messages[1]"]);
  // Between two turns of the user's no model takes them; the two are then one.
  const between = write({ messages: [say(Role.USER, "a"), say(Role.SYSTEM, "s"), say(Role.USER, "c")] }, newest);
  expect(between.body).toEqual({
    system: [{ text: "s" }],
    messages: [{ role: "user", content: [{ text: "a" }, { text: "c" }] }],
  });
});

test("instructions are text", () => {
  const image: Content = { case: "image", value: { source: { case: "data", value: bytes }, mediaType: "image/png" } };
  expect(refused({ messages: [{ role: Role.SYSTEM, parts: [{ content: image }] }] })).toBe("messages[0].parts");
});

test("documents get names that Bedrock takes, none of them twice", () => {
  const file = (filename: string): Content => ({
    case: "file",
    value: { source: { case: "data", value: bytes }, mediaType: "application/pdf", filename },
  });
  const written = write(
    user(file("Q3 report.pdf"), file("q3 Report"), file("été_1.docx"), file(""), file("日本.pdf"), file("(a)  [b]")),
  );
  const taken = (contentOf(written) as { document: { name: string } }[]).map(({ document }) => document.name);
  expect(taken).toEqual(["Q3 report", "q3 Report-2", "-t-1", "document", "document-2", "(a) [b]"]);
});

test("a text of any kind is a document of text; an archive is none", () => {
  const file = (mediaType: string): Content => ({
    case: "file",
    value: { source: { case: "data", value: bytes }, mediaType, filename: "a" },
  });
  expect(contentOf(write(user(file("text/x-python; charset=utf-8"))))).toMatchObject([{ document: { format: "txt" } }]);
  expect(refused(user(file("application/zip")))).toBe("messages[0].parts[0].file.media_type");
});

test("a video has no name", () => {
  const video: Content = {
    case: "file",
    value: { source: { case: "data", value: bytes }, mediaType: "video/mp4", filename: "a" },
  };
  expect(write(user(video)).warnings).toEqual(["field_dropped messages[0].parts[0].file.filename"]);
});

test("ids that Bedrock does not take become digests, the same for a call and its result", () => {
  const id = "functions.add:0 é";
  const written = write({
    tools: [add],
    messages: [
      { role: Role.ASSISTANT, parts: [{ content: { case: "toolCall", value: { id, name: "add", arguments: "{}" } } }] },
      { role: Role.TOOL, parts: [{ content: { case: "toolResult", value: { toolCallId: id } } }] },
    ],
  });
  const [call] = contentOf(written) as { toolUse: { toolUseId: string } }[];
  const [result] = contentOf(written, 1) as { toolResult: { toolUseId: string } }[];
  expect(call?.toolUse.toolUseId).toMatch(/^[\w-]{1,64}$/);
  expect(result?.toolResult.toolUseId).toBe(call?.toolUse.toolUseId);
});

test("arguments stand as the model wrote them, or wrapped when they are no object", () => {
  const call = (text: string): RequestInit =>
    user({ case: "toolCall", value: { id: "a", name: "f", arguments: text } });
  const input = (text: string) => {
    const { body } = writeRequest(create(GenerateRequestSchema, call(text)), {
      model: claude,
      stream: false,
      maxOutputTokensDefault: 1,
    });
    return /"input":(.*)\}\}\]\}\]\}$/.exec(writeJson(body))?.[1];
  };
  expect(input('{ "n": 12345678901234567890, "n": 1e400 }')).toBe('{ "n": 12345678901234567890, "n": 1e400 }');
  expect(input(" ")).toBe("{}");
  expect(input("[1]")).toBe('{"INVALID_JSON":"[1]"}');
});

test("a result holds text, images, documents and videos, and no cache mark", () => {
  const result = (content: Content): RequestInit =>
    user({ case: "toolResult", value: { toolCallId: "a", parts: [{ content, cacheControl: {} }] } });
  expect(write(result(nobody)).warnings).toEqual([
    "field_dropped messages[0].parts[0].tool_result.parts[0].cache_control",
  ]);
  const sound: Content = { case: "audio", value: { source: { case: "data", value: bytes }, mediaType: "audio/wav" } };
  expect(refused(result(sound))).toBe("messages[0].parts[0].tool_result.parts[0]");
});

test("a mark on a part that is left out is told", () => {
  const messages = [
    { role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "" } }, cacheControl: {} }] },
  ];
  expect(write({ messages })).toEqual({ body: {}, warnings: ["field_dropped messages[0].parts[0].cache_control"] });
});

test("unsigned reasoning goes to models that do not sign", () => {
  const reasoning: Content = { case: "reasoning", value: { text: "hm" } };
  expect(contentOf(write(user(reasoning), "deepseek.r1-v1:0"))).toEqual([
    { reasoningContent: { reasoningText: { text: "hm" } } },
  ]);
});

test("a tool without a schema takes an empty object", () => {
  expect(write({ tools: [add] }).body).toEqual({
    toolConfig: { tools: [{ toolSpec: { name: "add", inputSchema: { json: { type: "object", properties: {} } } } }] },
  });
});

test.each<[string, RequestInit, string]>([
  [
    "a schema that is no object",
    { tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: "[]" } } }] },
    "tools[0].function.parameters_schema",
  ],
  [
    "settings of a server's tool",
    { tools: [{ kind: { case: "server", value: { type: "web", settings: { a: 1 } } } }] },
    "tools[0].server.settings",
  ],
  [
    "a choice among some tools",
    { tools: [add], toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["a", "b"] } },
    "tool_choice.tools",
  ],
  ["any JSON", { outputFormat: { kind: { case: "json", value: {} } } }, "output_format"],
  ["a hot sampler", { sampling: { temperature: 1.5 } }, "sampling.temperature"],
  ["an empty stop sequence", { stopSequences: [""] }, "stop_sequences"],
])("%s is refused", (_, init, param) => {
  expect(refused(init)).toBe(param);
});

test("calls are forbidden by leaving the tools out, unless the conversation has some", () => {
  const none = { tools: [add], toolChoice: { mode: ToolChoice_Mode.NONE } };
  expect(write(none)).toEqual({ body: {}, warnings: [] });
  const { messages = [] } = user({ case: "toolCall", value: { id: "a", name: "add" } });
  expect(refused({ ...none, messages })).toBe("tool_choice");
});

test("one call at a time is asked of Anthropic's models in their own words", () => {
  const init = { tools: [add], parallelToolCalls: false };
  for (const model of [claude, profile]) {
    expect(write(init, model).body["additionalModelRequestFields"]).toEqual({
      tool_choice: { type: "auto", disable_parallel_tool_use: true },
    });
  }
  const forced = { ...init, toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["add"] } };
  expect(write(forced).body).toEqual({
    toolConfig: { tools: [expect.anything()] },
    additionalModelRequestFields: { tool_choice: { type: "tool", name: "add", disable_parallel_tool_use: true } },
  });
  expect(refused(init, llama)).toBe("parallel_tool_calls");
  expect(write({ parallelToolCalls: false }, llama)).toEqual({ body: {}, warnings: [] });
});

test("a schema that need not be followed is told apart; one choice and plain text are the default", () => {
  const strict = { outputFormat: { kind: { case: "jsonSchema" as const, value: { schema: "{}", strict: false } } } };
  expect(write(strict).warnings).toEqual(["field_dropped output_format.json_schema.strict"]);
  const plain = { outputFormat: { kind: { case: "text" as const, value: {} } }, choiceCount: 1, modalities: ["text"] };
  expect(write(plain)).toEqual({ body: {}, warnings: [] });
});

test("a tier of another vendor is left out", () => {
  expect(write({ serviceTier: "auto" })).toEqual({ body: {}, warnings: ["field_dropped service_tier"] });
});

test("metadata that Bedrock does not take is left out, and told once", () => {
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`key-${index}`, "v"]));
  const { body, warnings } = write({ metadata: { ...many, "a|b": "x", c: "y".repeat(257) } });
  expect(Object.keys(body["requestMetadata"] as object)).toHaveLength(16);
  expect(warnings).toEqual(["field_dropped metadata"]);
});

test("an extension of this dialect joins the body, and changes nothing that is set", () => {
  const { body } = write({
    maxOutputTokens: 5,
    reasoning: { effort: "high" },
    extensions: {
      "bedrock-converse": {
        inferenceConfig: { future: 1 },
        additionalModelRequestFields: { thinking: { type: "disabled", future: 2 }, anthropic_beta: ["x"] },
        messages: [{ role: "user", content: [{ text: "a" }] }],
        ["__proto__"]: { polluted: true },
      },
    },
  });
  expect(body).toEqual({
    inferenceConfig: { maxTokens: 5, future: 1 },
    additionalModelRequestFields: { thinking: { type: "adaptive", future: 2 }, anthropic_beta: ["x"] },
    outputConfig: { effort: "high" },
    messages: [{ role: "user", content: [{ text: "a" }] }],
    ["__proto__"]: { polluted: true },
  });
  expect({}).not.toHaveProperty("polluted");
});

test("an extension sets no output limit, which nobody would have reserved for", () => {
  const fields = { max_tokens: 9, extra: 1 };
  const members = { inferenceConfig: { maxTokens: 9, extra: 1 }, additionalModelRequestFields: fields };
  expect(write({ extensions: { "bedrock-converse": members } })).toEqual({
    body: { inferenceConfig: { extra: 1 }, additionalModelRequestFields: { extra: 1 } },
    warnings: [
      "field_dropped extensions.bedrock-converse.inferenceConfig.maxTokens",
      "field_dropped extensions.bedrock-converse.additionalModelRequestFields.max_tokens",
    ],
  });
});
