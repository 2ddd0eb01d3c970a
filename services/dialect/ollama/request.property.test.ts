import { create, toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { imageType } from "../image-type.ts";
import type { JsonObject } from "../json.ts";
import {
  numRuns,
  type RequestInit,
  type MessageInit,
  type PartInit,
  png,
  text,
  write,
  read,
} from "./testing/requests.ts";

// --- Law: what the dialect can express survives the way there and back.

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const word = fc.stringMatching(/^[a-zA-Z_]\w{0,11}$/);
const jsonObject = fc
  .dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
  .map((value) => JSON.stringify(value));
const longNumbers = fc.constant('{"a":12345678901234567890,"b":[0.12345678901234567890,1e400]}');
const objectText = fc.oneof({ weight: 5, arbitrary: jsonObject }, { weight: 1, arbitrary: longNumbers });

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
