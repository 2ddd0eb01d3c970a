import { create, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { expect, test } from "vitest";
import { codecOf } from "./codecs.ts";

const words = { role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] };

/** For each dialect a client's extension that names everything Weir limits, routes and meters by, and one member that is free. */
const cases: readonly (readonly [name: string, dialect: Dialect, governed: JsonObject, free: JsonObject])[] = [
  [
    "openai-chat",
    Dialect.OPENAI_CHAT,
    {
      model: "dear",
      messages: [{ role: "user", content: "other" }],
      stream: false,
      stream_options: { include_usage: false },
      n: 99,
      max_tokens: 99_999,
      max_completion_tokens: 99_999,
    },
    { vendor_hint: 1 },
  ],
  [
    "openai-responses",
    Dialect.OPENAI_RESPONSES,
    { model: "dear", input: "other", stream: false, background: true, max_output_tokens: 99_999 },
    { vendor_hint: 1 },
  ],
  [
    "openai-completions",
    Dialect.OPENAI_COMPLETIONS,
    { model: "dear", prompt: "other", stream: false, n: 99, best_of: 99, max_tokens: 99_999 },
    { vendor_hint: 1 },
  ],
  [
    "anthropic-messages",
    Dialect.ANTHROPIC_MESSAGES,
    { model: "dear", messages: [], stream: false, max_tokens: 99_999 },
    { vendor_hint: 1 },
  ],
  [
    "gemini",
    Dialect.GEMINI,
    {
      contents: [],
      generationConfig: { maxOutputTokens: 99_999, candidateCount: 99 },
    },
    { generationConfig: { vendorHint: 1 } },
  ],
  [
    "bedrock-converse",
    Dialect.BEDROCK_CONVERSE,
    {
      messages: [],
      inferenceConfig: { maxTokens: 99_999 },
      additionalModelRequestFields: { max_tokens: 99_999, max_completion_tokens: 99_999 },
    },
    { additionalModelRequestFields: { vendor_hint: 1 } },
  ],
  [
    "ollama",
    Dialect.OLLAMA,
    { model: "dear", messages: [], stream: false, options: { num_predict: 99_999 } },
    { options: { vendor_hint: 1 } },
  ],
];

type Init = MessageInitShape<typeof GenerateRequestSchema>;

function write(dialect: Dialect, name: string, init: Init, stream: boolean, own?: JsonObject) {
  const codec = codecOf(dialect);
  if (codec === undefined) throw new Error("no codec");
  const request = create(GenerateRequestSchema, {
    model: "alias",
    messages: [words],
    ...init,
    ...(own === undefined ? {} : { extensions: { [name]: own } }),
  });
  return codec.writeRequest(request, { model: "target-model", stream, maxOutputTokensDefault: 4_096 });
}

/** The same with every flag the other way. */
const turned = (governed: JsonObject, stream: boolean): JsonObject =>
  "stream" in governed ? { ...governed, stream: !stream } : governed;

test.each(cases)(
  "%s: an extension sets nothing that Weir governs, and whatever else it likes",
  (name, dialect, governed, free) => {
    for (const stream of [true, false]) {
      for (const init of [{}, { maxOutputTokens: 10 }]) {
        const plain = write(dialect, name, init, stream);
        const tried = write(dialect, name, init, stream, turned(governed, stream));
        expect(tried.body).toEqual(plain.body);
        expect(tried.warnings.length).toBeGreaterThan(plain.warnings.length);
        expect(JSON.stringify(write(dialect, name, init, stream, free).body)).toMatch(/vendor_?hint/i);
      }
    }
  },
);
