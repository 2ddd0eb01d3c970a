import { choiceEnd, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { writeFrames } from "@weir/dialect/framing/writer";
import { parseExact, writeJson } from "@weir/dialect/json";
import { openaiCompletions } from "@weir/dialect/openai-completions/codec";
import { type GenerateEvent, StopReason, type TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import OpenAI from "openai";
import { expect, test } from "vitest";
import { type OneAnswer, serveOneAnswer } from "../one-answer.ts";

const options = { id: "x", createTimeMs: 0, model: "m", includeUsage: true, request: { prompt: "Once" } };

/** A client of a server that gives one answer to everything, JSON unless it says something else, and what the server got. */
async function connect(answer: Partial<OneAnswer> & Pick<OneAnswer, "body">) {
  const { url, received } = await serveOneAnswer({ headers: { "content-type": "application/json" }, ...answer });
  return { client: new OpenAI({ baseURL: `${url}/v1`, apiKey: "test", maxRetries: 0 }), received };
}

function streamed(events: readonly GenerateEvent[]): OneAnswer {
  const writer = openaiCompletions.createFrameWriter(options);
  const frames = events.flatMap((event) => writer.write(event));
  const body = String(writeFrames(openaiCompletions.framing, frames));
  return { headers: { "content-type": "text/event-stream" }, body };
}

const token = (text: string, logprob: number, top: TokenLogprob[] = []): TokenLogprob => ({
  $typeName: "weir.chat.v1.TokenLogprob",
  token: text,
  logprob,
  bytes: new Uint8Array(),
  top,
});

const events = [
  startEvent({ id: "cmpl-1", model: "served", createTimeMs: 1_700_000_000_000, systemFingerprint: "fp" }),
  textEvent(0, 0, "Grüß ", [token("Grüß ", -1, [token("Grüß ", -1), token("Hi", -2)])]),
  textEvent(1, 0, "Servus"),
  textEvent(0, 0, "🙂", [token("🙂", -3)]),
  endEvent([choiceEnd(0, StopReason.END, "stop"), choiceEnd(1, StopReason.LENGTH, "length")], {
    $typeName: "weir.common.v1.Usage",
    inputTokens: 7,
    cachedInputTokens: 2,
    outputTokens: 9,
    serverToolUses: {},
  }),
];

const usage = { prompt_tokens: 7, completion_tokens: 9, total_tokens: 16, prompt_tokens_details: { cached_tokens: 2 } };
const prompt = { model: "m", prompt: "Once" };

test("the official client reads a whole answer", async () => {
  const { client } = await connect({ body: openaiCompletions.writeAnswer(events, options) });
  expect(await client.completions.create(prompt)).toMatchObject({
    id: "cmpl-1",
    object: "text_completion",
    created: 1_700_000_000,
    model: "served",
    system_fingerprint: "fp",
    choices: [
      {
        index: 0,
        text: "Grüß 🙂",
        finish_reason: "stop",
        logprobs: {
          tokens: ["Grüß ", "🙂"],
          token_logprobs: [-1, -3],
          top_logprobs: [{ "Grüß ": -1, Hi: -2 }, {}],
          text_offset: [4, 9],
        },
      },
      { index: 1, text: "Servus", finish_reason: "length", logprobs: null },
    ],
    usage,
  });
});

test("the official client reads a streamed answer to its end", async () => {
  const { client } = await connect(streamed(events));
  const texts = ["", ""];
  const finishes: (string | null)[] = [];
  let reported: unknown;
  const stream = await client.completions.create({ ...prompt, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    expect(chunk).toMatchObject({ id: "cmpl-1", object: "text_completion", model: "served" });
    for (const choice of chunk.choices) {
      texts[choice.index] += choice.text;
      if (choice.finish_reason !== null) finishes.push(choice.finish_reason);
    }
    if (chunk.choices.length === 0) reported = chunk.usage;
  }
  expect(texts).toEqual(["Grüß 🙂", "Servus"]);
  expect(finishes).toEqual(["stop", "length"]);
  expect(reported).toEqual(usage);
});

const failure = new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs: 5 });

test("the official client raises on an error body", async () => {
  const { client } = await connect(openaiCompletions.renderError(failure, "r"));
  await expect(client.completions.create(prompt)).rejects.toMatchObject({
    status: 429,
    code: "rate_limit_exceeded",
    type: "requests",
  });
});

test("the official client raises on an error event", async () => {
  const { headers, body } = streamed(events.slice(0, 3));
  const { client } = await connect({ headers, body: body + openaiCompletions.renderErrorEvent(failure, "r") });
  const texts: string[] = [];
  const read = async () => {
    const stream = await client.completions.create({ ...prompt, stream: true });
    for await (const chunk of stream) texts.push(...chunk.choices.map(({ text }) => text));
  };
  await expect(read()).rejects.toMatchObject({ code: "rate_limit_exceeded" });
  expect(texts).toEqual(["Grüß ", "Servus"]);
});

test("a request of the official client is read, and written as the client itself sends it, but for what is billed unseen", async () => {
  const { client, received } = await connect(streamed(events));
  await client.completions.create({
    ...prompt,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 5,
    temperature: 0.5,
    top_p: 0.9,
    n: 2,
    best_of: 3,
    logprobs: 2,
    stop: ["x"],
    seed: 7,
    presence_penalty: 1,
    frequency_penalty: -1,
    logit_bias: { "50256": -100 },
    user: "u",
  });
  const sent = parseExact(received[0] ?? "") ?? {};
  const { body, warnings } = openaiCompletions.writeRequest(openaiCompletions.readRequest(sent), {
    model: "m",
    stream: true,
    maxOutputTokensDefault: 1,
  });
  expect(warnings.map(({ param }) => param)).toEqual(["extensions.openai-completions.best_of"]);
  const { best_of: _, ...rest } = sent;
  expect(JSON.parse(writeJson(body))).toEqual(rest);
  expect(openaiCompletions.readEnvelope(sent)).toEqual({
    model: "m",
    stream: true,
    includeUsage: true,
    maxOutputTokens: 15,
    choiceCount: 2,
    user: "u",
  });
});
