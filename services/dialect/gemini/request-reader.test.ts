import { toJson } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { parseExact } from "../json.ts";
import { readRequest } from "./request-reader.ts";
import { markOwn } from "./signature.ts";

const contents = [{ parts: [{ text: "hi" }] }];

function parse(body: unknown) {
  const json = parseExact(typeof body === "string" ? body : JSON.stringify(body));
  if (json === undefined) throw new Error("is no JSON object");
  return json;
}

const read = (body: unknown) => readRequest(parse(body));

function shown(body: unknown): Record<string, unknown> {
  return toJson(GenerateRequestSchema, read(body)) as Record<string, unknown>;
}

/** The parts of the only message, as `[case, value]`. */
function partsOf(...parts: object[]) {
  const [message] = read({ contents: [{ role: "model", parts }] }).messages;
  return message?.parts.map(({ content }) => [content.case, content.value]);
}

test("a content without role is the user's", () => {
  expect(shown({ contents })["messages"]).toEqual([{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }]);
});

test("instructions are the first message", () => {
  const systemInstruction = { role: "system", parts: [{ text: "a" }, { text: "b" }] };
  expect(shown({ contents, system_instruction: systemInstruction })["messages"]).toMatchObject([
    { role: "ROLE_SYSTEM", parts: [{ text: { text: "a" } }, { text: { text: "b" } }] },
    { role: "ROLE_USER" },
  ]);
});

test("media become pictures, sound and files by their type", () => {
  const parts = [
    { inlineData: { mimeType: "image/png", data: "AAE" }, mediaResolution: { level: "MEDIA_RESOLUTION_HIGH" } },
    { inline_data: { mime_type: "audio/wav", data: "_-8=" } },
    { fileData: { mimeType: "video/mp4", fileUri: "https://www.youtube.com/watch?v=1" } },
    { fileData: { fileUri: "https://generativelanguage.googleapis.com/v1beta/files/abc", displayName: "a.pdf" } },
  ];
  expect(shown({ contents: [{ role: "user", parts }] })["messages"]).toMatchObject([
    {
      parts: [
        { image: { data: "AAE=", mediaType: "image/png", detail: "high" } },
        { audio: { data: "/+8=", mediaType: "audio/wav" } },
        { file: { url: "https://www.youtube.com/watch?v=1", mediaType: "video/mp4" } },
        { file: { fileId: "https://generativelanguage.googleapis.com/v1beta/files/abc", filename: "a.pdf" } },
      ],
    },
  ]);
});

test("arguments keep their numbers, however long", () => {
  const body =
    '{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{"n":12345678901234567890}}}]}]}';
  const [part] = read(body).messages[0]?.parts ?? [];
  expect(part?.content).toMatchObject({ case: "toolCall", value: { arguments: '{"n":12345678901234567890}' } });
});

test("calls and results without ids pair by name and order, and the ids stay when the conversation grows", () => {
  const turns = [
    {
      role: "model",
      parts: [{ functionCall: { name: "a" } }, { functionCall: { name: "b" } }, { functionCall: { name: "a" } }],
    },
    {
      role: "user",
      parts: [
        { functionResponse: { name: "b", response: {} } },
        { functionResponse: { name: "a", response: { first: true } } },
        { functionResponse: { name: "a", response: {} } },
      ],
    },
  ];
  const ids = (body: object) =>
    read(body).messages.flatMap(({ parts }) =>
      parts.flatMap(({ content }) => {
        if (content.case === "toolCall") return [content.value.id];
        return content.case === "toolResult" ? [content.value.toolCallId] : [];
      }),
    );
  const first = ids({ contents: turns });
  const [a1, b, a2] = first;
  expect(new Set([a1, b, a2]).size).toBe(3);
  expect(first).toEqual([a1, b, a2, b, a1, a2]);
  const more = [...turns, { role: "model", parts: [{ functionCall: { name: "a" } }] }];
  const longer = ids({ contents: more });
  expect(longer.slice(0, 6)).toEqual(first);
  expect(first).not.toContain(longer[6]);
});

test("a made id is none that stands in the conversation", () => {
  const parts = [{ functionCall: { name: "f" } }, { functionCall: { name: "f", id: "call-0" } }];
  const ids = read({ contents: [{ role: "model", parts }] }).messages[0]?.parts.map(
    ({ content }) => content.case === "toolCall" && content.value.id,
  );
  expect(ids).toEqual(["call-1", "call-0"]);
});

test("results among other parts of a user are messages of their own", () => {
  const parts = [{ text: "x" }, { functionResponse: { name: "f", id: "1", response: { output: "y" } } }, { text: "z" }];
  expect(shown({ contents: [{ role: "user", parts }] })["messages"]).toEqual([
    { role: "ROLE_USER", parts: [{ text: { text: "x" } }] },
    { role: "ROLE_TOOL", parts: [{ toolResult: { toolCallId: "1", parts: [{ text: { text: "y" } }] } }] },
    { role: "ROLE_USER", parts: [{ text: { text: "z" } }] },
  ]);
});

test("signatures of texts, thoughts, media and calls are kept with them", () => {
  const own = (text: string) => ({ signature: markOwn(text) });
  expect(
    partsOf(
      { text: "hm", thought: true, thoughtSignature: "AA==" },
      { text: "hi", thoughtSignature: "QQ==" },
      { inlineData: { mimeType: "image/png", data: "AA==" }, thought_signature: "Qg==" },
      { functionCall: { name: "f", id: "1" }, thoughtSignature: "Qw==" },
      { text: "", thoughtSignature: "RA==" },
    ),
  ).toMatchObject([
    ["reasoning", { text: "hm", ...own("AA==") }],
    ["text", { text: "hi" }],
    ["reasoning", { text: "", ...own("QQ==") }],
    ["image", {}],
    ["reasoning", own("Qg==")],
    ["toolCall", { ...own("Qw=="), arguments: "{}" }],
    ["reasoning", { text: "", ...own("RA==") }],
  ]);
});

test("what a stream said in pieces is one text and one thought, with the signature that ends it", () => {
  const own = (text: string) => ({ signature: markOwn(text) });
  expect(
    partsOf(
      { text: "First ", thought: true },
      { text: "this.", thought: true },
      { text: "", thought: true, thoughtSignature: "AA==" },
      { text: "Then that.", thought: true, thought_signature: "QQ==" },
      { text: "Hel" },
      { text: "lo", thought: false },
      { text: "", thoughtSignature: "Qg==" },
      { text: "!" },
    ),
  ).toMatchObject([
    ["reasoning", { text: "First this.", ...own("AA==") }],
    ["reasoning", { text: "Then that.", ...own("QQ==") }],
    ["text", { text: "Hello" }],
    ["reasoning", { text: "", ...own("Qg==") }],
    ["text", { text: "!" }],
  ]);
});

test("the signature that asks for no validation is none", () => {
  const parts = partsOf({
    functionCall: { name: "f", id: "1" },
    thoughtSignature: "skip_thought_signature_validator",
  });
  expect(parts).toMatchObject([["toolCall", { signature: new Uint8Array(0) }]]);
});

test("what the provider's tools did is sealed", () => {
  const part = { executableCode: { language: "PYTHON", code: "1" }, thoughtSignature: "AA==" };
  expect(partsOf(part)).toMatchObject([["reasoning", { text: "", sealed: markOwn(JSON.stringify(part)) }]]);
});

test("the API's own schemas are read as JSON Schema, and JSON Schema as it is", () => {
  const functionDeclarations = [
    { name: "f", parameters: { type: "OBJECT", properties: { a: { type: "STRING", nullable: true } } } },
    { name: "g", description: "d", parameters_json_schema: { type: "object", $defs: {} } },
    { name: "h" },
  ];
  expect(
    shown({ contents, tools: [{ functionDeclarations, google_search: { excludeDomains: ["a"] } }] })["tools"],
  ).toEqual([
    {
      function: {
        name: "f",
        parametersSchema: '{"type":"object","properties":{"a":{"type":["string","null"]}}}',
      },
    },
    { function: { name: "g", description: "d", parametersSchema: '{"type":"object","$defs":{}}' } },
    { function: { name: "h" } },
    { server: { type: "googleSearch", settings: { excludeDomains: ["a"] } } },
  ]);
});

test.each<[object, unknown]>([
  [{ mode: "AUTO" }, { mode: "MODE_AUTO" }],
  [{ mode: "any" }, { mode: "MODE_REQUIRED" }],
  [{ mode: "NONE" }, { mode: "MODE_NONE" }],
  [
    { mode: "ANY", allowed_function_names: ["f"] },
    { mode: "MODE_REQUIRED", tools: ["f"] },
  ],
  [
    { mode: "VALIDATED", allowedFunctionNames: ["f"] },
    { mode: "MODE_AUTO", tools: ["f"] },
  ],
  [{ mode: "MODE_UNSPECIFIED" }, undefined],
  [{}, undefined],
])("the function calling config %j", (functionCallingConfig, toolChoice) => {
  expect(shown({ contents, toolConfig: { functionCallingConfig } })["toolChoice"]).toEqual(toolChoice);
});

test("VALIDATED makes all functions strict", () => {
  const tools = [{ functionDeclarations: [{ name: "f" }, { name: "g" }] }, { codeExecution: {} }];
  const toolConfig = { functionCallingConfig: { mode: "VALIDATED" } };
  expect(shown({ contents, tools, toolConfig })["tools"]).toMatchObject([
    { function: { strict: true } },
    { function: { strict: true } },
    { server: {} },
  ]);
});

test.each<[object, object]>([
  [{ responseMimeType: "application/json" }, { json: {} }],
  [{ responseMimeType: "text/plain" }, { text: {} }],
  [
    {
      responseMimeType: "application/json",
      responseSchema: { type: "ARRAY", items: { type: "INTEGER" }, minItems: "2" },
    },
    { jsonSchema: { schema: '{"type":"array","items":{"type":"integer"},"minItems":2}' } },
  ],
  [
    { responseMimeType: "application/json", responseJsonSchema: { type: "object" } },
    { jsonSchema: { schema: '{"type":"object"}' } },
  ],
  [
    { responseFormat: [{ text: { mimeType: "APPLICATION_JSON", schema: { type: "object" } } }] },
    { jsonSchema: { schema: '{"type":"object"}' } },
  ],
])("the format %j", (generationConfig, format) => {
  expect(shown({ contents, generationConfig })["outputFormat"]).toEqual(format);
});

test.each<[object, object | undefined, object | undefined]>([
  [{ thinkingLevel: "LOW" }, { effort: "low" }, undefined],
  [{ thinkingBudget: 0 }, { effort: "none" }, undefined],
  [{ thinkingBudget: 5, includeThoughts: true }, { budgetTokens: 5, summary: "auto" }, undefined],
  [{ includeThoughts: false }, { summary: "none" }, undefined],
  [{ thinkingBudget: -1 }, undefined, { gemini: { generationConfig: { thinkingConfig: { thinkingBudget: -1 } } } }],
  [{}, undefined, undefined],
])("the thinking config %j", (thinkingConfig, reasoning, extensions) => {
  const found = shown({ contents, generationConfig: { thinkingConfig } });
  expect(found["reasoning"]).toEqual(reasoning);
  expect(found["extensions"]).toEqual(extensions);
});

test("what no field holds is an extension, without what a field holds", () => {
  const body = {
    contents,
    safetySettings: [{ category: "A", threshold: "OFF" }],
    cached_content: "cachedContents/1",
    generationConfig: {
      topP: 0.5,
      mediaResolution: "MEDIA_RESOLUTION_LOW",
      responseModalities: ["IMAGE"],
      speechConfig: { voiceConfig: { prebuiltVoiceConfig: { voiceName: "Kore" } }, languageCode: "de" },
    },
    toolConfig: { retrievalConfig: { languageCode: "de" } },
    store: null,
  };
  const found = shown(body);
  expect(found["extensions"]).toEqual({
    gemini: {
      safetySettings: [{ category: "A", threshold: "OFF" }],
      cached_content: "cachedContents/1",
      generationConfig: {
        mediaResolution: "MEDIA_RESOLUTION_LOW",
        responseModalities: ["IMAGE"],
        speechConfig: { languageCode: "de" },
      },
      toolConfig: { retrievalConfig: { languageCode: "de" } },
    },
  });
  expect(found).toMatchObject({
    modalities: ["image"],
    audio: { voice: "Kore", format: "pcm16" },
    sampling: { topP: 0.5 },
  });
});

const model = (part: object) => ({ contents: [{ role: "model", parts: [part] }] });
const user = (part: object) => ({ contents: [{ parts: [part] }] });
const config = (generationConfig: unknown) => ({ contents, generationConfig });
const declared = (declaration: object) => ({ contents, tools: [{ functionDeclarations: [declaration] }] });

test.each<[string, unknown, string]>([
  ["no contents", {}, "contents"],
  ["empty contents", { contents: [] }, "contents"],
  ["contents that are a text", { contents: "hi" }, "contents"],
  ["a content that is a text", { contents: ["hi"] }, "contents[0]"],
  ["another role", { contents: [{ role: "assistant" }] }, "contents[0].role"],
  ["parts that are none", { contents: [{ parts: {} }] }, "contents[0].parts"],
  ["a part of no kind", user({}), "contents[0].parts[0]"],
  ["a part of two kinds", user({ text: "a", inlineData: {} }), "contents[0].parts[0]"],
  ["a text that is a number", user({ text: 5 }), "contents[0].parts[0].text"],
  ["a result of the model", model({ functionResponse: { name: "f" } }), "contents[0].parts[0]"],
  ["no base64", user({ inlineData: { mimeType: "a/b", data: "*" } }), "contents[0].parts[0].inlineData.data"],
  ["a call without name", model({ functionCall: {} }), "contents[0].parts[0].functionCall.name"],
  [
    "arguments that are a list",
    model({ functionCall: { name: "f", args: [] } }),
    "contents[0].parts[0].functionCall.args",
  ],
  ["two spellings", { contents, systemInstruction: {}, system_instruction: {} }, "systemInstruction"],
  ["two spellings inside", config({ topP: 1, top_p: 1 }), "generationConfig.topP"],
  ["no config", config("x"), "generationConfig"],
  ["a temperature of 3", config({ temperature: 3 }), "generationConfig.temperature"],
  ["a seed of 64 bits", config({ seed: 2 ** 40 }), "generationConfig.seed"],
  ["no tokens", config({ maxOutputTokens: 0 }), "generationConfig.maxOutputTokens"],
  ["a stop that is a number", config({ stopSequences: [1] }), "generationConfig.stopSequences[0]"],
  ["two schemas", config({ responseSchema: {}, responseJsonSchema: {} }), "generationConfig.responseJsonSchema"],
  ["a function without name", declared({}), "tools[0].functionDeclarations[0].name"],
  [
    "two schemas of arguments",
    declared({ name: "f", parameters: {}, parametersJsonSchema: {} }),
    "tools[0].functionDeclarations[0].parametersJsonSchema",
  ],
  ["labels that are numbers", { contents, labels: { a: 1 } }, "labels.a"],
])("refused with its place: %s", (_, body, param) => {
  try {
    read(body);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    expect([error.reason, error.metadata["param"]]).toEqual([ErrorReason.INVALID_REQUEST, param]);
    return;
  }
  throw new Error("was accepted");
});

test.each<[string, unknown, string]>([
  ["an unknown member of a content", { contents: [{ note: 1 }] }, "contents[0].note"],
  ["an unknown part", user({ hologram: {} }), "contents[0].parts[0].hologram"],
  ["an unknown member of a text", model({ text: "a", tone: "b" }), "contents[0].parts[0].tone"],
  ["a clip of a video", user({ fileData: { fileUri: "u" }, videoMetadata: {} }), "contents[0].parts[0].videoMetadata"],
  ["a thought of the user", user({ text: "a", thought: true }), "contents[0].parts[0]"],
  ["a call of the user", user({ functionCall: { name: "f" } }), "contents[0].parts[0]"],
  [
    "a call in pieces",
    model({ functionCall: { name: "f", willContinue: true } }),
    "contents[0].parts[0].functionCall.willContinue",
  ],
  [
    "a picture as instruction",
    { contents, systemInstruction: { parts: [{ inlineData: {} }] } },
    "systemInstruction.parts[0].inlineData",
  ],
  ["an enum as reply", config({ responseMimeType: "text/x.enum" }), "generationConfig"],
  ["a schema without its type", config({ responseSchema: { type: "OBJECT" } }), "generationConfig"],
  [
    "an unknown mode",
    { contents, toolConfig: { functionCallingConfig: { mode: "MUST" } } },
    "toolConfig.functionCallingConfig.mode",
  ],
  [
    "a schema of what a function returns",
    declared({ name: "f", response: {} }),
    "tools[0].functionDeclarations[0].response",
  ],
  [
    "a schema of no known type",
    declared({ name: "f", parameters: { type: "TEXT" } }),
    "tools[0].functionDeclarations[0].parameters.type",
  ],
  ["an unknown tool", { contents, tools: [{ teleport: {} }] }, "tools[0].teleport"],
  ["a long number in an extension", '{"contents":[{"parts":[]}],"x":{"y":[12345678901234567890]}}', "x.y[0]"],
])("left to targets of its own dialect: %s", (_, body, param) => {
  try {
    read(body);
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    expect([error.reason, error.metadata["param"]]).toEqual([ErrorReason.TARGET_UNSUPPORTED, param]);
    return;
  }
  throw new Error("was accepted");
});

test("what was sent is not quoted", () => {
  for (const body of [{ contents: [{ role: "secret" }] }, user({ "se cret": {} }), config({ temperature: "secret" })]) {
    expect(() => read(body)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("cret") as string }) as Error,
    );
  }
});
