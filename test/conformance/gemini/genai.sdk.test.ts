import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { create } from "@bufbuild/protobuf";
import { ApiError, FunctionCallingConfigMode, GoogleGenAI, ThinkingLevel, Type } from "@google/genai";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "@weir/dialect/events";
import { writeFrames } from "@weir/dialect/framing/writer";
import { gemini } from "@weir/dialect/gemini/codec";
import { writeCountTokensAnswer } from "@weir/dialect/gemini/count-tokens";
import { parseExact, writeJson } from "@weir/dialect/json";
import { CitationSchema, Role, ToolChoice_Mode } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { expect, onTestFinished, test } from "vitest";

const options = { id: "own", createTimeMs: 0, model: "m", includeUsage: true, request: {} };
const model = "gemini-3-pro";

interface Call {
  readonly path: string;
  readonly body: string;
}

/** A client of a server that answers as told, and the calls that the server got. */
async function connect(answer: (response: ServerResponse, call: number) => void, vertexai = false) {
  const calls: Call[] = [];
  const server = createServer((request, response) => {
    void readAll(request).then((body) => {
      calls.push({ path: request.url ?? "", body });
      answer(response, calls.length - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const client = new GoogleGenAI({ apiKey: "k", vertexai, httpOptions: { baseUrl: `http://127.0.0.1:${port}` } });
  return { client, calls };
}

async function readAll(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

const whole = (events: readonly GenerateEvent[]) => (response: ServerResponse) => {
  response.writeHead(200, { "content-type": "application/json" }).end(gemini.writeAnswer(events, options));
};

function framesOf(events: readonly GenerateEvent[]): string {
  const writer = gemini.createFrameWriter(options);
  return String(
    writeFrames(
      gemini.framing,
      events.flatMap((event) => writer.write(event)),
    ),
  );
}

const streamed = (text: string) => (response: ServerResponse) => {
  response.writeHead(200, { "content-type": "text/event-stream" }).end(text);
};

const signature = Buffer.from("EqoBCkgIARAB");
const citation = create(CitationSchema, { start: 0, end: 4, title: "T", url: "https://a.example", quote: "Grüß" });
const usage = create(UsageSchema, { inputTokens: 7, cachedInputTokens: 2, outputTokens: 9, reasoningTokens: 4 });
const events = [
  startEvent({ id: "r1", model, createTimeMs: 1_700_000_000_000 }),
  reasoningEvent(0, 0, { text: "hm" }),
  reasoningEvent(0, 0, { signature }),
  textEvent(0, 1, "Grüß "),
  textEvent(0, 1, "Gott 🙂"),
  toolCallEvent(0, 2, { id: "c1", name: "f", arguments: '{"city":' }),
  toolCallEvent(0, 2, { arguments: '"Graz"}' }),
  toolCallEvent(0, 3, { id: "c2", name: "g", arguments: "{}" }),
  citationEvent(0, 1, citation),
  endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_calls")], usage),
];

const functionCalls = [
  { id: "c1", name: "f", args: { city: "Graz" } },
  { id: "c2", name: "g", args: {} },
];
const usageMetadata = {
  promptTokenCount: 7,
  cachedContentTokenCount: 2,
  candidatesTokenCount: 5,
  thoughtsTokenCount: 4,
  totalTokenCount: 16,
};

test.each([false, true])("the official client reads a whole answer (Vertex AI: %s)", async (vertexai) => {
  const { client } = await connect(whole(events), vertexai);
  const response = await client.models.generateContent({ model, contents: "hi" });
  expect(response.text).toBe("Grüß Gott 🙂");
  expect(response.functionCalls).toEqual(functionCalls);
  expect(response).toMatchObject({ responseId: "r1", modelVersion: model, usageMetadata });
  const [candidate] = response.candidates ?? [];
  expect(candidate).toMatchObject({ index: 0, finishReason: "STOP", content: { role: "model" } });
  expect(candidate?.content?.parts?.[0]).toMatchObject({ text: "hm", thought: true });
  expect(candidate?.groundingMetadata).toEqual({
    groundingChunks: [{ web: { uri: "https://a.example", title: "T" } }],
    groundingSupports: [{ segment: { startIndex: 0, endIndex: 6, text: "Grüß" }, groundingChunkIndices: [0] }],
  });
});

test("the official client reads a stream to its end", async () => {
  const { client, calls } = await connect(streamed(framesOf(events)));
  const found = { text: "", calls: [] as unknown[], thoughts: "" };
  let last;
  for await (const response of await client.models.generateContentStream({ model, contents: "hi" })) {
    found.text += response.text ?? "";
    found.calls.push(...(response.functionCalls ?? []));
    for (const { text, thought } of response.candidates?.[0]?.content?.parts ?? []) if (thought) found.thoughts += text;
    last = response;
  }
  expect(found).toEqual({ text: "Grüß Gott 🙂", calls: functionCalls, thoughts: "hm" });
  expect(last).toMatchObject({ usageMetadata, candidates: [{ finishReason: "STOP" }] });
  expect(calls[0]?.path).toMatch(/^\/v1\w*\/models\/gemini-3-pro:streamGenerateContent\?alt=sse$/);
});

test("a chat returns calls and proofs unchanged, also those of another vendor", async () => {
  const { client, calls } = await connect(streamed(framesOf(events)));
  const chat = client.chats.create({ model });
  for await (const _ of await chat.sendMessageStream({ message: "hi" }));
  const results = functionCalls.map(({ id, name }) => ({ functionResponse: { id, name, response: { output: "ok" } } }));
  for await (const _ of await chat.sendMessageStream({ message: results }));
  const { messages } = gemini.readRequest(parseExact(calls[1]?.body ?? "") ?? {});
  const parts = messages.flatMap((message) => message.parts.map(({ content }) => ({ role: message.role, ...content })));
  const signatures = messages
    .flatMap((message) => message.parts)
    .flatMap(({ content }) => (content.case === "reasoning" ? [Buffer.from(content.value.signature)] : []));
  expect(signatures).toContainEqual(signature);
  expect(parts.filter(({ role }) => role === Role.TOOL).map(({ value }) => value)).toMatchObject([
    { toolCallId: "c1", parts: [{ content: { value: { text: "ok" } } }] },
    { toolCallId: "c2" },
  ]);
  expect(parts.filter(({ case: kind }) => kind === "toolCall").map(({ value }) => value)).toMatchObject([
    { id: "c1", name: "f", arguments: '{"city":"Graz"}' },
    { id: "c2", name: "g", arguments: "{}" },
  ]);
});

test("what the official client sends is read, and written again means the same", async () => {
  const { client, calls } = await connect(whole(events));
  await client.models.generateContent({
    model,
    contents: [
      { role: "user", parts: [{ text: "look" }, { inlineData: { mimeType: "image/png", data: "AAE=" } }] },
      { role: "model", parts: [{ functionCall: { name: "f", args: { n: 1 } }, thoughtSignature: "QQ==" }] },
      { role: "user", parts: [{ functionResponse: { name: "f", response: { output: "x" } } }] },
    ],
    config: {
      systemInstruction: "be brief",
      temperature: 0.5,
      maxOutputTokens: 100,
      candidateCount: 2,
      stopSequences: ["END"],
      responseMimeType: "application/json",
      responseSchema: { type: Type.OBJECT, properties: { a: { type: Type.STRING } } },
      thinkingConfig: { thinkingLevel: ThinkingLevel.LOW, includeThoughts: true },
      tools: [
        { functionDeclarations: [{ name: "f", parametersJsonSchema: { type: "object" } }] },
        { googleSearch: {} },
      ],
      toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY, allowedFunctionNames: ["f"] } },
      safetySettings: [],
      speechConfig: "Kore",
    },
  });
  const json = parseExact(calls[0]?.body ?? "") ?? {};
  expect(gemini.readEnvelope(json)).toEqual({ includeUsage: true, choiceCount: 2, maxOutputTokens: 200 });
  const request = gemini.readRequest(json);
  expect(request).toMatchObject({
    maxOutputTokens: 100,
    choiceCount: 2,
    stopSequences: ["END"],
    sampling: { temperature: 0.5 },
    reasoning: { effort: "low", summary: "auto" },
    toolChoice: { mode: ToolChoice_Mode.REQUIRED, tools: ["f"] },
    audio: { voice: "Kore" },
  });
  expect(request.messages.map(({ role }) => role)).toEqual([Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL]);
  const { body, warnings } = gemini.writeRequest(request, { model, stream: false, maxOutputTokensDefault: 1 });
  expect(warnings).toEqual([]);
  expect(gemini.readRequest(parseExact(writeJson(body)) ?? {})).toEqual(request);
});

test.each(Object.keys(errorTable).map((key) => [Number(key) as Reason] as const))(
  "the official client raises on the error of reason %i, before and inside a stream",
  async (reason) => {
    const error = new WeirError(reason);
    const { status, headers, body } = gemini.renderError(error, "req-1");
    const { client } = await connect((response, call) => {
      if (call === 0) response.writeHead(status, headers).end(body);
      else streamed(framesOf(events.slice(0, 5)) + gemini.renderErrorEvent(error, "req-1"))(response);
    });
    const raised = expect.objectContaining({
      status,
      message: expect.stringContaining(error.message) as string,
    }) as Error;
    await expect(client.models.generateContent({ model, contents: "hi" })).rejects.toEqual(raised);
    let text = "";
    const read = async () => {
      for await (const response of await client.models.generateContentStream({ model, contents: "hi" }))
        text += response.text ?? "";
    };
    await expect(read()).rejects.toThrow(ApiError);
    expect(text).toBe("Grüß Gott 🙂");
  },
);

test("a stream that is reset raises", async () => {
  const { client } = await connect((response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(framesOf(events.slice(0, 5)), () => setImmediate(() => response.destroy()));
  });
  const read = async () => {
    for await (const _ of await client.models.generateContentStream({ model, contents: "hi" }));
  };
  await expect(read()).rejects.toThrow(TypeError); // of fetch: the connection broke off
});

test("a refused prompt has a reason and no candidates", async () => {
  const details = { gemini: { promptFeedback: { blockReason: "SAFETY" } } };
  const refused = [endEvent([choiceEnd(0, StopReason.CONTENT_FILTER, "SAFETY")], undefined, details)];
  const { client } = await connect(whole(refused));
  const response = await client.models.generateContent({ model, contents: "hi" });
  expect(response.promptFeedback).toEqual({ blockReason: "SAFETY" });
  expect(response.candidates).toBeUndefined();
});

test("counted tokens", async () => {
  const { client } = await connect((response) => {
    response.writeHead(200, { "content-type": "application/json" }).end(writeCountTokensAnswer(12));
  });
  expect(await client.models.countTokens({ model, contents: "hi" })).toMatchObject({ totalTokens: 12 });
});

test("a spent budget is an error that the client does not repeat when told to repeat", async () => {
  const { status, headers, body } = gemini.renderError(new WeirError(ErrorReason.BUDGET_EXHAUSTED), "r");
  const { client, calls } = await connect((response) => void response.writeHead(status, headers).end(body));
  const config = { httpOptions: { retryOptions: { attempts: 3 } } };
  await expect(client.models.generateContent({ model, contents: "hi", config })).rejects.toThrow(ApiError);
  expect(calls).toHaveLength(1);
});
