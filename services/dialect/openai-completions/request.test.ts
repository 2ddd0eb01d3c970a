import { create, toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  PartSchema,
  ReasoningOptionsSchema,
  Role,
  SamplingOptionsSchema,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import { openaiCompletions } from "./codec.ts";
import {
  checkFate,
  double,
  expectRoundTrip,
  fields,
  hi,
  optional,
  options,
  partFates,
  plainMembers,
  read,
  refusal,
  type RequestInit,
  someOf,
  write,
} from "./testing/plain-requests.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

// --- Law: what the dialect can express survives the way there and back.

const sampling = {
  temperature: double(0, 2),
  topP: double(0, 1),
  presencePenalty: double(-2, 2),
  frequencyPenalty: double(-2, 2),
  seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  logitBias: fc.dictionary(fc.nat({ max: 0xffff_ffff }).map(String), double(-100, 100), { minKeys: 1, maxKeys: 3 }),
};

const request = fc.record({
  ...plainMembers,
  sampling: optional(someOf(sampling)),
  choiceCount: optional(fc.integer({ min: 1, max: 128 })),
  topLogprobs: optional(fc.nat({ max: 5 })),
  extensions: fc.constantFrom({}, { "openai-completions": { further: [null, { a: "x" }] } }),
});

test("what can be expressed survives the way to JSON and back, without a warning", () => {
  fc.assert(
    fc.property(request, (init) => {
      expectRoundTrip(openaiCompletions, init as RequestInit);
    }),
    { numRuns },
  );
});

test("what is absent is written as absent", () => {
  const { json } = write(openaiCompletions, hi);
  expect(JSON.parse(json)).toEqual({ model: "m", prompt: "hi", stream: true, stream_options: { include_usage: true } });
  const whole = openaiCompletions.writeRequest(create(GenerateRequestSchema, hi), { ...options, stream: false });
  expect(whole.body).toEqual({ model: "m", prompt: "hi" });
});

// --- Law: nothing is dropped in silence.

test("every field of a request has a rule", () => {
  expect(Object.keys(fields)).toEqual(GenerateRequestSchema.fields.map(({ name }) => name));
});

const fieldCases = Object.entries(fields).flatMap(([name, cases]) =>
  cases.map(([fate, , init, param]) => [name, fate, init, param] as const),
);

test.each(fieldCases)("%s is %s", (_, fate, init, param) => {
  checkFate(openaiCompletions, fate, { ...hi, ...init }, param);
});

test("every kind of part has a rule", () => {
  expect(Object.keys(partFates)).toEqual(PartSchema.fields.map(({ name }) => name));
});

const partCases = Object.entries(partFates).flatMap(([name, cases]) =>
  cases.map(([fate, part, param]) => [name, fate, part, param] as const),
);

test.each(partCases)("a part that is %s is %s", (_, fate, part, param) => {
  checkFate(openaiCompletions, fate, { ...hi, messages: [{ role: Role.USER, parts: [part] }] }, param);
});

test("every setting of the sampler has a rule", () => {
  const written = {
    temperature: 1,
    top_p: 1,
    presence_penalty: 1,
    frequency_penalty: 1,
    seed: 1,
    logit_bias: { 1: 1 },
  };
  expect([...Object.keys(written), "top_k", "min_p"].toSorted()).toEqual(
    SamplingOptionsSchema.fields.map(({ name }) => name).toSorted(),
  );
  const usual = { temperature: 1, topP: 1, presencePenalty: 1, frequencyPenalty: 1, seed: 1n, logitBias: { 1: 1 } };
  const { json, warned } = write(openaiCompletions, { ...hi, sampling: { ...usual, topK: 1, minP: 1 } });
  expect(JSON.parse(json)).toMatchObject(written);
  expect(warned.toSorted()).toEqual(["sampling.min_p", "sampling.top_k"]);
});

test("options of reasoning that ask for none are no loss", () => {
  expect(ReasoningOptionsSchema.fields.map(({ name }) => name)).toEqual(["effort", "budget_tokens", "summary"]);
  const { warned } = write(openaiCompletions, {
    ...hi,
    reasoning: { effort: "none", budgetTokens: 0, summary: "none" },
  });
  expect(warned).toEqual([]);
  const asked = write(openaiCompletions, { ...hi, reasoning: { effort: "", budgetTokens: 1, summary: "auto" } });
  expect(asked.warned).toEqual(["reasoning.budget_tokens", "reasoning.summary"]);
});

test("an extension sets no member of the dialect's own, nor how many choices are made", () => {
  const extensions = { "openai-completions": { model: "x", max_tokens: 99, suffix: "x", best_of: 2, further: 1 } };
  const { json, warned } = write(openaiCompletions, { ...hi, extensions });
  expect(JSON.parse(json)).toEqual({
    ...(JSON.parse(write(openaiCompletions, hi).json) as JsonObject),
    further: 1,
  });
  const refused = ["model", "max_tokens", "suffix", "best_of"];
  expect(warned).toEqual(refused.map((name) => `extensions.openai-completions.${name}`));
});

// --- How requests of clients are read.

const plain = { model: "m", prompt: "hi" };

test("one text in a list is the prompt; members that say nothing are absent", () => {
  const request = read(openaiCompletions, {
    ...plain,
    prompt: ["hi"],
    suffix: "",
    echo: false,
    stop: "x",
    n: null,
    stream_options: null,
  });
  expect(toJson(GenerateRequestSchema, request)).toEqual({
    model: "m",
    messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }],
    stopSequences: ["x"],
  });
});

test.each<[string, JsonObject, string]>([
  ["several prompts", { ...plain, prompt: ["a", "b"] }, "prompt"],
  ["tokens", { ...plain, prompt: [1, 2] }, "prompt"],
  ["one token", { ...plain, prompt: [1] }, "prompt"],
  ["lists of tokens", { ...plain, prompt: [[1], [2]] }, "prompt"],
  ["a suffix", { ...plain, suffix: "x" }, "suffix"],
  ["an echo", { ...plain, echo: true }, "echo"],
])("%s cannot be translated", (_, json, param) => {
  expect(refusal(() => read(openaiCompletions, json))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
  expect(() => openaiCompletions.readEnvelope(json)).not.toThrow();
});

test.each<[string, JsonObject | string, string]>([
  ["no model", { prompt: "hi" }, "model"],
  ["an empty model", { ...plain, model: "" }, "model"],
  ["no prompt", { model: "m" }, "prompt"],
  ["a prompt that is a number", { ...plain, prompt: 1 }, "prompt"],
  ["a prompt that is an empty list", { ...plain, prompt: [] }, "prompt"],
  ["a temperature out of range", { ...plain, temperature: 2.5 }, "temperature"],
  ["a top_p that is text", { ...plain, top_p: "1" }, "top_p"],
  ["a stop that is empty", { ...plain, stop: "" }, "stop[0]"],
  ["too many stops", { ...plain, stop: Array.from({ length: 65 }, String) }, "stop"],
  ["a long user", { ...plain, user: "u".repeat(257) }, "user"],
  ["texts and tokens in one list", { ...plain, prompt: ["a", 1] }, "prompt"],
  ["a max_tokens of 0", { ...plain, max_tokens: 0 }, "max_tokens"],
  ["an n of 0", { ...plain, n: 0 }, "n"],
  ["logprobs that are a flag", { ...plain, logprobs: true }, "logprobs"],
  ["an echo that is text", { ...plain, echo: "yes" }, "echo"],
  ["a suffix that is a number", { ...plain, suffix: 1 }, "suffix"],
  ["a seed of too many bits", '{"model":"m","prompt":"","seed":9223372036854775808}', "seed"],
  ["a bias of no token", { ...plain, logit_bias: { x: 1 } }, "logit_bias"],
  ["a bias out of range", { ...plain, logit_bias: { 1: 101 } }, "logit_bias"],
])("refuses %s", (_, json, param) => {
  expect(refusal(() => read(openaiCompletions, json))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});

test.each<[string, JsonObject | string, string]>([
  ["a long number in a further member", '{"model":"m","prompt":"","further":12345678901234567890}', "further"],
])("leaves to targets of its own dialect: %s", (_, json, param) => {
  expect(refusal(() => read(openaiCompletions, json))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
});

test("faults never quote the body", () => {
  for (const json of [
    { prompt: { s3cret: 1 } },
    { model: ["s3cret"] },
    { stop: [{ s3cret: 1 }] },
    { user: ["s3cret"] },
  ]) {
    expect(() => read(openaiCompletions, { ...plain, ...json })).toThrow(/^(?!.*s3cret)/s);
  }
});

// --- The envelope.

test.each<[JsonObject, object]>([
  [plain, { stream: false, includeUsage: false, choiceCount: 1 }],
  [{ model: "m" }, { choiceCount: 1 }],
  [
    { ...plain, stream: true, stream_options: { include_usage: true } },
    { stream: true, includeUsage: true },
  ],
  [
    { ...plain, max_tokens: 5, n: 2, user: "u" },
    { maxOutputTokens: 10, choiceCount: 2, user: "u" },
  ],
  [
    { ...plain, max_tokens: 5, n: 2, best_of: 4 },
    { maxOutputTokens: 20, choiceCount: 2 },
  ],
  [
    { ...plain, max_tokens: 5, prompt: ["a", "b", "c"] },
    { maxOutputTokens: 15, choiceCount: 3 },
  ],
  [
    { ...plain, max_tokens: 5, prompt: [1, 2, 3] },
    { maxOutputTokens: 5, choiceCount: 1 },
  ],
  [
    { ...plain, max_tokens: 5, prompt: [[1], [2, 3]], n: 2 },
    { maxOutputTokens: 20, choiceCount: 4 },
  ],
  [{ ...plain, max_tokens: 0, echo: true, logprobs: 1 }, { maxOutputTokens: 1 }],
])("the envelope of %o holds %o", (json, envelope) => {
  const found = openaiCompletions.readEnvelope(json);
  expect(found).toMatchObject({ model: "m", ...envelope });
  if (json["max_tokens"] === undefined) expect(found).not.toHaveProperty("maxOutputTokens");
});

test.each<[string, JsonObject, string]>([
  ["a long model", { ...plain, model: "x".repeat(513) }, "model"],
  ["a stream that is text", { ...plain, stream: "true" }, "stream"],
  ["stream_options that are text", { ...plain, stream_options: "x" }, "stream_options"],
  ["include_usage that is text", { ...plain, stream_options: { include_usage: "x" } }, "stream_options.include_usage"],
  ["a max_tokens that is text", { ...plain, max_tokens: "5" }, "max_tokens"],
  ["an n that is too large", { ...plain, n: 129 }, "n"],
  ["too many choices over all prompts", { ...plain, n: 65, prompt: ["a", "b"] }, "prompt"],
  ["a best_of that is too large", { ...plain, best_of: 129 }, "best_of"],
  ["half a token", { ...plain, prompt: [1.5] }, "prompt"],
  ["an empty list of tokens", { ...plain, prompt: [[]] }, "prompt"],
])("the envelope refuses %s", (_, json, param) => {
  expect(refusal(() => openaiCompletions.readEnvelope(json))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});
