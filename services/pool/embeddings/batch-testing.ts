import type { JsonObject } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { Codec } from "@weir/dialect/codec";
import { openaiEmbeddingsDoor } from "@weir/dialect/embeddings/door";
import type { CallOptions } from "@weir/kit/call";
import { systemClock } from "@weir/kit/clock";
import type { PoolOptions } from "../service.ts";
import {
  type AttemptInit,
  attemptRequest,
  createTestPool,
  principalMetadata,
  type ProviderInit,
  readAll,
  type Received,
  startProvider,
} from "../testing/pool-under-test.ts";
import { openaiAnswer } from "./testing.ts";

/** The vector of a text, or of tokens: one number that tells it from others. */
export const vectorOf = (input: unknown) => [JSON.stringify(input).length, 0.5];

/** One call to a vendor, which answers when it is told to. */
export interface HeldCall {
  readonly received: Received;
  readonly body: JsonObject;
  readonly inputs: readonly unknown[];
  /** @param tokens what is reported */
  answer(tokens: number): void;
  send(status: number, body: string): void;
  breakOff(): void;
  /** Whether the pool has hung up. */
  readonly isHungUp: () => boolean;
}

/** How long calls wait for others here: the tests end it. */
const waitMs = 777;

/** A pool before a vendor of OpenAI's dialect whose calls are held until a test answers them. */
export async function startBatching(init: ProviderInit = {}, options: Partial<PoolOptions> = {}) {
  const calls: HeldCall[] = [];
  const provider = await startProvider((response, received) => {
    const body = JSON.parse(received.body) as JsonObject;
    const input = body["input"] ?? body["texts"];
    const inputs = Array.isArray(input) && typeof input[0] !== "number" ? (input as unknown[]) : [input];
    const send = (status: number, text: string) =>
      void response.writeHead(status, { "content-type": "application/json" }).end(text);
    calls.push({
      received,
      body,
      inputs,
      send,
      answer(tokens) {
        const usage = { prompt_tokens: tokens, total_tokens: tokens };
        send(200, JSON.stringify({ ...openaiAnswer(inputs.map(vectorOf)), usage }));
      },
      breakOff: () => void response.destroy(),
      isHungUp: () => received.socket.destroyed,
    });
  });
  const windows = new Set<() => void>();
  const ollamaWaitMs = 2; // what calls of Ollama wait unless it is configured
  const clock = {
    ...systemClock,
    after(delayMs: number, call: () => void) {
      if (delayMs !== waitMs && delayMs !== ollamaWaitMs) return systemClock.after(delayMs, call);
      windows.add(call);
      return () => void windows.delete(call);
    },
  };
  const pool = createTestPool(
    provider.url,
    { embeddingBatch: { wait: durationFromMs(waitMs) }, ...init },
    { clock, ...options },
  );
  const controllers: AbortController[] = [];

  /** Asks, and lets the pool come to a rest. */
  async function ask(
    body: object,
    more: AttemptInit = {},
    codec: Codec = openaiEmbeddingsDoor,
    call: CallOptions = {},
  ) {
    const leaving = new AbortController();
    controllers.push(leaving);
    const request = attemptRequest({ model: "alias", ...body }, more, codec);
    const stream = pool.client.runAttempt(request, { metadata: principalMetadata, signal: leaving.signal, ...call });
    const answer = readAll(stream);
    await turns();
    return { id: request.attemptId, answer, leave: () => leaving.abort() };
  }

  return {
    pool,
    provider,
    calls,
    ask,
    /** Waits until so many calls have come, and gives the last one. */
    async called(count: number): Promise<HeldCall> {
      for (let tries = 0; calls.length < count && tries < 500; tries += 1) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      const call = calls[count - 1];
      if (call === undefined || calls.length > count) throw new Error(`${calls.length} calls came`);
      return call;
    },
    /** The time that calls wait for others is over. */
    async endWaits() {
      const ends = Array.from(windows);
      windows.clear();
      for (const end of ends) end();
      await turns();
    },
    waits: () => windows.size,
    /** What was settled, by attempt. */
    settled: (id: string) => pool.journal.events.filter(({ attemptId }) => attemptId === id),
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await provider[Symbol.asyncDispose]();
    },
  };
}

/** Lets everything happen that waits for nothing outside. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** The vectors of an answer. */
export function vectorsIn(text: string): unknown {
  return (JSON.parse(text) as { data: { embedding: unknown }[] }).data.map(({ embedding }) => embedding);
}
