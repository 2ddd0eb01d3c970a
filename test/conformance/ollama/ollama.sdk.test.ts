import { create } from "@bufbuild/protobuf";
import { ollama } from "@weir/dialect/ollama/codec";
import { choiceEnd, endEvent, reasoningEvent, startEvent, textEvent, toolCallEvent } from "@weir/dialect/events";
import { writeFrames } from "@weir/dialect/framing/writer";
import { parseExact, writeJson } from "@weir/dialect/json";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { type ChatRequest, Ollama } from "ollama";
import { expect, test } from "vitest";
import { type OneAnswer, serveOneAnswer } from "../one-answer.ts";

const options = { id: "x", createTimeMs: 0, model: "m", includeUsage: true, request: {} };

/** A client of a server that gives one answer to everything, and what the server got. */
async function connect(answer: Omit<OneAnswer, "headers">) {
  const { url, received } = await serveOneAnswer({ headers: { "content-type": "application/x-ndjson" }, ...answer });
  return { client: new Ollama({ host: url }), received };
}

function streamed(events: readonly GenerateEvent[]): string {
  const writer = ollama.createFrameWriter(options);
  return String(
    writeFrames(
      ollama.framing,
      events.flatMap((event) => writer.write(event)),
    ),
  );
}

const chat = { model: "m", messages: [{ role: "user", content: "hi" }] } satisfies ChatRequest;

const events = [
  startEvent({ id: "", model: "served", createTimeMs: 1_700_000_000_000 }),
  reasoningEvent(0, 0, { text: "hm" }),
  textEvent(0, 1, "Grüß "),
  textEvent(0, 1, "Gott 🙂"),
  toolCallEvent(0, 2, { id: "c1", name: "f", arguments: '{"city":' }),
  toolCallEvent(0, 2, { arguments: '"Graz"}' }),
  toolCallEvent(0, 3, { id: "c2", name: "g", arguments: "{}" }),
  endEvent(
    [choiceEnd(0, StopReason.TOOL_CALLS, "tool_calls")],
    { $typeName: "weir.common.v1.Usage", inputTokens: 7, outputTokens: 9, serverToolUses: {} },
    { total_duration: 5 },
  ),
];

const calls = [
  { id: "c1", function: { index: 0, name: "f", arguments: { city: "Graz" } } },
  { id: "c2", function: { index: 1, name: "g", arguments: {} } },
];

test("the official client reads a whole answer", async () => {
  const { client } = await connect({ body: ollama.writeAnswer(events, options) });
  expect(await client.chat({ ...chat, stream: false })).toEqual({
    model: "served",
    created_at: "2023-11-14T22:13:20.000Z",
    message: { role: "assistant", content: "Grüß Gott 🙂", thinking: "hm", tool_calls: calls },
    done: true,
    done_reason: "stop",
    total_duration: 5,
    prompt_eval_count: 7,
    eval_count: 9,
  });
});

test("the official client reads a streamed answer to its end", async () => {
  const { client } = await connect({ body: streamed(events) });
  const found = { content: "", thinking: "", calls: [] as unknown[] };
  let last: unknown;
  for await (const part of await client.chat({ ...chat, stream: true })) {
    found.content += part.message.content;
    found.thinking += part.message.thinking ?? "";
    found.calls.push(...(part.message.tool_calls ?? []));
    last = part;
  }
  expect(found).toEqual({ content: "Grüß Gott 🙂", thinking: "hm", calls });
  expect(last).toMatchObject({ done: true, done_reason: "stop", prompt_eval_count: 7, eval_count: 9 });
});

const failure = new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs: 5 });

test("the official client raises on an error body", async () => {
  const { client } = await connect(ollama.renderError(failure, "r"));
  await expect(client.chat({ ...chat, stream: false })).rejects.toMatchObject({
    name: "ResponseError",
    status_code: 429,
    message: failure.message,
  });
});

test("the official client raises on an error line, a stream without end and a call that is none", async () => {
  const begun = streamed(events.slice(0, 3));
  const read = async (body: string) => {
    const { client } = await connect({ body });
    for await (const part of await client.chat({ ...chat, stream: true })) expect(part.done).toBe(false);
  };
  await expect(read(begun + ollama.renderErrorEvent(failure, "r"))).rejects.toThrow(failure.message);
  await expect(read(begun)).rejects.toThrow("done");
  const broken = [...events.slice(0, 5), endEvent([choiceEnd(0, StopReason.TOOL_CALLS, "tool_calls")], undefined)];
  await expect(read(streamed(broken))).rejects.toThrow("tool call");
});

test("a request of the official client is read, and written as the client itself sends it", async () => {
  const { client, received } = await connect({ body: ollama.writeAnswer(events, options) });
  await client.chat({
    model: "m",
    stream: false,
    messages: [
      { role: "system", content: "s" },
      { role: "user", content: "look", images: [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])] },
      { role: "assistant", content: "", thinking: "t", tool_calls: [{ function: { name: "f", arguments: { n: 1 } } }] },
      { role: "tool", content: "ok", tool_name: "f" },
    ],
    tools: [{ type: "function", function: { name: "f", description: "d", parameters: { type: "object" } } }],
    format: { type: "object" },
    think: "low",
    keep_alive: "5m",
    logprobs: true,
    top_logprobs: 2,
    options: { temperature: 0.5, num_predict: 5, stop: ["x"], seed: 1, num_ctx: 4096 },
  });
  const sent = parseExact(received[0] ?? "") ?? {};
  const request = ollama.readRequest(sent);
  expect(request.messages.map(({ role }) => role)).toEqual([Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL]);
  const { body, warnings } = ollama.writeRequest(create(GenerateRequestSchema, request), {
    model: "m",
    stream: false,
    maxOutputTokensDefault: 1,
  });
  expect(warnings).toEqual([]);
  const messages = sent["messages"] as { tool_calls?: object[] }[];
  const [call] = messages[2]?.tool_calls ?? [];
  const withIds = [
    ...messages.slice(0, 2),
    { ...messages[2], tool_calls: [{ id: "call_2_0", ...call }] },
    { ...messages[3], tool_call_id: "call_2_0" },
  ];
  expect(JSON.parse(writeJson(body))).toEqual({ ...sent, messages: withIds });
});
