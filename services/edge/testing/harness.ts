import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  AccountService,
  type WatchKeysResponse,
  WatchKeysResponseSchema,
} from "@weir/gen/weir/account/v1/account_service_pb";
import { RecordRefusalsResponseSchema } from "@weir/gen/weir/account/v1/audit_service_pb";
import {
  ChatService,
  type CountTokensRequest,
  CountTokensResponseSchema,
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { WireChunkSchema, WireHeadSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import {
  GetRouteResponseSchema,
  ListRoutesResponseSchema,
  ListTargetHealthResponseSchema,
  RouteService,
} from "@weir/gen/weir/routing/v1/route_service_pb";
import { RecordRequestsResponseSchema } from "@weir/gen/weir/metering/v1/request_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { createKeyText, keyDigest } from "@weir/kit/api-key";
import { type CallOptions, type Client, hostService, onCallEnd } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { type Clock, systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { createLog } from "@weir/kit/log";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { CallCancelled } from "@weir/kit/weir-error";
import { type EdgeSettings, edgeSettings } from "../config.ts";
import { rpcService } from "../rpc/public-methods.ts";
import { createEdge, type Edge, type EdgeDeps } from "../service.ts";
import { noConversations } from "./no-conversations.ts";
import { noIdempotency } from "./no-idempotency.ts";
import { noPassthrough } from "./no-passthrough.ts";

export const pepper = Buffer.alloc(32, 7);

/** What a call of Generate got, and what it answers. */
export interface FakeCall {
  readonly request: GenerateRequest;
  readonly options: CallOptions;
  readonly signal: AbortSignal;
}

export type FakeChat = (call: FakeCall) => AsyncGenerator<GenerateResponse, void, undefined>;

export const jsonHead: MessageInitShape<typeof WireHeadSchema> = {
  status: 200,
  contentType: "application/json",
  provider: "demo",
  model: "small",
  attempts: 1,
};
export const eventHead = { ...jsonHead, contentType: "text/event-stream" };
export const usage = { inputTokens: 10, outputTokens: 5 };

export function wire(value: MessageInitShape<typeof WireChunkSchema>): GenerateResponse {
  return create(GenerateResponseSchema, { payload: { case: "wire", value } });
}

export function event(data: string): Buffer {
  return Buffer.from(`data: ${data}\n\n`);
}

export const helloBody = JSON.stringify({ object: "chat.completion", choices: [] });

/** Answers JSON or three events. */
export async function* friendly({ request }: FakeCall): AsyncGenerator<GenerateResponse, void, undefined> {
  if (!request.wire?.stream) {
    yield wire({ head: jsonHead, data: Buffer.from(helloBody), tail: { usage } });
    return;
  }
  yield wire({ head: eventHead, data: event('{"n":1}') });
  yield wire({ data: event('{"n":2}') });
  yield wire({ data: event("[DONE]"), tail: { usage } });
}

/** Waits until a call's signal fires, then throws as a client does. */
export function untilCancelled(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(new CallCancelled());
    signal.addEventListener("abort", () => reject(new CallCancelled()), { once: true });
  });
}

export interface Harness {
  readonly edge: Edge;
  readonly url: string;
  readonly port: number;
  /** Text of the key that is live from the start; id of that key. */
  readonly key: string;
  readonly keyId: string;
  /** Calls so far, the oldest first. */
  readonly calls: FakeCall[];
  /** Requests for counts so far; the first is answered by a vendor, later ones with a guess. */
  readonly counted: CountTokensRequest[];
  /** Log lines so far. */
  readonly logs: string[];
  /** Sends to whoever watches keys. */
  feed(message: MessageInitShape<typeof WatchKeysResponseSchema>): void;
  /** `POST /v1/chat/completions` with the key. */
  post(body: unknown, init?: RequestInit): Promise<Response>;
}

export interface HarnessOptions {
  readonly chat?: FakeChat;
  readonly settings?: Partial<EdgeSettings>;
  readonly deps?: Partial<EdgeDeps>;
  readonly clock?: Clock;
  /** Scope of the live key. */
  readonly scope?: {
    models?: string[];
    endpoints?: string[];
    networks?: string[];
    requestsPerMinute?: number;
    tokensPerMinute?: number;
  };
  /** What the live key is to its tenant. Default: not said, so a member. */
  readonly role?: Role;
  /** Whether the set of keys becomes complete by itself. Default true. */
  readonly loads?: boolean;
  /** Whether signs of life follow. Default true. */
  readonly alive?: boolean;
}

/** A ledger that is away. */
const noUsage = createClient(UsageService, createLocalDoor([]));

const running = new Set<Edge>();

/** Starts an edge on a free port before services that the test scripts. */
export async function startEdge(options: HarnessOptions = {}): Promise<Harness> {
  const key = createKeyText(randomBytes);
  const record = {
    id: key.id,
    digest: keyDigest(pepper, key.text),
    tenant: "acme",
    scope: options.scope ?? {},
    role: options.role ?? Role.UNSPECIFIED,
  };
  const calls: FakeCall[] = [];
  const counted: CountTokensRequest[] = [];
  const logs: string[] = [];
  const queue: WatchKeysResponse[] = [];
  let wake: (() => void) | undefined;
  const feed: Harness["feed"] = (message) => {
    queue.push(create(WatchKeysResponseSchema, message));
    wake?.();
  };
  if (options.loads !== false) feed({ records: [record], complete: true });
  const settings: EdgeSettings = { ...edgeSettings(), ...options.settings };
  const accounts = hostService(AccountService, {
    async *watchKeys(_request, { signal }) {
      for (;;) {
        const message = queue.shift();
        if (message !== undefined) {
          yield message;
          continue;
        }
        if (signal.aborted) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
          signal.addEventListener("abort", () => resolve(), { once: true });
          if (options.alive !== false) setTimeout(resolve, 200).unref();
        });
        if (options.alive !== false && queue.length === 0) queue.push(create(WatchKeysResponseSchema, {}));
      }
    },
  });
  const chat: Client<typeof ChatService> = {
    generate(request, callOptions = {}) {
      const left = new AbortController();
      const call = { request: request as GenerateRequest, options: callOptions, signal: left.signal };
      calls.push(call);
      const generate = (_: GenerateRequest, context: HandlerContext) =>
        leavable((options.chat ?? friendly)(call), context, left);
      const hosted = hostService(ChatService, { generate }, { trustsMesh: true });
      return createClient(ChatService, createLocalDoor([hosted], untold)).generate(request, callOptions);
    },
    countTokens(request) {
      counted.push(request as CountTokensRequest);
      return Promise.resolve(create(CountTokensResponseSchema, { inputTokens: 7, estimated: counted.length > 1 }));
    },
  };
  const routes: Client<typeof RouteService> = {
    listRoutes: () => Promise.resolve(create(ListRoutesResponseSchema, {})),
    listTargetHealth: () => Promise.resolve(create(ListTargetHealthResponseSchema, {})),
    getRoute: ({ name }) => Promise.resolve(create(GetRouteResponseSchema, { route: { name: name ?? "" } })),
  };
  const edge = createEdge({
    chat,
    routes,
    rpc: [rpcService(ChatService, chat), rpcService(RouteService, routes), rpcService(UsageService, noUsage)],
    accounts: createClient(AccountService, createLocalDoor([accounts], untold)),
    audit: { recordRefusals: () => Promise.resolve(create(RecordRefusalsResponseSchema, {})) },
    conversations: noConversations,
    idempotency: noIdempotency,
    requests: { recordRequests: () => Promise.resolve(create(RecordRequestsResponseSchema, {})) },
    ...noPassthrough,
    pepper,
    settings: () => settings,
    dependencies: () => [],
    renderMetrics: () => Promise.resolve("up 1\n"),
    clock: options.clock ?? systemClock,
    random: Math.random,
    ...noTelemetry,
    log: createLog({ service: "edge", level: "debug", destination: { write: (line) => void logs.push(line) } }),
    version: "1.2.3",
    ...options.deps,
  });
  running.add(edge);
  const { url } = await edge.listen({ host: "127.0.0.1", port: 0 });
  if (options.loads !== false) await eventually(async () => (await fetch(`${url}/health/ready`)).status === 200);
  return {
    edge,
    url,
    port: Number(new URL(url).port),
    key: key.text,
    keyId: key.id,
    calls,
    counted,
    logs,
    feed,
    post: (body, init = {}) =>
      fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        ...init,
        headers: { authorization: `Bearer ${key.text}`, "content-type": "application/json", ...init.headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
  };
}

type HandlerContext = Parameters<typeof onCallEnd>[0];

/** What the scripts throw is no defect of a test. */
const untold = { onDefect: () => undefined };

/** Fires `left` when the caller leaves before the reply has ended. */
async function* leavable<T>(
  source: AsyncGenerator<T, void>,
  context: HandlerContext,
  left: AbortController,
): AsyncGenerator<T, void, undefined> {
  let ended = false;
  onCallEnd(context, () => {
    if (!ended) left.abort();
  });
  try {
    yield* source;
  } finally {
    ended = true;
  }
}

/** Closes every edge that a test started. */
export async function stopEdges(): Promise<void> {
  for (const edge of running) await edge.close();
  running.clear();
}

export const hello = { model: "small", messages: [{ role: "user", content: "hi" }] };
export const helloStream = { ...hello, stream: true };

/** Waits for a condition. @throws Error after five seconds */
export async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error("the condition did not come true in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A connection on which bytes go out as the test wants them. */
export interface RawConnection {
  readonly socket: Socket;
  /** What came so far. */
  text(): string;
  /** How the connection ended; undefined while it is open. */
  ended(): "end" | "reset" | undefined;
  /** Waits until the other side has ended the connection, and gives what came. */
  whole(): Promise<string>;
  /** Waits until what came fits. */
  until(pattern: RegExp): Promise<string>;
}

export async function openRaw(port: number): Promise<RawConnection> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: false });
  const parts: Buffer[] = [];
  let ended: "end" | "reset" | undefined;
  socket.on("data", (part: Buffer) => void parts.push(part));
  socket.on("error", () => {
    ended = "reset";
  });
  socket.on("end", () => {
    ended ??= "end";
  });
  socket.on("close", () => {
    ended ??= "end";
  });
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  const text = () => Buffer.concat(parts).toString("latin1");
  return {
    socket,
    text,
    ended: () => ended,
    async whole() {
      await eventually(() => ended !== undefined);
      return text();
    },
    async until(pattern) {
      await eventually(() => pattern.test(text()));
      return text();
    },
  };
}

/** The head and body of a raw request with the key. */
export function rawPost(key: string, body: string, headers: readonly string[] = []): string {
  return [
    "POST /v1/chat/completions HTTP/1.1",
    "Host: edge",
    `Authorization: Bearer ${key}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...headers,
    "",
    body,
  ].join("\r\n");
}
