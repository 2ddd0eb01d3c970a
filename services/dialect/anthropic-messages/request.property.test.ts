import { create, equals, type JsonObject, type MessageInitShape, toJsonString } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type MessageSchema, Role, ToolChoice_Mode, type ToolSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { traitsOf } from "../claude/traits.ts";
import { parseExact, parseObject, writeJson } from "../json.ts";
import { anthropicMessages } from "./codec.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1_000);
const timeout = 600_000;

// What the dialect can express. Left out are the normalisations that docs/dialects/anthropic-messages.md lists: neighbours of
// one role, texts without a character, instructions of several messages, developers, results after other content.

const anyText = fc.string({ unit: "binary", maxLength: 20 });
const someText = fc.string({ unit: "binary", minLength: 1, maxLength: 20 });
const visibleText = someText.filter((text) => text.trim() !== "");
const jsonMembers = fc.dictionary(anyText, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 }) as fc.Arbitrary<JsonObject>;

/** JSON as this process would write it, with numbers that no double holds. */
const jsonText = fc
  .tuple(jsonMembers, fc.constantFrom("", "12345678901234567890", "0.12345678901234567890", "1e400"))
  .map(([members, long]) => {
    const text = JSON.stringify({ ...members, long: null }).replace(/null\}$/, `${long === "" ? "null" : long}}`);
    return writeJson(parseExact(text));
  });

const cacheControl = fc.option(
  fc.constantFrom(0, 300, 3_600).map((ttlSeconds) => ({ ttlSeconds })),
  { nil: undefined, freq: 2 },
);

function marked<T>(content: fc.Arbitrary<T>) {
  return fc.tuple(content, cacheControl).map(([value, mark]) => ({
    content: value,
    ...(mark === undefined ? {} : { cacheControl: mark }),
  }));
}

const bytes = fc.uint8Array({ maxLength: 12 }).filter((data) => data.length > 0);
const reference = fc.oneof(
  someText.map((value) => ({ case: "url" as const, value })),
  someText.map((value) => ({ case: "fileId" as const, value })),
);
const text = someText.map((value) => ({ case: "text" as const, value: { text: value } }));
const image = fc.oneof(
  fc.record({
    source: bytes.map((value) => ({ case: "data" as const, value })),
    mediaType: fc.constantFrom("image/png", "image/jpeg", "image/gif", "image/webp"),
  }),
  reference.map((source) => ({ source })),
);
const file = fc
  .tuple(
    fc.oneof(
      bytes.map((value) => ({ source: { case: "data" as const, value }, mediaType: "application/pdf" })),
      anyText.map((value) => ({
        source: { case: "data" as const, value: Buffer.from(value) },
        mediaType: "text/plain",
      })),
      reference.map((source) => ({ source, mediaType: source.case === "url" ? "application/pdf" : "" })),
    ),
    anyText,
  )
  .map(([media, filename]) => ({ ...media, filename }));
const media = fc.oneof(
  image.map((value) => ({ case: "image" as const, value })),
  file.map((value) => ({ case: "file" as const, value })),
);

const callId = fc.stringMatching(/^[\w-]{1,20}$/);
const toolName = fc.stringMatching(/^[\w-]{1,20}$/);
const freeText = visibleText.filter((value) => parseObject(value) === undefined);
const toolCall = fc.record({ id: callId, name: toolName, arguments: fc.oneof(jsonText, freeText) });
const toolResult = fc.record({
  toolCallId: callId,
  parts: fc.array(marked(fc.oneof(text, media)), { maxLength: 3 }),
  failed: fc.boolean(),
});
const proof = someText.map((value) => Buffer.from(value));
const reasoning = fc.oneof(
  fc.record({ text: anyText, signature: proof }),
  proof.map((sealed) => ({ sealed })),
);
const citation = fc.record({
  type: fc.constantFrom("char_location", "web_search_result_location", "search_result_location"),
  cited_text: anyText,
  document_title: anyText,
  start_char_index: fc.nat(),
});
const citedText = fc.tuple(someText, fc.array(citation, { maxLength: 2 })).map(([value, details]) => ({
  case: "text" as const,
  value: {
    text: value,
    citations: details.map((detail) => ({
      start: 0,
      end: [...value].length,
      title: detail.document_title,
      quote: detail.cited_text,
      details: detail,
    })),
  },
}));

const systemMessage = fc
  .array(marked(text), { minLength: 1, maxLength: 2 })
  .map((parts) => ({ role: Role.SYSTEM, parts }));
const toolMessage = fc
  .array(marked(toolResult.map((value) => ({ case: "toolResult" as const, value }))), { minLength: 1, maxLength: 2 })
  .map((parts) => ({ role: Role.TOOL, parts }));
const userMessage = fc
  .array(marked(fc.oneof(text, media)), { minLength: 1, maxLength: 2 })
  .map((parts) => ({ role: Role.USER, parts }));
const userTurn = fc.oneof(
  userMessage.map((message) => [message]),
  toolMessage.map((message) => [message]),
  fc.tuple(toolMessage, userMessage).map(([results, speech]) => [results, speech]),
);
const assistantMessage = fc
  .array(
    fc.oneof(
      marked(citedText),
      marked(toolCall.map((value) => ({ case: "toolCall" as const, value }))),
      reasoning.map((value) => ({ content: { case: "reasoning" as const, value } })),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((parts) => ({ role: Role.ASSISTANT, parts }));

function conversation(withSystemMessages: boolean): fc.Arbitrary<MessageInitShape<typeof MessageSchema>[]> {
  const later = withSystemMessages ? fc.option(systemMessage, { nil: undefined }) : fc.constant(undefined);
  return fc
    .tuple(
      fc.option(systemMessage, { nil: undefined }),
      fc.boolean(),
      fc.array(fc.tuple(userTurn, later, assistantMessage), { minLength: 1, maxLength: 3 }),
    )
    .map(([first, endsWithUser, turns]) => {
      const spoken = turns.flatMap(([user, system, assistant], index) => [
        ...user,
        ...(system === undefined ? [] : [system]),
        ...(endsWithUser && index === turns.length - 1 ? [] : [assistant]),
      ]);
      return first === undefined ? spoken : [first, ...spoken];
    });
}

const objectSchema = jsonMembers.map((members) => {
  const { type: _, ...rest } = members;
  return writeJson(parseExact(JSON.stringify({ type: "object", ...rest })));
});
const tool: fc.Arbitrary<MessageInitShape<typeof ToolSchema>> = cacheControl.chain((mark) =>
  fc
    .oneof(
      fc
        .record(
          { name: toolName, description: anyText, parametersSchema: objectSchema, strict: fc.boolean() },
          { requiredKeys: ["name", "parametersSchema"] },
        )
        .map((value) => ({ case: "function" as const, value })),
      fc
        .record({
          type: fc.constantFrom("web_search_20250305", "bash_20250124"),
          settings: jsonMembers.filter((members) => !("type" in members) && !("cache_control" in members)),
        })
        .map((value) => ({ case: "server" as const, value })),
    )
    .map((kind) => (mark === undefined ? { kind } : { kind, cacheControl: mark })),
);
const toolChoice = fc.oneof(
  fc.constant({}),
  fc.constant({ toolChoice: { mode: ToolChoice_Mode.NONE } }),
  fc.record(
    {
      toolChoice: fc.oneof(
        fc.constant({ mode: ToolChoice_Mode.AUTO }),
        fc.constant({ mode: ToolChoice_Mode.REQUIRED }),
        toolName.map((name) => ({ mode: ToolChoice_Mode.REQUIRED, tools: [name] })),
      ),
      parallelToolCalls: fc.boolean(),
    },
    { requiredKeys: ["toolChoice"] },
  ),
);
const tooling = fc.oneof(
  fc.constant({}),
  fc.tuple(fc.array(tool, { minLength: 1, maxLength: 2 }), toolChoice).map(([tools, choice]) => ({ tools, ...choice })),
);

const effort = fc.constantFrom("low", "medium", "high", "xhigh", "max");
const summary = fc.constantFrom("", "none", "auto");
const sampling = fc
  .record(
    {
      temperature: fc.double({ min: 0, max: 1, noNaN: true }),
      topP: fc.double({ min: 0, max: 1, noNaN: true }),
      topK: fc.nat(),
    },
    { requiredKeys: [] },
  )
  .filter(
    (options) => Object.keys(options).length > 0 && !Object.values(options).some((value) => Object.is(value, -0)),
  );
const thoughts = fc.oneof(
  fc.constant({ effort: "none" }),
  fc.record({ effort, summary }),
  fc.constantFrom({ summary: "none" }, { summary: "auto" }),
);
const budgetedThoughts = fc.record(
  { effort, budgetTokens: fc.integer({ min: 1_024, max: 100_000 }), summary },
  { requiredKeys: ["budgetTokens"] },
);
const extension = fc
  .dictionary(fc.constantFrom("container", "inference_geo", "cache_control", "x"), fc.jsonValue({ maxDepth: 2 }))
  .map((members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null)))
  .filter((members) => Object.keys(members).length > 0) as fc.Arbitrary<JsonObject>;

function thinks({ reasoning: options }: GenerateRequest): boolean {
  return options !== undefined && options.effort !== "none";
}

/** Whoever thinks takes no sampling, and must be free to call. */
function isFreeToThink({ sampling: sampler, toolChoice: choice }: GenerateRequest): boolean {
  return sampler === undefined && choice?.mode !== ToolChoice_Mode.REQUIRED;
}

function requestTo(model: string) {
  const traits = traitsOf(model);
  return fc
    .tuple(
      conversation(traits.systemMessages),
      tooling,
      fc.integer({ min: 1, max: 10_000_000 }),
      fc.record(
        {
          outputFormat: objectSchema.map((schema) => ({
            kind: { case: "jsonSchema" as const, value: { schema, strict: true } },
          })),
          reasoning: traits.budgetThinking ? fc.oneof(thoughts, budgetedThoughts) : thoughts,
          stopSequences: fc.array(visibleText, { maxLength: 3 }),
          serviceTier: fc.constantFrom("auto", "standard_only"),
          user: fc.string({ unit: "binary", minLength: 1, maxLength: 100 }),
          extensions: extension.map((members) => ({ "anthropic-messages": members })),
        },
        { requiredKeys: [] },
      ),
      traits.sampling ? fc.record({ sampling }, { requiredKeys: [] }) : fc.constant({}),
    )
    .map(([messages, tools, maxOutputTokens, options, sampler]) =>
      create(GenerateRequestSchema, { model, messages, maxOutputTokens, ...tools, ...options, ...sampler }),
    )
    .filter((request) => !thinks(request) || isFreeToThink(request));
}

const models = ["claude-opus-4-8", "claude-sonnet-4-6"];

test.each(models)("what a request to %s can say comes back as it was", { timeout }, (model) => {
  const options = { model, stream: true, maxOutputTokensDefault: 4_096 };
  fc.assert(
    fc.property(requestTo(model), (request) => {
      const { body, warnings } = anthropicMessages.writeRequest(request, options);
      const json = parseExact(writeJson(body));
      expect(warnings).toEqual([]);
      const read = anthropicMessages.readRequest(json ?? {});
      if (equals(GenerateRequestSchema, read, request)) return;
      expect(toJsonString(GenerateRequestSchema, read)).toBe(toJsonString(GenerateRequestSchema, request));
    }),
    { numRuns: Math.ceil(numRuns / models.length) },
  );
});
