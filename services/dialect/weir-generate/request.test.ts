import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { PartSchema, Role, SamplingOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JsonObject } from "../json.ts";
import {
  checkFate,
  double,
  expectRoundTrip,
  fields,
  hi,
  optional,
  partFates,
  plainMembers,
  read,
  refusal,
  someOf,
  write,
} from "../openai-completions/testing/plain-requests.ts";
import { weirGenerate } from "./codec.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

const request = fc.record({
  ...plainMembers,
  sampling: optional(someOf({ temperature: double(0, 2), topP: double(0, 1) })),
  extensions: fc.constantFrom({}, { "weir-generate": { further: true } }),
});

test("what can be expressed survives the way to JSON and back, without a warning", () => {
  fc.assert(
    fc.property(request, (init) => {
      expectRoundTrip(weirGenerate, init);
    }),
    { numRuns },
  );
});

test("what is absent is written as absent", () => {
  expect(JSON.parse(write(weirGenerate, hi).json)).toEqual({ model: "m", prompt: "hi", stream: true });
});

test("every field of a request has a rule", () => {
  expect(Object.keys(fields)).toEqual(GenerateRequestSchema.fields.map(({ name }) => name));
});

const fieldCases = Object.entries(fields).flatMap(([name, cases]) =>
  cases.map(([, fate, init, param]) => [name, fate, init, param] as const),
);

test.each(fieldCases)("%s is %s", (_, fate, init, param) => {
  checkFate(weirGenerate, fate, { ...hi, ...init }, param);
});

test("every kind of part has a rule", () => {
  expect(Object.keys(partFates)).toEqual(PartSchema.fields.map(({ name }) => name));
});

const partCases = Object.entries(partFates).flatMap(([name, cases]) =>
  cases.map(([fate, part, param]) => [name, fate, part, param] as const),
);

test.each(partCases)("a part that is %s is %s", (_, fate, part, param) => {
  checkFate(weirGenerate, fate, { ...hi, messages: [{ role: Role.USER, parts: [part] }] }, param);
});

test("every setting of the sampler has a rule", () => {
  const others = { topK: 1, minP: 1, presencePenalty: 1, frequencyPenalty: 1, seed: 1n, logitBias: { 1: 1 } };
  const { json, warned } = write(weirGenerate, { ...hi, sampling: { temperature: 1, topP: 1, ...others } });
  expect(JSON.parse(json)).toEqual({ model: "m", prompt: "hi", stream: true, temperature: 1, top_p: 1 });
  const names = SamplingOptionsSchema.fields
    .map(({ name }) => name)
    .filter((name) => !["temperature", "top_p"].includes(name));
  expect(warned.toSorted()).toEqual(names.map((name) => `sampling.${name}`).toSorted());
});

test("an extension sets no member of the dialect's own", () => {
  const extensions = { "weir-generate": { model: "x", max_length: 99, further: 1 } };
  const { json, warned } = write(weirGenerate, { ...hi, extensions });
  expect(JSON.parse(json)).toEqual({ model: "m", prompt: "hi", stream: true, further: 1 });
  expect(warned).toEqual(["model", "max_length"].map((name) => `extensions.weir-generate.${name}`));
});

const plain = { model: "m", prompt: "hi" };

test.each<[string, JsonObject | string, string]>([
  ["no model", { prompt: "hi" }, "model"],
  ["an empty model", { ...plain, model: "" }, "model"],
  ["no prompt", { model: "m" }, "prompt"],
  ["a prompt that is a number", { ...plain, prompt: 1 }, "prompt"],
  ["a prompt that is a list", { ...plain, prompt: ["hi"] }, "prompt"],
  ["a max_length of 0", { ...plain, max_length: 0 }, "max_length"],
  ["a temperature out of range", { ...plain, temperature: 2.5 }, "temperature"],
  ["a top_p that is text", { ...plain, top_p: "1" }, "top_p"],
  ["a stop that is empty", { ...plain, stop: "" }, "stop[0]"],
  ["too many stops", { ...plain, stop: Array.from({ length: 65 }, String) }, "stop"],
  ["a long user", { ...plain, user: "u".repeat(257) }, "user"],
])("refuses %s", (_, json, param) => {
  expect(refusal(() => read(weirGenerate, json))).toEqual([ErrorReason.INVALID_REQUEST, param]);
});

test.each<[string, JsonObject | string, string]>([
  ["a long number in a further member", '{"model":"m","prompt":"","further":12345678901234567890}', "further"],
])("leaves to targets of its own dialect: %s", (_, json, param) => {
  expect(refusal(() => read(weirGenerate, json))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
});

test("faults never quote the body", () => {
  for (const json of [
    { prompt: { s3cret: 1 } },
    { model: ["s3cret"] },
    { stop: [{ s3cret: 1 }] },
    { user: ["s3cret"] },
  ]) {
    expect(() => read(weirGenerate, { ...plain, ...json })).toThrow(/^(?!.*s3cret)/s);
  }
});

test("the envelope holds what limits and routing need", () => {
  const least = { model: "m", stream: false, includeUsage: true, choiceCount: 1 };
  expect(weirGenerate.readEnvelope(plain)).toEqual(least);
  expect(weirGenerate.readEnvelope({ ...plain, stream: true, max_length: 5, user: "u" })).toEqual({
    ...least,
    stream: true,
    maxOutputTokens: 5,
    user: "u",
  });
  expect(refusal(() => weirGenerate.readEnvelope({ model: "m" }))).toEqual([ErrorReason.INVALID_REQUEST, "prompt"]);
});
