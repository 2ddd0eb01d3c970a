import type { JsonObject } from "@bufbuild/protobuf";
import type { Codec, Frame } from "@weir/dialect/codec";
import { choiceEnd, endEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { createFrameSplitter } from "@weir/dialect/framing/splitter";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { mediaTypes } from "../answers/answer-path.ts";
import { codecOf } from "../codecs.ts";
import { createTestPool, type ProviderInit, startProvider } from "./pool-under-test.ts";

/** What the answer below is billed for. */
const usage = {
  $typeName: "weir.common.v1.Usage",
  inputTokens: 9,
  outputTokens: 5,
  serverToolUses: {},
} as const;

/** The answer of every vendor: a text, and a call of a tool. */
export const said = ["Hel", "lo, ", "wörld 🙂"];
export const toolArguments = ['{"city":', '"Köln","n":12345678901234567890}'];

export function events(): GenerateEvent[] {
  return [
    startEvent({ id: "reply-1", model: "target-model", createTimeMs: 1_750_000_000_000 }),
    ...said.map((text) => textEvent(0, 0, text)),
    toolCallEvent(0, 1, { id: "call_1", name: "weather" }),
    ...toolArguments.map((text) => toolCallEvent(0, 1, { arguments: text })),
    endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "")], { ...usage, serverToolUses: {} }),
  ];
}

/** The codec of a dialect. */
export function known(dialect: Dialect): Codec {
  const codec = codecOf(dialect);
  if (codec === undefined) throw new Error("no codec");
  return codec;
}

export const options = { id: "x", createTimeMs: 0, model: "target-model", includeUsage: true, request: {} };

/** The answer as a vendor of a dialect streams it. */
export function framesOf(codec: Codec): Frame[] {
  const writer = codec.createFrameWriter(options);
  return events().flatMap((event) => writer.write(event));
}

/** Kinds of providers, each by the dialect in which it is called here. */
export const vendors: readonly (readonly [string, Dialect, ProviderInit])[] = [
  ["openai-chat", Dialect.OPENAI_CHAT, { kind: ProviderKind.OPENAI }],
  ["openai-responses", Dialect.OPENAI_RESPONSES, { kind: ProviderKind.OPENAI, dialects: ["openai-responses"] }],
  ["anthropic-messages", Dialect.ANTHROPIC_MESSAGES, { kind: ProviderKind.ANTHROPIC }],
  ["gemini", Dialect.GEMINI, { kind: ProviderKind.GEMINI }],
  ["bedrock-converse", Dialect.BEDROCK_CONVERSE, { kind: ProviderKind.BEDROCK }],
  ["ollama", Dialect.OLLAMA, { kind: ProviderKind.OLLAMA, dialects: ["ollama"] }],
];

/** Dialects of clients, each with a request that only says hi. */
export const clients: readonly (readonly [string, Dialect, JsonObject])[] = [
  ["openai-chat", Dialect.OPENAI_CHAT, { model: "alias", messages: [{ role: "user", content: "hi" }] }],
  ["openai-responses", Dialect.OPENAI_RESPONSES, { model: "alias", input: "hi" }],
  [
    "anthropic-messages",
    Dialect.ANTHROPIC_MESSAGES,
    { model: "alias", max_tokens: 100, messages: [{ role: "user", content: "hi" }] },
  ],
  ["gemini", Dialect.GEMINI, { contents: [{ role: "user", parts: [{ text: "hi" }] }] }],
  [
    "weir-chat",
    Dialect.WEIR_CHAT,
    { model: "alias", messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }] },
  ],
];

/** A pool before a vendor of a dialect that answers with given bytes, and ends or breaks. */
export async function vendor(codec: Codec, init: ProviderInit, pieces: readonly (string | Buffer)[], breaks = false) {
  const provider = await startProvider(async (response) => {
    response.writeHead(200, { "content-type": mediaTypes[codec.framing] });
    for (const piece of pieces) {
      response.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (breaks) response.destroy();
    else response.end();
  });
  const pool = createTestPool(provider.url, init);
  return {
    provider,
    pool,
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await provider[Symbol.asyncDispose]();
    },
  };
}

/** A request of a client for a stream. */
export function streamed(body: JsonObject, dialect: Dialect): JsonObject {
  return dialect === Dialect.GEMINI ? body : { ...body, stream: true };
}

/** What a client of a dialect makes of an answer's bytes. */
export function readBack(codec: Codec, text: string) {
  const splitter = createFrameSplitter(codec.framing);
  const reader = codec.createFrameReader();
  const frames: Frame[] = [];
  const read: GenerateEvent[] = [];
  splitter.push(Buffer.from(text), frames);
  splitter.end(frames);
  for (const { type, data } of frames) reader.read(type, data, read);
  reader.finish(read);
  let words = "";
  let args = "";
  for (const { kind } of read) {
    if (kind.case !== "delta") continue;
    if (kind.value.content.case === "text") words += kind.value.content.value;
    if (kind.value.content.case === "toolCall") args += kind.value.content.value.arguments;
  }
  return { words, args, complete: reader.complete, fault: reader.fault, usage: reader.usage?.usage };
}
