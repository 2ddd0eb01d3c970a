import { create, type JsonObject, type MessageInitShape, toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type MessageSchema,
  type PartSchema,
  Role,
  type ToolSchema,
  ToolChoice_Mode as Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, writeJson } from "../json.ts";
import { gemini } from "./codec.ts";
import { markOwn } from "./signature.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
type MessageInit = MessageInitShape<typeof MessageSchema>;
type PartInit = MessageInitShape<typeof PartSchema>;
type ToolInit = MessageInitShape<typeof ToolSchema>;

const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 12 });
const word = fc.stringMatching(/^[a-zA-Z_][\w.-]{0,11}$/);
const objectText = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 })
      .map((value) => JSON.stringify(value)),
  },
  { weight: 1, arbitrary: fc.constant('{"a":12345678901234567890,"b":[0.12345678901234567890,1e400]}') },
);

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const upTo = <T>(max: number, arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: max });
const parts = (...lists: fc.Arbitrary<PartInit[]>[]) => fc.tuple(...lists).map((found) => found.flat());

const textPart = someText.map((text): PartInit => ({ content: { case: "text", value: { text } } }));
const signature = fc.base64String({ minLength: 4, maxLength: 24 }).map(markOwn);

const source = fc.oneof(
  fc.uint8Array({ maxLength: 20 }).map((value) => ({ case: "data" as const, value })),
  word.map((name) => ({ case: "url" as const, value: `https://files.example/${name}` })),
  word.map((name) => ({
    case: "fileId" as const,
    value: `https://generativelanguage.googleapis.com/v1beta/files/${name}`,
  })),
);
const mediaOf = (kind: "image" | "audio" | "file", types: string[], details: string[]): fc.Arbitrary<PartInit> =>
  fc
    .record({
      source,
      mediaType: fc.constantFrom(...types),
      filename: fc.constantFrom("", "a b.png"),
      detail: fc.constantFrom(...details),
    })
    .map((value) => ({ content: { case: kind, value } }));
const mediaWith = (...details: string[]) =>
  fc.oneof(
    mediaOf("image", ["image/png", "image/webp"], details),
    mediaOf("audio", ["audio/wav"], details),
    mediaOf("file", ["application/pdf", "video/mp4", "text/plain"], details),
  );
const media = mediaWith("", "low", "medium", "high", "ultra_high");

const sealed = fc
  .constantFrom(
    { executableCode: { language: "PYTHON", code: "print(1)" }, thoughtSignature: "QUJD" },
    { codeExecutionResult: { outcome: "OUTCOME_OK", output: "1" } },
    { toolCall: { id: "t", toolType: "GOOGLE_SEARCH_WEB", args: { q: [1, null] } } },
    { inlineData: { mimeType: "image/png", data: "AAAA" }, thought: true },
    { somethingNew: 5 },
  )
  .map((part): PartInit => ({ content: { case: "reasoning", value: { sealed: markOwn(JSON.stringify(part)) } } }));
const thought = fc
  .record({ text: someText, signature: fc.oneof(fc.constant(new Uint8Array(0)), signature) })
  .map((value): PartInit => ({ content: { case: "reasoning", value } }));
/** A signature alone: after text and media it is theirs, else it stands by itself. */
const bareSignature = signature.map(
  (value): PartInit => ({ content: { case: "reasoning", value: { signature: value } } }),
);

interface CallFacts {
  readonly id: string;
  readonly name: string;
}

const call = fc.record({
  id: word,
  name: word,
  arguments: objectText,
  signature: fc.oneof(fc.constant(new Uint8Array(0)), signature),
});

const resultText = fc.oneof(someText, objectText, fc.constant(""));
const result = ({ id }: CallFacts): fc.Arbitrary<PartInit> =>
  fc
    .oneof(
      fc.record({
        failed: fc.constant(false),
        parts: parts(
          upTo(
            1,
            resultText.map((text): PartInit => ({ content: { case: "text", value: { text } } })),
          ),
          upTo(2, mediaWith("")),
        ),
      }),
      fc.record({
        failed: fc.constant(true),
        parts: parts(
          resultText.map((text): PartInit[] => [{ content: { case: "text", value: { text } } }]),
          upTo(1, mediaWith("")),
        ),
      }),
    )
    .map((value) => ({ content: { case: "toolResult", value: { toolCallId: id, ...value } } }));

/** Neighbours that the dialect cannot tell from one text, or one thought, in pieces. */
function isInPieces(list: readonly PartInit[]): boolean {
  return list.some(({ content }, index) => {
    const before = list[index - 1]?.content;
    if (content?.case === "text") return before?.case === "text";
    if (content?.case !== "reasoning" || before?.case !== "reasoning") return false;
    return "text" in content.value && "text" in before.value && before.value.signature?.length === 0;
  });
}

const said = upTo(4, fc.oneof(textPart, thought, media, bareSignature, sealed)).filter((list) => !isInPieces(list));

/** Calls with their results; what stands between them differs. */
const exchange: fc.Arbitrary<MessageInit[]> = fc
  .tuple(said, fc.uniqueArray(call, { minLength: 1, maxLength: 3, selector: ({ id }) => id }))
  .chain(([before, calls]) =>
    fc.tuple(...calls.map(result)).map((results): MessageInit[] => [
      {
        role: Role.ASSISTANT,
        parts: [...before, ...calls.map((value): PartInit => ({ content: { case: "toolCall", value } }))],
      },
      { role: Role.TOOL, parts: results },
    ]),
  );
const user: fc.Arbitrary<MessageInit> = fc
  .array(fc.oneof(textPart, media), { minLength: 1, maxLength: 3 })
  .map((list) => ({ role: Role.USER, parts: list }));
const answer: fc.Arbitrary<MessageInit> = parts(
  said,
  textPart.map((part) => [part]),
)
  .filter((list) => !isInPieces(list))
  .map((list) => ({ role: Role.ASSISTANT, parts: list }));
const system = upTo(1, fc.array(textPart, { minLength: 1, maxLength: 2 })).map((list): MessageInit[] =>
  list.map((texts) => ({ role: Role.SYSTEM, parts: texts })),
);

const messages = fc
  .tuple(
    system,
    fc.array(
      fc.oneof(
        user.map((message) => [message]),
        answer.map((message) => [message]),
        exchange,
      ),
      {
        minLength: 1,
        maxLength: 3,
      },
    ),
  )
  .map(([first, turns]) => {
    // An id belongs to the last call that had it, so that each turn needs its own.
    const rename = (id: string, turn: number) => `${id}-${turn}`;
    const named = turns.map((turn, at) =>
      turn.map((message) => ({
        ...message,
        parts: (message.parts ?? []).map((part): PartInit => {
          const { content } = part;
          if (content?.case === "toolCall") {
            return {
              content: {
                case: "toolCall",
                value: { ...content.value, id: rename(content.value.id ?? "", at) } as never,
              },
            };
          }
          if (content?.case === "toolResult") {
            const toolCallId = rename(content.value.toolCallId ?? "", at);
            return { content: { case: "toolResult", value: { ...content.value, toolCallId } as never } };
          }
          return part;
        }),
      })),
    );
    return [...first, ...named.flat()] as MessageInit[];
  });

const functions = fc
  .tuple(
    fc.boolean(),
    upTo(
      2,
      fc.record({
        name: word,
        description: fc.string({ maxLength: 8 }),
        parametersSchema: fc.oneof(fc.constant(""), objectText),
      }),
    ),
  )
  .map(([strict, list]) =>
    list.map((value): ToolInit => ({ kind: { case: "function", value: { ...value, ...(strict ? { strict } : {}) } } })),
  );
const servers = upTo(
  2,
  fc
    .constantFrom<{ type: string; settings: JsonObject }>(
      { type: "googleSearch", settings: { excludeDomains: ["a.example"] } },
      { type: "codeExecution", settings: {} },
      { type: "urlContext", settings: {} },
      { type: "mcpServers", settings: { name: "s", streamableHttpTransport: { url: "https://mcp.example" } } },
    )
    .map((value): ToolInit => ({ kind: { case: "server", value } })),
).map((list) => {
  const isMcp = ({ kind }: ToolInit) => kind?.case === "server" && kind.value.type === "mcpServers";
  return [...list.filter((tool) => !isMcp(tool)), ...list.filter(isMcp)];
});

const toolFields = fc
  .tuple(functions, servers, fc.constantFrom("absent", "auto", "some", "any", "one", "none"))
  .map(([list, more, choice]): RequestInit => {
    const strict = list.some(({ kind }) => kind?.case === "function" && kind.value.strict === true);
    const tools = [...list, ...more];
    // Where all arguments follow their schemas, the mode is one that says so.
    if (strict || choice === "auto") return { tools, toolChoice: { mode: Mode.AUTO } };
    if (choice === "some") return { tools, toolChoice: { mode: Mode.AUTO, tools: ["f", "g"] } };
    if (choice === "any") return { tools, toolChoice: { mode: Mode.REQUIRED } };
    if (choice === "one") return { tools, toolChoice: { mode: Mode.REQUIRED, tools: ["f"] } };
    if (choice === "none") return { tools, toolChoice: { mode: Mode.NONE } };
    return { tools };
  });

const double = (min: number, max: number) => fc.double({ min, max, noNaN: true }).map((value) => value + 0);
const sampling = fc
  .record(
    {
      temperature: double(0, 2),
      topP: double(0, 1),
      topK: fc.nat({ max: 0xffff_ffff }),
      presencePenalty: double(-2, 2),
      frequencyPenalty: double(-2, 2),
      seed: fc.integer().map(BigInt),
    },
    { requiredKeys: [] },
  )
  .filter((value) => Object.keys(value).length > 0);

const reasoning = fc.constantFrom(
  { effort: "none" },
  { effort: "low", summary: "auto" },
  { effort: "high", summary: "none" },
  { budgetTokens: 1_024 },
  { budgetTokens: 4_096, summary: "auto" },
  { summary: "auto" },
);

const outputFormat = fc.oneof(
  fc.constant({ kind: { case: "text" as const, value: {} } }),
  fc.constant({ kind: { case: "json" as const, value: {} } }),
  objectText.map((schema) => ({ kind: { case: "jsonSchema" as const, value: { schema } } })),
);

const extension = fc.constantFrom(
  { cachedContent: "cachedContents/c", safetySettings: [{ category: "HARM", threshold: "BLOCK_NONE" }] },
  { generationConfig: { mediaResolution: "MEDIA_RESOLUTION_LOW" } },
  { generationConfig: { speechConfig: { languageCode: "de-DE", voiceConfig: { replicatedVoiceConfig: {} } } } },
  {
    toolConfig: {
      retrievalConfig: { languageCode: "de" },
      functionCallingConfig: { streamFunctionCallArguments: true },
    },
  },
  { store: false, further: { a: [1, null, { b: "x" }] } },
);

const label = fc.stringMatching(/^[a-z][a-z0-9_-]{0,9}$/);

const request: fc.Arbitrary<RequestInit> = fc
  .record({
    messages,
    toolFields,
    maxOutputTokens: optional(fc.integer({ min: 1, max: 10_000_000 })),
    outputFormat: optional(outputFormat),
    reasoning: optional(reasoning),
    sampling: optional(sampling),
    stopSequences: upTo(5, someText),
    choiceCount: optional(fc.integer({ min: 1, max: 128 })),
    topLogprobs: optional(fc.nat({ max: 20 })),
    serviceTier: fc.constantFrom("", "flex", "standard", "priority"),
    metadata: fc.dictionary(label, label, { maxKeys: 3 }),
    modalities: fc.constantFrom([], ["image"], ["audio"]),
    audio: optional(word.map((voice) => ({ voice, format: "pcm16" }))),
    extensions: fc.oneof(
      fc.constant({}),
      extension.map((value) => ({ gemini: value })),
    ),
  })
  .map(({ toolFields: tools, ...rest }) =>
    Object.fromEntries(Object.entries({ ...rest, ...tools }).filter(([, value]) => value !== undefined)),
  );

const options = { model: "gemini-3-pro", stream: true, maxOutputTokensDefault: 4_096 };

function roundTrip(given: GenerateRequest): GenerateRequest {
  const { body, warnings } = gemini.writeRequest(given, options);
  expect(warnings).toEqual([]);
  const json = parseExact(writeJson(body));
  if (json === undefined) throw new Error("is no JSON object");
  return gemini.readRequest(json);
}

test("what the dialect can express survives the way there and back", () => {
  fc.assert(
    fc.property(request, (init) => {
      const given = create(GenerateRequestSchema, init);
      const found = roundTrip(given);
      expect(toJson(GenerateRequestSchema, found)).toEqual(toJson(GenerateRequestSchema, given));
    }),
    { numRuns },
  );
});

/** Field names of both spellings: `inlineData` as `inline_data`. Values of maps and of JSON stay as they are. */
const free: ReadonlySet<string> = new Set(["args", "response", "labels", "parametersJsonSchema", "responseJsonSchema"]);
function inSnakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inSnakeCase);
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      free.has(name) ? inner : inSnakeCase(inner),
    ]),
  );
}

test("members in snake_case are read as those in lowerCamelCase", () => {
  const plain = request.filter(
    ({ extensions, messages: list = [], tools = [] }) =>
      Object.keys(extensions ?? {}).length === 0 &&
      !tools.some(({ kind }) => kind?.case === "server") &&
      !JSON.stringify(
        list.map(({ parts: all = [] }) =>
          all.map(({ content }) => content?.case === "reasoning" && "sealed" in content.value),
        ),
      ).includes("true"),
  );
  fc.assert(
    fc.property(plain, (init) => {
      const given = create(GenerateRequestSchema, init);
      const json = parseExact(writeJson(gemini.writeRequest(given, options).body));
      const found = gemini.readRequest(inSnakeCase(json) as never);
      expect(toJson(GenerateRequestSchema, found)).toEqual(toJson(GenerateRequestSchema, given));
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

// --- Law: nothing is dropped in silence.

const hi: MessageInit = { role: Role.USER, parts: [{ content: { case: "text", value: { text: "hi" } } }] };
const someFunction: ToolInit = { kind: { case: "function", value: { name: "f" } } };

type Fate = "expressed" | { readonly dropped: string } | { readonly refused: string } | "elsewhere";

const fates: Readonly<Record<string, readonly [RequestInit, Fate]>> = {
  model: [{ model: "m" }, "elsewhere"], // the path names it
  messages: [{ messages: [hi] }, "expressed"],
  tools: [{ tools: [someFunction] }, "expressed"],
  max_output_tokens: [{ maxOutputTokens: 5 }, "expressed"],
  tool_choice: [{ toolChoice: { mode: Mode.REQUIRED } }, "expressed"],
  parallel_tool_calls: [{ parallelToolCalls: false }, { dropped: "parallel_tool_calls" }],
  output_format: [{ outputFormat: { kind: { case: "json", value: {} } } }, "expressed"],
  reasoning: [{ reasoning: { effort: "low" } }, "expressed"],
  sampling: [{ sampling: { temperature: 1 } }, "expressed"],
  stop_sequences: [{ stopSequences: ["a"] }, "expressed"],
  choice_count: [{ choiceCount: 2 }, "expressed"],
  top_logprobs: [{ topLogprobs: 0 }, "expressed"],
  service_tier: [{ serviceTier: "auto" }, { dropped: "service_tier" }],
  metadata: [{ metadata: { Name: "Some Value" } }, { dropped: "metadata" }],
  user: [{ user: "u" }, { dropped: "user" }],
  prompt_cache_key: [{ promptCacheKey: "k" }, { dropped: "prompt_cache_key" }],
  prompt_cache_retention: [{ promptCacheRetention: "24h" }, { dropped: "prompt_cache_retention" }],
  modalities: [{ modalities: ["smell"] }, { refused: "modalities" }],
  audio: [{ audio: { voice: "v", format: "mp3" } }, { refused: "audio.format" }],
  prediction: [{ prediction: [hi.parts?.[0] ?? {}] }, { dropped: "prediction" }],
  verbosity: [{ verbosity: "low" }, { dropped: "verbosity" }],
  store: [{ store: true }, { dropped: "store" }],
  extensions: [{ extensions: { "openai-chat": { a: 1 } } }, { dropped: "extensions.openai-chat" }],
  wire: [{ wire: {} as never }, "elsewhere"], // a request in a dialect has no other fields
};

test.each(GenerateRequestSchema.fields.map(({ name }) => [name] as const))("%s is not dropped in silence", (name) => {
  const found = fates[name];
  if (found === undefined) throw new Error("a field without a rule");
  const [init, fate] = found;
  const given = create(GenerateRequestSchema, { messages: [hi], ...init });
  const write = () => gemini.writeRequest(given, options);
  if (fate === "elsewhere") return;
  if (fate === "expressed") {
    expect(write().warnings).toEqual([]);
    const plain = writeJson(gemini.writeRequest(create(GenerateRequestSchema, { messages: [hi] }), options).body);
    if (name !== "messages") expect(writeJson(write().body)).not.toBe(plain);
  } else if ("dropped" in fate) {
    expect(write().warnings.map(({ code, param }) => [code, param])).toEqual([["field_dropped", fate.dropped]]);
  } else {
    expect(write).toThrow(expect.objectContaining({ metadata: { param: fate.refused } }) as Error);
  }
});
