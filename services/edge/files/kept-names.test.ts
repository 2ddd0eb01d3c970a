import { create } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isMadeModel, mayBeMadeModel, mayName, type Names, noNames as nothing } from "./kept-names.ts";
import { namesInBody, namesOfRequest } from "./request-names.ts";

function wire(body: string): GenerateRequest {
  return create(GenerateRequestSchema, { wire: { dialect: Dialect.OPENAI_CHAT, body: Buffer.from(body) } });
}

/** What a body names, if it is looked into at all. */
function found(body: string): Names {
  return mayName(Buffer.from(body)) ? namesOfRequest(wire(body)) : nothing;
}

describe("what may be on record is found by its id", () => {
  test.each<[string, object, string[]]>([
    ["a chat", { messages: [{ content: [{ type: "file", file: { file_id: "file-1" } }] }] }, ["file-1"]],
    [
      "a response",
      {
        input: [
          {
            role: "user",
            content: [
              { type: "input_image", file_id: "file-1" },
              { type: "input_file", file_id: "file-2" },
            ],
          },
        ],
        tools: [
          { type: "file_search", vector_store_ids: ["vs_1", "vs_2"] },
          { type: "code_interpreter", container: { type: "auto", file_ids: ["file-3"] } },
          { type: "image_generation", input_image_mask: { file_id: "file-4" } },
        ],
      },
      ["file-1", "file-2", "vs_1", "vs_2", "file-3", "file-4"],
    ],
    ["variables of a prompt", { prompt: { variables: { a: { type: "input_file", file_id: "file-1" } } } }, ["file-1"]],
    [
      "a message",
      { messages: [{ content: [{ type: "document", source: { type: "file", file_id: "file_1" } }] }] },
      ["file_1"],
    ],
    [
      "a request of Gemini's",
      {
        contents: [
          {
            parts: [
              { fileData: { fileUri: "https://generativelanguage.googleapis.com/v1beta/files/a" } },
              { file_data: { file_uri: "files/b" } },
              { fileData: { fileUri: "https://example.com/c.pdf" } },
              { file_data: { file_uri: "gs://bucket/d.pdf" } },
            ],
          },
        ],
      },
      ["https://generativelanguage.googleapis.com/v1beta/files/a", "files/b"],
    ],
    [
      "a result of a function, beside what it answered",
      {
        contents: [
          {
            parts: [
              { functionResponse: { response: { file_id: "mine" }, parts: [{ fileData: { fileUri: "files/a" } }] } },
              { function_response: { parts: [{ file_data: { file_uri: "files/b" } }] } },
            ],
          },
        ],
      },
      ["files/a", "files/b"],
    ],
    [
      "a response that calls itself the use of a tool",
      { type: "tool_use", input: [{ content: [{ type: "input_file", file_id: "file-1" }] }] },
      ["file-1"],
    ],
    ["the same twice", { a: { file_id: "file-1" }, b: { file_id: "file-1" } }, ["file-1"]],
  ])("%s", (_name, body, ids) => {
    expect(found(JSON.stringify(body))).toMatchObject({ ids, members: [] });
  });

  test("in the canonical form, and not in its texts", () => {
    const content = { case: "file" as const, value: { source: { case: "fileId" as const, value: "file-1" } } };
    expect(namesOfRequest(create(GenerateRequestSchema, { messages: [{ parts: [{ content }] }] }))).toEqual({
      ...nothing,
      ids: ["file-1"],
    });
    const text = { case: "text" as const, value: { text: '{"file_id":"file-1"}' } };
    expect(namesOfRequest(create(GenerateRequestSchema, { messages: [{ parts: [{ content: text }] }] }))).toEqual(
      nothing,
    );
  });
});

const search = { datastore: "projects/p/dataStores/d", dataStoreSpecs: [{ dataStore: "e" }] };
const corpora = { ragResources: [{ ragCorpus: "ragCorpora/1", ragFileIds: ["2"] }] };

test.each<[string, object]>([
  ["container", { tools: [{ type: "code_interpreter", container: "cntr_1" }] }],
  ["container", { container: "container_1", messages: [] }],
  ["container", { container: { id: "container_1", skills: [] } }],
  [
    "container_id",
    { tools: [{ type: "shell", environment: { type: "container_reference", container_id: "cntr_1" } }] },
  ],
  ["container_id", { input: [{ type: "code_interpreter_call", id: "ci_1", container_id: "cntr_1", code: "1" }] }],
  ["skill_id", { container: { skills: [{ type: "custom", skill_id: "skill_1", version: "latest" }] } }],
  ["skill_id", { tools: [{ environment: { skills: [{ type: "skill_reference", skill_id: "skill_1" }] } }] }],
  ["tunnel_id", { tools: [{ type: "mcp", server_label: "a", tunnel_id: "tunnel_1" }] }],
  ["prompt", { prompt: { id: "pmpt_1", version: "2" } }],
  ["previous_response_id", { previous_response_id: "resp_1" }],
  ["comparison_response_id", { prompt_cache_options: { comparison_response_id: "resp_1" } }],
  ["conversation", { conversation: "conv_1" }],
  ["conversation", { conversation: { id: "conv_1" } }],
  ["item_reference", { input: [{ type: "item_reference", id: "msg_1" }] }],
  ["item_reference", { input: [{ id: "msg_1" }] }],
  ["item_reference", { input: [{ id: "msg_1", type: null }] }],
  ["item_reference", { input: [{ id: "msg_1", role: null }] }],
  ["item_reference", { input: [{ content: null, id: "msg_1" }] }],
  ["image_generation_call", { input: [{ type: "image_generation_call", id: "ig_1" }] }],
  ["audio", { messages: [{ role: "assistant", audio: { id: "audio_1" } }] }],
  ["voice", { audio: { format: "mp3", voice: { id: "voice_1" } } }],
  ["previous_message_id", { thread: { type: "continue", previous_message_id: "msg_1" } }],
  ["cachedContent", { cachedContent: "cachedContents/1" }],
  ["cached_content", { cached_content: "projects/p/cachedContents/1" }],
  ["guardrailIdentifier", { guardrailConfig: { guardrailIdentifier: "g", guardrailVersion: "1" } }],
  ["modelArmorConfig", { modelArmorConfig: { promptTemplateName: "projects/p/templates/t" } }],
  ["authConfig", { tools: [{ googleMaps: { authConfig: { apiKeyConfig: { apiKeySecret: "s" } } } }] }],
  ["externalApi", { tools: [{ retrieval: { externalApi: { endpoint: "https://x" } } }] }],
])("%s names what is never on record: %j", (member, body) => {
  expect(found(JSON.stringify(body)).members).toEqual([member]);
});

test.each<[string[], object]>([
  [["fileSearchStores/x"], { tools: [{ fileSearch: { fileSearchStoreNames: ["fileSearchStores/x"] } }] }],
  [["fileSearchStores/x"], { tools: [{ file_search: { file_search_store_names: ["fileSearchStores/x"] } }] }],
  [["projects/p/dataStores/d", "e"], { tools: [{ retrieval: { vertexAiSearch: search } }] }],
  [["ragCorpora/1"], { tools: [{ retrieval: { vertex_rag_store: corpora } }] }],
  [["vertex_ai_search"], { tools: [{ retrieval: { vertex_ai_search: {} } }] }],
  [["data_sources"], { data_sources: [{ type: "azure_search", parameters: { index_name: "i" } }] }],
])("the stores %j are never on record", (stores, body) => {
  const names = found(JSON.stringify(body));
  expect(names).toMatchObject({ ids: [], stores });
  expect(names.members).toHaveLength(1);
});

test("in the canonical form, what is never on record is found in settings of tools and in extensions", () => {
  const tool = {
    kind: {
      case: "server" as const,
      value: { type: "fileSearch", settings: { fileSearchStoreNames: ["fileSearchStores/x"] } },
    },
  };
  expect(namesOfRequest(create(GenerateRequestSchema, { tools: [tool] }))).toMatchObject({
    stores: ["fileSearchStores/x"],
    members: ["fileSearchStoreNames"],
  });
  const extensions = { gemini: { cachedContent: "cachedContents/1" }, "openai-responses": { prompt: { id: "p" } } };
  expect(namesOfRequest(create(GenerateRequestSchema, { extensions })).members).toEqual(["cachedContent", "prompt"]);
});

test("a session of Realtime names its own items and its own conversation", () => {
  const event = {
    type: "response.create",
    response: { conversation: "none", input: [{ type: "item_reference", id: "item_1" }, { id: "item_2" }] },
  };
  expect(namesInBody(Buffer.from(JSON.stringify(event)), true)).toEqual(nothing);
  const session = {
    type: "session.update",
    session: { prompt: { id: "pmpt_1" }, audio: { output: { voice: "ash" } } },
  };
  expect(namesInBody(Buffer.from(JSON.stringify(session)), true).members).toEqual(["prompt"]);
});

const own = {
  file_id: "f",
  vector_store_ids: ["v"],
  container: { id: "c" },
  container_id: "c",
  prompt: { id: "p" },
  conversation: "x",
  cachedContent: "y",
  data_sources: [{ a: 1 }],
  vertexAiSearch: {},
  authConfig: { a: 1 },
};

test.each<[string, object]>([
  [
    "texts",
    { messages: [{ content: JSON.stringify(own) }], tools: [{ function: { arguments: JSON.stringify(own) } }] },
  ],
  ["the schema of a tool", { tools: [{ parameters: { properties: own, examples: [own] } }] }],
  ["the schema of a tool of Claude's", { tools: [{ input_schema: { properties: own, examples: [own] } }] }],
  ["the schema of a tool of Gemini's", { tools: [{ functionDeclarations: [{ response: { example: own } }] }] }],
  ["the schema of a tool of Bedrock's", { toolConfig: { tools: [{ toolSpec: { inputSchema: { json: own } } }] } }],
  ["what a tool of Bedrock's is given", { messages: [{ content: [{ toolUse: { toolUseId: "t", input: own } }] }] }],
  ["what a tool of Bedrock's answers", { messages: [{ content: [{ toolResult: { content: [{ json: own }] } }] }] }],
  ["the schema of a reply", { response_format: { type: "json_schema", json_schema: { name: "r", schema: own } } }],
  ["the schema of a reply of Gemini's", { generationConfig: { responseSchema: own, responseJsonSchema: own } }],
  ["the schema of a reply of Ollama's", { format: { properties: own, default: own } }],
  ["examples of what a tool is given", { tools: [{ name: "read", input_examples: [own] }] }],
  ["what a tool is given", { messages: [{ content: [{ type: "tool_use", name: "read", input: own }] }] }],
  ["what a tool of Ollama's is given", { messages: [{ tool_calls: [{ function: { arguments: own } }] }] }],
  ["what a function is given", { contents: [{ parts: [{ functionCall: { args: own } }] }] }],
  ["what a function answers", { contents: [{ parts: [{ functionResponse: { response: own } }] }] }],
  ["metadata", { metadata: own, labels: own, requestMetadata: own, attributes: own }],
  ["documents to rank", { query: "q", documents: [own] }],
  ["nothing", { file_id: null, file_ids: [], container: null, container_id: "", data_sources: [], cachedContent: "" }],
  ["a new container", { tools: [{ type: "code_interpreter", container: { type: "auto" } }], container: { id: null } }],
  ["a skill of Anthropic's", { container: { skills: [{ type: "anthropic", skill_id: "pptx", version: "latest" }] } }],
  ["a connector of OpenAI's", { tools: [{ type: "mcp", connector_id: "connector_gmail", authorization: "t" }] }],
  ["a prompt that is a text", { prompt: "once upon a time", audio: { voice: "ash", format: "wav" }, voice: "ash" }],
  ["an item with its content", { input: [{ type: "message", id: "msg_1", role: "assistant", content: [] }] }],
  ["a picture with its bytes", { input: [{ type: "image_generation_call", id: "ig_1", result: "aGk=" }] }],
  ["reasoning", { input: [{ type: "reasoning", id: "rs_1", summary: [] }] }],
  ["what tools' results call items", { messages: [{ content: [{ id: "toolu_1" }, { id: "x", type: null }] }] }],
])("%s: names nothing", (_name, body) => {
  expect(found(JSON.stringify(body))).toEqual(nothing);
});

test.each(["file_id", "container_id", "cachedContent", "data_sources", "conversation"])(
  "%s is found however its letters are escaped",
  (name) => {
    const escaped = fc.array(fc.boolean(), { minLength: name.length, maxLength: name.length });
    fc.assert(
      fc.property(escaped, fc.boolean(), fc.constantFrom("", " ", "\n\t "), (which, upper, space) => {
        const written = [...name].map((letter, at) => {
          const hex = letter.charCodeAt(0).toString(16);
          return which[at] === true ? `\\u00${upper ? hex.toUpperCase() : hex}` : letter;
        });
        const { ids, members } = found(`{"a":[{"${written.join("")}"${space}:${space}"x"}]}`);
        expect([...ids, ...members]).toHaveLength(1);
      }),
      { numRuns: 100 },
    );
  },
);

test.each([
  '{"input":[{"type":"\\u0069tem_reference","id":"msg_1"}]}',
  '{"input":[{"t\\u0079pe":"item_referenc\\u0065","id":"msg_1"}]}',
  '{"input":[ { "\\u0069d" : "msg_1" } ]}',
  '{"input":[{"typ\\u0065":null,"id":"msg_1"}]}',
])("a reference is found however it is escaped: %s", (body) => {
  expect(found(body).members).toEqual(["item_reference"]);
});

test.each([
  '{"file":{"file_id":"file-theirs","file_id":"file-mine"}}',
  '{"file":{"file_id":"file-theirs"},"file":{"file_id":"file-mine"}}',
  '{"file":{"\\u0066ile_id":"file-theirs","file_id":"file-mine"}}',
  '{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/a","fileUri":"https://example.com/"}}',
  '{"container":{"id":"theirs","id":null}}',
  '{"container":"theirs","container":{"type":"auto"}}',
  '{"prompt":{"id":"theirs","\\u0069d":null}}',
  '{"prompt":{"id":"theirs"},"prompt":"a text"}',
  '{"input":[{"type":"item_reference","type":"message","id":"theirs"}]}',
  '{"input":[{"type":"message","type":"item_reference","id":"theirs"}]}',
  '{"conversation":"theirs","conversation":null}',
  '{"input":[{"id":"mine","id":"theirs"}]}',
  '{"input":[{"id":1,"id":"theirs"}]}',
  '{"input":[{"id":null , "id":"theirs"}]}',
  '{"input":[{"id":"mine","\\u0069d":"theirs"}]}',
])("a member that stands twice is refused, since the provider might take the other one: %s", (body) => {
  expect(() => found(body)).toThrow(expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST }));
});

test("names are found beside strings of any length and any escapes", () => {
  for (const long of [
    "x".repeat(12_000_000),
    '\\\\\\"'.repeat(3_000_000),
    "\\\\".repeat(6_000_000),
    "0".repeat(5_000),
  ]) {
    expect(found(`{"data":"${long}","a":{"file_id" : "file-1"}}`).ids).toEqual(["file-1"]);
    expect(found(`{"data":"${long}","a":{"\\u0066ile_id":"file-1"}}`).ids).toEqual(["file-1"]);
    expect(() => found(`{"data":"${long}","a":{"file_id":"x","f\\u0069le_id":"y"}}`)).toThrow(/more than once/);
  }
});

test("a text of any length before a name hides it from nobody, wherever the look goes over to a search", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 600 }), fc.nat(400), (text, pad) => {
      const body = `{"t":${JSON.stringify(text + "y".repeat(pad))},"n":[${"1,".repeat(pad)}1],"file_id":"file-1"}`;
      expect(found(body).ids).toEqual(["file-1"]);
    }),
    { numRuns: 200 },
  );
});

test("a chat that names nothing is not looked into, whatever stands in its texts", () => {
  const content = 'Größe \u0007 "quoted" <b> "file_id": "x" "container": {"prompt": {"id": 1}} item_reference';
  for (const body of [
    JSON.stringify({ model: "m", messages: [{ role: "user", content }], audio: null, prompt: "file_id" }),
    JSON.stringify({ messages: [{ role: "assistant", tool_calls: [{ id: "c", function: { arguments: content } }] }] }),
    '{"messages":[{"content":"\\u003cb\\u003e \\u00e9 \\u4f60"}]}',
    '{"messages":[{"content":"\\u0066ile"}]}',
  ]) {
    expect(mayName(Buffer.from(body)), body).toBe(false);
  }
});

test.each([
  "ft:gpt-4o:acme::1",
  "tunedModels/x",
  "models/ft:a",
  "projects/p/endpoints/1",
  "endpoints/1",
  "arn:aws:x",
  "/tunedModels/x",
  "models//tunedModels/x",
])("%s is a model that somebody made", (model) => {
  expect([isMadeModel(model), mayBeMadeModel(`openai/${model}`)]).toEqual([true, true]);
});

test("a vendor's models are nobody's", () => {
  for (const model of ["gpt-4o", "claude-fable-5", "draft:latest", "anthropic.claude-v2:1", "meta/llama"]) {
    expect(isMadeModel(model)).toBe(false);
  }
});
