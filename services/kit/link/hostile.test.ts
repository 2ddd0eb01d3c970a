import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { type Frame, type FrameSchema, OpenRequestSchema } from "@weir/gen/weir/link/v1/link_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Client as WeirClient } from "../call.ts";
import { chunk, failure, textOf, until, whenAborted } from "../conformance/ways.ts";
import { encodeToBytes } from "../codec.ts";
import { createMesh, type Mesh } from "../mesh.ts";
import { ReplyStream } from "../reply-stream.ts";
import { WeirError } from "../weir-error.ts";
import { asIs, openPath } from "./settings.ts";

type FrameInit = MessageInitShape<typeof FrameSchema>;

const hello: FrameInit = {
  call: 0,
  kind: { case: "hello", value: { version: 1, messageBytesMax: 1_000_000, callsMax: 100, peer: "test" } },
};
const start = (call: number, method: string, credit = 100_000): FrameInit => ({
  call,
  kind: { case: "start", value: { method, credit } },
});
const part = (call: number, data: Uint8Array, more = false): FrameInit => ({
  call,
  kind: { case: "part", value: { data, more } },
});
const bytesOf = (frames: readonly FrameInit[]): Buffer =>
  Buffer.from(toBinary(OpenRequestSchema, create(OpenRequestSchema, { frames: [...frames] })));
const getRoute = "weir.routing.v1.RouteService/GetRoute";
const generate = "weir.chat.v1.ChatService/Generate";
const forward = "weir.passthrough.v1.PassthroughService/Forward";
const finish = (call: number): FrameInit => ({ call, kind: { case: "finish", value: {} } });
const pieceOf = (size: number) =>
  encodeToBytes(PassthroughService.method.forward.input, {
    payload: { case: "piece", value: { data: Buffer.alloc(size) } },
  });
/** A piece at which the handler below stops reading. */
const holding = encodeToBytes(PassthroughService.method.forward.input, {
  payload: { case: "piece", value: { model: true } },
});
const routeRequest = encodeToBytes(RouteService.method.getRoute.input, { name: "routes/a" });
const chatRequest = encodeToBytes(ChatService.method.generate.input, { model: "m" });

/** For grpc-js: the one method of the link service, with messages as bytes. */
const linkService = {
  open: {
    path: openPath,
    requestStream: true,
    responseStream: true,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
} as const;

/** Whoever speaks to a server of ours without our client. */
interface Caller {
  readonly stream: ClientDuplexStream<Buffer, Buffer>;
  readonly frames: Frame[];
  readonly ended: Promise<ServiceError | undefined>;
  send(...frames: FrameInit[]): void;
}

describe("a server with a hostile client", () => {
  let mesh: Mesh;
  let client: Client;
  let open = 0;
  let produced = 0;

  beforeAll(async () => {
    mesh = createMesh({
      name: "server",
      listen: "127.0.0.1:0",
      messageBytesMax: 200_000,
      link: { bufferedBytesMax: 500_000, callsMax: 20 },
    });
    mesh.host("router", RouteService, { getRoute: ({ name }) => ({ route: { name } }) });
    mesh.host("router", PassthroughService, {
      async *forward(requests, { signal }) {
        open += 1;
        try {
          for await (const request of requests) {
            if (request.payload.case === "piece" && request.payload.value.model) await whenAborted(signal);
          }
          yield { payload: { case: "data", value: Buffer.from("end") } };
        } finally {
          open -= 1;
        }
      },
    });
    mesh.host("router", ChatService, {
      async *generate() {
        open += 1;
        try {
          for (;;) {
            produced += 1;
            yield chunk("x".repeat(1000));
          }
        } finally {
          open -= 1;
        }
      },
    });
    await mesh.start();
    client = new Client(mesh.status().address ?? "", credentials.createInsecure());
  });
  afterAll(async () => {
    client.close();
    await mesh.close();
  });

  function connect(): Caller {
    const stream = client.makeBidiStreamRequest(openPath, asIs, asIs, new Metadata(), {});
    const frames: Frame[] = [];
    stream.on("data", (bytes: Buffer) => frames.push(...fromBinary(OpenRequestSchema, bytes).frames));
    const ended = new Promise<ServiceError | undefined>((resolve) => {
      stream.on("error", (error: ServiceError) => resolve(error));
      stream.on("end", () => setImmediate(() => resolve(undefined)));
    });
    return { stream, frames, ended, send: (...list) => void stream.write(bytesOf(list)) };
  }

  /** The server still serves others, and holds nothing of the caller that misbehaved. */
  async function serves(): Promise<void> {
    const caller = connect();
    caller.send(hello, start(1, getRoute), part(1, routeRequest));
    await until(() => caller.frames.some(({ kind }) => kind.case === "end"));
    expect(caller.frames.find(({ kind }) => kind.case === "end")?.kind).toMatchObject({ value: { code: 0 } });
    caller.stream.end();
    expect(await caller.ended).toBeUndefined();
    await until(() => open === 0 && mesh.status().served.links === 0 && mesh.status().served.calls === 0);
  }

  test.each<[string, FrameInit[]]>([
    ["a call before the hello", [start(1, getRoute)]],
    ["two hellos", [hello, hello]],
    ["another version", [{ call: 0, kind: { case: "hello", value: { version: 9 } } }]],
    ["a call started twice", [hello, start(1, generate), start(1, generate)]],
    ["a number that goes back", [hello, start(5, generate), start(3, generate)]],
    ["a part of a call that was not started", [hello, part(7, routeRequest)]],
    ["a cancel of a call that was not started", [hello, { call: 7, kind: { case: "cancel", value: {} } }]],
    ["data after the end of the request", [hello, start(1, generate, 0), part(1, chatRequest), part(1, chatRequest)]],
    [
      "credit without bound",
      [hello, start(1, generate, 0xffff_ffff), { call: 1, kind: { case: "credit", value: 0xffff_ffff } }],
    ],
    ["an end from the client", [hello, start(1, generate, 0), { call: 1, kind: { case: "end", value: {} } }]],
    ["headers from the client", [hello, { call: 1, kind: { case: "headers", value: {} } }]],
    ["a drain from the client", [hello, { call: 0, kind: { case: "drain", value: {} } }]],
    ["a finish in a call of one message", [hello, start(1, generate, 0), finish(1)]],
    ["a finish of a call that was not started", [hello, finish(7)]],
    ["a second finish", [hello, start(1, forward), finish(1), finish(1)]],
    ["a part after the finish", [hello, start(1, forward, 0), finish(1), part(1, pieceOf(1))]],
    ["a finish inside a message", [hello, start(1, forward), part(1, pieceOf(9).subarray(0, 3), true), finish(1)]],
    [
      "parts of a stream beyond their credit",
      [hello, start(1, forward), part(1, holding), ...Array.from({ length: 9 }, () => part(1, pieceOf(20_000)))],
    ],
    ["a frame of call 0", [hello, { call: 0, kind: { case: "cancel", value: {} } }]],
  ])("%s ends the link with FAILED_PRECONDITION", async (_name, frames) => {
    const caller = connect();
    caller.send(...frames);
    const error = await caller.ended;
    expect(error?.code).toBe(status.FAILED_PRECONDITION);
    expect(error?.details).not.toBe("");
    await serves();
  });

  test("bytes that are no frames end the link", async () => {
    const caller = connect();
    caller.stream.write(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]));
    expect((await caller.ended)?.code).toBe(status.FAILED_PRECONDITION);
    await serves();
  });

  test("a batch beyond the limit ends the link", async () => {
    const caller = connect();
    caller.send(hello);
    caller.stream.write(Buffer.alloc(5_000_000));
    expect((await caller.ended)?.code).toBe(status.RESOURCE_EXHAUSTED);
    await serves();
  });

  test("a start with too much metadata ends the link", async () => {
    const caller = connect();
    const metadata = { large: "x".repeat(70_000) };
    caller.send(hello, { call: 1, kind: { case: "start", value: { method: getRoute, metadata } } });
    expect((await caller.ended)?.code).toBe(status.RESOURCE_EXHAUSTED);
    await serves();
  });

  test("a client that asks and does not read is cut off", async () => {
    const caller = connect();
    caller.stream.pause();
    caller.send(hello);
    const pings = bytesOf(Array.from({ length: 100_000 }, (_, value) => ({ call: 0, kind: { case: "ping", value } })));
    for (let index = 0; index < 60; index += 1) caller.stream.write(pings);
    expect((await caller.ended)?.code).toBe(status.RESOURCE_EXHAUSTED);
    await serves();
  });

  test("parts without content cost nothing and do no harm", async () => {
    const caller = connect();
    caller.send(hello, start(1, getRoute));
    caller.send(...Array.from({ length: 10_000 }, () => part(1, Buffer.alloc(0), true)));
    caller.send(part(1, routeRequest));
    await until(() => caller.frames.some(({ kind }) => kind.case === "end"));
    expect(caller.frames.find(({ kind }) => kind.case === "end")?.kind).toMatchObject({ value: { code: 0 } });
    caller.stream.end();
    await serves();
  });

  test("a request beyond the limit is refused before it is complete", async () => {
    const caller = connect();
    caller.send(hello, start(1, getRoute));
    for (let index = 0; index < 10; index += 1) caller.send(part(1, Buffer.alloc(60_000), true));
    await until(() => caller.frames.some(({ kind }) => kind.case === "end"));
    expect(caller.frames.find(({ kind }) => kind.case === "end")?.kind).toMatchObject({
      value: { code: status.RESOURCE_EXHAUSTED },
    });
    caller.stream.end();
    await serves();
  });

  test("requests that never become complete do not add up", async () => {
    const caller = connect();
    caller.send(hello);
    for (let call = 1; call <= 10; call += 1)
      caller.send(start(call, getRoute), part(call, Buffer.alloc(100_000), true));
    await until(() => caller.frames.filter(({ kind }) => kind.case === "end").length === 5);
    caller.stream.end();
    await serves();
  });

  test("calls beyond the limit are refused, those given up while their handler runs included", async () => {
    const caller = connect();
    caller.send(hello);
    for (let call = 1; call <= 30; call += 1) caller.send(start(call, generate, 0), part(call, chatRequest));
    await until(() => caller.frames.filter(({ kind }) => kind.case === "end").length === 10);
    expect(mesh.status().served.calls).toBe(20);
    caller.stream.end();
    await serves();
  });

  test("a client that gives no credit, or does not read, gets no further", async () => {
    const caller = connect();
    caller.stream.pause();
    produced = 0;
    caller.send(hello);
    for (let call = 1; call <= 20; call += 1)
      caller.send(start(call, generate, call <= 10 ? 0 : 0xffff_0000), part(call, chatRequest));
    await until(() => open === 20);
    let before = -1;
    while (before !== produced) {
      before = produced;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    // 1 MB of batches, what HTTP/2 and the streams hold, and one message for each call.
    expect(produced).toBeLessThan(20_000);
    caller.stream.cancel();
    await serves();
  });

  test("random frames in any order never hurt the server", async () => {
    const small = fc.nat(6);
    const frame: fc.Arbitrary<FrameInit> = fc.oneof(
      fc
        .record({ call: small, credit: fc.nat(5000), method: fc.constantFrom(getRoute, generate, forward, "none") })
        .map(({ call, credit, method }) => start(call, method, credit)),
      fc
        .record({
          call: small,
          data: fc.oneof(
            fc.constantFrom(routeRequest, chatRequest, pieceOf(5), holding),
            fc.uint8Array({ maxLength: 50 }),
          ),
          more: fc.boolean(),
        })
        .map(({ call, data, more }) => part(call, data, more)),
      fc.record({ call: small }).map(({ call }): FrameInit => ({ call, kind: { case: "cancel", value: {} } })),
      small.map(finish),
      fc
        .record({ call: small, value: fc.nat(100_000) })
        .map(({ call, value }): FrameInit => ({ call, kind: { case: "credit", value } })),
      fc.nat().map((value): FrameInit => ({ call: 0, kind: { case: "ping", value } })),
      fc.nat().map((value): FrameInit => ({ call: 0, kind: { case: "pong", value } })),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(frame, { maxLength: 6 }), { maxLength: 6 }), async (batches) => {
        const caller = connect();
        caller.send(hello);
        for (const batch of batches) caller.send(...batch);
        caller.stream.end();
        await caller.ended;
      }),
      { numRuns: 150 },
    );
    await serves();
  });
});

describe("a client with a hostile server", () => {
  let server: Server;
  let answer: (stream: ServerDuplexStream<Buffer, Buffer>, frames: Frame[]) => void = () => undefined;
  let mesh: Mesh;
  let chat: WeirClient<typeof ChatService>;
  let routes: WeirClient<typeof RouteService>;
  let passthrough: WeirClient<typeof PassthroughService>;

  /** Requests that never come. */
  const parked = () =>
    new ReplyStream<object>({ begin: () => undefined, poll: () => undefined, hangUp: () => undefined });

  beforeAll(async () => {
    server = new Server();
    server.addService(linkService, {
      open(stream: ServerDuplexStream<Buffer, Buffer>) {
        stream.write(bytesOf([hello]));
        stream.on("data", (bytes: Buffer) => answer(stream, fromBinary(OpenRequestSchema, bytes).frames));
        stream.on("error", () => undefined);
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    mesh = createMesh({
      name: "client",
      peers: { router: [`127.0.0.1:${port}`] },
      messageBytesMax: 100_000,
      connectWaitMs: 5000,
    });
    chat = mesh.client(ChatService, "router");
    routes = mesh.client(RouteService, "router");
    passthrough = mesh.client(PassthroughService, "router");
    await mesh.start();
  });
  afterAll(async () => {
    await mesh.close();
    server.forceShutdown();
  });

  /** Answers each call with some frames. */
  const answering = (frames: (call: number) => FrameInit[] | Buffer): void => {
    answer = (stream, received) => {
      for (const { call, kind } of received) {
        if (kind.case !== "start") continue;
        const reply = frames(call);
        stream.write(Buffer.isBuffer(reply) ? reply : bytesOf(reply));
      }
    };
  };

  const end = (call: number): FrameInit => ({ call, kind: { case: "end", value: {} } });

  test.each<[string, (call: number) => FrameInit[] | Buffer]>([
    ["bytes that are no frames", () => Buffer.from([0xff, 0xff])],
    ["a call that was not started", (call) => [part(call + 1000, routeRequest)]],
    ["two answers", (call) => [part(call, Buffer.alloc(0)), part(call, Buffer.alloc(0)), end(call)]],
    [
      "an answer that is too large",
      (call) => [part(call, Buffer.alloc(60_000), true), part(call, Buffer.alloc(60_000), true)],
    ],
    ["an end inside a message", (call) => [part(call, Buffer.alloc(10), true), end(call)]],
    ["a start", (call) => [start(call + 1, getRoute)]],
    ["a credit", (call) => [{ call, kind: { case: "credit", value: 5 } }]],
    ["a second hello", () => [hello]],
  ])("%s: the call fails, and the next link is tried", async (_name, frames) => {
    answering(frames);
    expect(await failure(routes.getRoute({ name: "routes/a" }))).toBeInstanceOf(WeirError);
    answering((call) => [part(call, Buffer.alloc(0)), end(call)]);
    expect((await routes.getRoute({ name: "routes/a" })).$typeName).toBe("weir.routing.v1.GetRouteResponse");
  });

  test("more credit for requests than a number holds: the call fails, and the next link is tried", async () => {
    const credit = (call: number): FrameInit => ({ call, kind: { case: "credit", value: 0xffff_ffff } });
    answering((call) => [credit(call), credit(call)]);
    const replies = passthrough.forward(parked());
    expect(await failure(replies.next())).toMatchObject({ reason: ErrorReason.OVERLOADED });
    answering((call) => [end(call)]);
    expect(await passthrough.forward(parked()).next()).toEqual({ done: true, value: undefined });
  });

  test("a server that knows no streams of requests refuses the call, and has got nothing of it", async () => {
    let parts = 0;
    answer = (stream, received) => {
      for (const { call, kind } of received) {
        if (kind.case === "part") parts += 1;
        if (kind.case !== "start") continue;
        stream.write(bytesOf([{ call, kind: { case: "end", value: { code: status.UNIMPLEMENTED } } }]));
      }
    };
    const replies = passthrough.forward(
      (async function* () {
        yield { payload: { case: "piece" as const, value: { data: Buffer.alloc(10) } } };
      })(),
    );
    expect(await failure(replies.next())).toBeInstanceOf(WeirError);
    expect(parts).toBe(0);
  });

  test("an answer without a message, and one that is no message, fail as defects", async () => {
    answering((call) => [end(call)]);
    expect(await failure(routes.getRoute({ name: "routes/a" }))).toMatchObject({ reason: ErrorReason.INTERNAL });
    answering((call) => [part(call, Buffer.from([0x0a, 0x05])), end(call)]);
    expect(await failure(routes.getRoute({ name: "routes/a" }))).toMatchObject({ reason: ErrorReason.INTERNAL });
    expect(await failure(chat.generate({ model: "m" }).next())).toMatchObject({ reason: ErrorReason.INTERNAL });
  });

  test("parts beyond their credit", async () => {
    const message = encodeToBytes(ChatService.method.generate.output, chunk("x".repeat(60_000)));
    answering((call) => Array.from({ length: 5 }, () => part(call, message)));
    const stream = chat.generate({ model: "m" });
    const read: number[] = [];
    const error = await failure(
      (async () => {
        for await (const each of stream) read.push(textOf(each).length);
      })(),
    );
    expect(error).toMatchObject({ reason: ErrorReason.OVERLOADED });
    expect(read.length).toBeLessThan(5);
  });

  test("empty messages without end", async () => {
    answering((call) => Array.from({ length: 10_000 }, () => part(call, Buffer.alloc(0))));
    const stream = chat.generate({ model: "m" });
    let read = 0;
    const error = await failure(
      (async () => {
        for await (const _ of stream) read += 1;
      })(),
    );
    expect(error).toMatchObject({ reason: ErrorReason.OVERLOADED });
    expect(read).toBeLessThan(3000);
  });

  test("frames of calls that have ended are dropped", async () => {
    answering((call) => [part(call, Buffer.alloc(0)), end(call), part(call, Buffer.alloc(0)), end(call)]);
    for (let index = 0; index < 3; index += 1) await routes.getRoute({ name: "routes/a" });
    expect(mesh.status().peers["router"]?.[0]?.state).toBe("ready");
  });
});
