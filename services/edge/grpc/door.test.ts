import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import {
  ChatService,
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect, WireRequestSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "@weir/gen/grpc/health/v1/health_pb";
import { ServerReflection } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createGrpcDoor, type GrpcDoor } from "@weir/kit/grpc/client";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import {
  eventually,
  type FakeCall,
  type Harness,
  type HarnessOptions,
  startEdge,
  stopEdges,
  untilCancelled,
} from "../testing/harness.ts";

const doors: GrpcDoor[] = [];
afterEach(async () => {
  for (const door of doors.splice(0)) door.close();
  await stopEdges();
});

interface Served extends Harness {
  readonly chat: Client<typeof ChatService>;
  readonly routes: Client<typeof RouteService>;
  readonly health: Client<typeof Health>;
  readonly grpcAddress: string;
  readonly auth: { readonly metadata: Readonly<Record<string, string>> };
}

async function serve(options: HarnessOptions = {}): Promise<Served> {
  const harness = await startEdge(options);
  const address = await harness.edge.listenGrpc("127.0.0.1:0");
  const door = createGrpcDoor({ address });
  doors.push(door);
  return {
    ...harness,
    grpcAddress: address,
    chat: createClient(ChatService, door),
    routes: createClient(RouteService, door),
    health: createClient(Health, door),
    auth: { metadata: { authorization: `Bearer ${harness.key}` } },
  };
}

const hello = {
  model: "small",
  messages: [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }],
};

function event(kind: "start" | "end", tokens?: number): GenerateResponse {
  const value =
    kind === "start"
      ? { kind: { case: "start" as const, value: { model: "small" } } }
      : { kind: { case: "end" as const, value: { usage: { inputTokens: tokens ?? 1, outputTokens: 1 } } } };
  return create(GenerateResponseSchema, { payload: { case: "event", value } });
}

async function* twoEvents(): AsyncGenerator<GenerateResponse, void, undefined> {
  yield event("start");
  yield event("end");
}

async function collect<T>(replies: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const reply of replies) all.push(reply);
  return all;
}

test("a caller with a key gets its reply, and the services behind learn who it is from the door alone", async () => {
  const { chat, calls, auth, keyId } = await serve({ chat: twoEvents });
  const forged = {
    ...auth.metadata,
    "weir-principal-bin": Buffer.from("forged").toString("base64"),
    "weir-request-id": "req_mine",
  };
  const replies = await collect(chat.generate(hello, { metadata: forged }));
  expect(replies.map((reply) => reply.payload.case)).toEqual(["event", "event"]);
  const metadata = calls[0]?.options.metadata ?? {};
  expect(Buffer.from(metadata["weir-principal-bin"] ?? "", "base64").toString("latin1")).toContain(keyId);
  expect(metadata["weir-request-id"]).toMatch(/^req_[0-9a-f]{32}$/);
});

async function failure(call: Promise<unknown>): Promise<WeirError> {
  const thrown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(thrown instanceof WeirError)) throw new Error("it did not fail", { cause: thrown });
  return thrown;
}

test.each([
  ["no key", {}],
  ["a wrong key", { authorization: "Bearer weir_0123456789_abc" }],
])("%s is refused with the reason in google.rpc details, and nothing is called", async (_, metadata) => {
  const { chat, routes, calls } = await serve();
  expect((await failure(collect(chat.generate(hello, { metadata })))).reason).toBe(ErrorReason.API_KEY_INVALID);
  expect((await failure(routes.listRoutes({}, { metadata }))).reason).toBe(ErrorReason.API_KEY_INVALID);
  expect(calls).toEqual([]);
});

test("x-api-key is as good as authorization", async () => {
  const { routes, key } = await serve();
  expect(await routes.listRoutes({}, { metadata: { "x-api-key": key } })).toMatchObject({ routes: [] });
});

test("an address that guesses keys has to wait, and a right key from there does not", async () => {
  const { routes, auth } = await serve();
  const guess = () => failure(routes.listRoutes({}, { metadata: { "x-api-key": "weir_0123456789_abc" } }));
  const reasons = new Set<number>();
  for (let count = 0; count < 25; count += 1) reasons.add((await guess()).reason);
  expect(reasons).toContain(ErrorReason.RATE_LIMITED);
  expect(await routes.listRoutes({}, auth)).toMatchObject({ routes: [] });
});

test("the rate of requests is one for gRPC and HTTP, and a refusal tells the time to wait", async () => {
  const { routes, auth, post } = await serve({ scope: { requestsPerMinute: 2 } });
  expect((await post({ model: "small", messages: [{ role: "user", content: "hi" }] })).status).toBe(200);
  await routes.listRoutes({}, auth);
  const refused = await failure(routes.listRoutes({}, auth));
  expect(refused.reason).toBe(ErrorReason.RATE_LIMITED);
  expect(refused.retryAfterMs).toBeGreaterThan(0);
});

test("tokens are reserved for a conversation, and what it did not use goes back", async () => {
  const { chat, auth } = await serve({ chat: twoEvents, scope: { tokensPerMinute: 1_200 } });
  for (let call = 0; call < 3; call += 1) {
    // Each asks for 1,024 tokens of output and uses 2.
    expect(await collect(chat.generate(hello, auth))).toHaveLength(2);
  }
  const greedy = { ...hello, maxOutputTokens: 1_199 };
  expect((await failure(collect(chat.generate(greedy, auth)))).reason).toBe(ErrorReason.RATE_LIMITED);
});

test("the models and endpoints of a key's scope hold", async () => {
  const { chat, routes, auth, calls } = await serve({ scope: { models: ["small"] } });
  const refused = await failure(collect(chat.generate({ ...hello, model: "models/large" }, auth)));
  expect(refused.reason).toBe(ErrorReason.MODEL_FORBIDDEN);
  const hidden = await failure(routes.getRoute({ name: "routes/large" }, auth));
  expect(hidden.reason).toBe(ErrorReason.MODEL_NOT_FOUND);
  expect(calls).toEqual([]);
});

test("a role that may not ask is refused", async () => {
  const { routes, auth } = await serve();
  const refused = await failure(routes.listTargetHealth({}, auth));
  expect(refused.reason).toBe(ErrorReason.FORBIDDEN);
});

test("methods, forms and links of the mesh are served to nobody", async () => {
  const { chat, grpcAddress, auth } = await serve();
  const door = createGrpcDoor({ address: grpcAddress });
  doors.push(door);
  const watch = createClient(AccountService, door).watchKeys({}, auth);
  expect((await failure(collect(watch))).reason).toBe(ErrorReason.METHOD_NOT_ALLOWED);
  const wire = create(WireRequestSchema, { dialect: Dialect.OPENAI_CHAT, body: Buffer.from("{}") });
  const refused = await failure(collect(chat.generate({ model: "small", wire }, auth)));
  expect(refused.metadata).toEqual({ param: "wire" });
  expect(await statusOf(grpcAddress, "/weir.link.v1.LinkService/Open", {})).toBe("12");
});

test("a request that breaks a rule of its schema is refused, with the field", async () => {
  const { routes, auth } = await serve();
  const refused = await failure(routes.getRoute({ name: "small" }, auth));
  expect(refused).toMatchObject({ reason: ErrorReason.INVALID_REQUEST, metadata: { param: "name" } });
});

test("a client that leaves cancels its call", async () => {
  const seen: FakeCall[] = [];
  const { chat, auth } = await serve({
    async *chat(call) {
      seen.push(call);
      yield event("start");
      await untilCancelled(call.signal);
    },
  });
  const leaving = new AbortController();
  const stream = chat.generate(hello, { ...auth, signal: leaving.signal });
  await stream.next();
  leaving.abort();
  await eventually(() => seen[0]?.signal.aborted === true);
});

test("a deadline of the client ends the call on both sides", async () => {
  const { chat, auth, calls } = await serve({
    async *chat(call) {
      yield event("start");
      await untilCancelled(call.signal);
    },
  });
  const error = await failure(collect(chat.generate(hello, { ...auth, timeoutMs: 200 })));
  expect(error.reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
  await eventually(() => calls[0]?.signal.aborted === true);
});

test("a client that does not read holds the source back", async () => {
  let made = 0;
  const { grpcAddress, key } = await serve({
    async *chat() {
      const text = "x".repeat(65_536);
      while (made < 2_000) {
        made += 1;
        yield create(GenerateResponseSchema, {
          payload: { case: "event", value: { kind: { case: "warning", value: { code: "long", text } } } },
        });
      }
    },
  });
  const session = connectHttp2(`http://${grpcAddress}`);
  const stream = session.request(grpcHead("/weir.chat.v1.ChatService/Generate", { authorization: `Bearer ${key}` }));
  stream.end(frame(toBinary(GenerateRequestSchema, create(GenerateRequestSchema, hello))));
  stream.pause();
  let before = -1;
  // It has stopped when it makes nothing more for a while.
  await eventually(async () => {
    before = made;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return made > 0 && made === before;
  });
  expect(made).toBeLessThan(1_000);
  session.destroy();
});

test("what is no key's is refused before its message has come", async () => {
  const { grpcAddress } = await serve();
  const session = connectHttp2(`http://${grpcAddress}`);
  const stream = session.request(grpcHead("/weir.chat.v1.ChatService/Generate", {}));
  // The message is announced, and never sent.
  stream.write(Buffer.from([0, 0, 16, 0, 0]));
  const headers = await new Promise<Record<string, unknown>>((resolve) => stream.on("response", resolve));
  expect(headers["grpc-status"]).toBe("16");
  session.destroy();
});

test("a message that announces more than is allowed is refused", async () => {
  const { grpcAddress, key } = await serve({ settings: { bodyBytesMax: 1_024 } });
  const status = await statusOf(
    grpcAddress,
    "/weir.chat.v1.ChatService/Generate",
    { authorization: `Bearer ${key}` },
    Buffer.from([0, 0, 0, 64, 0]),
  );
  expect(status).toBe("8");
});

test("the bytes of all calls' messages have one bound, which is free again when they end", async () => {
  const { grpcAddress, key, chat, routes, auth } = await serve({ settings: { bodiesBytesMax: 100_000 } });
  const path = "/weir.chat.v1.ChatService/Generate";
  const headers = { authorization: `Bearer ${key}` };
  const announced = Buffer.concat([Buffer.from([0, 0, 1, 0, 0]), Buffer.alloc(60_000)]);
  const session = connectHttp2(`http://${grpcAddress}`);
  const stream = session.request(grpcHead(path, headers));
  stream.on("error", () => undefined);
  stream.write(announced);
  await new Promise((resolve) => session.once("connect", resolve));
  await new Promise((resolve) => session.ping(() => resolve(undefined)));
  expect(await statusOf(grpcAddress, path, headers, announced)).toBe("8");
  expect(await routes.listRoutes({}, auth)).toMatchObject({ routes: [] });
  session.destroy();
  const parts = [{ content: { case: "text" as const, value: { text: "x".repeat(60_000) } } }];
  await eventually(() =>
    collect(chat.generate({ ...hello, messages: [{ role: Role.USER, parts }] }, auth)).then(
      () => true,
      () => false,
    ),
  );
});

test("answers that nobody reads count as well", async () => {
  const large = create(GenerateResponseSchema, {
    payload: {
      case: "event",
      value: { kind: { case: "warning", value: { code: "long", text: "x".repeat(80_000) } } },
    },
  });
  const { chat, auth, grpcAddress, key } = await serve({
    settings: { bodiesBytesMax: 200_000 },
    async *chat() {
      for (let sent = 0; sent < 4; sent += 1) yield large;
    },
  });
  const session = connectHttp2(`http://${grpcAddress}`, { settings: { initialWindowSize: 0 } });
  const request = frame(toBinary(GenerateRequestSchema, create(GenerateRequestSchema, hello)));
  const unread = [0, 1].map(() => {
    const stream = session.request(grpcHead("/weir.chat.v1.ChatService/Generate", { authorization: `Bearer ${key}` }));
    stream.end(request);
    return stream;
  });
  await Promise.all(unread.map((stream) => new Promise((resolve) => stream.once("response", resolve))));
  await eventually(async () => {
    const error = await failure(collect(chat.generate(hello, auth)));
    return error.reason === ErrorReason.OVERLOADED && error.retryAfterMs === 1_000;
  });
  session.destroy();
  await eventually(() =>
    collect(chat.generate(hello, auth)).then(
      (replies) => replies.length === 4,
      () => false,
    ),
  );
});

test("bytes that are no HTTP/2 end their connection and nothing else", async () => {
  const { grpcAddress, routes, auth } = await serve();
  const [host = "", port] = grpcAddress.split(":");
  const socket = connectSocket(Number(port), host);
  socket.on("error", () => undefined);
  socket.resume();
  socket.end("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await new Promise((resolve) => socket.once("close", resolve));
  expect(await routes.listRoutes({}, auth)).toMatchObject({ routes: [] });
});

test("connections of one address are bounded", async () => {
  const { grpcAddress } = await serve({ settings: { connectionsPerAddressMax: 1 } });
  const [host = "", port] = grpcAddress.split(":");
  const first = connectSocket(Number(port), host);
  await new Promise((resolve) => first.once("connect", resolve));
  const second = connectSocket(Number(port), host);
  second.on("error", () => undefined);
  await new Promise((resolve) => second.once("close", resolve));
  expect(first.destroyed).toBe(false);
  first.destroy();
});

test("health is told to everyone, and says at once that service ends", async () => {
  const { health, chat, auth, edge } = await serve({
    async *chat(call) {
      yield event("start");
      await untilCancelled(call.signal);
    },
  });
  expect(await health.check({})).toMatchObject({ status: ServingStatus.SERVING });
  const open = chat.generate(hello, auth);
  await open.next();
  const watch = health.watch({});
  expect((await watch.next()).value).toMatchObject({ status: ServingStatus.SERVING });
  const drained = edge.drain(500);
  expect((await watch.next()).value).toMatchObject({ status: ServingStatus.NOT_SERVING });
  await failure(open.next());
  await drained;
});

test("reflection tells who has a key what is served, and nobody else", async () => {
  const { grpcAddress, auth } = await serve();
  const door = createGrpcDoor({ address: grpcAddress });
  doors.push(door);
  const ask = (options: object) => {
    async function* questions() {
      yield { messageRequest: { case: "listServices" as const, value: "" } };
    }
    return collect(createClient(ServerReflection, door).serverReflectionInfo(questions(), options));
  };
  const [answer] = await ask(auth);
  const services = answer?.messageResponse.case === "listServicesResponse" ? answer.messageResponse.value.service : [];
  const names = services.map(({ name }) => name);
  for (const { typeName } of [ChatService, RouteService, Health]) expect(names).toContain(typeName);
  expect(names.filter((name) => /Link|Attempt|Conversation/.test(name))).toEqual([]);
  expect((await failure(ask({}))).reason).toBe(ErrorReason.API_KEY_INVALID);
});

test("a call whose client leaves before its message is whole ends too", async () => {
  const { grpcAddress, key, logs } = await serve();
  const session = connectHttp2(`http://${grpcAddress}`);
  const path = "/weir.chat.v1.ChatService/Generate";
  const stream = session.request(grpcHead(path, { authorization: `Bearer ${key}` }));
  stream.on("error", () => undefined);
  stream.write(Buffer.from([0, 0, 0, 16, 0]));
  await new Promise((resolve) => session.once("connect", resolve));
  await new Promise((resolve) => session.ping(() => resolve(undefined)));
  session.destroy();
  await eventually(() => logs.some((line) => line.includes(path) && line.includes('"status":499')));
});

test("every call is counted and logged like a request of HTTP, without what it said", async () => {
  const { chat, routes, auth, logs, keyId } = await serve({ chat: twoEvents });
  await collect(chat.generate(hello, auth));
  await failure(routes.listRoutes({}));
  await eventually(() => logs.filter((line) => line.includes("/weir.")).length === 2);
  const lines = logs
    .filter((line) => line.includes("/weir."))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([
    { route: "/weir.chat.v1.ChatService/Generate", status: 200, key: keyId },
    { route: "/weir.routing.v1.RouteService/ListRoutes", status: 401, reason: "API_KEY_INVALID" },
  ]);
});

function grpcHead(path: string, headers: Readonly<Record<string, string>>): Record<string, string> {
  return { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...headers };
}

/** A message as gRPC frames it. */
function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The `grpc-status` that a call ends with. */
async function statusOf(
  address: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array = frame(Buffer.alloc(0)),
): Promise<unknown> {
  const session = connectHttp2(`http://${address}`);
  try {
    const stream = session.request(grpcHead(path, headers));
    stream.write(body);
    return await new Promise((resolve, reject) => {
      const look = (some: Record<string, unknown>): void => {
        if (some["grpc-status"] !== undefined) resolve(some["grpc-status"]);
      };
      stream.on("response", look);
      stream.on("trailers", look);
      stream.on("error", reject);
      stream.resume();
    });
  } finally {
    session.destroy();
  }
}
