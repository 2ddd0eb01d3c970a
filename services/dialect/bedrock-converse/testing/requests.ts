import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type PartSchema, Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import fc from "fast-check";
import { rawJson, writeJson } from "../../json.ts";

// Canonical requests that this dialect can express and gives back unchanged. What it writes in one form only (adjacent turns,
// names of documents, `minimal`) comes in that form.

type PartInit = MessageInitShape<typeof PartSchema>;
type Content = NonNullable<PartInit["content"]>;
type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

/** The target, which decides what it can be asked for. */
export interface RequestCase {
  readonly model: string;
  readonly request: GenerateRequest;
}

const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
const word = fc.stringMatching(/^[a-z][\w-]{0,12}$/);
const bytes = fc.uint8Array({ maxLength: 12 });
const fraction = fc.double({ min: 0, max: 1, noNaN: true }).map((value) => value + 0);

const longNumber = fc
  .constantFrom("12345678901234567890", "0.12345678901234567890", "-1e400", "9007199254740993")
  .map(rawJson);

// JSON.stringify writes -0 as 0.
const doubles = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);
const anyJson = fc.oneof(doubles, longNumber);
const objectJson = fc.dictionary(word, anyJson, { maxKeys: 3 }).map(writeJson);

function media(...types: string[]) {
  const source = fc.oneof(
    bytes.map((value) => ({ case: "data" as const, value })),
    word.map((name) => ({ case: "url" as const, value: `s3://bucket/${name}` })),
  );
  return fc.record({ source, mediaType: fc.constantFrom(...types) });
}

const image = media("image/png", "image/jpeg", "image/gif", "image/webp").map(
  (value): Content => ({ case: "image", value }),
);
const audio = media("audio/mpeg", "audio/wav", "audio/flac", "audio/x-aac", "audio/x-m4a", "audio/x-matroska").map(
  (value): Content => ({ case: "audio", value }),
);
const video = media("video/mp4", "video/mpeg", "video/3gpp").map((value): Content => ({ case: "file", value }));
// Names must differ within a request: drawn so large that they do.
const document = fc
  .tuple(media("application/pdf", "text/csv", "text/plain", "text/markdown", ""), fc.uuid(), fc.boolean())
  .map(
    ([value, id, spaced]): Content => ({
      case: "file",
      value: { ...value, filename: spaced ? `a (${id}) [x]` : id },
    }),
  );

function length(value: string): number {
  return Array.from(value).length;
}

const citation = fc.oneof(
  fc.record({ title: text, url: fc.constantFrom("", "https://example.com/a"), quote: fc.oneof(fc.constant(""), text) }),
  fc.record({
    quote: text,
    details: fc.constant({ source: "shelf 3", location: { documentPage: { start: 1, end: 2 } } }),
  }),
  fc.record({
    url: fc.constant("https://a.example"),
    details: fc.constant({ location: { web: { url: "https://a.example", domain: "a.example" } } }),
  }),
  fc.tuple(text, text).map(([a, b]) => ({ quote: a + b, details: { sourceContent: [{ text: a }, { text: b }] } })),
  fc.record({ url: fc.constant("https://s.example"), details: fc.constant({ source: "https://s.example" }) }),
);

const plain = text.map((value): Content => ({ case: "text", value: { text: value } }));
const cited = fc.tuple(text, fc.array(citation, { minLength: 1, maxLength: 2 })).map(
  ([value, citations]): Content => ({
    case: "text",
    value: { text: value, citations: citations.map((cite) => ({ start: 0, end: length(value), ...cite })) },
  }),
);
const call = fc
  .record({ id: fc.stringMatching(/^[\w.:-]{1,64}$/), name: word, arguments: objectJson })
  .map((value): Content => ({ case: "toolCall", value }));
const reasoning = fc.oneof(
  fc.tuple(text, text).map(
    ([value, proof]): Content => ({
      case: "reasoning",
      value: { text: value, signature: new TextEncoder().encode(proof) },
    }),
  ),
  fc.uint8Array({ minLength: 1, maxLength: 12 }).map((sealed): Content => ({ case: "reasoning", value: { sealed } })),
);
const result = fc
  .record({
    toolCallId: fc.stringMatching(/^[\w.:-]{1,64}$/),
    parts: fc.array(
      fc.oneof(plain, image, document, video).map((content) => ({ content })),
      { maxLength: 3 },
    ),
    failed: fc.boolean(),
  })
  .map((value): Content => ({ case: "toolResult", value }));

const cacheControl = fc.constantFrom(0, 300, 3_600).map((ttlSeconds) => ({ ttlSeconds }));

function parts(...contents: fc.Arbitrary<Content>[]) {
  const part = fc.record({ content: fc.oneof(...contents), cacheControl: fc.option(cacheControl, { nil: undefined }) });
  return fc.array(part.map(present), { minLength: 1, maxLength: 3 });
}

/** Without members that are undefined, which `create` would take for values. */
function present<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T;
}

const instructions = parts(plain).map((value) => ({ role: Role.SYSTEM, parts: value }));
const userTurn = parts(plain, image, audio, video, document).map((value) => ({ role: Role.USER, parts: value }));
const toolTurn = parts(result).map((value) => ({ role: Role.TOOL, parts: value }));
const modelTurn = parts(plain, cited, call, reasoning).map((value) => ({ role: Role.ASSISTANT, parts: value }));
const userTurns = fc.oneof(
  userTurn.map((turn) => [turn]),
  toolTurn.map((turn) => [turn]),
  fc.tuple(toolTurn, userTurn).map((turns) => [...turns]),
);

function conversation(systemMessages: boolean) {
  const between = systemMessages ? fc.array(instructions, { maxLength: 1 }) : fc.constant([]);
  const round = fc.tuple(userTurns, between, modelTurn).map(([user, system, model]) => [...user, ...system, model]);
  return fc
    .tuple(fc.array(instructions, { maxLength: 1 }), fc.array(round, { maxLength: 2 }), userTurns)
    .map(([system, rounds, last]) => [...system, ...rounds.flat(), ...last]);
}

const tool = fc.oneof(
  fc
    .record({
      name: word,
      description: fc.oneof(fc.constant(""), text),
      parametersSchema: objectJson,
      strict: fc.option(fc.boolean(), { nil: undefined }),
    })
    .map((value) => ({ kind: { case: "function" as const, value: present(value) } })),
  word.map((type) => ({ kind: { case: "server" as const, value: { type } } })),
);
const cachedTool = fc
  .tuple(tool, fc.option(cacheControl, { nil: undefined }))
  .map(([value, control]) => present({ ...value, cacheControl: control }));

const choice = fc.oneof(
  fc.constant({ mode: ToolChoice_Mode.REQUIRED }),
  word.map((name) => ({ mode: ToolChoice_Mode.REQUIRED, tools: [name] })),
);
const tools = fc.oneof(
  fc.constant({}),
  fc.record({ tools: fc.array(cachedTool, { minLength: 1, maxLength: 2 }) }, { requiredKeys: ["tools"] }),
  fc.record({
    tools: fc.array(cachedTool, { minLength: 1, maxLength: 2 }),
    toolChoice: fc.oneof(choice, fc.constant({ mode: ToolChoice_Mode.AUTO })),
  }),
  fc.record(
    {
      tools: fc.array(cachedTool, { minLength: 1, maxLength: 2 }),
      toolChoice: choice,
      parallelToolCalls: fc.constant(false),
    },
    { requiredKeys: ["tools", "parallelToolCalls"] },
  ),
);

const effort = fc.constantFrom("low", "medium", "high", "xhigh", "max");
const summary = fc.constantFrom("none", "auto");

const adaptive = fc.oneof(
  fc.record({ effort, summary }, { requiredKeys: ["effort"] }),
  fc.record({ summary }),
  fc.constant({ effort: "none" }),
);
const budget = fc.record(
  { budgetTokens: fc.integer({ min: 1_024, max: 100_000 }), effort, summary },
  { requiredKeys: ["budgetTokens"] },
);

const extension = fc.record(
  {
    performanceConfig: fc.constant({ latency: "optimized" }),
    promptVariables: fc.dictionary(word, fc.record({ text }), { minKeys: 1, maxKeys: 2 }),
    additionalModelResponseFieldPaths: fc.constant(["/stop_sequence"]),
    additionalModelRequestFields: fc.record({ extra: doubles }),
    inferenceConfig: fc.record({ extra: fc.integer() }),
    future: doubles,
  },
  { requiredKeys: [] },
);

const metadataText = fc.stringMatching(/^[\w\s:@$#=/+,.-]{1,12}$/);

function thinks({ reasoning: options }: GenerateRequest): boolean {
  return options !== undefined && options.effort !== "none";
}

/** Whoever thinks takes no sampling, and must be free to call. */
function isFreeToThink({ sampling, toolChoice }: GenerateRequest): boolean {
  return sampling === undefined && toolChoice?.mode !== ToolChoice_Mode.REQUIRED;
}

function requests(model: string, newModel: boolean): fc.Arbitrary<RequestCase> {
  const sampling = fc.record({ temperature: fraction, topP: fraction, topK: fc.nat(500) }, { requiredKeys: [] });
  const options = fc.record(
    {
      maxOutputTokens: fc.integer({ min: 1, max: 10_000_000 }),
      outputFormat: fc.record({ name: word, description: text, schema: objectJson }).map((value) => ({
        kind: { case: "jsonSchema" as const, value },
      })),
      reasoning: newModel ? adaptive : fc.oneof(adaptive, budget),
      ...(newModel ? {} : { sampling: sampling.filter((value) => Object.keys(value).length > 0) }),
      stopSequences: fc.array(text, { maxLength: 3 }),
      serviceTier: fc.constantFrom("", "default", "flex", "priority", "reserved"),
      metadata: fc.dictionary(metadataText, metadataText, { maxKeys: 3 }),
      extensions: extension
        .filter((members) => Object.keys(members).length > 0)
        .map((members) => ({ "bedrock-converse": members })),
    },
    { requiredKeys: [] },
  );
  return fc
    .tuple(conversation(newModel), tools, options)
    .map(([messages, called, rest]) => {
      const members: object = { messages, ...called, ...rest };
      return { model, request: create(GenerateRequestSchema, members as RequestInit) };
    })
    .filter(({ request }) => !thinks(request) || isFreeToThink(request));
}

/** Requests that come back as they were, each for a target that takes them. */
export const expressible: fc.Arbitrary<RequestCase> = fc.oneof(
  requests("us.anthropic.claude-sonnet-4-6", false),
  requests("anthropic.claude-opus-4-8-v1:0", true),
);
