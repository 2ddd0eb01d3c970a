import { audioEvent, choiceEnd, endEvent, refusalEvent, textEvent } from "@weir/dialect/events";
import { parseExact, writeJson } from "@weir/dialect/json";
import { createOpenaiChat, openaiChat } from "@weir/dialect/openai-chat/codec";
import { openaiTraits } from "@weir/dialect/openai-chat/traits";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import OpenAI, { APIError } from "openai";
import type {
  ChatCompletionChunk,
  ChatCompletionCreateParamsNonStreaming,
  ChatCompletionTool,
} from "openai/resources/chat/completions";
import { expect, test } from "vitest";
import { calls, speech, start, stopped, stream, whole } from "./replies.ts";
import { type Answer, serve } from "./server.ts";

async function connect(answer: Answer, maxRetries = 0) {
  const server = await serve(answer);
  return { server, client: new OpenAI({ baseURL: server.baseURL, apiKey: "weir_test", maxRetries }) };
}

const ask = { model: "alias", messages: [{ role: "user" as const, content: "Hi" }] };
const tools: ChatCompletionTool[] = [
  { type: "function", function: { name: "weather", parameters: { type: "object" } } },
  { type: "custom", custom: { name: "note" } },
];

const spoken = 'Grüße 👋 "you"\n';
const counts = {
  prompt_tokens: 20,
  completion_tokens: 9,
  total_tokens: 29,
  prompt_tokens_details: { cached_tokens: 8 },
  completion_tokens_details: { reasoning_tokens: 5 },
};
const annotation = {
  type: "url_citation",
  url_citation: { start_index: 0, end_index: 5, title: "Greetings", url: "https://example.org/greetings" },
};

test("the client reads a whole answer", async () => {
  const { client } = await connect(whole(speech));
  const answer = await client.chat.completions.create(ask);
  expect(answer).toMatchObject({
    id: "chatcmpl-1",
    object: "chat.completion",
    created: 1_700_000_000,
    model: "m-1",
    usage: counts,
  });
  const [choice] = answer.choices;
  expect(choice).toMatchObject({
    index: 0,
    finish_reason: "stop",
    message: { role: "assistant", content: spoken, refusal: null, annotations: [annotation] },
  });
  expect(choice?.logprobs?.content?.map(({ token, logprob }) => [token, logprob])).toEqual([
    ["Grüße", -0.25],
    [" 👋", -0.25],
  ]);
});

test("the client reads a stream, chunk by chunk", async () => {
  const { client } = await connect(stream(speech));
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) chunks.push(chunk);
  expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(spoken);
  expect(chunks[0]?.choices[0]?.delta.role).toBe("assistant");
  expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(1);
  expect(chunks.slice(0, -1).every(({ usage, choices }) => usage === null && choices.length === 1)).toBe(true);
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: counts });
});

test("the client puts a stream together to what a whole answer says", async () => {
  const whole1 = await connect(whole(speech));
  const answer = await whole1.client.chat.completions.create(ask);
  const { client } = await connect(stream(speech));
  const final = await client.chat.completions
    .stream({ ...ask, stream_options: { include_usage: true } })
    .finalChatCompletion();
  const { content, refusal, role, annotations } = final.choices[0]?.message ?? {};
  expect({ content, refusal, role, annotations }).toEqual({
    content: answer.choices[0]?.message.content,
    refusal: null,
    role: "assistant",
    annotations: answer.choices[0]?.message.annotations,
  });
  expect(final.choices[0]?.logprobs).toEqual({ content: answer.choices[0]?.logprobs?.content, refusal: null });
  expect(final.usage).toEqual(answer.usage);
});

test.each(["stream", "whole"] as const)("the client reads interleaved calls: %s", async (form) => {
  const request = { tools: [{ type: "custom", custom: { name: "note" } }] };
  const { client } = await connect(form === "stream" ? stream(calls, { request }) : whole(calls, { request }));
  const answer =
    form === "stream"
      ? await client.chat.completions.stream({ ...ask, tools }).finalChatCompletion()
      : await client.chat.completions.create({ ...ask, tools });
  const [choice] = answer.choices;
  expect(choice?.finish_reason).toBe("tool_calls");
  expect(choice?.message.content || null).toBeNull();
  expect(choice?.message.tool_calls).toMatchObject([
    { id: "call_a", type: "function", function: { name: "weather", arguments: '{"city":"Köln"}' } },
    { id: "call_b", type: "custom", custom: { name: "note", input: "free text" } },
  ]);
});

test("the client of `functions` reads its call", async () => {
  const functions = [{ name: "weather" }];
  const { client } = await connect(stream(calls, { request: { functions } }));
  const { choices } = await client.chat.completions.stream({ ...ask, functions }).finalChatCompletion();
  expect(choices[0]).toMatchObject({
    finish_reason: "function_call",
    message: { function_call: { name: "weather", arguments: '{"city":"Köln"}' } },
  });
});

test("the client reads several choices, a refusal among them", async () => {
  const ends = [choiceEnd(0, StopReason.LENGTH, "max_tokens"), choiceEnd(1, StopReason.CONTENT_FILTER, "refusal")];
  const { client } = await connect(
    stream([start, textEvent(0, 0, "a"), refusalEvent(1, 0, "no"), endEvent(ends, undefined)]),
  );
  const answer = await client.chat.completions.stream({ ...ask, n: 2 }).finalChatCompletion();
  expect(answer.choices).toMatchObject([
    { index: 0, finish_reason: "length", message: { content: "a", refusal: null } },
    { index: 1, finish_reason: "content_filter", message: { refusal: "no" } },
  ]);
});

test("the client puts sound together", async () => {
  const events = [
    start,
    audioEvent(0, 0, { id: "audio_1", data: Buffer.from("soun"), transcript: "so " }),
    audioEvent(0, 0, { data: Buffer.from("d!"), transcript: "what" }),
    audioEvent(0, 0, { expireTimeMs: 1_800_000_000_000 }),
    stopped,
  ];
  const { client } = await connect(stream(events));
  const { choices } = await client.chat.completions.stream(ask).finalChatCompletion();
  expect(choices[0]?.message.audio).toEqual({
    id: "audio_1",
    data: Buffer.from("sound!").toString("base64"),
    transcript: "so what",
    expires_at: 1_800_000_000,
  });
});

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)("the client raises reason %i as its row says", async (reason) => {
  const error = new WeirError(reason, { text: "What to change.", metadata: { param: "n" } });
  const { client, server } = await connect(openaiChat.renderError(error, "req_1"));
  const row = errorTable[reason].openai;
  const raised: unknown = await client.chat.completions.create(ask).catch((thrown: unknown) => thrown);
  expect(raised).toBeInstanceOf(APIError);
  expect(raised).toMatchObject({ status: row.status, type: row.type, code: row.code, param: "n" });
  expect((raised as APIError).message).toContain("What to change.");
  expect(server.bodies).toHaveLength(1);
});

test.each<[Reason, number]>([
  [ErrorReason.BUDGET_EXHAUSTED, 1],
  [ErrorReason.INTERNAL, 1],
  [ErrorReason.RATE_LIMITED, 3],
])("the client asks again only where that may help: reason %i, %i requests", async (reason, requests) => {
  const error = new WeirError(reason, { retryAfterMs: 1 });
  const { client, server } = await connect(openaiChat.renderError(error, "req_1"), 2);
  await expect(client.chat.completions.create(ask)).rejects.toBeInstanceOf(APIError);
  expect(server.bodies).toHaveLength(requests);
});

test.each(["raw", "put together"] as const)("an error in a stream is raised, and no answer comes: %s", async (form) => {
  const error = openaiChat.renderErrorEvent(new WeirError(ErrorReason.STREAM_TRUNCATED), "req_1");
  const { client } = await connect(stream(speech.slice(0, -1), {}, error));
  const said: string[] = [];
  const reading = async () => {
    if (form === "put together") return await client.chat.completions.stream(ask).finalChatCompletion();
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
      said.push(chunk.choices[0]?.delta.content ?? "");
    }
    return undefined;
  };
  await expect(reading()).rejects.toMatchObject({ code: "stream_truncated", type: "server_error" });
  if (form === "raw") expect(said.join("")).toBe(spoken);
});

/** Members that still work, and that new callers should not send. */
const deprecated = { seed: 7, prompt_cache_retention: "24h" as const };

/** Everything else that the client's types let a caller send, once. */
const everything: ChatCompletionCreateParamsNonStreaming = {
  model: "alias",
  messages: [
    { role: "developer", content: "Be brief.", name: "app" },
    {
      role: "system",
      content: [{ type: "text", text: "Be kind.", prompt_cache_breakpoint: { mode: "explicit", ttl: "30m" } }],
    },
    {
      role: "user",
      name: "ann",
      content: [
        { type: "text", text: "Look:" },
        { type: "image_url", image_url: { url: "https://example.org/a.png", detail: "high" } },
        {
          type: "image_url",
          image_url: { url: "data:image/png;base64,AQID" },
          prompt_cache_breakpoint: { mode: "explicit" },
        },
        { type: "input_audio", input_audio: { data: "AQID", format: "mp3" } },
        { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AQID" } },
        { type: "file", file: { file_id: "file-1" } },
      ],
    },
    {
      role: "assistant",
      content: [
        { type: "text", text: "I see." },
        { type: "refusal", refusal: "But no." },
      ],
      audio: { id: "audio_1" },
      tool_calls: [
        { id: "call_a", type: "function", function: { name: "weather", arguments: '{"n": 1.0}' } },
        { id: "call_b", type: "custom", custom: { name: "note", input: "free" } },
      ],
    },
    { role: "tool", tool_call_id: "call_a", content: "rain" },
    {
      role: "tool",
      tool_call_id: "call_b",
      content: [
        { type: "text", text: "a" },
        { type: "text", text: "b" },
      ],
    },
    {
      role: "assistant",
      content: null,
      tool_calls: [{ id: "c", type: "function", function: { name: "weather", arguments: "" } }],
    },
    { role: "tool", tool_call_id: "c", content: "" },
  ],
  tools: [
    {
      type: "function",
      function: { name: "weather", description: "d", parameters: { type: "object", properties: {} }, strict: true },
    },
    { type: "custom", custom: { name: "note", description: "n", format: { type: "text" } } },
  ],
  tool_choice: {
    type: "allowed_tools",
    allowed_tools: {
      mode: "auto",
      tools: [
        { type: "function", function: { name: "weather" } },
        { type: "custom", custom: { name: "note" } },
      ],
    },
  },
  parallel_tool_calls: false,
  web_search_options: { search_context_size: "low" },
  response_format: {
    type: "json_schema",
    json_schema: { name: "s", description: "d", schema: { type: "object" }, strict: true },
  },
  max_completion_tokens: 100,
  n: 2,
  stop: ["a", "b"],
  temperature: 0.5,
  top_p: 0.9,
  presence_penalty: 1,
  frequency_penalty: -1,
  logit_bias: { "50256": -100 },
  logprobs: true,
  top_logprobs: 5,
  reasoning_effort: "high",
  verbosity: "low",
  modalities: ["text", "audio"],
  audio: { voice: "ash", format: "wav" },
  prediction: { type: "content", content: "same" },
  service_tier: "flex",
  store: true,
  metadata: { a: "b" },
  safety_identifier: "u",
  prompt_cache_key: "k",
  prompt_cache_options: { mode: "explicit" },
  moderation: { model: "omni-moderation-latest" },
};

test("everything that the client can send goes to another target as it came", async () => {
  const { client, server } = await connect(whole(speech));
  await client.chat.completions.create({ ...everything, ...deprecated });
  const request = openaiChat.readRequest(parseExact(server.bodies[0] ?? "") ?? {});
  const codec = createOpenaiChat({ ...openaiTraits, cacheMarks: "prompt_cache_breakpoint" });
  const { body, warnings } = codec.writeRequest(request, { model: "alias", stream: false, maxOutputTokensDefault: 1 });
  expect(warnings).toEqual([]);
  expect(JSON.parse(writeJson(body))).toEqual(JSON.parse(server.bodies[0] ?? ""));
});

test("an answer goes back as history the way the client keeps it", async () => {
  const { client } = await connect(whole(calls));
  const { choices } = await client.chat.completions.create(ask);
  const message = choices[0]?.message;
  const next = { model: "m", messages: [...ask.messages, { ...message }] };
  const request = openaiChat.readRequest(parseExact(JSON.stringify(next)) ?? {});
  expect(request.messages[1]?.parts.map(({ content }) => content)).toMatchObject([
    { case: "toolCall", value: { id: "call_a", arguments: '{"city":"Köln"}', signature: Buffer.from("proof") } },
    { case: "toolCall", value: { id: "call_b", arguments: "free text" } },
  ]);
});
