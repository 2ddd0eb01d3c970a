import { create } from "@bufbuild/protobuf";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { outputAsInput } from "@weir/dialect/openai-responses/output-as-input";
import { answerOptions, reply } from "@weir/dialect/openai-responses/testing";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "@weir/dialect/events";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import OpenAI, { APIError } from "openai";
import { toResponseInputItems } from "openai/lib/responses/ResponseInputItems";
import { ResponseStream } from "openai/lib/responses/ResponseStream";
import { afterEach, expect, test } from "vitest";
import { type Reply, type Server, serve, sse } from "./server.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);
const usage = create(UsageSchema, {
  inputTokens: 20,
  cachedInputTokens: 8,
  cacheWriteTokens: 4,
  outputTokens: 9,
  reasoningTokens: 5,
});
const stopped = endEvent([choiceEnd(0, StopReason.END, "stop")], usage);
const called = endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_use")], usage);
const start = startEvent({ id: "chatcmpl-1", model: "m-1", createTimeMs: 1_700_000_000_000 });
const speech: GenerateEvent[] = [
  start,
  reasoningEvent(0, 0, { text: "Let me " }),
  reasoningEvent(0, 0, { text: "see.", signature: Buffer.from("proof") }),
  textEvent(0, 1, "Zwölf "),
  textEvent(0, 1, "🐟"),
  citationEvent(0, 1, {
    $typeName: "weir.chat.v1.Citation",
    start: 0,
    end: 5,
    title: "t",
    url: "https://a.test",
    quote: "",
  }),
  stopped,
];
const calls: GenerateEvent[] = [
  start,
  toolCallEvent(0, 0, { id: "c1", name: "weather" }),
  toolCallEvent(0, 1, { id: "c2", name: "weather" }),
  toolCallEvent(0, 0, { arguments: '{"city":' }),
  toolCallEvent(0, 1, { arguments: '{"city": "Rome"}' }),
  toolCallEvent(0, 0, { arguments: '"Oslo"}' }),
  called,
];
const weather = {
  type: "function" as const,
  name: "weather",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};

let server: Server | undefined;
afterEach(() => server?.close());

async function client(answer: Reply, maxRetries = 0): Promise<OpenAI> {
  server = await serve(answer);
  return new OpenAI({ baseURL: server.baseURL, apiKey: "weir_test", maxRetries });
}

function whole(events: readonly GenerateEvent[]): Reply {
  return { body: openaiResponses.writeAnswer(events, answerOptions) };
}

function frames(events: readonly GenerateEvent[]) {
  const writer = openaiResponses.createFrameWriter(answerOptions);
  return events.flatMap((event) => writer.write(event));
}

test("a whole answer", async () => {
  const openai = await client(whole(speech));
  const response = await openai.responses.create({ model: "m", input: "hi" });
  expect(response.output_text).toBe("Zwölf 🐟");
  expect(response).toMatchObject({ id: "resp_fallback", model: "m-1", status: "completed", created_at: 1_700_000_000 });
  expect(response.output.map((item) => item.type)).toEqual(["reasoning", "message"]);
  expect(response.output[0]).toMatchObject({ summary: [{ text: "Let me see." }] });
  expect(response.output[1]).toMatchObject({
    content: [{ annotations: [{ type: "url_citation", url: "https://a.test" }] }],
  });
  expect(response.usage).toEqual({
    input_tokens: 20,
    input_tokens_details: { cached_tokens: 8, cache_write_tokens: 4 },
    output_tokens: 9,
    output_tokens_details: { reasoning_tokens: 5 },
    total_tokens: 29,
  });
});

test("an answer that follows a schema is parsed", async () => {
  const openai = await client(whole([start, textEvent(0, 0, '{"city":"Oslo"}'), stopped]));
  const response = await openai.responses.parse({
    model: "m",
    input: "hi",
    text: { format: { type: "json_schema", name: "place", schema: weather.parameters, strict: true } },
  });
  expect(response.output_parsed).toEqual({ city: "Oslo" });
});

test("calls of strict functions are parsed", async () => {
  const openai = await client(whole(calls));
  const response = await openai.responses.parse({ model: "m", input: "hi", tools: [weather] });
  expect(response.output).toMatchObject([
    { type: "function_call", call_id: "c1", arguments: '{"city":"Oslo"}', parsed_arguments: { city: "Oslo" } },
    { type: "function_call", call_id: "c2", arguments: '{"city": "Rome"}', parsed_arguments: { city: "Rome" } },
  ]);
});

test("a refusal, and an answer that was cut off", async () => {
  const cut = endEvent([choiceEnd(0, StopReason.LENGTH, "max_tokens")], undefined);
  const openai = await client(whole([start, refusalEvent(0, 0, "I cannot"), cut]));
  const response = await openai.responses.create({ model: "m", input: "hi" });
  expect(response).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
  expect(response.output).toMatchObject([
    { status: "incomplete", content: [{ type: "refusal", refusal: "I cannot" }] },
  ]);
});

test("a stream, event by event", async () => {
  const openai = await client(sse(frames(speech)));
  let text = "";
  const types: string[] = [];
  let sequence = -1;
  for await (const event of await openai.responses.create({ model: "m", input: "hi", stream: true })) {
    types.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
    expect(event.sequence_number).toBe(sequence + 1);
    sequence = event.sequence_number;
  }
  expect(text).toBe("Zwölf 🐟");
  expect(types.slice(0, 2)).toEqual(["response.created", "response.in_progress"]);
  expect(types.at(-1)).toBe("response.completed");
});

test("a stream, put together", async () => {
  const openai = await client(sse(frames(calls)));
  const stream = openai.responses.stream({ model: "m", input: "hi", tools: [weather] });
  const snapshots: string[] = [];
  stream.on("response.function_call_arguments.delta", (event) => snapshots.push(event.snapshot));
  const response = await stream.finalResponse();
  expect(snapshots).toEqual(['{"city":', '{"city": "Rome"}', '{"city":"Oslo"}']);
  expect(response.output).toMatchObject([
    { parsed_arguments: { city: "Oslo" } },
    { parsed_arguments: { city: "Rome" } },
  ]);
  expect(response.usage?.total_tokens).toBe(29);
});

test("whatever is streamed, the library puts together what the last event holds", async () => {
  await fc.assert(
    fc.asyncProperty(reply, async (events) => {
      const written = frames(events);
      const lines = written.map(({ data }) => `${data}\n`).join("");
      const stream = ResponseStream.fromReadableStream(new Blob([lines]).stream());
      const snapshot = await stream.finalResponse();
      const last = JSON.parse(written.at(-1)?.data ?? "{}") as { response: { output: unknown[] } };
      const whatEventsSaid = await ResponseStream.fromReadableStream(
        new Blob([
          written
            .slice(0, -1)
            .map(({ data }) => `${data}\n`)
            .join(""),
        ]).stream(),
      ).finalResponse();
      expect(withoutParsed(snapshot.output)).toEqual(last.response.output);
      expect(withoutParsed(whatEventsSaid.output)).toEqual(last.response.output);
    }),
    { numRuns: Math.ceil(numRuns / 20) },
  );
});

/** Without what the library adds. */
function withoutParsed(output: unknown): unknown {
  return JSON.parse(JSON.stringify(output, (key, value: unknown) => (key.startsWith("parsed") ? undefined : value)));
}

test("an error inside a stream raises, at every place", async () => {
  const error = new WeirError(ErrorReason.STREAM_TRUNCATED);
  const written = frames(speech);
  for (const count of [0, 1, 4, written.length - 1]) {
    const openai = await client(sse(written.slice(0, count), openaiResponses.renderErrorEvent(error, "req_1")));
    const stream = await openai.responses.create({ model: "m", input: "hi", stream: true });
    const drain = async () => {
      for await (const event of stream) expect(event.type).not.toBe("response.completed");
    };
    await expect(drain()).rejects.toMatchObject({
      message: error.message,
      code: "stream_truncated",
      type: "server_error",
    });
    await expect(openai.responses.stream({ model: "m", input: "hi" }).finalResponse()).rejects.toBeInstanceOf(APIError);
    server?.close();
  }
});

test.each(Object.keys(errorTable).map((key) => Number(key) as Reason))(
  "reason %i raises, and is retried only if it passes",
  async (reason) => {
    const error = new WeirError(reason, { text: "what to change", metadata: { param: "input" }, retryAfterMs: 1 });
    const openai = await client(openaiResponses.renderError(error, "req_1"), 1);
    const { status, code, type } = errorTable[reason].openai;
    const failure = await openai.responses.create({ model: "m", input: "hi" }).catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(APIError);
    expect(failure).toMatchObject({ status, code, type, param: "input" });
    expect((failure as Error).message).toContain("what to change");
    const retried =
      errorTable[reason].retry !== "never" && (status === 408 || status === 409 || status === 429 || status >= 500);
    expect(server?.bodies).toHaveLength(retried ? 2 : 1);
  },
);

test("what the library sends is understood", async () => {
  const openai = await client(whole([start, stopped]));
  await openai.responses.create({
    model: "m",
    instructions: "be brief",
    input: [
      { role: "developer", content: "d" },
      {
        role: "user",
        content: [
          { type: "input_text", text: "look" },
          { type: "input_image", image_url: "data:image/png;base64,aGk=", detail: "low" },
          { type: "input_file", filename: "a.pdf", file_data: "data:application/pdf;base64,aGk=" },
        ],
      },
      { type: "function_call", call_id: "c1", name: "weather", arguments: '{"city":"Oslo"}' },
      { type: "function_call_output", call_id: "c1", output: [{ type: "input_text", text: "rain" }] },
    ],
    tools: [weather, { type: "web_search" }],
    tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "weather" }] },
    text: { format: { type: "json_object" }, verbosity: "low" },
    reasoning: { effort: "low", summary: "auto" },
    include: ["message.output_text.logprobs", "reasoning.encrypted_content"],
    max_output_tokens: 100,
    metadata: { team: "a" },
    store: false,
  });
  const body = server?.bodies[0] ?? {};
  expect(openaiResponses.readEnvelope(body)).toMatchObject({ model: "m", stream: false, maxOutputTokens: 100 });
  const request = openaiResponses.readRequest(body);
  expect(request.messages.map(({ role }) => role)).toEqual([
    Role.SYSTEM,
    Role.DEVELOPER,
    Role.USER,
    Role.ASSISTANT,
    Role.TOOL,
  ]);
  // What is written for a provider is what the library had sent, in the words of the canonical form.
  const options = { model: "m", stream: false, maxOutputTokensDefault: 1 };
  const { body: written, warnings } = openaiResponses.writeRequest(request, options);
  expect(warnings).toEqual([]);
  expect(openaiResponses.readRequest(JSON.parse(JSON.stringify(body)) as never)).toEqual(request);
  expect(written).toMatchObject({ instructions: "be brief", store: false, max_output_tokens: 100 });
});

test("the output of a turn is the input of the next, as the library itself would have it", () => {
  fc.assert(
    fc.property(reply, (events) => {
      const answer = JSON.parse(openaiResponses.writeAnswer(events, answerOptions)) as { output: never[] };
      const expected = JSON.stringify(toResponseInputItems(answer.output), (key, value: unknown) =>
        key === "logprobs" ? undefined : value,
      );
      expect(outputAsInput(answer)).toEqual(JSON.parse(expected));
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});
