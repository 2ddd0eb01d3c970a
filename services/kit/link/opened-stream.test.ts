import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, createServer as createSocketServer, type Server, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { until } from "../conformance/ways.ts";
import { resolveAddress } from "./address.ts";
import { OpenedStream } from "./opened-stream.ts";

const cleanups: (() => unknown)[] = [];
afterEach(() => {
  for (const clean of cleanups.splice(0).toReversed()) clean();
});

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that speaks HTTP/2 and leaves the rest to a handler. */
function http2(handler: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void): Promise<string> {
  const server = createHttp2Server();
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined);
    handler(stream, headers);
  });
  return listen(server);
}

function tcp(handler: (socket: Socket) => void): Promise<string> {
  return listen(
    createSocketServer((socket) => {
      socket.on("error", () => undefined);
      cleanups.push(() => socket.destroy());
      handler(socket);
    }),
  );
}

interface Opened {
  readonly stream: OpenedStream;
  /** What was told: texts of bytes, then why it ended. */
  readonly told: unknown[];
  drained: number;
}

async function open(address: string, tls = false): Promise<Opened> {
  const [endpoint] = await resolveAddress(address);
  if (endpoint === undefined) throw new Error("no endpoint");
  // node:tls takes a list as well, and one without certificates is enough to begin a handshake.
  const nothing = [] as unknown as Buffer;
  const opened: Opened = {
    stream: new OpenedStream({
      peerName: "router",
      endpoint,
      tls: tls ? { ca: nothing, cert: nothing, key: nothing } : undefined,
      onBytes: (bytes) => opened.told.push(bytes.toString()),
      onDrain: () => (opened.drained += 1),
      onClosed: (why) => opened.told.push({ why }),
    }),
    told: [],
    drained: 0,
  };
  cleanups.push(() => opened.stream.destroy());
  return opened;
}

const grpc = { ":status": 200, "content-type": "application/grpc" };

test("the request is gRPC's, and what was written before there was a connection arrives", async () => {
  let headers: IncomingHttpHeaders = {};
  let got = "";
  const address = await http2((stream, request) => {
    headers = request;
    stream.on("data", (bytes: Buffer) => (got += bytes.toString()));
  });
  const { stream } = await open(address);
  stream.write(Buffer.from("hello"));
  await until(() => got === "hello");
  expect(headers).toMatchObject({
    ":method": "POST",
    ":scheme": "http",
    ":authority": address,
    ":path": "/weir.link.v1.LinkService/Open",
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-accept-encoding": "identity",
  });
  expect(headers["grpc-timeout"]).toBeUndefined();
});

test("bytes are told in order, then the end; a status of 0 is a good one", async () => {
  const address = await http2((stream) => {
    stream.respond(grpc, { waitForTrailers: true });
    stream.write("a");
    stream.end("b");
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  });
  const { told } = await open(address);
  await until(() => told.length > 0 && typeof told.at(-1) === "object");
  expect(told.slice(0, -1).join("")).toBe("ab");
  expect(told.at(-1)).toEqual({ why: undefined });
});

test.each<[string, (stream: ServerHttp2Stream) => void, RegExp]>([
  [
    "a status with a text",
    (stream) => {
      stream.respond({ ...grpc, "grpc-status": "16", "grpc-message": "names no peer; gr%C3%BCezi 100%25" });
      stream.end();
    },
    /^names no peer; grüezi 100%$/,
  ],
  [
    "a status whose text is no UTF-8",
    (stream) => stream.respond({ ...grpc, "grpc-status": "9", "grpc-message": "%FF" }),
    /^%FF$/,
  ],
  ["a status without a text", (stream) => stream.respond({ ...grpc, "grpc-status": "9" }), /status 9/],
  [
    "a page of an error",
    (stream) => stream.respond({ ":status": 404, "content-type": "text/html" }),
    /HTTP status 404/,
  ],
  ["no status", (stream) => stream.respond(grpc), /without a status/],
  ["a reset", (stream) => stream.close(11), /HTTP\/2 code 11/],
  ["a reset connection", (stream) => stream.session?.destroy(), /./],
  ["an HTTP/2 error for the connection", (stream) => stream.session?.destroy(undefined, 2), /./],
])("%s ends the stream with a reason", async (_name, answer, why) => {
  const address = await http2((stream) => {
    answer(stream);
    if (!stream.destroyed && stream.headersSent) stream.end();
  });
  const { told } = await open(address);
  await until(() => told.length > 0);
  expect(told).toEqual([{ why: expect.stringMatching(why) as string }]);
});

test.each<[string, (socket: Socket) => void]>([
  ["does not speak HTTP/2", (socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")],
  ["hangs up", (socket) => void socket.destroy()],
])("a server that %s ends the stream with a reason", async (_name, handler) => {
  const { told } = await open(await tcp(handler));
  await until(() => told.length > 0);
  expect(told).toEqual([{ why: expect.stringMatching(/./) as string }]);
});

test("nobody listens", async () => {
  const { told } = await open("127.0.0.1:1");
  await until(() => told.length > 0);
  expect(told).toEqual([{ why: expect.stringContaining("ECONNREFUSED") as string }]);
});

test("a server that goes away in peace lets the stream go on", async () => {
  let served: ServerHttp2Stream | undefined;
  const address = await http2((stream) => {
    served = stream;
    stream.respond(grpc, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.session?.close();
    stream.on("data", (bytes: Buffer) => stream.end(bytes));
  });
  const { stream, told } = await open(address);
  await until(() => served?.session?.closed === true);
  stream.write(Buffer.from("still here"));
  await until(() => told.length === 2);
  expect(told).toEqual(["still here", { why: undefined }]);
});

test("a server that does not read makes the writer wait, and reading on lets it go on", async () => {
  let served: ServerHttp2Stream | undefined;
  const address = await http2((stream) => {
    served = stream;
    stream.pause();
  });
  const opened = await open(address);
  const message = Buffer.alloc(50_000);
  while (opened.stream.write(message));
  await until(() => served !== undefined);
  // What the writer still had was accepted: the server's window and the sockets hold some of it.
  for (let before = -1; before !== opened.drained; ) {
    before = opened.drained;
    while (opened.stream.write(message));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { drained } = opened;
  served?.resume();
  await until(() => opened.drained > drained);
});

test("a destroyed stream is silent, and gone on the other side", async () => {
  let closed = false;
  const address = await http2((stream) => {
    stream.respond(grpc);
    stream.write("a");
    stream.on("close", () => (closed = true));
  });
  const { stream, told } = await open(address);
  await until(() => told.length === 1);
  stream.destroy();
  stream.destroy();
  await until(() => closed);
  expect(told).toEqual(["a"]);
});

test("a destroyed stream does not wait for a handshake that never ends", async () => {
  let closed = false;
  let connected = false;
  const address = await tcp((socket) => {
    connected = true;
    socket.on("close", () => (closed = true));
    socket.resume();
  });
  const { stream } = await open(address, true);
  await until(() => connected);
  stream.destroy();
  await until(() => closed);
});

test("a destroyed stream does not wait for a server that has stopped reading", async () => {
  const script = `
    const server = require("node:http2").createServer({ settings: { initialWindowSize: 2 ** 30 } });
    server.on("session", (session) => session.setLocalWindowSize(2 ** 30));
    server.on("stream", (stream) => stream.once("data", (bytes) => stream.write(bytes)));
    server.listen(0, "127.0.0.1", () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  cleanups.push(() => child.kill("SIGKILL"));
  const [port] = (await once(child.stdout, "data")) as [Buffer];
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;
  await until(() => sockets() === 0);
  const { stream, told } = await open(`127.0.0.1:${Number(port.toString())}`);
  stream.write(Buffer.from("ready"));
  await until(() => told.length === 1);
  expect(sockets()).toBe(1);
  child.kill("SIGSTOP");
  stream.write(Buffer.alloc(50_000_000));
  await new Promise((resolve) => setTimeout(resolve, 100));
  stream.destroy();
  await until(() => sockets() === 0);
});
