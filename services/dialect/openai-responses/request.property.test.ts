import {
  create,
  equals,
  type JsonObject as StructJson,
  type JsonValue,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role, ToolChoice_Mode as Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact, writeJson } from "../json.ts";
import { readRequest } from "./request-reader.ts";
import { writeRequest } from "./request-writer.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);
const options = { model: "gpt-6", stream: false, maxOutputTokensDefault: 4_096 };

type Init = MessageInitShape<typeof GenerateRequestSchema>;
type PartInit = NonNullable<NonNullable<Init["messages"]>[number]["parts"]>[number];

// The canonical requests that this dialect can express; what it normalises (docs/dialects/openai-responses.md) is not
// generated.

const text = fc.string({ unit: "grapheme", maxLength: 12 });
const word = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/);
const bytes = fc.uint8Array({ maxLength: 20 });
const jsonText = fc.oneof(
  fc.constantFrom('{"type":"object","properties":{"n":{"maximum":12345678901234567890.5}}}', "{}"),
  fc.dictionary(word, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }).map((json) => JSON.stringify(json)),
);
// No null at the top: it stands for absent.
const struct: fc.Arbitrary<StructJson> = fc.dictionary(
  word.map((key) => `x_${key}`),
  fc.jsonValue({ maxDepth: 2 }).map((json) => [JSON.parse(JSON.stringify(json)) as JsonValue]),
  { minKeys: 1, maxKeys: 3 },
);

const textContent = text.map((value): PartInit => ({ content: { case: "text", value: { text: value } } }));
const imageContent = fc
  .record({
    source: fc.oneof(
      bytes.map((value) => ({ case: "data" as const, value })),
      word.map((value) => ({ case: "url" as const, value: `https://pictures.test/${value}` })),
      word.map((value) => ({ case: "fileId" as const, value: `file-${value}` })),
    ),
    detail: fc.constantFrom("", "low", "high", "original"),
  })
  .map(
    (value): PartInit => ({
      content: { case: "image", value: { ...value, mediaType: value.source.case === "data" ? "image/png" : "" } },
    }),
  );
const fileContent = fc
  .record({
    source: fc.oneof(
      bytes
        .filter((value) => value.length > 0)
        .chain((value) =>
          fc.constantFrom("application/pdf", "").map((mediaType) => ({
            source: { case: "data" as const, value },
            mediaType,
            filename: "report.pdf",
          })),
        ),
      word.map((value) => ({ source: { case: "url" as const, value: `https://files.test/${value}` } })),
      word.map((value) => ({ source: { case: "fileId" as const, value: `file-${value}` }, filename: "a.csv" })),
    ),
    detail: fc.constantFrom("", "auto", "high"),
  })
  .map(({ source, detail }): PartInit => ({ content: { case: "file", value: { ...source, detail } } }));
const audioContent = fc
  .tuple(
    bytes.filter((value) => value.length > 0),
    fc.constantFrom("audio/mpeg", "audio/wav"),
  )
  .map(
    ([value, mediaType]): PartInit => ({
      content: { case: "audio", value: { source: { case: "data", value }, mediaType } },
    }),
  );
const inputPart = fc.oneof(textContent, imageContent, fileContent, audioContent);
const resultPart = fc.oneof(textContent, imageContent, fileContent);

const span = fc.nat(1_000);
const citation = fc.oneof(
  fc.record({ start: span, end: span, title: text, url: word.map((name) => `https://${name}.test`) }),
  fc.record({ index: span, filename: text, file_id: word }).map(({ index, filename, file_id }) => ({
    start: index,
    end: index,
    title: filename,
    details: { type: "file_citation", file_id, filename, index },
  })),
);
const replyPart: fc.Arbitrary<PartInit> = fc.oneof(
  textContent,
  fc
    .record({ text, citations: fc.array(citation, { minLength: 1, maxLength: 3 }) })
    .map((value): PartInit => ({ content: { case: "text", value } })),
  text.map((value): PartInit => ({ content: { case: "refusal", value: { text: value } } })),
  fc
    .record({
      id: word.map((id) => `call_${id}`),
      name: fc.constantFrom("search", "patch", "unlisted"),
      arguments: fc.oneof(text, jsonText),
    })
    .map((value): PartInit => ({ content: { case: "toolCall", value } })),
  fc
    .record({
      text,
      id: word.map((id) => `rs_${id}`),
      sealed: fc.oneof(
        text.map((sealed) => Buffer.from(sealed)),
        bytes,
      ),
    })
    .map((value): PartInit => ({ content: { case: "reasoning", value } })),
);

const turn: fc.Arbitrary<NonNullable<Init["messages"]>[number]> = fc.oneof(
  fc.record({
    role: fc.constantFrom(Role.SYSTEM, Role.DEVELOPER, Role.USER),
    parts: fc.array(inputPart, { maxLength: 3 }),
  }),
  fc.record({ role: fc.constant(Role.ASSISTANT), parts: fc.array(replyPart, { minLength: 1, maxLength: 4 }) }),
  fc
    .record({ toolCallId: word.map((id) => `call_${id}`), parts: fc.array(resultPart, { minLength: 1, maxLength: 2 }) })
    .map((value) => ({ role: Role.TOOL, parts: [{ content: { case: "toolResult" as const, value } }] })),
);
const messages = fc
  .array(turn, { minLength: 1, maxLength: 6 })
  .map((turns) => turns.filter((one, index) => one.role !== Role.ASSISTANT || turns[index - 1]?.role !== one.role));

const strict = fc.option(fc.boolean(), { nil: undefined });
// Tools by the names that a choice has for them.
const toolsByName = {
  search: {
    kind: { case: "function", value: { name: "search", description: "d", parametersSchema: "{}", strict: false } },
  },
  plain: { kind: { case: "function", value: { name: "plain" } } },
  patch: {
    kind: { case: "server", value: { type: "custom", settings: { name: "patch", format: { type: "text" } } } },
  },
  web_search: { kind: { case: "server", value: { type: "web_search", settings: { search_context_size: "low" } } } },
  docs: { kind: { case: "server", value: { type: "mcp", settings: { server_label: "docs", server_url: "u" } } } },
  local_shell: { kind: { case: "server", value: { type: "local_shell" } } },
} as const satisfies Record<string, NonNullable<Init["tools"]>[number]>;
const toolNames = fc.subarray(Object.keys(toolsByName) as (keyof typeof toolsByName)[]);
const tools = fc
  .tuple(toolNames, toolNames, fc.option(fc.constantFrom(Mode.AUTO, Mode.NONE, Mode.REQUIRED)))
  .map(([declared, chosen, mode]): Init => {
    const named = mode === Mode.NONE ? [] : chosen.filter((name) => declared.includes(name));
    return {
      tools: declared.map((name) => toolsByName[name]),
      ...(mode === null ? {} : { toolChoice: { mode, tools: named } }),
    };
  });
const outputFormat: fc.Arbitrary<NonNullable<Init["outputFormat"]>> = fc.oneof(
  fc.constant({ kind: { case: "text" as const, value: {} } }),
  fc.constant({ kind: { case: "json" as const, value: {} } }),
  fc.record({ name: word, description: text, schema: jsonText, strict }).map(({ strict: exact, ...value }) => ({
    kind: { case: "jsonSchema" as const, value: exact === undefined ? value : { ...value, strict: exact } },
  })),
);
const reasoning = fc
  .record({ effort: fc.constantFrom("", "none", "xhigh"), summary: fc.constantFrom("", "auto", "detailed") })
  .filter(({ effort, summary }) => effort !== "" || summary !== "");
const unit = fc.double({ min: 0, max: 1, noNaN: true }).map((number) => number + 0);
const sampling = fc.oneof(
  fc.record({ temperature: unit }),
  fc.record({ topP: unit }),
  fc.record({ temperature: unit, topP: unit }),
);

const hints: fc.Arbitrary<Init> = fc.record(
  {
    outputFormat,
    reasoning,
    sampling,
    maxOutputTokens: fc.integer({ min: 1, max: 10_000_000 }),
    parallelToolCalls: fc.boolean(),
    topLogprobs: fc.nat(20),
    serviceTier: fc.constantFrom("", "flex"),
    metadata: fc.dictionary(word, text, { maxKeys: 3 }),
    promptCacheKey: text,
    promptCacheRetention: fc.constantFrom("", "24h"),
    verbosity: fc.constantFrom("", "low"),
    store: fc.boolean(),
  },
  { requiredKeys: [] },
);
const user: fc.Arbitrary<Init> = fc.oneof(
  fc.record({ user: fc.string({ maxLength: 128 }) }),
  struct.map((own) => ({ extensions: { "openai-responses": own } })),
  fc.constant<Init>({
    user: "someone",
    extensions: {
      "openai-responses": {
        include: ["file_search_call.results"],
        reasoning: { mode: "pro" },
        truncation: "auto",
        user: "another",
      },
    },
  }),
);
const expressible = fc
  .tuple(messages, tools, hints, user)
  .map(([turns, ...rest]): Init => Object.assign({ messages: turns }, ...rest) as Init);

test("what this dialect can express comes back as it was", () => {
  fc.assert(
    fc.property(expressible, (init) => {
      const canonical = create(GenerateRequestSchema, { model: "gpt-6", ...init });
      const { body, warnings } = writeRequest(canonical, options);
      expect(warnings).toEqual([]);
      const parsed = parseExact(writeJson(body));
      const back = readRequest(parsed ?? {});
      if (!equals(GenerateRequestSchema, back, canonical)) expect(back).toEqual(canonical);
    }),
    { numRuns },
  );
});
