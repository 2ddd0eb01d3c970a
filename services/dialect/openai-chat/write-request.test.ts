import { create, type DescField, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { writeJson } from "../json.ts";
import { params } from "./params.ts";
import { openaiTraits, type TargetTraits } from "./traits.ts";
import { writeRequest } from "./write-request.ts";

type Init = MessageInitShape<typeof GenerateRequestSchema>;
type PartInit = Exclude<NonNullable<MessageInitShape<typeof GenerateRequestSchema>["prediction"]>[number], undefined>;

const bytes = Uint8Array.of(1);

function write(init: Init, traits: TargetTraits = openaiTraits, stream = false) {
  const options = { model: "target", stream, maxOutputTokensDefault: 1_000 };
  const { body, warnings } = writeRequest(create(GenerateRequestSchema, init), options, traits);
  return { body: JSON.parse(writeJson(body)) as Record<string, unknown>, text: writeJson(body), warnings };
}

function refusal(init: Init, traits: TargetTraits = openaiTraits): WeirError {
  try {
    write(init, traits);
  } catch (error) {
    if (error instanceof WeirError) return error;
    throw error;
  }
  throw new Error("was accepted");
}

const say = (role: Role, ...parts: PartInit[]): Init => ({ messages: [{ role, parts }] });
const user = (...parts: PartInit[]) => say(Role.USER, ...parts);
const assistant = (...parts: PartInit[]) => say(Role.ASSISTANT, ...parts);
const withTool = (init: Init): Init => ({ tools: [{ kind: { case: "function", value: { name: "f" } } }], ...init });

const url = { case: "url" as const, value: "https://example.org/a" };
const data = { case: "data" as const, value: bytes };
const fileId = { case: "fileId" as const, value: "file-1" };
const webSearch = {
  kind: { case: "server" as const, value: { type: "web_search_options", settings: { search_context_size: "low" } } },
};
const call = { id: "call_1", name: "f", arguments: '{"a":1}' };
const text: PartInit = { content: { case: "text", value: { text: "hi" } } };

/** How a field fares: a piece of JSON that holds it, or the path by which it is reported. */
type Fate = { written: string } | { dropped: string } | { refused: string };
const written = (piece: string): Fate => ({ written: piece });
const dropped = (param: string): Fate => ({ dropped: param });
const refused = (param: string): Fate => ({ refused: param });

const part = "messages[0].parts[0]";

/** Every field of a request, by its path, with a request that sets it and what becomes of it at OpenAI. */
const fates: Record<string, [Init, Fate]> = {
  model: [{ model: "alias" }, written('"model":"target"')],
  "messages.role": [user(text), written('"role":"user"')],
  "messages.name": [{ messages: [{ role: Role.USER, name: "ann" }] }, written('"name":"ann"')],
  "messages.parts.text.text": [user(text), written('"content":"hi"')],
  "messages.parts.text.citations.start": [cited({ start: 1 }), dropped(`${part}.text.citations`)],
  "messages.parts.text.citations.end": [cited({ end: 1 }), dropped(`${part}.text.citations`)],
  "messages.parts.text.citations.title": [cited({ title: "t" }), dropped(`${part}.text.citations`)],
  "messages.parts.text.citations.url": [cited({ url: "u" }), dropped(`${part}.text.citations`)],
  "messages.parts.text.citations.quote": [cited({ quote: "q" }), dropped(`${part}.text.citations`)],
  "messages.parts.text.citations.details": [cited({ details: { a: 1 } }), dropped(`${part}.text.citations`)],
  "messages.parts.image.data": [
    user(image({ source: data, mediaType: "image/png" })),
    written('"url":"data:image/png;base64,AQ=="'),
  ],
  "messages.parts.image.url": [user(image({ source: url })), written('"url":"https://example.org/a"')],
  "messages.parts.image.file_id": [user(image({ source: fileId })), refused(`${part}.image.file_id`)],
  "messages.parts.image.media_type": [
    user(image({ source: url, mediaType: "image/png" })),
    dropped(`${part}.image.media_type`),
  ],
  "messages.parts.image.filename": [user(image({ source: url, filename: "a" })), dropped(`${part}.image.filename`)],
  "messages.parts.image.detail": [user(image({ source: url, detail: "low" })), written('"detail":"low"')],
  "messages.parts.audio.data": [user(sound({ source: data })), written('"input_audio":{"data":"AQ==","format":"wav"}')],
  "messages.parts.audio.url": [user(sound({ source: url })), refused(`${part}.audio`)],
  "messages.parts.audio.file_id": [
    assistant(sound({ source: fileId, mediaType: "" })),
    written('"audio":{"id":"file-1"}'),
  ],
  "messages.parts.audio.media_type": [user(sound({ mediaType: "audio/mpeg" })), written('"format":"mp3"')],
  "messages.parts.audio.filename": [user(sound({ filename: "a" })), dropped(`${part}.audio.filename`)],
  "messages.parts.audio.detail": [user(sound({ detail: "low" })), dropped(`${part}.audio.detail`)],
  "messages.parts.file.data": [user(file({})), written('"file_data":"data:application/pdf;base64,AQ=="')],
  "messages.parts.file.url": [user(file({ source: url })), refused(`${part}.file.url`)],
  "messages.parts.file.file_id": [user(file({ source: fileId, mediaType: "" })), written('"file_id":"file-1"')],
  "messages.parts.file.media_type": [user(file({ source: fileId })), dropped(`${part}.file.media_type`)],
  "messages.parts.file.filename": [user(file({ filename: "a.pdf" })), written('"filename":"a.pdf"')],
  "messages.parts.file.detail": [user(file({ detail: "low" })), dropped(`${part}.file.detail`)],
  "messages.parts.tool_call.id": [assistant(called(call)), written('"id":"call_1"')],
  "messages.parts.tool_call.name": [assistant(called(call)), written('"name":"f"')],
  "messages.parts.tool_call.arguments": [assistant(called(call)), written('"arguments":"{\\"a\\":1}"')],
  "messages.parts.tool_call.signature": [
    assistant(called({ ...call, signature: bytes })),
    dropped(`${part}.tool_call.signature`),
  ],
  "messages.parts.tool_result.tool_call_id": [result({}), written('"tool_call_id":"call_1"')],
  "messages.parts.tool_result.parts": [result({ parts: [text] }), written('"content":"hi"')],
  "messages.parts.tool_result.failed": [result({ failed: true }), dropped(`${part}.tool_result.failed`)],
  "messages.parts.reasoning.text": [thought({ text: "hm" }), dropped(`${part}.reasoning`)],
  "messages.parts.reasoning.signature": [thought({ signature: bytes }), dropped(`${part}.reasoning`)],
  "messages.parts.reasoning.sealed": [thought({ sealed: bytes }), dropped(`${part}.reasoning`)],
  "messages.parts.reasoning.id": [thought({ id: "rs_1" }), dropped(`${part}.reasoning`)],
  "messages.parts.refusal.text": [
    assistant({ content: { case: "refusal", value: { text: "no" } } }),
    written('"content":[{"type":"refusal","refusal":"no"}]'),
  ],
  "messages.parts.refusal.citations": [
    assistant({ content: { case: "refusal", value: { text: "no", citations: [{ title: "t" }] } } }),
    dropped(`${part}.refusal.citations`),
  ],
  "messages.parts.cache_control.ttl_seconds": [
    user({ ...text, cacheControl: { ttlSeconds: 300 } }),
    dropped(`${part}.cache_control`),
  ],
  "tools.function.name": [fn({}), written('"name":"f"')],
  "tools.function.description": [fn({ description: "d" }), written('"description":"d"')],
  "tools.function.parameters_schema": [fn({ parametersSchema: '{ "a": 1.0 }' }), written('"parameters":{ "a": 1.0 }')],
  "tools.function.strict": [fn({ strict: true }), written('"strict":true')],
  "tools.server.type": [
    { tools: [{ kind: { case: "server", value: { type: "computer" } } }] },
    refused("tools[0].server"),
  ],
  "tools.server.settings": [
    { tools: [{ kind: { case: "server", value: { type: "custom", settings: { name: "c" } } } }] },
    written('"tools":[{"type":"custom","custom":{"name":"c"}}]'),
  ],
  "tools.cache_control.ttl_seconds": [
    { tools: [{ kind: { case: "function", value: { name: "f" } }, cacheControl: { ttlSeconds: 1 } }] },
    dropped("tools[0].cache_control"),
  ],
  max_output_tokens: [{ maxOutputTokens: 7 }, written('"max_completion_tokens":7')],
  "tool_choice.mode": [
    withTool({ toolChoice: { mode: ToolChoice_Mode.REQUIRED } }),
    written('"tool_choice":"required"'),
  ],
  "tool_choice.tools": [
    withTool({ toolChoice: { mode: ToolChoice_Mode.AUTO, tools: ["f"] } }),
    written('"allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}'),
  ],
  parallel_tool_calls: [withTool({ parallelToolCalls: false }), written('"parallel_tool_calls":false')],
  "output_format.text": [
    { outputFormat: { kind: { case: "text", value: {} } } },
    written('"response_format":{"type":"text"}'),
  ],
  "output_format.json": [
    { outputFormat: { kind: { case: "json", value: {} } } },
    written('"response_format":{"type":"json_object"}'),
  ],
  "output_format.json_schema.name": [format({ name: "n" }), written('"name":"n"')],
  "output_format.json_schema.description": [format({ description: "d" }), written('"description":"d"')],
  "output_format.json_schema.schema": [format({}), written('"schema":{ "type": "object" }')],
  "output_format.json_schema.strict": [format({ strict: false }), written('"strict":false')],
  "reasoning.effort": [{ reasoning: { effort: "high" } }, written('"reasoning_effort":"high"')],
  "reasoning.budget_tokens": [{ reasoning: { budgetTokens: 0 } }, dropped("reasoning.budget_tokens")],
  "reasoning.summary": [{ reasoning: { summary: "auto" } }, dropped("reasoning.summary")],
  "sampling.temperature": [{ sampling: { temperature: 0 } }, written('"temperature":0')],
  "sampling.top_p": [{ sampling: { topP: 0.5 } }, written('"top_p":0.5')],
  "sampling.top_k": [{ sampling: { topK: 5 } }, dropped("sampling.top_k")],
  "sampling.min_p": [{ sampling: { minP: 0.5 } }, dropped("sampling.min_p")],
  "sampling.presence_penalty": [{ sampling: { presencePenalty: 1 } }, written('"presence_penalty":1')],
  "sampling.frequency_penalty": [{ sampling: { frequencyPenalty: -1 } }, written('"frequency_penalty":-1')],
  "sampling.seed": [{ sampling: { seed: 9_007_199_254_740_993n } }, written('"seed":9007199254740993')],
  "sampling.logit_bias": [{ sampling: { logitBias: { 7: -1.5 } } }, written('"logit_bias":{"7":-1.5}')],
  stop_sequences: [{ stopSequences: ["a"] }, written('"stop":["a"]')],
  choice_count: [{ choiceCount: 2 }, written('"n":2')],
  top_logprobs: [{ topLogprobs: 3 }, written('"logprobs":true,"top_logprobs":3')],
  service_tier: [{ serviceTier: "flex" }, written('"service_tier":"flex"')],
  metadata: [{ metadata: { a: "b" } }, dropped("metadata")],
  user: [{ user: "u" }, written('"safety_identifier":"u"')],
  prompt_cache_key: [{ promptCacheKey: "k" }, written('"prompt_cache_key":"k"')],
  prompt_cache_retention: [{ promptCacheRetention: "24h" }, written('"prompt_cache_retention":"24h"')],
  modalities: [{ modalities: ["audio"] }, written('"modalities":["text","audio"]')],
  "audio.voice": [{ audio: { voice: "ash" } }, written('"voice":"ash"')],
  "audio.format": [{ audio: { format: "wav" } }, written('"format":"wav"')],
  prediction: [{ prediction: [text] }, written('"prediction":{"type":"content","content":"hi"}')],
  verbosity: [{ verbosity: "low" }, written('"verbosity":"low"')],
  store: [{ store: false }, written('"store":false')],
  extensions: [{ extensions: { gemini: { a: 1 } } }, dropped("extensions.gemini")],
};

/** What Weir reads in place of the canonical request; a codec never sees it. */
const outside = ["wire"];

test.each(Object.entries(fates))("%s", (_, [init, fate]) => {
  if ("refused" in fate) {
    expect(refusal(init)).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: fate.refused } });
    return;
  }
  const { text: json, warnings } = write(init);
  if ("written" in fate) expect(json).toContain(fate.written);
  const lost = warnings.map(({ code, param }) => ({ code, param }));
  expect(lost).toEqual("dropped" in fate ? [{ code: "field_dropped", param: fate.dropped }] : []);
});

test("no field of a request is without a rule", () => {
  expect(Object.keys(fates).toSorted()).toEqual(leaves(GenerateRequestSchema).toSorted());
});

/** Paths of all fields that hold a value of their own. What a message holds of its own kind is not followed again. */
function leaves(message: DescMessage, path = "", above: readonly DescMessage[] = []): string[] {
  return message.fields.flatMap((field) => {
    const own = path === "" ? field.name : `${path}.${field.name}`;
    if (outside.includes(own)) return [];
    const inner = innerMessage(field);
    if (inner === undefined || [...above, message].includes(inner) || own === "prediction") return [own];
    if (own === "messages.parts.refusal") return [`${own}.text`, `${own}.citations`]; // citations as of text
    return inner.fields.length === 0 ? [own] : leaves(inner, own, [...above, message]);
  });
}

function innerMessage(field: DescField): DescMessage | undefined {
  if (field.message === undefined || field.message.typeName.startsWith("google.protobuf.")) return undefined;
  return field.message;
}

test.each(Object.entries(params).filter(([path]) => path in fates))("%s stands in %s", (path, member) => {
  const [init] = fates[path] ?? [{}];
  const { body } = write({ ...init, store: true }, { ...openaiTraits, topK: true });
  const value = member.split(".").reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], body);
  expect(value).toBeDefined();
});

test.each<[string, Init, string]>([
  ["a picture by a file's id", user(image({ source: fileId })), `${part}.image.file_id`],
  ["a picture of no known type", user(image({ source: data })), `${part}.image.media_type`],
  ["sound by address", user(sound({ source: url })), `${part}.audio`],
  ["sound in FLAC", user(sound({ mediaType: "audio/flac" })), `${part}.audio.media_type`],
  ["a file by address", user(file({ source: url })), `${part}.file.url`],
  ["a call in a user's message", user(called(call)), part],
  ["a picture in instructions", say(Role.SYSTEM, image({ source: url })), part],
  ["a picture of the model's", assistant(image({ source: url })), part],
  ["sound of the model's as bytes", assistant(sound({})), `${part}.audio`],
  ["text in a tool's message", say(Role.TOOL, text), part],
  ["a picture in a result", result({ parts: [image({ source: url })] }), `${part}.tool_result.parts[0]`],
  [
    "a choice that forbids single tools",
    withTool({ toolChoice: { mode: ToolChoice_Mode.NONE, tools: ["f"] } }),
    "tool_choice.tools",
  ],
  ["pictures as output", { modalities: ["image"] }, "modalities"],
  ["two web searches", { tools: [webSearch, webSearch] }, "tools[1].server"],
  ["a picture in a prediction", { prediction: [image({ source: url })] }, "prediction[0]"],
])("refuses %s", (_, init, param) => {
  expect(refusal(init)).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param } });
});

test.each<[string, Init, string]>([
  ["a message without a role", { messages: [{}] }, "messages[0].role"],
  ["a tool of no kind", { tools: [{}] }, "tools[0]"],
  ["an output format of no kind", { outputFormat: {} }, "output_format"],
  ["a schema that is no JSON", fn({ parametersSchema: '{},"n":100,"x":{}' }), "tools[0].function.parameters_schema"],
])("refuses %s as no request at all", (_, init, param) => {
  expect(refusal(init)).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param } });
});

test("a stream is asked to report its usage, where the target knows how", () => {
  expect(write({}, openaiTraits, true).body).toMatchObject({ stream: true, stream_options: { include_usage: true } });
  expect(write({}, { ...openaiTraits, streamsUsage: false }, true).body).not.toHaveProperty("stream_options");
  expect(write({}).body).toEqual({ model: "target", messages: [] });
});

test("an end user's name that is too long for OpenAI is left out", () => {
  const long = { user: "u".repeat(129) };
  expect(write(long).body).not.toHaveProperty("safety_identifier");
  expect(write(long).warnings.map(({ param }) => param)).toEqual(["user"]);
  expect(write(long, { ...openaiTraits, endUser: "user" })).toMatchObject({ body: long, warnings: [] });
});

test("developers speak as `system` where the target knows no other role", () => {
  const { body } = write(say(Role.DEVELOPER, text), { ...openaiTraits, developerRole: false });
  expect(body["messages"]).toEqual([{ role: "system", content: "hi" }]);
});

test("labels go to a reply that is stored", () => {
  const { body, warnings } = write({ metadata: { a: "b" }, store: true });
  expect(body).toMatchObject({ metadata: { a: "b" }, store: true });
  expect(warnings).toEqual([]);
});

test("a tool choice without tools is left out, unless it demands a call", () => {
  const free = write({ toolChoice: { mode: ToolChoice_Mode.AUTO }, parallelToolCalls: true });
  expect(free.body).toEqual({ model: "target", messages: [] });
  expect(free.warnings.map(({ param }) => param)).toEqual(["tool_choice", "parallel_tool_calls"]);
  expect(write({ toolChoice: { mode: ToolChoice_Mode.REQUIRED } }).body).toHaveProperty("tool_choice", "required");
});

test("extensions are merged, but set nothing that the request or Weir sets", () => {
  const { body, warnings } = write({
    verbosity: "low",
    extensions: {
      "openai-chat": { verbosity: "high", n: 100, max_tokens: 9, stream: true, moderation: { model: "m" } },
    },
  });
  expect(body).toEqual({ model: "target", messages: [], verbosity: "low", moderation: { model: "m" } });
  expect(warnings.map(({ param }) => param)).toEqual(
    ["verbosity", "n", "max_tokens", "stream"].map((name) => `extensions.openai-chat.${name}`),
  );
});

test("of a hint that stands in many messages the first alone is reported", () => {
  const message = {
    role: Role.ASSISTANT,
    parts: [{ content: { case: "reasoning" as const, value: { text: "a" } } }, text],
  };
  const { body, warnings } = write({ messages: [{ role: Role.USER, parts: [text] }, message, message] });
  expect(body["messages"]).toEqual([
    { role: "user", content: "hi" },
    { role: "assistant", content: "hi" },
    { role: "assistant", content: "hi" },
  ]);
  expect(warnings.map(({ param }) => param)).toEqual(["messages[1].parts[0].reasoning"]);
});

test("reasoning as text loses what is no text, with a warning", () => {
  const traits = { ...openaiTraits, reasoning: "reasoning_content" as const };
  const { body, warnings } = write(
    {
      messages: [
        { role: Role.ASSISTANT, parts: [thinking({ text: "a", signature: bytes }), thinking({ text: "b" }), text] },
      ],
    },
    traits,
  );
  expect(body["messages"]).toEqual([{ role: "assistant", content: "hi", reasoning_content: "ab" }]);
  expect(warnings.map(({ param }) => param)).toEqual([`${part}.reasoning.signature`]);
});

test("a message of several results becomes one for each", () => {
  const results = ["a", "b"].map((toolCallId) => ({
    content: { case: "toolResult" as const, value: { toolCallId, parts: [text] } },
    cacheControl: { ttlSeconds: 60 },
  }));
  const { body } = write(
    { messages: [{ role: Role.TOOL, parts: results }] },
    { ...openaiTraits, cacheMarks: "cache_control" },
  );
  const content = [{ type: "text", text: "hi", cache_control: { type: "ephemeral", ttl: "5m" } }];
  expect(body["messages"]).toEqual([
    { role: "tool", tool_call_id: "a", content },
    { role: "tool", tool_call_id: "b", content },
  ]);
});

test("a picture's type is told by its bytes where nobody named it", () => {
  const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const { text: json } = write(user(image({ source: { case: "data", value: png } })));
  expect(json).toContain('"data:image/png;base64,iVBORw0KGgo="');
});

test("calls of tools without a schema, and the choice of one, are `custom`", () => {
  const { body } = write({
    tools: [{ kind: { case: "server", value: { type: "custom", settings: { name: "f" } } } }, webSearch],
    toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] },
    messages: [{ role: Role.ASSISTANT, parts: [called({ ...call, arguments: "free text" })] }],
  });
  expect(body).toMatchObject({
    messages: [
      { content: null, tool_calls: [{ id: "call_1", type: "custom", custom: { name: "f", input: "free text" } }] },
    ],
    tool_choice: { type: "custom", custom: { name: "f" } },
    tools: [{ type: "custom", custom: { name: "f" } }],
    web_search_options: { search_context_size: "low" },
  });
});

function cited(citation: object): Init {
  return assistant({ content: { case: "text", value: { text: "hi", citations: [citation] } } });
}

function image(value: object): PartInit {
  return { content: { case: "image", value } };
}

function file(value: object): PartInit {
  return { content: { case: "file", value: { source: data, mediaType: "application/pdf", ...value } } };
}

function sound(value: object): PartInit {
  return { content: { case: "audio", value: { source: data, mediaType: "audio/wav", ...value } } };
}

function called(value: object): PartInit {
  return { content: { case: "toolCall", value } };
}

function result(value: object): Init {
  return say(Role.TOOL, { content: { case: "toolResult", value: { toolCallId: "call_1", ...value } } });
}

function thinking(value: object): PartInit {
  return { content: { case: "reasoning", value } };
}

function thought(value: object): Init {
  return assistant(thinking(value), text);
}

function fn(value: object): Init {
  return { tools: [{ kind: { case: "function", value: { name: "f", ...value } } }] };
}

function format(value: object): Init {
  return { outputFormat: { kind: { case: "jsonSchema", value: { schema: '{ "type": "object" }', ...value } } } };
}
