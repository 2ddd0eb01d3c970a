import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Codec } from "@weir/dialect/codec";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { readWireRequest, wireRequest } from "@weir/dialect/wire-request";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { WireChunk } from "@weir/gen/weir/chat/v1/wire_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { type ProviderConfigSchema, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import type { UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import {
  AttemptService,
  type RunAttemptRequestSchema,
  type TimeoutsSchema,
} from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { type CallOptions, hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { encodeToBytes } from "@weir/kit/codec";
import { createLocalDoor } from "@weir/kit/local";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { createPriceList, type PriceList } from "@weir/price/price";
import type { Intent } from "../journal/journal.ts";
import { createProviderSet } from "../provider-set.ts";
import { createPool, type PoolOptions } from "../service.ts";

/** One request that a provider under test got. */
export interface Received {
  readonly headers: IncomingMessage["headers"];
  readonly url: string;
  readonly body: string;
  readonly socket: Socket;
}

/** A provider on a free port of this machine. Its handler answers; without one, nobody does. */
export async function startProvider(answer?: (response: ServerResponse, received: Received) => unknown) {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { headers, url = "", socket } = request;
      const got = { headers, url, body: Buffer.concat(chunks).toString(), socket };
      received.push(got);
      answer?.(response, got);
    });
  });
  return { ...(await listen(server)), received };
}

/** A TCP server of raw bytes, for what node:http refuses to send. */
export async function listen(server: Server) {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** A port of this machine on which nobody listens. */
export async function freePort(): Promise<number> {
  const { port, ...server } = await listen(createServer());
  await server[Symbol.asyncDispose]();
  return port;
}

/** Keeps what the pool writes down, and refuses what no journal may be asked. */
export function createFakeJournal() {
  const intents = new Map<string, Intent>();
  const progress: { readonly id: string; readonly usage: UsageEvent["usage"] }[] = [];
  const events: UsageEvent[] = [];
  return {
    intents,
    progress_: progress,
    events,
    intend(intent: Intent): void | Promise<void> {
      if (intents.has(intent.attemptId)) throw new Error("a second intent");
      intents.set(intent.attemptId, intent);
    },
    progress(id: string, usage: NonNullable<UsageEvent["usage"]>): void {
      if (!intents.has(id)) throw new Error("progress without intent");
      progress.push({ id, usage });
    },
    settle(event: UsageEvent): boolean {
      if (!intents.has(event.attemptId)) throw new Error("a settlement without intent");
      if (events.some(({ attemptId }) => attemptId === event.attemptId)) throw new Error("a second settlement");
      events.push(event);
      return true;
    },
  };
}

export type ProviderInit = Omit<MessageInitShape<typeof ProviderConfigSchema>, "$typeName">;

export const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

export const freePrices: PriceList = createPriceList([
  {
    id: "p/*@always",
    provider: "p",
    model: "*",
    effectiveTime: undefined,
    nanoUsdPerMillion: { input: 1n, cachedInput: 1n, cacheWrite: 1n, output: 1n },
    source: "a test",
  },
]);

/** No budget is about anything. */
export const noBudgets: PoolOptions["budgets"] = {
  hold: () => undefined,
  async holdBatch(_, expenses) {
    await expenses();
    return undefined;
  },
  about: () => Promise.resolve([]),
};

/** A pool with one provider `p`, behind the local door. */
export function createTestPool(url: string, provider: ProviderInit = {}, options: Partial<PoolOptions> = {}) {
  const journal = createFakeJournal();
  const defects: unknown[] = [];
  const set = (baseUrl: string, init: ProviderInit = provider) =>
    createProviderSet(
      create(ConfigSchema, {
        providers: { p: { kind: ProviderKind.OPENAI, baseUrl, apiKey: "sk-secret", ...init } },
        journal: { progressInterval: durationFromMs(20) },
      }),
    );
  let providers = set(url);
  const pool = createPool({
    providers: () => providers,
    prices: () => freePrices,
    journal,
    budgets: noBudgets,
    clock: systemClock,
    newAttemptId: randomUUID,
    ...noTelemetry,
    log: silent,
    ...options,
  });
  const hosted = [hostService(AttemptService, pool.service)];
  const client = createClient(
    AttemptService,
    createLocalDoor(hosted, { onDefect: ({ thrown }) => defects.push(thrown) }),
  );
  return {
    pool,
    journal,
    client,
    /** What handlers threw and should not have. */
    defects,
    reload(baseUrl: string, init?: ProviderInit) {
      providers = set(baseUrl, init);
    },
    run(body: object | string, more: AttemptInit = {}, call: CallOptions = {}) {
      return client.runAttempt(attemptRequest(body, more), { metadata: principalMetadata, ...call });
    },
    async [Symbol.asyncDispose]() {
      await pool.close();
    },
  };
}

export interface AttemptInit {
  readonly attemptId?: string;
  readonly target?: { readonly provider: string; readonly model: string };
  readonly timeouts?: MessageInitShape<typeof TimeoutsSchema>;
  readonly allowUnpriced?: boolean;
  readonly hasLargerTarget?: boolean;
}

export const principalMetadata = {
  "weir-principal-bin": Buffer.from(encodeToBytes(PrincipalSchema, { tenant: "acme", key: "k" })).toString("base64"),
};

export const hello = { model: "alias", messages: [{ role: "user", content: "hello there" }] };
export const streaming = { ...hello, stream: true };

/** Heads of a provider's answers. */
export const json = { "content-type": "application/json" };
export const eventStream = { "content-type": "text/event-stream; charset=utf-8" };

/** @param stream for dialects whose body does not say */
export function attemptRequest(
  body: object | string,
  more: AttemptInit = {},
  codec: Codec = openaiChat,
  stream = false,
) {
  const bytes = Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  const reading = readWireRequest(codec, bytes);
  return {
    attemptId: randomUUID(),
    requestId: "req-1",
    alias: "alias",
    target: { provider: "p", model: "target-model" },
    request: { model: "alias", wire: wireRequest(codec, reading, reading.envelope.stream ?? stream, {}) },
    ...more,
  };
}

/** A call that speaks no dialect, and says "hi". */
export function canonicalRequest(): MessageInitShape<typeof RunAttemptRequestSchema> {
  const content = { case: "text", value: { text: "hi" } } as const;
  return {
    ...attemptRequest(hello),
    request: { model: "alias", messages: [{ role: Role.USER, parts: [{ content }] }] },
  };
}

/** An answer, read to its end or to its failure. */
export interface Answer {
  readonly chunks: WireChunk[];
  readonly text: string;
  readonly head: WireChunk["head"];
  readonly tail: WireChunk["tail"];
  readonly error: unknown;
}

export async function readAll(
  messages: AsyncIterable<{ readonly payload: { readonly case?: string | undefined; readonly value?: unknown } }>,
): Promise<Answer> {
  const chunks: WireChunk[] = [];
  let error: unknown;
  try {
    for await (const { payload } of messages) if (payload.case === "wire") chunks.push(payload.value as WireChunk);
  } catch (thrown) {
    error = thrown;
  }
  return {
    chunks,
    text: Buffer.concat(chunks.map(({ data }) => data)).toString(),
    head: chunks[0]?.head,
    tail: chunks.at(-1)?.tail,
    error,
  };
}

export const sse = (...events: readonly string[]) => events.map((event) => `data: ${event}\n\n`).join("");

export function chunk(delta: object, finish: string | null = null): string {
  return JSON.stringify({ id: "chatcmpl-1", choices: [{ index: 0, delta, finish_reason: finish }], usage: null });
}

export const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 };
export const streamEvents = [
  chunk({ role: "assistant", content: "" }),
  chunk({ content: "Hel" }),
  chunk({ content: "lo" }),
  chunk({}, "stop"),
  JSON.stringify({ id: "chatcmpl-1", choices: [], usage }),
  "[DONE]",
];
export const streamText = sse(...streamEvents);
/** What the client gets of it that did not ask for usage. */
export const streamShown = sse(...streamEvents.filter((event) => !event.includes('"prompt_tokens"')));

export const answerJson = JSON.stringify({
  id: "chatcmpl-2",
  choices: [{ index: 0, message: { role: "assistant", content: "Hello!" }, finish_reason: "stop" }],
  usage,
});

/** Waits until something is so. */
export async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
