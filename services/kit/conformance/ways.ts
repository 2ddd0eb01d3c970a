import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { ServiceImpl } from "@connectrpc/connect";
import { type Client, type HostedService, type HostOptions, hostService } from "../call.ts";
import { createClient } from "../client.ts";
import { createGrpcDoor } from "../grpc/client.ts";
import { createGrpcServer } from "../grpc/server.ts";
import { createLocalDoor } from "../local.ts";
import { createMesh } from "../mesh.ts";
import { type ReplyStream, streamOf } from "../reply-stream.ts";
import type { ServingOptions } from "../serving.ts";
import { asError } from "../weir-error.ts";

export type Generate = ServiceImpl<typeof ChatService>["generate"];
export type GetRoute = ServiceImpl<typeof RouteService>["getRoute"];
export type Forward = ServiceImpl<typeof PassthroughService>["forward"];

export interface Handlers {
  readonly generate?: Generate;
  readonly getRoute?: GetRoute;
  readonly forward?: Forward;
}

/** Clients of a chat, a route and a passthrough service, and what lies behind them. */
export interface Way {
  readonly chat: Client<typeof ChatService>;
  readonly routes: Client<typeof RouteService>;
  readonly passthrough: Client<typeof PassthroughService>;
  close(): Promise<void>;
}

export type WayOptions = Pick<ServingOptions, "messageBytesMax" | "onDefect"> & HostOptions;

export type OpenWay = (handlers: Handlers, options?: WayOptions) => Promise<Way>;

function hostedBy({ generate, getRoute, forward }: Handlers, { trustsMesh = false }: WayOptions): HostedService[] {
  return [
    hostService(ChatService, generate === undefined ? {} : { generate }, { trustsMesh }),
    hostService(RouteService, getRoute === undefined ? {} : { getRoute }, { trustsMesh }),
    hostService(PassthroughService, forward === undefined ? {} : { forward }, { trustsMesh }),
  ];
}

const local: OpenWay = async (handlers, options = {}) => {
  const door = createLocalDoor(hostedBy(handlers, options), options);
  return {
    chat: createClient(ChatService, door),
    routes: createClient(RouteService, door),
    passthrough: createClient(PassthroughService, door),
    close: () => Promise.resolve(),
  };
};

const link: OpenWay = async (handlers, options = {}) => {
  const server = createMesh({ name: "server", listen: "127.0.0.1:0", ...options });
  for (const { service, implementation, trustsMesh = false } of hostedBy(handlers, options)) {
    server.host("router", service, implementation, { trustsMesh });
  }
  await server.start();
  const caller = createMesh({ name: "caller", peers: { router: [server.status().address ?? ""] }, ...options });
  const chat = caller.client(ChatService, "router");
  const routes = caller.client(RouteService, "router");
  const passthrough = caller.client(PassthroughService, "router");
  await caller.start();
  return {
    chat,
    routes,
    passthrough,
    async close() {
      await caller.close();
      await server.close();
    },
  };
};

const grpc: OpenWay = async (handlers, options = {}) => {
  const server = createGrpcServer({ name: "server", hosted: hostedBy(handlers, options), ...options });
  const address = await server.listen("127.0.0.1:0");
  const door = createGrpcDoor({ address, messageBytesMax: options.messageBytesMax });
  return {
    chat: createClient(ChatService, door),
    routes: createClient(RouteService, door),
    passthrough: createClient(PassthroughService, door),
    async close() {
      door.close();
      await server.close();
    },
  };
};

/** A way at both ends of which messages are polled: the handler gives a ReplyStream, and the caller reads one by `poll`. */
function polled(openWay: OpenWay): OpenWay {
  return async ({ generate, forward, ...others }, options) => {
    const way = await openWay(
      {
        ...others,
        ...(generate && { generate: (request, context) => streamOf(lazily(() => generate(request, context))) }),
        ...(forward && {
          forward: (requests, context) =>
            streamOf(lazily(() => forward(byPoll(requests as ReplyStream<never>), context))),
        }),
      },
      options,
    );
    return {
      ...way,
      passthrough: {
        forward: (requests, callOptions) => streamOf(byPoll(way.passthrough.forward(streamOf(requests), callOptions))),
      },
      chat: {
        ...way.chat,
        generate(request, callOptions) {
          const replies = way.chat.generate(request, callOptions);
          return streamOf(byPoll(replies));
        },
      },
    };
  };
}

/** An iterable that is made when it is first read. */
function lazily<T>(make: () => AsyncIterable<T>): AsyncIterable<T> {
  return { [Symbol.asyncIterator]: () => make()[Symbol.asyncIterator]() };
}

/** Reads a stream by `poll` alone. */
function byPoll<T>(replies: ReplyStream<T>): AsyncIterable<T> {
  const iterator: AsyncIterator<T> = {
    next: () =>
      new Promise((resolve, reject) => {
        const read = () => {
          try {
            const value = replies.poll();
            if (value === undefined && !replies.ended) return;
            replies.onReady = undefined;
            resolve(value === undefined ? { done: true, value } : { done: false, value });
          } catch (thrown) {
            reject(asError(thrown));
          }
        };
        replies.onReady = read;
        read();
      }),
    return: () => replies.return(),
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

/** The name of a way, the door on it, and how to open it. */
export const ways: readonly (readonly [string, "local" | "link" | "grpc", OpenWay])[] = [
  ["local", "local", local],
  ["link", "link", link],
  ["grpc", "grpc", grpc],
  ["local, polled", "local", polled(local)],
  ["link, polled", "link", polled(link)],
  ["grpc, polled", "grpc", polled(grpc)],
];

/** A chunk whose data is a text. */
export function chunk(text: string): { payload: { case: "wire"; value: { data: Uint8Array } } } {
  return { payload: { case: "wire", value: { data: Buffer.from(text) } } };
}

/** The text of a chunk. */
export function textOf(message: { payload: { case?: string | undefined; value?: unknown } }): string {
  return Buffer.from((message.payload.value as { data: Uint8Array }).data).toString();
}

/** Waits until something is true; fails after 5 s. */
export async function until(condition: () => boolean, what = condition.toString()): Promise<void> {
  const end = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What a promise fails with; fails itself when it does not. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("did not fail");
}

/** Reads a stream to its end. */
export async function all(stream: AsyncIterable<Parameters<typeof textOf>[0]>): Promise<string[]> {
  const texts: string[] = [];
  for await (const message of stream) texts.push(textOf(message));
  return texts;
}

/** Rejects when a signal fires. */
export function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}
