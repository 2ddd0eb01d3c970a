import { create, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type PartSchema, Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect } from "vitest";
import type { Codec } from "../../codec.ts";
import { type JsonObject, parseExact, writeJson } from "../../json.ts";

// What the tests of the two dialects of one prompt share.

export const options = { model: "m", stream: true, maxOutputTokensDefault: 4096 };

export type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
type PartInit = MessageInitShape<typeof PartSchema>;

const text = (value: string): PartInit => ({ content: { case: "text", value: { text: value } } });
export const hi = { model: "m", messages: [{ role: Role.USER, parts: [text("hi")] }] };

export function write(codec: Codec, request: RequestInit) {
  const { body, warnings } = codec.writeRequest(create(GenerateRequestSchema, request), options);
  return { json: writeJson(body), warned: warnings.map(({ param }) => param) };
}

export function read(codec: Codec, json: string | JsonObject): GenerateRequest {
  const parsed = parseExact(typeof json === "string" ? json : JSON.stringify(json));
  if (parsed === undefined) throw new Error("is no JSON object");
  return codec.readRequest(parsed);
}

/** What was thrown: the reason and the `param`. */
export function refusal(act: () => unknown): readonly [ErrorReason, string | undefined] {
  try {
    act();
  } catch (error) {
    if (error instanceof WeirError) return [error.reason, error.metadata["param"]];
    throw error;
  }
  throw new Error("was accepted");
}

/** Checks that a request survives the way to JSON and back, without a warning. */
export function expectRoundTrip(codec: Codec, init: RequestInit): void {
  const { json, warned } = write(codec, init);
  expect(warned).toEqual([]);
  expect(toJson(GenerateRequestSchema, read(codec, json))).toEqual(
    toJson(GenerateRequestSchema, create(GenerateRequestSchema, init)),
  );
}

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
export const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
export const double = (min: number, max: number) => fc.double({ min, max, noNaN: true }).map((value) => value + 0);

export const someOf = <T>(members: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(members, { requiredKeys: [] }).filter((value) => Object.keys(value).length > 0);

/** Members of requests that both dialects can express. */
export const plainMembers = {
  model: fc.constant("m"),
  messages: fc.string({ unit: "binary", maxLength: 20 }).map((prompt) => [{ role: Role.USER, parts: [text(prompt)] }]),
  maxOutputTokens: optional(fc.integer({ min: 1, max: 10_000_000 })),
  stopSequences: fc.array(someText, { maxLength: 3 }),
  user: fc.string({ maxLength: 8 }),
};

/** What becomes of a field: `param` is that of the warning or the refusal. */
type Fate = "expressed" | "warned" | "refused";
type Case = readonly [completions: Fate, generate: Fate, RequestInit, param?: string];

const tool = { kind: { case: "function" as const, value: { name: "f" } } };

/** A case at least for each field of a request. */
export const fields: Readonly<Record<string, readonly Case[]>> = {
  model: [], // the target's stands in its place
  messages: [
    ["expressed", "expressed", { messages: [{ role: Role.USER, parts: [text("bye")] }] }],
    ["refused", "refused", { messages: [{ role: Role.SYSTEM, parts: [text("hi")] }] }, "messages"],
    ["refused", "refused", { messages: [...hi.messages, ...hi.messages] }, "messages"],
    ["refused", "refused", { messages: [{ role: Role.USER, parts: [text("a"), text("b")] }] }, "messages"],
    ["refused", "refused", { messages: [{ role: Role.USER, parts: [] }] }, "messages"],
    ["warned", "warned", { messages: [{ role: Role.USER, name: "Ann", parts: [text("hi")] }] }, "messages[0].name"],
  ],
  tools: [["refused", "refused", { tools: [tool] }, "tools"]],
  max_output_tokens: [["expressed", "expressed", { maxOutputTokens: 5 }]],
  tool_choice: [["refused", "refused", { toolChoice: { mode: ToolChoice_Mode.REQUIRED } }, "tool_choice"]],
  parallel_tool_calls: [["refused", "refused", { tools: [tool], parallelToolCalls: false }, "tools"]],
  output_format: [["refused", "refused", { outputFormat: { kind: { case: "json", value: {} } } }, "output_format"]],
  reasoning: [["warned", "warned", { reasoning: { effort: "low" } }, "reasoning.effort"]],
  sampling: [["expressed", "expressed", { sampling: { temperature: 1 } }]],
  stop_sequences: [["expressed", "expressed", { stopSequences: ["x"] }]],
  choice_count: [["expressed", "refused", { choiceCount: 2 }, "choice_count"]],
  top_logprobs: [
    ["expressed", "refused", { topLogprobs: 0 }, "top_logprobs"],
    ["refused", "refused", { topLogprobs: 6 }, "top_logprobs"],
  ],
  service_tier: [["warned", "warned", { serviceTier: "flex" }, "service_tier"]],
  metadata: [["warned", "warned", { metadata: { a: "b" } }, "metadata"]],
  user: [["expressed", "expressed", { user: "u" }]],
  prompt_cache_key: [["warned", "warned", { promptCacheKey: "k" }, "prompt_cache_key"]],
  prompt_cache_retention: [["warned", "warned", { promptCacheRetention: "24h" }, "prompt_cache_retention"]],
  modalities: [["refused", "refused", { modalities: ["text", "audio"] }, "modalities"]],
  audio: [["refused", "refused", { audio: { voice: "v" } }, "audio"]],
  prediction: [["warned", "warned", { prediction: [text("x")] }, "prediction"]],
  verbosity: [["warned", "warned", { verbosity: "low" }, "verbosity"]],
  store: [["warned", "warned", { store: true }, "store"]],
  extensions: [["warned", "warned", { extensions: { gemini: { a: 1 } } }, "extensions.gemini"]],
  wire: [], // a request that has it is not translated
};

/** Checks what becomes of a request that differs from the plainest. */
export function checkFate(codec: Codec, fate: Fate, init: RequestInit, param: string | undefined): void {
  if (fate === "refused") {
    expect(refusal(() => write(codec, init))).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
    return;
  }
  const { json, warned } = write(codec, init);
  expect(warned).toEqual(fate === "warned" ? [param] : []);
  if (fate === "expressed") expect(json).not.toBe(write(codec, hi).json);
}

const bytes = { source: { case: "data" as const, value: Buffer.from("x") } };

/** A case at least for each kind of part. */
export const partFates: Readonly<Record<string, readonly (readonly [Fate, PartInit, string?])[]>> = {
  text: [
    ["expressed", text("x")],
    [
      "warned",
      { content: { case: "text", value: { text: "hi", citations: [{ url: "u" }] } } },
      "messages[0].parts[0].text.citations",
    ],
  ],
  image: [["refused", { content: { case: "image", value: bytes } }, "messages"]],
  audio: [["refused", { content: { case: "audio", value: bytes } }, "messages"]],
  file: [["refused", { content: { case: "file", value: bytes } }, "messages"]],
  tool_call: [["refused", { content: { case: "toolCall", value: { id: "c", name: "f" } } }, "messages"]],
  tool_result: [["refused", { content: { case: "toolResult", value: { toolCallId: "c" } } }, "messages"]],
  reasoning: [["refused", { content: { case: "reasoning", value: { text: "x" } } }, "messages"]],
  refusal: [["refused", { content: { case: "refusal", value: { text: "x" } } }, "messages"]],
  cache_control: [
    [
      "warned",
      { content: { case: "text", value: { text: "hi" } }, cacheControl: {} },
      "messages[0].parts[0].cache_control",
    ],
  ],
};
