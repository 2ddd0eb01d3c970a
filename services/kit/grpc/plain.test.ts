import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { deflateSync, gzipSync } from "node:zlib";
import { createContextValues } from "@connectrpc/connect";
import { Health } from "@weir/gen/grpc/health/v1/health_pb";
import { ServerReflection, ServerReflectionRequestSchema } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { ChatService, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { afterEach, expect, test } from "vitest";
import { hostService, requestMetadata } from "../call.ts";
import type { Clock } from "../clock.ts";
import { decode, encodeToBytes } from "../codec.ts";
import { until } from "../conformance/ways.ts";
import { methodPath } from "../context.ts";
import { WeirError } from "../weir-error.ts";
import type { Gate } from "./gate.ts";
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from "./server.ts";

// What stands on the wire, as clients of every language may write it and do read it.

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

const getRoute = `/${methodPath(RouteService.method.getRoute)}`;
const { forward } = PassthroughService.method;

interface Asked {
  readonly header: string | undefined;
  readonly timeoutMs: number | undefined;
}

async function serve(options: Partial<GrpcServerOptions> = {}): Promise<{
  readonly server: GrpcServer;
  readonly address: string;
  readonly asked: Asked[];
}> {
  const asked: Asked[] = [];
  const routes = hostService(RouteService, {
    getRoute({ name }, context) {
      asked.push({ header: requestMetadata(context, "x-facts-bin"), timeoutMs: context.timeoutMs() });
      context.responseHeader.set("x-head-bin", Buffer.from([1, 2, 3, 4]).toString("base64"));
      context.responseTrailer.set("x-tail", "t");
      if (name === "routes/none") throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { text: "50 % of nöthing\n" });
      return { route: { name } };
    },
  });
  const server = createGrpcServer({ name: "server", hosted: [routes], messageBytesMax: 1_000_000, ...options });
  cleanups.push(() => server.close());
  return { server, address: await server.listen("127.0.0.1:0"), asked };
}

async function connect(address: string): Promise<ClientHttp2Session> {
  const session = connectHttp2(`http://${address}`);
  cleanups.push(() => session.destroy());
  session.on("error", () => undefined);
  await new Promise((resolve) => session.once("remoteSettings", resolve));
  return session;
}

type Fields = Readonly<Record<string, string | undefined>>;

interface Answer {
  readonly headers: Fields;
  readonly trailers: Fields;
  readonly body: Buffer;
  readonly code: number;
}

function head(path: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...more };
}

function frame(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const routeRequest = (name: string) => encodeToBytes(RouteService.method.getRoute.input, { name });

function ask(session: ClientHttp2Session, headers: Record<string, string>, body?: Buffer): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request(headers);
    const parts: Buffer[] = [];
    let headed: Fields = {};
    let trailed: Fields = {};
    stream.on("response", (fields) => {
      headed = fields as Fields;
    });
    stream.on("trailers", (fields) => {
      trailed = fields as Fields;
    });
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", () => undefined);
    stream.on("close", () =>
      resolve({ headers: headed, trailers: trailed, body: Buffer.concat(parts), code: stream.rstCode }),
    );
    if (body !== undefined) stream.end(body);
  });
}

const routeOf = ({ body }: Answer): string | undefined =>
  decode(RouteService.method.getRoute.output, body.subarray(5)).route?.name;

test("a message of more than a million fields is refused before it is built", async () => {
  const { address, asked } = await serve({ messageBytesMax: 4_000_000 });
  const unknownField = Buffer.from([0x78, 0x01]);
  const answer = await ask(await connect(address), head(getRoute), frame(Buffer.alloc(2_200_000, unknownField)));
  expect(answer.headers["grpc-status"]).toBe("3");
  expect(decodeURIComponent(answer.headers["grpc-message"] ?? "")).toContain("more than 1000000 fields");
  expect(asked).toEqual([]);
});

test("a reply has headers, one message and trailers, with the handler's metadata in both", async () => {
  const { address } = await serve();
  const answer = await ask(await connect(address), head(getRoute), frame(routeRequest("routes/a")));
  expect(answer.headers).toMatchObject({
    ":status": 200,
    "content-type": "application/grpc",
    "grpc-accept-encoding": "identity,gzip,deflate",
    "x-head-bin": "AQIDBA",
  });
  expect(routeOf(answer)).toBe("routes/a");
  expect(answer.trailers).toMatchObject({ "grpc-status": "0", "x-tail": "t" });
});

test("a failure has its message percent-encoded, and its details", async () => {
  const { address } = await serve();
  const { trailers } = await ask(await connect(address), head(getRoute), frame(routeRequest("routes/none")));
  expect(trailers["grpc-status"]).toBe("5");
  expect(trailers["grpc-message"]).toBe("50 %25 of n%C3%B6thing%0A");
  const details = Buffer.from(trailers["grpc-status-details-bin"] ?? "", "base64").toString("latin1");
  expect(details).toContain("MODEL_NOT_FOUND");
});

test("a failure before anything else is one head, and a caller that goes on all the same is told to stop", async () => {
  const { address } = await serve();
  const session = await connect(address);
  const stream = session.request(head("/weir.routing.v1.RouteService/Absent"));
  const headers = await new Promise((resolve) => stream.once("response", resolve));
  expect(headers).toMatchObject({ ":status": 200, "grpc-status": "12" });
  const closed = new Promise((resolve) => stream.once("close", resolve));
  stream.write(Buffer.alloc(16 << 20));
  await closed;
  expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
});

test.each([
  ["gzip", gzipSync],
  ["deflate", deflateSync],
] as const)("a message compressed by %s is read, and one that is not compressed beside it", async (encoding, pack) => {
  const { address } = await serve();
  const session = await connect(address);
  const headers = head(getRoute, { "grpc-encoding": encoding });
  expect(routeOf(await ask(session, headers, frame(pack(routeRequest("routes/a")), 1)))).toBe("routes/a");
  expect(routeOf(await ask(session, headers, frame(routeRequest("routes/b"))))).toBe("routes/b");
});

test.each([
  ["an encoding that is not known", { "grpc-encoding": "br" }, 1],
  ["a compressed message without an encoding", {}, 1],
])("%s is refused, and what is known is said", async (_, more, flag) => {
  const { address, asked } = await serve();
  const { headers } = await ask(await connect(address), head(getRoute, more), frame(gzipSync("x"), flag));
  expect(headers).toMatchObject({ "grpc-status": "12", "grpc-accept-encoding": "identity,gzip,deflate" });
  expect(asked).toEqual([]);
});

test("messages that are compressed and messages that are not keep their order", async () => {
  const pieces: number[] = [];
  const hosted = hostService(PassthroughService, {
    async *forward(requests) {
      for await (const { payload } of requests) {
        if (payload.case === "piece") pieces.push(payload.value.data.length);
      }
    },
  });
  const { address } = await serve({ hosted: [hosted] });
  const lengths = Array.from({ length: 60 }, (_, index) => (index * 7_919) % 60_000);
  const messages = lengths.map((length, index) => {
    const bytes = encodeToBytes(forward.input, {
      payload: { case: "piece", value: { data: Buffer.alloc(length, index) } },
    });
    return index % 3 === 0 ? frame(bytes) : frame(gzipSync(bytes), 1);
  });
  const headers = head(`/${methodPath(forward)}`, { "grpc-encoding": "gzip" });
  const { trailers } = await ask(await connect(address), headers, Buffer.concat(messages));
  expect(trailers["grpc-status"]).toBe("0");
  expect(pieces).toEqual(lengths);
});

test.each([
  ["padded", "AQIDBA=="],
  ["without padding", "AQIDBA"],
])("binary metadata is read %s", async (_, value) => {
  const { address, asked } = await serve();
  await ask(await connect(address), head(getRoute, { "x-facts-bin": value }), frame(routeRequest("routes/a")));
  expect(asked[0]?.header).toBe("AQIDBA==");
});

test.each([
  ["2S", 2_000],
  ["1500m", 1_500],
  ["1M", 60_000],
  ["5000000u", 5_000],
])("the deadline %s reaches the handler", async (timeout, ms) => {
  const { address, asked } = await serve();
  await ask(await connect(address), head(getRoute, { "grpc-timeout": timeout }), frame(routeRequest("routes/a")));
  expect(asked[0]?.timeoutMs).toBeGreaterThan(ms - 1_000);
  expect(asked[0]?.timeoutMs).toBeLessThanOrEqual(ms);
});

test.each([
  ["another content type", { "content-type": "application/json" }, 415],
  ["gRPC-Web, which the port does not speak", { "content-type": "application/grpc-web+proto" }, 415],
  ["another method of HTTP", { ":method": "PUT" }, 405],
])("%s is refused by HTTP", async (_, more, status) => {
  const { address } = await serve();
  const { headers } = await ask(
    await connect(address),
    { ...head(getRoute), ...more },
    frame(routeRequest("routes/a")),
  );
  expect(headers[":status"]).toBe(status);
});

test("reflection answers the clients of its earlier version as well", async () => {
  const { address } = await serve();
  const request = encodeToBytes(ServerReflectionRequestSchema, {
    messageRequest: { case: "listServices", value: "" },
  });
  const session = await connect(address);
  const earlier = await ask(
    session,
    head("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    frame(request),
  );
  const now = await ask(session, head(`/${methodPath(ServerReflection.method.serverReflectionInfo)}`), frame(request));
  expect(earlier.body.toString("latin1")).toContain(RouteService.typeName);
  expect(earlier.body).toEqual(now.body);
});

test("a client is told to go elsewhere when service ends, and its open call ends well first", async () => {
  const { server, address } = await serve();
  const session = await connect(address);
  const watch = session.request(head(`/${methodPath(Health.method.watch)}`));
  watch.on("error", () => undefined);
  watch.resume();
  watch.end(frame(Buffer.alloc(0)));
  await new Promise((resolve) => watch.once("response", resolve));
  const parting = new Promise((resolve) => session.once("goaway", (code) => resolve(code)));
  const drained = server.drain(5_000);
  expect(await parting).toBe(constants.NGHTTP2_NO_ERROR);
  expect(watch.closed).toBe(false);
  watch.close(constants.NGHTTP2_CANCEL);
  await drained;
});

/** Time that passes only when it is told to. */
function ownClock(): Clock & { pass(ms: number): void } {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly call: () => void }>();
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, call) {
      const timer = { atMs: nowMs + delayMs, call };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    pass(ms) {
      nowMs += ms;
      for (const timer of timers) {
        if (timer.atMs > nowMs) continue;
        timers.delete(timer);
        timer.call();
      }
    },
  };
}

/** A gate that lets everybody in, with room for so many bytes. */
function openGate(roomBytes = 1_000_000) {
  let taken = 0;
  const gate: Gate = {
    admit: () => {
      let own = 0;
      return {
        values: createContextValues(),
        headers: { "x-request-id": "r1" },
        take(bytes) {
          if (taken + bytes > roomBytes) return false;
          taken += bytes;
          own += bytes;
          return true;
        },
        give(bytes) {
          taken -= bytes;
          own -= bytes;
        },
        over() {
          taken -= own;
        },
      };
    },
    connect: () => () => undefined,
    callsPerConnectionMax: 100,
    headBytesMax: 16_384,
    receiveTimeoutMs: 300_000,
    writeStallMs: () => 60_000,
    idleMs: 600_000,
    ageMs: 3_600_000,
  };
  return { gate, takenBytes: () => taken };
}

test("a request that does not come whole in its time ends its call", async () => {
  const clock = ownClock();
  const { address } = await serve({ gate: openGate().gate, clock });
  const session = await connect(address);
  const stream = session.request(head(getRoute));
  stream.write(Buffer.from([0, 0, 0]));
  await new Promise((resolve) => session.ping(resolve));
  const ended = new Promise<Fields>((resolve) => stream.once("response", (fields) => resolve(fields as Fields)));
  clock.pass(5_000);
  clock.pass(300_000);
  expect((await ended)["grpc-status"]).toBe("4");
});

test("a call that was answered is ended when its client never ends its request", async () => {
  const clock = ownClock();
  const { gate, takenBytes } = openGate();
  const { address } = await serve({ gate, clock });
  const session = await connect(address);
  const stream = session.request(head(getRoute));
  const answered = new Promise((resolve) => stream.once("response", resolve));
  const ended = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode)));
  stream.resume();
  stream.write(Buffer.concat([frame(routeRequest("routes/a")), frame(routeRequest("routes/b"))]));
  await answered;
  clock.pass(5_000);
  expect(takenBytes()).not.toBe(0);
  clock.pass(300_000);
  expect(await ended).toBe(constants.NGHTTP2_NO_ERROR);
  await until(() => takenBytes() === 0);
  expect(session.closed).toBe(false);
});

test("a connection without a call, and one that is old, are told to go", async () => {
  const clock = ownClock();
  const { address } = await serve({ gate: { ...openGate().gate, idleMs: 60_000 }, clock });
  const idle = await connect(address);
  await ask(idle, head(getRoute), frame(routeRequest("routes/a")));
  const parting = new Promise((resolve) => idle.once("goaway", resolve));
  clock.pass(5_000);
  expect(idle.closed).toBe(false);
  clock.pass(60_000);
  await parting;

  const { address: other } = await serve({ gate: { ...openGate().gate, idleMs: Infinity, ageMs: 60_000 }, clock });
  const old = await connect(other);
  await ask(old, head(getRoute), frame(routeRequest("routes/a")));
  const second = new Promise((resolve) => old.once("goaway", resolve));
  clock.pass(5_000);
  expect(old.closed).toBe(false);
  clock.pass(66_000);
  await second;
});

test("what messages take of the common room comes back with their calls, packed or not", async () => {
  const { gate, takenBytes } = openGate();
  const { address } = await serve({ gate });
  const session = await connect(address);
  const headers = head(getRoute, { "grpc-encoding": "gzip" });
  const packed = frame(gzipSync(routeRequest("routes/a")), 1);
  for (const body of [frame(routeRequest("routes/a")), packed, frame(Buffer.from("none"), 1)]) {
    await ask(session, headers, body);
  }
  const stream = session.request(headers);
  stream.on("error", () => undefined);
  stream.write(packed.subarray(0, 10));
  await until(() => takenBytes() === 10);
  stream.close(constants.NGHTTP2_CANCEL);
  await until(() => takenBytes() === 0);
});

test("a message that unpacks beyond the common room is refused", async () => {
  const { gate, takenBytes } = openGate(50_000);
  const { address, asked } = await serve({ gate });
  const session = await connect(address);
  const bomb = frame(gzipSync(routeRequest("x".repeat(900_000))), 1);
  const { headers } = await ask(session, head(getRoute, { "grpc-encoding": "gzip" }), bomb);
  expect(headers["grpc-status"]).toBe("8");
  expect(headers["x-request-id"]).toBe("r1");
  expect(asked).toEqual([]);
  await until(() => takenBytes() === 0);
});

/** Words of 10 KB without end, and whether their reader has gone. */
function talker() {
  const state = { said: 0, isLeft: false };
  const service = hostService(ChatService, {
    async *generate() {
      try {
        for (;;) {
          state.said += 1;
          yield { payload: { case: "event", value: { kind: { case: "warning", value: { code: "long", text } } } } };
        }
      } finally {
        state.isLeft = true;
      }
    },
  });
  const text = "x".repeat(10_000);
  return { state, service };
}

const generate = `/${methodPath(ChatService.method.generate)}`;
const parts = [{ content: { case: "text" as const, value: { text: "hello" } } }];
const chatRequest = frame(encodeToBytes(GenerateRequestSchema, { model: "m", messages: [{ role: Role.USER, parts }] }));

/** Waits until nothing has moved for two round trips, in which everything that can move does. */
async function standsStill(session: ClientHttp2Session, count: () => number): Promise<void> {
  for (let before = 0; count() === 0 || count() !== before; ) {
    before = count();
    await new Promise((resolve) => session.ping(resolve));
    await new Promise((resolve) => session.ping(resolve));
  }
}

test("a client that does not read is cut off: its call is cancelled, and its connection goes on", async () => {
  const clock = ownClock();
  const { state, service } = talker();
  const { address } = await serve({ gate: openGate().gate, clock, hosted: [service] });
  const session = await connect(address);
  const stream = session.request(head(generate));
  const ended = new Promise<number>((resolve) => stream.once("close", () => resolve(stream.rstCode)));
  stream.on("error", () => undefined);
  stream.end(chatRequest);
  await standsStill(session, () => state.said);
  clock.pass(5_000);
  clock.pass(60_000);
  expect(state.isLeft).toBe(false);
  // What waits has a second more for each 16 KiB.
  clock.pass(10_000);
  await until(() => state.isLeft);
  stream.resume();
  expect(await ended).toBe(constants.NGHTTP2_CANCEL);
  expect(session.closed).toBe(false);
});

test("a client that reads, however slowly, is not cut off", async () => {
  const clock = ownClock();
  const { state, service } = talker();
  const { address } = await serve({ gate: openGate().gate, clock, hosted: [service] });
  const session = await connect(address);
  const stream = session.request(head(generate));
  stream.end(chatRequest);
  await standsStill(session, () => state.said);
  for (let minute = 0; minute < 5; minute += 1) {
    const before = state.said;
    clock.pass(55_000);
    // All that waits here, so that the window opens again.
    stream.resume();
    await until(() => state.said > before);
    stream.pause();
    await standsStill(session, () => state.said);
    clock.pass(5_000);
    // The server asks for a sign of life each minute; its time must not be over before the answer can come.
    await new Promise((resolve) => session.ping(resolve));
  }
  expect(state.isLeft).toBe(false);
  expect(stream.closed).toBe(false);
});

test("an answer of one message that is not read ends with its call", async () => {
  const clock = ownClock();
  const { gate, takenBytes } = openGate();
  let overs = 0;
  const counted: Gate = {
    ...gate,
    async admit(call) {
      const entry = await gate.admit(call);
      return {
        ...entry,
        over() {
          entry.over();
          overs += 1;
        },
      };
    },
  };
  const { address, asked } = await serve({ gate: counted, clock });
  const session = connectHttp2(`http://${address}`, { settings: { initialWindowSize: 0 } });
  cleanups.push(() => session.destroy());
  session.on("error", () => undefined);
  await new Promise((resolve) => session.once("remoteSettings", resolve));
  const answer = ask(session, head(getRoute), frame(routeRequest("routes/a")));
  await until(() => asked.length === 1);
  await new Promise((resolve) => session.ping(resolve));
  clock.pass(5_000);
  clock.pass(50_000);
  expect(overs).toBe(0);
  clock.pass(15_000);
  expect((await answer).code).toBe(constants.NGHTTP2_CANCEL);
  await until(() => overs === 1);
  expect(takenBytes()).toBe(0);
});
