import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type MessageSchema,
  Role,
  SamplingOptionsSchema,
  ToolChoice_Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { type JsonObject, writeJson } from "../json.ts";
import { writeRequest } from "./request-writer.ts";

type Init = Omit<MessageInitShape<typeof GenerateRequestSchema>, "$typeName" | "$unknown">;
type MessageInit = MessageInitShape<typeof MessageSchema>;

const hello: MessageInit = { role: Role.USER, parts: [{ content: { case: "text", value: { text: "hi" } } }] };
const tool = { kind: { case: "function" as const, value: { name: "f", parametersSchema: '{"type":"object"}' } } };

function write(init: Init, model = "claude-sonnet-4-6") {
  const request = create(GenerateRequestSchema, { model: "alias", messages: [hello], ...init });
  const { body, warnings, headers } = writeRequest(request, { model, stream: false, maxOutputTokensDefault: 4_096 });
  return {
    body: JSON.parse(writeJson(body)) as JsonObject,
    params: warnings.map(({ param }) => param),
    warnings,
    headers,
  };
}

/** What writing a request comes to: the members it adds, the warnings it gives, or the parameter it is refused for. */
function outcome(init: Init, model?: string) {
  try {
    const { body, params } = write(init, model);
    const { model: _, max_tokens: __, stream: ___, messages: ____, ...members } = body;
    return { members, params };
  } catch (error) {
    if (!(error instanceof WeirError) || error.reason !== ErrorReason.TARGET_UNSUPPORTED) throw error;
    expect(error.message).toMatch(/\.$/);
    return { refused: error.metadata["param"] };
  }
}

const written = (members: JsonObject) => ({ members, params: [] });
const dropped = (...params: string[]) => ({ members: {}, params });
const refused = (param: string) => ({ refused: param });

// A rule for each field of a request. `messages`, `model` and `wire` have tests of their own, or are none of a codec's.
const rules: Record<string, readonly (readonly [Init, unknown])[]> = {
  model: [],
  messages: [],
  wire: [],
  tools: [[{ tools: [tool] }, written({ tools: [{ name: "f", input_schema: { type: "object" } }] })]],
  maxOutputTokens: [[{ maxOutputTokens: 7 }, written({})]],
  toolChoice: [
    [{ toolChoice: { mode: ToolChoice_Mode.AUTO } }, dropped("tool_choice")],
    [{ toolChoice: { mode: ToolChoice_Mode.REQUIRED } }, refused("tool_choice")],
    [
      { tools: [tool], toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f", "g"] } },
      refused("tool_choice.tools"),
    ],
    [{ tools: [tool], toolChoice: { mode: ToolChoice_Mode.AUTO, tools: ["f"] } }, refused("tool_choice.tools")],
  ],
  parallelToolCalls: [[{ parallelToolCalls: true }, dropped("parallel_tool_calls")]],
  outputFormat: [
    [{ outputFormat: { kind: { case: "text", value: {} } } }, written({})],
    [{ outputFormat: { kind: { case: "json", value: {} } } }, refused("output_format.json")],
    [
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: '{"type":"object"}', strict: false } } } },
      written({ output_config: { format: { type: "json_schema", schema: { type: "object" } } } }),
    ],
    [
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: "true" } } } },
      refused("output_format.json_schema.schema"),
    ],
    [
      { outputFormat: { kind: { case: "jsonSchema", value: { schema: "{}", name: "n", description: "d" } } } },
      {
        members: { output_config: { format: { type: "json_schema", schema: {} } } },
        params: ["output_format.json_schema.name", "output_format.json_schema.description"],
      },
    ],
  ],
  reasoning: [[{ reasoning: { effort: "none" } }, written({ thinking: { type: "disabled" } })]],
  sampling: [[{ sampling: { topK: 5 } }, written({ top_k: 5 })]],
  stopSequences: [
    [{ stopSequences: ["a", "b"] }, written({ stop_sequences: ["a", "b"] })],
    [{ stopSequences: ["a", "\n"] }, refused("stop_sequences[1]")],
  ],
  choiceCount: [
    [{ choiceCount: 1 }, written({})],
    [{ choiceCount: 2 }, refused("choice_count")],
  ],
  topLogprobs: [[{ topLogprobs: 0 }, refused("top_logprobs")]],
  serviceTier: [
    [{ serviceTier: "auto" }, written({ service_tier: "auto" })],
    [{ serviceTier: "flex" }, dropped("service_tier")],
  ],
  metadata: [[{ metadata: { team: "a" } }, dropped("metadata")]],
  user: [[{ user: "u" }, written({ metadata: { user_id: "u" } })]],
  promptCacheKey: [[{ promptCacheKey: "k" }, dropped("prompt_cache_key")]],
  promptCacheRetention: [[{ promptCacheRetention: "24h" }, dropped("prompt_cache_retention")]],
  modalities: [
    [{ modalities: ["text"] }, written({})],
    [{ modalities: ["text", "audio"] }, refused("modalities")],
  ],
  audio: [[{ audio: { voice: "v", format: "mp3" } }, refused("audio")]],
  prediction: [[{ prediction: [{ content: { case: "text", value: { text: "a" } } }] }, dropped("prediction")]],
  verbosity: [[{ verbosity: "low" }, dropped("verbosity")]],
  store: [
    [{ store: true }, dropped("store")],
    [{ store: false }, written({})],
  ],
  extensions: [
    [{ extensions: { "anthropic-messages": { container: "c" } } }, written({ container: "c" })],
    [{ extensions: { gemini: { a: 1 } } }, dropped("extensions.gemini")],
  ],
};

test("every field of a request has a rule", () => {
  expect(Object.keys(rules).toSorted()).toEqual(
    GenerateRequestSchema.fields.map(({ localName }) => localName).toSorted(),
  );
});

test.each(
  Object.entries(rules).flatMap(([field, cases]) => cases.map(([init, expected]) => ({ field, init, expected }))),
)("$field is written, reported or refused: $init", ({ init, expected }) => {
  expect(outcome(init)).toEqual(expected);
});

const samplingRules: Record<string, readonly (readonly [Init["sampling"] & object, unknown])[]> = {
  temperature: [
    [{ temperature: 0.5 }, written({ temperature: 0.5 })],
    [{ temperature: 1.5 }, refused("sampling.temperature")],
  ],
  topP: [[{ topP: 0 }, written({ top_p: 0 })]],
  topK: [[{ topK: 0 }, written({ top_k: 0 })]],
  minP: [[{ minP: 0.1 }, dropped("sampling.min_p")]],
  presencePenalty: [[{ presencePenalty: 0 }, dropped("sampling.presence_penalty")]],
  frequencyPenalty: [[{ frequencyPenalty: 1 }, dropped("sampling.frequency_penalty")]],
  seed: [[{ seed: 1n }, dropped("sampling.seed")]],
  logitBias: [[{ logitBias: { 1: 2 } }, dropped("sampling.logit_bias")]],
};

test("every setting of the sampler has a rule", () => {
  expect(Object.keys(samplingRules).toSorted()).toEqual(
    SamplingOptionsSchema.fields.map(({ localName }) => localName).toSorted(),
  );
});

test.each(Object.values(samplingRules).flat())("the sampler: %o", (sampling, expected) => {
  expect(outcome({ sampling })).toEqual(expected);
});

test("models since Claude 4.7 take no sampling", () => {
  const sampling = { temperature: 1.5, topP: 0.9, topK: 5 };
  expect(outcome({ sampling }, "claude-opus-5-5")).toEqual(
    dropped("sampling.temperature", "sampling.top_p", "sampling.top_k"),
  );
});

test("the longest reply: the request's, else the default, else with room for the thoughts", () => {
  expect(write({ maxOutputTokens: 5 }).body["max_tokens"]).toBe(5);
  expect(write({}).body["max_tokens"]).toBe(4_096);
  expect(write({ reasoning: { budgetTokens: 8_000 } }).body["max_tokens"]).toBe(12_096);
});

test("an extension never overrides what a field has set", () => {
  const { body } = write({
    user: "u",
    reasoning: { effort: "low" },
    extensions: {
      "anthropic-messages": {
        model: "other",
        stream: true,
        max_tokens: 1,
        messages: [],
        metadata: { user_id: "v", team: "t" },
        output_config: { effort: "max", task_budget: {} },
      },
    },
  });
  expect(body).toMatchObject({
    model: "claude-sonnet-4-6",
    stream: false,
    max_tokens: 4_096,
    messages: [{ role: "user", content: "hi" }],
    metadata: { user_id: "u", team: "t" },
    output_config: { effort: "low", task_budget: {} },
  });
});

test("a model that thinks gets no sampling that it refuses then", () => {
  const reasoning = { effort: "high" };
  const thinking = { thinking: { type: "adaptive" }, output_config: { effort: "high" } };
  expect(outcome({ reasoning, sampling: { temperature: 0.5, topP: 0.9, topK: 5 } })).toEqual({
    members: thinking,
    params: ["sampling.temperature", "sampling.top_p", "sampling.top_k"],
  });
  const { members, params } = outcome({ reasoning, sampling: { temperature: 1, topP: 0.95 } });
  expect({ members, params }).toEqual({ members: { ...thinking, temperature: 1, top_p: 0.95 }, params: [] });
  expect(outcome({ reasoning: { effort: "none" }, sampling: { temperature: 0.5 } })).toEqual(
    written({ thinking: { type: "disabled" }, temperature: 0.5 }),
  );
});

test("a model that must call a tool does not think first", () => {
  const reasoning = { budgetTokens: 2_000 };
  const must = { tools: [tool], toolChoice: { mode: ToolChoice_Mode.REQUIRED } };
  expect(outcome({ reasoning, ...must, sampling: { temperature: 0.5 } })).toMatchObject({
    members: { tool_choice: { type: "any" }, temperature: 0.5 },
    params: ["reasoning"],
  });
  expect(outcome({ reasoning, ...must }).members).not.toHaveProperty("thinking");
  const may = { tools: [tool], toolChoice: { mode: ToolChoice_Mode.AUTO } };
  expect(outcome({ reasoning, ...may })).toMatchObject({ members: { thinking: { type: "enabled" } }, params: [] });
});

test("betas for what needs them", () => {
  expect(write({}).headers).toBeUndefined();
  const { headers } = write({
    tools: [{ kind: { case: "server", value: { type: "computer_20251124", settings: { name: "computer" } } } }],
    extensions: { "anthropic-messages": { context_management: {}, inference_geo: "us" } },
  });
  expect(headers?.["anthropic-beta"]?.split(",").toSorted()).toEqual([
    "computer-use-2025-11-24",
    "context-management-2025-06-27",
  ]);
});

test("arguments, schemas and formats go byte for byte", () => {
  const json = '{ "type" : "object", "n" : 12345678901234567890 }';
  const request = create(GenerateRequestSchema, {
    messages: [
      hello,
      {
        role: Role.ASSISTANT,
        parts: [{ content: { case: "toolCall", value: { id: "a", name: "f", arguments: json } } }],
      },
    ],
    tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: json } } }],
    outputFormat: { kind: { case: "jsonSchema", value: { schema: json } } },
  });
  const { body } = writeRequest(request, { model: "m", stream: false, maxOutputTokensDefault: 1 });
  expect(writeJson(body).split(json)).toHaveLength(4);
});
