import { type ClientHttp2Session, connect as connectHttp2, constants } from "node:http2";
import { connect as connectSocket } from "node:net";
import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { ChatService, GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hostService } from "../call.ts";
import { createGrpcServer, type GrpcServer } from "./server.ts";

const bytesMax = 100_000;
const generatePath = "/weir.chat.v1.ChatService/Generate";
const routePath = "/weir.routing.v1.RouteService/GetRoute";

let server: GrpcServer;
let port: number;
let handled = 0;
const defects: unknown[] = [];

beforeAll(async () => {
  const chat = hostService(ChatService, {
    async *generate() {
      handled += 1;
    },
  });
  const routes = hostService(RouteService, {
    getRoute() {
      handled += 1;
      return {};
    },
  });
  server = createGrpcServer({
    name: "victim",
    hosted: [chat, routes],
    messageBytesMax: bytesMax,
    onDefect: ({ thrown }) => defects.push(thrown),
  });
  port = Number((await server.listen("127.0.0.1:0")).split(":").at(-1));
});

afterAll(() => server.close());

function head(path: string, more: Record<string, string> = {}) {
  return { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...more };
}

function frame(message: Uint8Array, flag = 0, announced = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(announced, 1);
  return Buffer.concat([prefix, message]);
}

async function connect(): Promise<ClientHttp2Session> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  await new Promise((resolve) => session.once("connect", resolve));
  return session;
}

/** The gRPC status that a call ends with; `cut` when it was ended without one. */
function statusOf(session: ClientHttp2Session, headers: Record<string, string>, body: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const stream = session.request(headers);
    let status: string | undefined;
    const note = (fields: Record<string, unknown>): void => {
      status ??= fields["grpc-status"] as string | undefined;
    };
    stream.on("response", note);
    stream.on("trailers", note);
    stream.on("error", () => undefined);
    stream.on("close", () => resolve(status ?? "cut"));
    stream.resume();
    stream.end(body);
  });
}

/** A call that is good, on a connection of its own. */
async function isServing(): Promise<boolean> {
  const session = await connect();
  const status = await statusOf(session, head(routePath), frame(new Uint8Array([10, 8, ...Buffer.from("routes/a")])));
  session.destroy();
  return status === "0";
}

const good = toBinary(
  GenerateRequestSchema,
  create(GenerateRequestSchema, {
    model: "m",
    messages: [{ parts: [{ content: { case: "text", value: { text: "hello" } } }] }],
  }),
);

test("bytes that are almost a message end their call with a status, and no defect is found", async () => {
  const session = await connect();
  const mutated = fc
    .array(fc.record({ at: fc.nat(200), drop: fc.nat(4), bytes: fc.uint8Array({ maxLength: 12 }) }), { maxLength: 5 })
    .map((changes) => {
      let bytes: Buffer = Buffer.from(good);
      for (const { at, drop, bytes: piece } of changes) {
        const place = at % (bytes.length + 1);
        bytes = Buffer.concat([bytes.subarray(0, place), piece, bytes.subarray(place + drop)]);
      }
      return bytes;
    });
  const runs = Math.min(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 500), 20_000);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(mutated, fc.uint8Array({ maxLength: 300 })),
      fc.constantFrom(generatePath, routePath),
      async (bytes, path) => {
        const status = await statusOf(session, head(path), frame(bytes));
        // OK, or INVALID_ARGUMENT; INTERNAL is what grpc-js says of bytes that are no message.
        expect(["0", "3", "13"]).toContain(status);
      },
    ),
    { numRuns: runs },
  );
  session.destroy();
  expect(defects).toEqual([]);
  expect(await isServing()).toBe(true);
}, 600_000);

test.each<[string, Record<string, string>, Buffer, string[]]>([
  ["a message beyond the limit, by its own word", {}, frame(Buffer.alloc(0), 0, bytesMax + 1), ["8"]],
  ["a message of four gigabytes, by its own word", {}, frame(Buffer.alloc(0), 0, 0xffff_ffff), ["8"]],
  [
    "a compressed message that unpacks beyond the limit",
    { "grpc-encoding": "gzip" },
    frame(gzipSync(Buffer.alloc(200_000_000)), 1),
    ["8"],
  ],
  [
    "a compressed message that is no gzip",
    { "grpc-encoding": "gzip" },
    frame(Buffer.from("nothing"), 1),
    ["3", "13", "12"],
  ],
  ["an encoding that nobody knows", { "grpc-encoding": "zip9" }, frame(good, 1), ["12", "13"]],
  ["a flag that nobody knows", {}, frame(good, 7), ["3", "12", "13", "cut"]],
  ["a message that breaks off", {}, frame(good, 0, good.length + 5), ["1", "3", "12", "13", "cut"]],
  ["no message", {}, Buffer.alloc(0), ["13", "12", "3"]],
  ["two messages where one is wanted", {}, Buffer.concat([frame(good), frame(good)]), ["13", "12", "3"]],
  ["a path of no method", { ":path": "/x.Y/Z" }, frame(good), ["12"]],
  ["a content type of its own", { "content-type": "text/html" }, frame(good), ["cut", "12", "13"]],
  ["a deadline that is none", { "grpc-timeout": "99999999999999999H" }, frame(good), ["0", "13", "3", "4"]],
])("%s ends its call alone", async (_, headers, body, statuses) => {
  const before = process.memoryUsage().rss;
  const session = await connect();
  const status = await statusOf(session, head(generatePath, headers), body);
  expect(statuses).toContain(status);
  // What the bomb holds was never held.
  expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
  session.destroy();
  expect(await isServing()).toBe(true);
});

test("calls that are reset as soon as they began, ten thousand times over, leave nothing behind", async () => {
  const session = await connect();
  for (let sent = 0; sent < 10_000 && !session.destroyed; sent += 500) {
    const closing = Array.from({ length: 500 }, () => {
      const stream = session.request(head(generatePath));
      stream.on("error", () => undefined);
      stream.close(constants.NGHTTP2_CANCEL);
      return new Promise((resolve) => stream.once("close", resolve));
    });
    await Promise.all(closing);
  }
  session.destroy();
  expect(await isServing()).toBe(true);
  expect(server.status().calls).toBe(0);
}, 60_000);

test("a head of a megabyte is refused", async () => {
  const session = await connect();
  const more = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`x-${index}`, "y".repeat(1_000)]));
  expect(await statusOf(session, head(generatePath, more), frame(good))).not.toBe("0");
  session.destroy();
  expect(await isServing()).toBe(true);
});

test("frames of HTTP/2 that make no sense end their connection and nothing else", async () => {
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          type: fc.nat(12),
          flags: fc.nat(255),
          stream: fc.nat(9),
          payload: fc.uint8Array({ maxLength: 64 }),
        }),
        { maxLength: 20 },
      ),
      async (frames) => {
        const socket = connectSocket(port, "127.0.0.1");
        socket.on("error", () => undefined);
        socket.resume();
        socket.write(preface);
        socket.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
        for (const { type, flags, stream, payload } of frames) {
          const prefix = Buffer.from([0, 0, payload.length, type, flags, 0, 0, 0, stream]);
          socket.write(Buffer.concat([prefix, payload]));
        }
        socket.end();
        await new Promise((resolve) => socket.once("close", resolve));
      },
    ),
    { numRuns: 200 },
  );
  expect(await isServing()).toBe(true);
  expect(defects).toEqual([]);
}, 60_000);
