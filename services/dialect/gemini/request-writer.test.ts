import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import {
  type MessageSchema,
  type PartSchema,
  Role,
  type ToolSchema,
  ToolChoice_Mode as Mode,
} from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { writeJson } from "../json.ts";
import { writeRequest } from "./request-writer.ts";
import { markOwn } from "./signature.ts";

type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;
type MessageInit = MessageInitShape<typeof MessageSchema>;
type PartInit = MessageInitShape<typeof PartSchema>;
type ToolInit = MessageInitShape<typeof ToolSchema>;

const text = (value: string): PartInit => ({ content: { case: "text", value: { text: value } } });
const hi: MessageInit = { role: Role.USER, parts: [text("hi")] };

function write(init: RequestInit, model = "gemini-3-pro") {
  const options = { model, stream: false, maxOutputTokensDefault: 4_096 };
  const { body, warnings } = writeRequest(create(GenerateRequestSchema, { messages: [hi], ...init }), options);
  return {
    body: JSON.parse(writeJson(body)) as Record<string, unknown>,
    warned: warnings.map(({ code, param }) => `${code} ${param}`),
  };
}

function refusal(init: RequestInit, model?: string): string | undefined {
  try {
    write(init, model);
  } catch (error) {
    if (error instanceof WeirError && error.reason === ErrorReason.TARGET_UNSUPPORTED) return error.metadata["param"];
    throw error;
  }
  throw new Error("was accepted");
}

const said = (...parts: PartInit[]): MessageInit => ({ role: Role.ASSISTANT, parts });
const call = (id: string, signature: Uint8Array = new Uint8Array(0), args = "{}"): PartInit => ({
  content: { case: "toolCall", value: { id, name: `f_${id}`, arguments: args, signature } },
});
const result = (toolCallId: string, ...parts: PartInit[]): PartInit => ({
  content: { case: "toolResult", value: { toolCallId, parts } },
});
const reasoning = (value: { text?: string; signature?: Uint8Array; sealed?: Uint8Array; id?: string }): PartInit => ({
  content: { case: "reasoning", value },
});
const tool = (...parts: PartInit[]): MessageInit => ({ role: Role.TOOL, parts });

test("instructions of both ranks are one, also those from the middle, of which a warning tells", () => {
  const messages: MessageInit[] = [
    { role: Role.SYSTEM, parts: [text("a")] },
    { role: Role.DEVELOPER, parts: [text("b")] },
    hi,
    { role: Role.SYSTEM, parts: [text("c")] },
  ];
  expect(write({ messages })).toEqual({
    body: {
      systemInstruction: { parts: [{ text: "a" }, { text: "b" }, { text: "c" }] },
      contents: [{ role: "user", parts: [{ text: "hi" }] }],
    },
    warned: ["field_approximated messages[3]"],
  });
});

test("the results of one turn's calls stand in one content, under the names of their calls", () => {
  const messages = [
    hi,
    said(call("1"), call("2")),
    tool(result("2", text("b"))),
    tool(result("1", text("a")), result("2")),
  ];
  expect(write({ messages }, "gemini-2.5-pro").body["contents"]).toEqual([
    { role: "user", parts: [{ text: "hi" }] },
    {
      role: "model",
      parts: [
        { functionCall: { id: "1", name: "f_1", args: {} } },
        { functionCall: { id: "2", name: "f_2", args: {} } },
      ],
    },
    {
      role: "user",
      parts: [
        { functionResponse: { id: "2", name: "f_2", response: { output: "b" } } },
        { functionResponse: { id: "1", name: "f_1", response: { output: "a" } } },
        { functionResponse: { id: "2", name: "f_2", response: {} } },
      ],
    },
  ]);
});

test("messages that say nothing are left out", () => {
  expect(write({ messages: [hi, said(), hi] }).body["contents"]).toHaveLength(2);
  expect(refusal({ messages: [said()] })).toBe("messages");
});

test("the first call of a turn without a signature asks Gemini 3 for no validation, and only it", () => {
  const signed = markOwn("QQ==");
  const signatures = (init: MessageInit[], model?: string) =>
    (write({ messages: init }, model).body["contents"] as { parts: { thoughtSignature?: string }[] }[]).map(
      ({ parts }) => parts.map(({ thoughtSignature }) => thoughtSignature),
    );
  const skip = "skip_thought_signature_validator";
  expect(signatures([said(text("x"), call("1"), call("2"))])).toEqual([[undefined, skip, undefined]]);
  expect(signatures([said(call("1", signed), call("2")), said(call("3"))])).toEqual([["QQ==", undefined], [skip]]);
  expect(signatures([said(call("1"))], "gemini-2.5-flash")).toEqual([[undefined]]);
  expect(signatures([said(call("1"))], "gemini-flash-latest")).toEqual([[skip]]);
});

test("a signature alone is that of the text or medium before it", () => {
  const image: PartInit = {
    content: { case: "image", value: { source: { case: "data", value: Buffer.from("a") }, mediaType: "image/png" } },
  };
  const mark = (value: string) => reasoning({ signature: markOwn(value) });
  const messages = [said(mark("AA=="), text("x"), mark("QQ=="), mark("Qg=="), image, mark("Qw=="))];
  expect(write({ messages }).body["contents"]).toEqual([
    {
      role: "model",
      parts: [
        { text: "", thoughtSignature: "AA==" },
        { text: "x", thoughtSignature: "QQ==" },
        { text: "", thoughtSignature: "Qg==" },
        { inlineData: { mimeType: "image/png", data: "YQ==" }, thoughtSignature: "Qw==" },
      ],
    },
  ]);
});

test("proofs of other vendors are not shown to Gemini", () => {
  const foreign = Buffer.from("EqoB");
  const messages = [
    hi,
    said(
      reasoning({ text: "hm", signature: foreign, id: "rs_1" }),
      reasoning({ sealed: foreign }),
      reasoning({ sealed: Buffer.from('{"text":"x"}') }),
      call("1", foreign),
    ),
  ];
  const { body, warned } = write({ messages }, "gemini-2.5-pro");
  expect((body["contents"] as unknown[])[1]).toEqual({
    role: "model",
    parts: [{ text: "hm", thought: true }, { functionCall: { id: "1", name: "f_1", args: {} } }],
  });
  expect(warned).toEqual([
    "field_dropped messages[1].parts[0].reasoning.signature",
    "field_dropped messages[1].parts[0].reasoning.id",
    "field_dropped messages[1].parts[1].reasoning.sealed",
    "field_dropped messages[1].parts[3].tool_call.signature",
  ]);
});

test("what was sealed goes back as it was", () => {
  const json = '{"executableCode":{"language":"PYTHON","code":"1"},"thoughtSignature":"AA==","n":12345678901234567890}';
  const request = create(GenerateRequestSchema, { messages: [hi, said(reasoning({ sealed: markOwn(json) }))] });
  const { body } = writeRequest(request, { model: "gemini-3-pro", stream: false, maxOutputTokensDefault: 1 });
  expect(writeJson(body)).toContain(`"parts":[${json}]`);
});

const functions: ToolInit[] = [
  { kind: { case: "function", value: { name: "f", parametersSchema: '{"type": "object"}' } } },
  { kind: { case: "server", value: { type: "googleSearch" } } },
  { kind: { case: "function", value: { name: "g", strict: true } } },
];

test("functions stand together, and their schemas are JSON Schema as it came", () => {
  const { body, warned } = write({ tools: functions });
  expect(body["tools"]).toEqual([
    { functionDeclarations: [{ name: "f", parametersJsonSchema: { type: "object" } }, { name: "g" }] },
    { googleSearch: {} },
  ]);
  expect(warned).toEqual(["field_dropped tools[2].function.strict"]);
});

test.each<[RequestInit, object | undefined]>([
  [{ toolChoice: { mode: Mode.AUTO } }, { mode: "AUTO" }],
  [{ toolChoice: { mode: Mode.NONE } }, { mode: "NONE" }],
  [{ toolChoice: { mode: Mode.REQUIRED, tools: ["f"] } }, { mode: "ANY", allowedFunctionNames: ["f"] }],
  [{ toolChoice: { mode: Mode.AUTO, tools: ["f"] } }, { mode: "VALIDATED", allowedFunctionNames: ["f"] }],
  [{ tools: functions.slice(2) }, { mode: "VALIDATED" }],
  [{ tools: functions.slice(2), toolChoice: { mode: Mode.REQUIRED } }, { mode: "ANY" }],
  [{ tools: functions.slice(2), parallelToolCalls: true }, { mode: "VALIDATED" }],
  [{}, undefined],
])("the function calling config of %j", (init, config) => {
  const { body, warned } = write(init);
  expect(body["toolConfig"]).toEqual(config && { functionCallingConfig: config });
  expect(warned).toEqual([]);
});

test.each<[string, RequestInit["reasoning"], string, object | undefined, string[]]>([
  ["a level", { effort: "medium" }, "gemini-3-flash", { thinkingLevel: "MEDIUM" }, []],
  [
    "a level of an older model",
    { effort: "medium" },
    "models/gemini-2.5-flash",
    { thinkingBudget: 8_192 },
    ["field_approximated reasoning.effort"],
  ],
  ["none", { effort: "none" }, "gemini-2.5-flash", { thinkingBudget: 0 }, []],
  [
    "more than high",
    { effort: "xhigh" },
    "gemini-3-pro",
    { thinkingLevel: "HIGH" },
    ["field_approximated reasoning.effort"],
  ],
  ["another word", { effort: "wild" }, "gemini-3-pro", undefined, ["field_dropped reasoning.effort"]],
  ["a budget", { budgetTokens: 7 }, "gemini-3-pro", { thinkingBudget: 7 }, []],
  [
    "both",
    { effort: "low", budgetTokens: 7 },
    "gemini-3-pro",
    { thinkingLevel: "LOW" },
    ["field_dropped reasoning.budget_tokens"],
  ],
  [
    "both of an older model",
    { effort: "low", budgetTokens: 7 },
    "gemini-2.5-pro",
    { thinkingBudget: 7 },
    ["field_dropped reasoning.effort"],
  ],
  [
    "detailed",
    { summary: "detailed" },
    "gemini-3-pro",
    { includeThoughts: true },
    ["field_approximated reasoning.summary"],
  ],
  ["hidden", { summary: "none" }, "gemini-3-pro", { includeThoughts: false }, []],
])("reasoning: %s", (_, options, model, thinkingConfig, warned) => {
  const written = write(options === undefined ? {} : { reasoning: options }, model);
  expect(written.body["generationConfig"]).toEqual(thinkingConfig && { thinkingConfig });
  expect(written.warned).toEqual(warned);
});

test("a format's name and description are left out, its schema goes as it is", () => {
  const value = { name: "n", description: "d", schema: '{ "type": "object" }', strict: true };
  const { body, warned } = write({ outputFormat: { kind: { case: "jsonSchema", value } } });
  expect(body["generationConfig"]).toEqual({
    responseMimeType: "application/json",
    responseJsonSchema: { type: "object" },
  });
  expect(warned).toEqual([
    "field_dropped output_format.json_schema.name",
    "field_dropped output_format.json_schema.description",
  ]);
});

test.each<[RequestInit, unknown]>([
  [{ modalities: ["image"] }, ["TEXT", "IMAGE"]],
  [{ modalities: ["text", "audio"] }, ["AUDIO"]],
  [
    { modalities: ["image"], extensions: { gemini: { generationConfig: { responseModalities: ["IMAGE"] } } } },
    ["IMAGE"],
  ],
  [
    { modalities: ["audio"], extensions: { gemini: { generationConfig: { responseModalities: ["IMAGE"] } } } },
    ["AUDIO"],
  ],
])("modalities of %j", (init, modalities) => {
  expect(write(init).body["generationConfig"]).toEqual({ responseModalities: modalities });
});

test("an extension adds to the body and changes nothing that is set, nor sets a limit of the output", () => {
  const extensions = {
    gemini: {
      contents: [],
      safetySettings: [],
      generation_config: { temperature: 0, topA: 1, max_output_tokens: 9, candidateCount: 8 },
    },
    ollama: {},
  };
  const { body, warned } = write({ sampling: { temperature: 1 }, extensions });
  expect(body).toEqual({
    contents: [{ role: "user", parts: [{ text: "hi" }] }],
    safetySettings: [],
    generationConfig: { temperature: 1, topA: 1 },
  });
  expect(warned).toEqual([
    "field_dropped extensions.ollama",
    "field_dropped extensions.gemini.generationConfig.maxOutputTokens",
    "field_dropped extensions.gemini.generationConfig.candidateCount",
  ]);
});

test("hints without a place are left out, each with one warning", () => {
  const cached: PartInit = { content: { case: "text", value: { text: "a" } }, cacheControl: { ttlSeconds: 300 } };
  const seen: PartInit = { content: { case: "text", value: { text: "x", citations: [{ url: "u" }] } } };
  const { warned } = write({
    messages: [
      { role: Role.USER, name: "Ann", parts: [cached, cached] },
      said(seen, { content: { case: "refusal", value: { text: "no" } } }),
    ],
    sampling: { minP: 0.1, seed: 2n ** 40n, logitBias: { 5: 1 } },
    parallelToolCalls: false,
  });
  expect(warned).toEqual([
    "field_dropped parallel_tool_calls",
    "field_dropped sampling.seed",
    "field_dropped messages[0].name",
    "field_dropped messages[0].parts[0].cache_control",
    "field_dropped messages[1].parts[0].text.citations",
    "field_approximated messages[1].parts[1].refusal",
    "field_dropped sampling.min_p",
    "field_dropped sampling.logit_bias",
  ]);
});

const picture = (value: object): PartInit => ({
  content: { case: "image", value: { source: { case: "url", value: "https://a.example/b.PNG?c=d" }, ...value } },
});

test("an address tells the type of its picture, when nothing else does", () => {
  const types = (value: object) => write({ messages: [{ role: Role.USER, parts: [picture(value)] }] }).body["contents"];
  expect(types({})).toMatchObject([{ parts: [{ fileData: { mimeType: "image/png" } }] }]);
  expect(types({ mediaType: "image/webp" })).toMatchObject([{ parts: [{ fileData: { mimeType: "image/webp" } }] }]);
  expect(types({ source: { case: "url", value: "https://a.example/" } })).toEqual([
    { role: "user", parts: [{ fileData: { fileUri: "https://a.example/" } }] },
  ]);
});

test("older models do not get a resolution for each medium", () => {
  const messages = [{ role: Role.USER, parts: [picture({ detail: "high" })] }];
  expect(write({ messages }, "gemini-2.5-pro").warned).toEqual(["field_dropped messages[0].parts[0].image.detail"]);
  expect(write({ messages: [{ role: Role.USER, parts: [picture({ detail: "auto" })] }] }).warned).toEqual([]);
});

const bytes = { source: { case: "data", value: Buffer.from("a") } } as const;

test.each<[string, RequestInit, string, string?]>([
  [
    "media without type",
    { messages: [{ role: Role.USER, parts: [{ content: { case: "file", value: bytes } }] }] },
    "messages[0].parts[0].file.media_type",
  ],
  [
    "a file of another vendor",
    { messages: [{ role: Role.USER, parts: [picture({ source: { case: "fileId", value: "file-1" } })] }] },
    "messages[0].parts[0].image.file_id",
  ],
  ["a picture as instruction", { messages: [{ role: Role.SYSTEM, parts: [picture({})] }, hi] }, "messages[0].parts[0]"],
  ["a call of the user", { messages: [{ role: Role.USER, parts: [call("1")] }] }, "messages[0].parts[0]"],
  ["a text of a tool", { messages: [hi, tool(text("a"))] }, "messages[1].parts[0]"],
  ["a result of no call", { messages: [hi, tool(result("9"))] }, "messages[1].parts[0].tool_result.tool_call_id"],
  [
    "a picture as result for an older model",
    { messages: [hi, said(call("1")), tool(result("1", picture({})))] },
    "messages[2].parts[0].tool_result.parts[0]",
    "gemini-2.5-pro",
  ],
  [
    "reasoning as result",
    { messages: [hi, said(call("1")), tool(result("1", reasoning({ text: "a" })))] },
    "messages[2].parts[0].tool_result.parts[0]",
  ],
  [
    "arguments that are no object",
    { messages: [hi, said(call("1", undefined, "[1]"))] },
    "messages[1].parts[0].tool_call.arguments",
  ],
  [
    "a schema that is no object",
    { tools: [{ kind: { case: "function", value: { name: "f", parametersSchema: "{" } } }] },
    "tools[0].function.parameters_schema",
  ],
  [
    "a tool of another provider",
    { tools: [{ kind: { case: "server", value: { type: "web_search" } } }] },
    "tools[0].server.type",
  ],
  ["a forbidden function", { toolChoice: { mode: Mode.NONE, tools: ["f"] } }, "tool_choice.tools"],
  ["one call at a time", { tools: functions, parallelToolCalls: false }, "parallel_tool_calls"],
  ["six stops", { stopSequences: [..."abcdef"] }, "stop_sequences"],
  [
    "a schema of the reply that is none",
    { outputFormat: { kind: { case: "jsonSchema", value: { schema: "[]" } } } },
    "output_format.json_schema.schema",
  ],
])("refused with its place: %s", (_, init, param, model) => {
  expect(refusal(init, model)).toBe(param);
});
