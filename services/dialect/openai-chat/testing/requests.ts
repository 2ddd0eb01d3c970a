import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type MessageSchema, type PartSchema, Role, type ToolSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { parseExact, writeJson } from "../../json.ts";
import { customTool, webSearchTool } from "../read-tools.ts";
import type { TargetTraits } from "../traits.ts";
import fc, { type Arbitrary } from "fast-check";

type PartInit = MessageInitShape<typeof PartSchema>;

const words = fc.oneof(
  fc.string({ minLength: 1, maxLength: 12 }),
  fc.constantFrom("Grüße 👋", '"quoted"\n\\', "\u0000\u2028", "__proto__"),
);
const blank = fc.oneof(fc.constant(""), words);
const bytes = fc.uint8Array({ minLength: 1, maxLength: 12 });
const name = fc.stringMatching(/^[a-z_]{1,12}$/);

/** Any request that a target of these traits can be told of, in the form in which it is read back. */
export function requests(traits: TargetTraits): Arbitrary<GenerateRequest> {
  return fc
    .tuple(
      fc.record({ tools: tools(traits), toolChoice, parallelToolCalls: fc.boolean() }),
      fc.record(
        {
          model: fc.constant("m"),
          messages: fc.array(message(traits), { minLength: 1, maxLength: 5 }),
          maxOutputTokens: fc.integer({ min: 1, max: 10_000_000 }),
          outputFormat,
          reasoning: fc.record({ effort: words }),
          sampling: sampling(traits),
          stopSequences: fc.array(words, { maxLength: 4 }),
          choiceCount: fc.integer({ min: 1, max: 128 }),
          topLogprobs: fc.integer({ min: 0, max: 20 }),
          serviceTier: blank,
          user: blank,
          promptCacheKey: blank,
          promptCacheRetention: blank,
          modalities: fc.subarray([...traits.modalities]),
          audio: fc.record({ voice: blank, format: blank }),
          prediction: fc.array(marked(traits, fc.record({ text: words }), "text"), { maxLength: 3 }),
          verbosity: blank,
          stored: fc.option(fc.dictionary(name, words, { maxKeys: 3 }), { nil: undefined }),
          extensions: fc.record({
            "openai-chat": fc.dictionary(
              fc.stringMatching(/^x_[a-z]{1,5}$/),
              fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.parse(JSON.stringify(value)) as never), // without -0, which JSON has not
              { minKeys: 1, maxKeys: 3 },
            ),
          }),
        },
        { requiredKeys: ["model", "messages"] },
      ),
    )
    .map(([{ tools: declared, ...rules }, { stored, ...init }]) =>
      create(GenerateRequestSchema, {
        ...init,
        tools: declared,
        ...(declared.some(isCallable) && rules),
        ...(stored !== undefined && { store: true, metadata: stored }),
      }),
    );
}

function isCallable({ kind }: MessageInitShape<typeof ToolSchema>): boolean {
  return kind?.case !== "server" || kind.value.type !== webSearchTool;
}

const outputFormat = fc.oneof(
  fc.constant({ kind: { case: "text" as const, value: {} } }),
  fc.constant({ kind: { case: "json" as const, value: {} } }),
  fc
    .record({ name, description: blank, schema: schema(), strict: fc.option(fc.boolean(), { nil: undefined }) })
    .map((value) => ({ kind: { case: "jsonSchema" as const, value } })),
);

const toolChoice = fc.oneof(
  fc.constantFrom({ mode: 1 as const }, { mode: 2 as const }, { mode: 3 as const }),
  fc.record({ mode: fc.constantFrom(1 as const, 3 as const), tools: fc.array(name, { minLength: 1, maxLength: 3 }) }),
);

function sampling({ topK }: TargetTraits) {
  const between = (min: number, max: number) => fc.double({ min, max, noNaN: true }).map((value) => value + 0); // no -0
  return fc
    .record(
      {
        temperature: between(0, 2),
        topP: between(0, 1),
        ...(topK && { topK: fc.integer({ min: 1, max: 0xffff_ffff }), minP: between(0, 1) }),
        presencePenalty: between(-2, 2),
        frequencyPenalty: between(-2, 2),
        seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        logitBias: fc.dictionary(fc.nat().map(String), between(-100, 100), { minKeys: 1, maxKeys: 3 }),
      },
      { requiredKeys: [] },
    )
    .filter((given) => Object.keys(given).length > 0);
}

/** JSON text of an object in the form in which it is written, with numbers that no double holds. */
function schema(): Arbitrary<string> {
  const property = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(null)).map((value) => JSON.stringify(value));
  return fc
    .dictionary(name, fc.oneof(property, fc.constantFrom("12345678901234567890", "0.1000000000000000055")))
    .map((members) => {
      const inner = Object.entries(members).map(([key, value]) => `${JSON.stringify(key)}:${value}`);
      return writeJson(parseExact(`{${inner.join(",")}}`));
    });
}

function tools(traits: TargetTraits): Arbitrary<MessageInitShape<typeof ToolSchema>[]> {
  const settings = fc.dictionary(name, fc.oneof(words, fc.integer(), fc.boolean()), { maxKeys: 2 });
  const functionTool = fc
    .record({
      name,
      description: blank,
      parametersSchema: fc.oneof(fc.constant(""), schema()),
      strict: fc.option(fc.boolean(), { nil: undefined }),
    })
    .map((value) => ({ kind: { case: "function" as const, value } }));
  const markedFunction = fc
    .tuple(functionTool, cacheControl(traits.cacheMarks === "cache_control" ? traits.cacheMarks : "none"))
    .map(([tool, mark]) => ({ ...tool, ...mark }));
  const custom = fc
    .tuple(name, settings)
    .map(([own, rest]) => ({ type: customTool, settings: { ...rest, name: `custom_${own}` } }))
    .map((value) => ({ kind: { case: "server" as const, value } }));
  const search = settings.map((value) => ({
    kind: { case: "server" as const, value: { type: webSearchTool, settings: value } },
  }));
  return fc
    .tuple(fc.array(fc.oneof(markedFunction, custom), { maxLength: 4 }), fc.array(search, { maxLength: 1 }))
    .map(([list, last]) => [...list, ...last]);
}

function message(traits: TargetTraits): Arbitrary<MessageInitShape<typeof MessageSchema>> {
  const textPart = marked(traits, fc.record({ text: words }), "text");
  const texts = fc.array(textPart, { maxLength: 3 });
  return fc.oneof(
    fc.record({ role: fc.constantFrom(Role.SYSTEM, Role.DEVELOPER), parts: texts, name: blank }),
    fc.record({ role: fc.constant(Role.USER), parts: fc.array(userPart(traits), { maxLength: 3 }), name: blank }),
    fc.record({ role: fc.constant(Role.ASSISTANT), parts: assistantParts(traits), name: blank }),
    fc.record({ toolCallId: words, parts: texts }).map((value) => ({
      role: Role.TOOL,
      parts: [{ content: { case: "toolResult" as const, value } }],
    })),
  );
}

function userPart(traits: TargetTraits): Arbitrary<PartInit> {
  const url = fc.webUrl({ size: "xsmall" }).map((value) => ({ case: "url" as const, value }));
  const data = bytes.map((value) => ({ case: "data" as const, value }));
  const fileId = words.map((value) => ({ case: "fileId" as const, value }));
  const detail = fc.constantFrom("", "low", "high", "auto", "original");
  const imageTypes = fc.constantFrom("image/png", "image/jpeg");
  return fc.oneof(
    marked(traits, fc.record({ text: words }), "text"),
    marked(traits, fc.record({ source: url, detail }), "image"),
    marked(traits, fc.record({ source: data, mediaType: imageTypes, detail }), "image"),
    marked(traits, fc.record({ source: data, mediaType: fc.constantFrom("audio/wav", "audio/mpeg") }), "audio"),
    marked(
      traits,
      fc.record({ source: data, mediaType: fc.constantFrom("", "application/pdf"), filename: words }),
      "file",
    ),
    marked(traits, fc.record({ source: fileId, filename: blank }), "file"),
  );
}

function assistantParts(traits: TargetTraits): Arbitrary<PartInit[]> {
  const refusal = fc.record({ text: blank }).map((value): PartInit => ({ content: { case: "refusal", value } }));
  const audio = words.map(
    (id): PartInit => ({ content: { case: "audio", value: { source: { case: "fileId", value: id } } } }),
  );
  const call = fc
    .record({
      id: words,
      name: fc.oneof(
        name,
        name.map((own) => `custom_${own}`),
      ),
      arguments: fc.oneof(fc.string(), fc.json({ maxDepth: 2 }), fc.constant('{"n": 12345678901234567890.0}')),
      ...(traits.callSignatures && { signature: fc.uint8Array({ maxLength: 8 }) }),
    })
    .map((value): PartInit => ({ content: { case: "toolCall", value } }));
  return fc
    .tuple(
      reasoning(traits),
      fc.array(fc.oneof(marked(traits, fc.record({ text: words }), "text"), refusal), { maxLength: 3 }),
      fc.array(audio, { maxLength: 1 }),
      fc.array(call, { maxLength: 3 }),
    )
    .map((parts) => parts.flat());
}

function reasoning({ reasoning: way }: TargetTraits): Arbitrary<PartInit[]> {
  const signed = { signature: fc.uint8Array({ maxLength: 8 }), sealed: fc.uint8Array({ maxLength: 8 }), id: blank };
  const piece = fc.record({ text: blank, ...signed });
  const pieces =
    way === "none"
      ? fc.constant([])
      : way === "reasoning_details"
        ? fc.array(piece, { maxLength: 3 })
        : fc.array(fc.record({ text: words }), { maxLength: 1 });
  return pieces.map((list) => list.map((value) => ({ content: { case: "reasoning" as const, value } })));
}

function marked<T>(traits: TargetTraits, value: Arbitrary<T>, kind: NonNullable<PartInit["content"]>["case"]) {
  return fc
    .tuple(value, cacheControl(traits.cacheMarks))
    .map(([content, mark]) => ({ content: { case: kind, value: content }, ...mark }) as PartInit);
}

function cacheControl(way: TargetTraits["cacheMarks"]) {
  const lifetimes = { none: [], prompt_cache_breakpoint: [0, 1_800, 43_200], cache_control: [0, 300, 3_600] }[way];
  return fc.constantFrom({}, ...lifetimes.map((ttlSeconds) => ({ cacheControl: { ttlSeconds } })));
}
