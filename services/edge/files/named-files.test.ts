import { create } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mayNameFiles, namedFiles } from "./named-files.ts";

function wire(body: string): GenerateRequest {
  return create(GenerateRequestSchema, { wire: { dialect: Dialect.OPENAI_CHAT, body: Buffer.from(body) } });
}

/** What a body names, if it is looked into at all. */
function found(body: string): string[] {
  return mayNameFiles(Buffer.from(body)) ? namedFiles(wire(body)) : [];
}

describe("files that a request names are found", () => {
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
    [
      "variables of a prompt",
      { prompt: { id: "p", variables: { a: { type: "input_file", file_id: "file-1" } } } },
      ["file-1"],
    ],
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
    expect(found(JSON.stringify(body))).toEqual(ids);
  });

  test("in the canonical form", () => {
    const content = { case: "file" as const, value: { source: { case: "fileId" as const, value: "file-1" } } };
    const request = create(GenerateRequestSchema, { messages: [{ parts: [{ content }] }] });
    expect(namedFiles(request)).toEqual(["file-1"]);
    const text = { case: "text" as const, value: { text: '{"file_id":"file-1"}' } };
    expect(namedFiles(create(GenerateRequestSchema, { messages: [{ parts: [{ content: text }] }] }))).toEqual([]);
  });

  test("however the name is escaped", () => {
    const escaped = fc.array(fc.boolean(), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(escaped, fc.boolean(), (which, upper) => {
        const name = [..."file_id"].map((letter, at) => {
          const hex = letter.charCodeAt(0).toString(16);
          return which[at] === true ? `\\u00${upper ? hex.toUpperCase() : hex}` : letter;
        });
        expect(found(`{"messages":[{"${name.join("")}":"file-1"}]}`)).toEqual(["file-1"]);
      }),
      { numRuns: 200 },
    );
  });
});

test.each<[string, object]>([
  [
    "texts",
    { messages: [{ content: 'see {"file_id":"file-1"}' }], tools: [{ function: { arguments: '{"file_id":"f"}' } }] },
  ],
  [
    "the schema of a tool",
    { tools: [{ parameters: { properties: { file_id: { type: "string" } }, examples: [{ file_id: "f" }] } }] },
  ],
  [
    "what a tool is given",
    { messages: [{ content: [{ type: "tool_use", name: "read", input: { file_id: "mine" } }] }] },
  ],
  ["what a function is given", { contents: [{ parts: [{ functionCall: { args: { file_id: "mine" } } }] }] }],
  ["metadata", { metadata: { file_id: "mine" } }],
  ["nothing", { file_id: null, file_ids: [] }],
])("%s names no file", (_name, body) => {
  expect(found(JSON.stringify(body))).toEqual([]);
});

test.each([
  '{"file":{"file_id":"file-theirs","file_id":"file-mine"}}',
  '{"file":{"file_id":"file-theirs"},"file":{"file_id":"file-mine"}}',
  '{"file":{"\\u0066ile_id":"file-theirs","file_id":"file-mine"}}',
  '{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/a","fileUri":"https://example.com/"}}',
])("a member that stands twice is refused, since the provider might take the other one: %s", (body) => {
  expect(() => found(body)).toThrow(expect.objectContaining({ reason: ErrorReason.INVALID_REQUEST }));
});

test("a name is found behind any number of zeros", () => {
  const zeros = "0".repeat(5_000);
  expect(found(`{"n":"${zeros}","a":{"\\u0066ile_id":"file-1"}}`)).toEqual(["file-1"]);
  expect(found(`{"n":"${zeros}"}`)).toEqual([]);
});

test("names are counted beside a string of any length and any escapes", () => {
  for (const long of ["x".repeat(12_000_000), '\\\\\\"'.repeat(3_000_000), "\\\\".repeat(6_000_000)]) {
    expect(found(`{"data":"${long}","a":{"file_id" : "file-1"}}`)).toEqual(["file-1"]);
    expect(() => found(`{"data":"${long}","a":{"file_id":"x","f\\u0069le_id":"y"}}`)).toThrow(/more than once/);
  }
});

test("a chat without files is not looked into, whatever is escaped in its texts", () => {
  const messages = [{ content: 'Größe \u0007 "quoted" <b> file id' }];
  for (const body of [JSON.stringify({ messages }), '{"messages":[{"content":"\\u003cb\\u003e \\u00e9 \\u4f60"}]}']) {
    expect(mayNameFiles(Buffer.from(body))).toBe(false);
  }
});
