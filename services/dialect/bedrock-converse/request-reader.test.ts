import { toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { type JsonObject, parseExact } from "../json.ts";
import { readEnvelope } from "./envelope.ts";
import { readRequest } from "./request-reader.ts";

function read(body: object): unknown {
  const exact = parseExact(JSON.stringify(body));
  return exact && toJson(GenerateRequestSchema, readRequest(exact));
}

function user(...content: unknown[]): object {
  return { messages: [{ role: "user", content }] };
}

function fault(run: () => unknown): { param: string | undefined; text: string; reason: ErrorReason } {
  try {
    run();
  } catch (error) {
    if (error instanceof WeirError) {
      return { param: error.metadata["param"], text: error.message, reason: error.reason };
    }
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("results of tools are messages of their own", () => {
  const body = user(
    { toolResult: { toolUseId: "a", content: [{ json: { n: 1 } }, { text: "x" }], status: "error" } },
    { cachePoint: { type: "default", ttl: "1h" } },
    { text: "Go on." },
    { cachePoint: { type: "default" } },
  );
  expect(read(body)).toEqual({
    messages: [
      {
        role: "ROLE_TOOL",
        parts: [
          {
            toolResult: {
              toolCallId: "a",
              parts: [{ text: { text: '{"n":1}' } }, { text: { text: "x" } }],
              failed: true,
            },
            cacheControl: { ttlSeconds: 3600 },
          },
        ],
      },
      { role: "ROLE_USER", parts: [{ text: { text: "Go on." }, cacheControl: {} }] },
    ],
  });
});

test("numbers beyond doubles survive in arguments, results and schemas", () => {
  const text = `{"messages":[
    {"role":"assistant","content":[{"toolUse":{"toolUseId":"a","name":"f","input":{"n":12345678901234567890}}}]},
    {"role":"user","content":[{"toolResult":{"toolUseId":"a","content":[{"json":[1.00000000000000000001]}]}}]}],
    "toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"maximum":98765432109876543210}}}}]}}`;
  const request = readRequest(parseExact(text) ?? {});
  expect(JSON.stringify(toJson(GenerateRequestSchema, request))).toContain('{\\"n\\":12345678901234567890}');
  expect(JSON.stringify(toJson(GenerateRequestSchema, request))).toContain("[1.00000000000000000001]");
  expect(JSON.stringify(toJson(GenerateRequestSchema, request))).toContain('{\\"maximum\\":98765432109876543210}');
});

test("a number of many digits is read as the double that it means", () => {
  const request = readRequest(parseExact('{"inferenceConfig":{"temperature":0.30000000000000000000001}}') ?? {});
  expect(request.sampling?.temperature).toBe(0.3);
});

test("what the canonical form has no field for is kept, with the rest of half-read objects", () => {
  const body = {
    guardrailConfig: { guardrailIdentifier: "g", guardrailVersion: "1" },
    performanceConfig: { latency: "optimized" },
    inferenceConfig: { maxTokens: 5, future: [1] },
    outputConfig: { effort: "high", textFormat: { type: "grammar", structure: {} } },
    additionalModelRequestFields: { top_k: 5, thinking: { type: "adaptive" }, future: null },
    __proto__x: 1,
  };
  expect(read(body)).toEqual({
    maxOutputTokens: 5,
    sampling: { topK: 5 },
    reasoning: { effort: "high" },
    extensions: {
      "bedrock-converse": {
        guardrailConfig: { guardrailIdentifier: "g", guardrailVersion: "1" },
        performanceConfig: { latency: "optimized" },
        inferenceConfig: { future: [1] },
        outputConfig: { textFormat: { type: "grammar", structure: {} } },
        additionalModelRequestFields: { future: null },
        __proto__x: 1,
      },
    },
  });
});

test.each([
  ["a budget", { thinking: { type: "enabled", budget_tokens: 2000 } }, { reasoning: { budgetTokens: 2000 } }],
  ["no thinking", { thinking: { type: "disabled" } }, { reasoning: { effort: "none" } }],
  ["a summary", { thinking: { type: "adaptive", display: "summarized" } }, { reasoning: { summary: "auto" } }],
  ["Nova's top_k", { inferenceConfig: { topK: 20 } }, { sampling: { topK: 20 } }],
  [
    "one call at a time",
    { tool_choice: { type: "auto", disable_parallel_tool_use: true } },
    { parallelToolCalls: false },
  ],
  [
    "one call of one tool",
    { tool_choice: { type: "tool", name: "f", disable_parallel_tool_use: true } },
    { parallelToolCalls: false, toolChoice: { mode: "MODE_REQUIRED", tools: ["f"] } },
  ],
])("%s is read from the fields of the model", (_, additionalModelRequestFields, request) => {
  expect(read({ additionalModelRequestFields })).toEqual(request);
});

test.each([
  [{ thinking: { type: "adaptive" } }],
  [{ thinking: { type: "enabled", budget_tokens: 2000, future: 1 } }],
  [{ thinking: { type: "enabled", budget_tokens: 0 } }],
  [{ thinking: { type: "disabled", display: "omitted" } }],
  [{ thinking: "high" }],
  [{ top_k: -1 }],
  [{ inferenceConfig: { topK: 1, future: 2 } }],
  [{ tool_choice: { type: "none" } }],
  [{ tool_choice: { type: "auto", disable_parallel_tool_use: true, future: 1 } }],
  [{ tool_choice: { type: "auto", name: "f", disable_parallel_tool_use: true } }],
])("%j stays a field of the model", (additionalModelRequestFields) => {
  expect(read({ additionalModelRequestFields })).toEqual({
    extensions: { "bedrock-converse": { additionalModelRequestFields } },
  });
});

test("documents of text are files of text", () => {
  const document = { name: "notes", source: { text: "a" }, citations: { enabled: false } };
  expect(read(user({ document }, { document: { ...document, format: "md" } }))).toMatchObject({
    messages: [
      {
        parts: [
          { file: { data: "YQ==", mediaType: "text/plain", filename: "notes" } },
          { file: { data: "YQ==", mediaType: "text/markdown", filename: "notes" } },
        ],
      },
    ],
  });
});

test.each<[string, object, string]>([
  ["no list of messages", { messages: {} }, "messages"],
  ["a message that is no object", { messages: ["hi"] }, "messages[0]"],
  ["an unknown role", { messages: [{ role: "tool", content: [] }] }, "messages[0].role"],
  ["no content", { messages: [{ role: "user" }] }, "messages[0].content"],
  ["two kinds in one block", user({ text: "a", image: {} }), "messages[0].content[0]"],
  ["an empty block", user({}), "messages[0].content[0]"],
  ["text that is none", user({ text: 5 }), "messages[0].content[0].text"],
  [
    "no base64",
    user({ image: { format: "png", source: { bytes: "a b" } } }),
    "messages[0].content[0].image.source.bytes",
  ],
  ["a document without a name", user({ document: { source: { text: "a" } } }), "messages[0].content[0].document.name"],
  ["a call without an id", user({ toolUse: { name: "f", input: {} } }), "messages[0].content[0].toolUse.toolUseId"],
  [
    "a status of no word",
    user({ toolResult: { toolUseId: "a", content: [], status: "ok" } }),
    "messages[0].content[0].toolResult.status",
  ],
  ["a cache point before anything", user({ cachePoint: { type: "default" } }), "messages[0].content[0]"],
  ["no object of settings", { inferenceConfig: 5 }, "inferenceConfig"],
  ["no whole number of tokens", { inferenceConfig: { maxTokens: 1.5 } }, "inferenceConfig.maxTokens"],
  ["a temperature out of range", { inferenceConfig: { temperature: -1 } }, "inferenceConfig.temperature"],
  ["a top_p that is no number", { inferenceConfig: { topP: "1" } }, "inferenceConfig.topP"],
  [
    "too many stop sequences",
    { inferenceConfig: { stopSequences: Array.from({ length: 65 }, () => "a") } },
    "inferenceConfig.stopSequences",
  ],
  ["an empty stop sequence", { inferenceConfig: { stopSequences: [""] } }, "inferenceConfig.stopSequences[0]"],
  [
    "a tool without a schema",
    { toolConfig: { tools: [{ toolSpec: { name: "f" } }] } },
    "toolConfig.tools[0].toolSpec.inputSchema",
  ],
  [
    "a schema that is none",
    { toolConfig: { tools: [{ toolSpec: { name: "f", inputSchema: { json: "{}" } } }] } },
    "toolConfig.tools[0].toolSpec.inputSchema.json",
  ],
  [
    "a cache point before any tool",
    { toolConfig: { tools: [{ cachePoint: { type: "default" } }] } },
    "toolConfig.tools[0]",
  ],
  [
    "an answer's schema that is none",
    { outputConfig: { textFormat: { type: "json_schema", structure: { jsonSchema: {} } } } },
    "outputConfig.textFormat.structure.jsonSchema.schema",
  ],
  ["an effort that is no text", { outputConfig: { effort: 5 } }, "outputConfig.effort"],
  ["metadata that is no text", { requestMetadata: { a: 5 } }, "requestMetadata"],
  ["a tier that is no text", { serviceTier: { type: 5 } }, "serviceTier.type"],
])("%s is refused", (_, body, param) => {
  const { text, ...rest } = fault(() => read(body));
  expect(rest).toEqual({ param, reason: ErrorReason.INVALID_REQUEST });
  expect(text).toMatch(/^[A-Z`].*\.$/);
});

test.each<[string, object, string]>([
  ["a member of a message", { messages: [{ role: "user", content: [], name: "a" }] }, "messages[0].name"],
  ["an unknown kind", user({ text: "a" }, { future: {} }), "messages[0].content[1].future"],
  ["an unknown kind that is no word", user({ "no word": {} }), "messages[0].content[0]"],
  ["guarded content", user({ guardContent: { text: { text: "a" } } }), "messages[0].content[0].guardContent"],
  ["guarded instructions", { system: [{ guardContent: {} }] }, "system[0].guardContent"],
  ["a search result", user({ searchResult: {} }), "messages[0].content[0].searchResult"],
  [
    "an unknown format",
    user({ image: { format: "tiff", source: { bytes: "" } } }),
    "messages[0].content[0].image.format",
  ],
  [
    "another's bucket",
    user({ image: { format: "png", source: { s3Location: { uri: "s3://a/b", bucketOwner: "1" } } } }),
    "messages[0].content[0].image.source.s3Location.bucketOwner",
  ],
  [
    "an unknown source",
    user({ video: { format: "mp4", source: { url: "a" } } }),
    "messages[0].content[0].video.source.url",
  ],
  [
    "a document's context",
    user({ document: { name: "a", source: { text: "a" }, context: "c" } }),
    "messages[0].content[0].document.context",
  ],
  [
    "citations of a document",
    user({ document: { name: "a", source: { text: "a" }, citations: { enabled: true } } }),
    "messages[0].content[0].document.citations",
  ],
  [
    "chunks of a document",
    user({ document: { name: "a", source: { content: [] } } }),
    "messages[0].content[0].document.source.content",
  ],
  [
    "a call of AWS's own tool",
    user({ toolUse: { toolUseId: "a", name: "f", input: {}, type: "server_tool_use" } }),
    "messages[0].content[0].toolUse.type",
  ],
  [
    "sound as a result",
    user({ toolResult: { toolUseId: "a", content: [{ audio: {} }] } }),
    "messages[0].content[0].toolResult.content[0].audio",
  ],
  [
    "reasoning of an unknown kind",
    user({ reasoningContent: { future: 1 } }),
    "messages[0].content[0].reasoningContent.future",
  ],
  [
    "a cache point of an unknown type",
    user({ text: "a" }, { cachePoint: { type: "x" } }),
    "messages[0].content[1].cachePoint.type",
  ],
  [
    "a cache point of an unknown lifetime",
    user({ text: "a" }, { cachePoint: { type: "default", ttl: "1d" } }),
    "messages[0].content[1].cachePoint.ttl",
  ],
  [
    "a source of a text that is no text",
    user({ citationsContent: { content: [{ image: {} }] } }),
    "messages[0].content[0].citationsContent.content[0].image",
  ],
  [
    "a member of a source",
    user({ citationsContent: { citations: [{ future: 1 }] } }),
    "messages[0].content[0].citationsContent.citations[0].future",
  ],
  ["a tool of an unknown kind", { toolConfig: { tools: [{ future: {} }] } }, "toolConfig.tools[0].future"],
  ["a choice of an unknown kind", { toolConfig: { toolChoice: { none: {} } } }, "toolConfig.toolChoice.none"],
  [
    "two choices",
    {
      toolConfig: { toolChoice: { any: {} } },
      additionalModelRequestFields: { tool_choice: { type: "any", disable_parallel_tool_use: true } },
    },
    "additionalModelRequestFields.tool_choice",
  ],
])("%s is left to targets of its own dialect", (_, body, param) => {
  const { text, ...rest } = fault(() => read(body));
  expect(rest).toEqual({ param, reason: ErrorReason.TARGET_UNSUPPORTED });
  expect(text).toMatch(/^[A-Z`].*\.$/);
});

test("a number that the extension cannot hold is refused", () => {
  const body = parseExact('{"additionalModelRequestFields":{"list":[{"n":12345678901234567890}]}}') ?? {};
  expect(fault(() => readRequest(body)).param).toBe("additionalModelRequestFields.list[0].n");
});

test("the envelope tells the limit, and leaves the rest to the provider", () => {
  expect(
    readEnvelope({ messages: [{ role: "user", content: [{ future: 1 }] }], inferenceConfig: { maxTokens: 7 } }),
  ).toEqual({
    includeUsage: true,
    choiceCount: 1,
    maxOutputTokens: 7,
  });
  expect(readEnvelope({})).toEqual({ includeUsage: true, choiceCount: 1 });
});

test.each<[JsonObject, string]>([
  [{ messages: "hi" }, "messages"],
  [{ messages: [5] }, "messages[0]"],
  [{ messages: [{ role: "robot" }] }, "messages[0].role"],
  [{ inferenceConfig: [] }, "inferenceConfig"],
  [{ inferenceConfig: { maxTokens: 0 } }, "inferenceConfig.maxTokens"],
  [{ inferenceConfig: { maxTokens: 10_000_001 } }, "inferenceConfig.maxTokens"],
])("the envelope of %j is refused", (body, param) => {
  expect(fault(() => readEnvelope(body))).toMatchObject({ param, reason: ErrorReason.INVALID_REQUEST });
});
