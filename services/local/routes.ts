import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { encodeVector } from "@weir/dialect/embeddings/vector";
import { openaiEmbeddings } from "@weir/dialect/embeddings/openai";
import type { AnswerOptions, Frame } from "@weir/dialect/codec";
import type { JsonObject } from "@weir/dialect/json";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import type { Engine } from "./engine.ts";

/** One call of the loopback server. */
export interface Call {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly body: JsonObject;
  /** Fires when the caller hangs up. */
  readonly signal: AbortSignal;
  readonly response: ServerResponse;
}

/** `POST /v1/chat/completions`: https://platform.openai.com/docs/api-reference/chat/create */
export async function answerChat(engine: Engine, { id, nowMs, body, signal, response }: Call): Promise<void> {
  const { includeUsage, stream } = openaiChat.readEnvelope(body);
  const request = openaiChat.readRequest(body);
  const facts = { id: `chatcmpl-${id}`, createTimeMs: nowMs };
  const options: AnswerOptions = { ...facts, model: request.model, includeUsage, request: body };
  const events = engine.generate(request, facts, signal);
  if (stream === true) {
    await writeStream(events, options, signal, response);
    return;
  }
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  writeJson(response, openaiChat.writeAnswer(all, options));
}

/** The status is not told before the first frame: until then a failure has one of its own. */
async function writeStream(
  events: AsyncIterable<GenerateEvent>,
  options: AnswerOptions,
  signal: AbortSignal,
  response: ServerResponse,
): Promise<void> {
  const writer = openaiChat.createFrameWriter(options);
  for await (const event of events) {
    const text = writer.write(event).map(sse).join("");
    if (text === "") continue;
    if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
    // A slow reader keeps its place, and nobody else's time: tokens are made for those who take them.
    if (!response.write(text)) await once(response, "drain", { signal });
  }
  response.end();
}

function sse({ data }: Frame): string {
  return `data: ${data}\n\n`;
}

/** The tokens of a chat's prompt, for the body of a chat completion: `{"input_tokens": 12}`. */
export async function answerTokenCount(engine: Engine, { body, signal, response }: Call): Promise<void> {
  const count = await engine.countTokens(openaiChat.readRequest(body), signal);
  writeJson(response, JSON.stringify({ object: "chat.completion.input_tokens", input_tokens: count }));
}

/** `POST /v1/embeddings`: https://platform.openai.com/docs/api-reference/embeddings/create */
export async function answerEmbeddings(engine: Engine, { body, signal, response }: Call): Promise<void> {
  const { model = "" } = openaiEmbeddings.readEnvelope(body);
  const request = openaiEmbeddings.readRequest(body);
  const embeddings = await engine.embed(model, request, signal);
  const answer = openaiEmbeddings.writeAnswer(
    {
      vectors: embeddings.map(({ vector }) => encodeVector(vector, request.encoding ?? "float") ?? vector),
      model,
      inputTokens: embeddings.reduce((sum, { inputTokens }) => sum + inputTokens, 0),
    },
    body,
  );
  writeJson(response, answer);
}

/** `GET /v1/models`: https://platform.openai.com/docs/api-reference/models/list */
export async function answerModels(engine: Engine, { response }: Call): Promise<void> {
  const data = engine.models.map((id) => ({ id, object: "model", created: 0, owned_by: "weir" }));
  writeJson(response, JSON.stringify({ object: "list", data }));
}

function writeJson(response: ServerResponse, body: string): void {
  response.writeHead(200, { "content-type": "application/json" }).end(body);
}
