import { constants } from "node:http2";
import { deflateSync, gzipSync } from "node:zlib";
import { Health } from "@weir/gen/grpc/health/v1/health_pb";
import { ServerReflection, ServerReflectionRequestSchema } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { afterEach, expect, test } from "vitest";
import { hostService } from "../call.ts";
import { encodeToBytes } from "../codec.ts";
import { methodPath } from "../context.ts";
import { ask, cleanUp, connect, frame, getRoute, head, routeOf, routeRequest, serve } from "./testing/plain-wire.ts";

// What stands on the wire, as clients of every language may write it and do read it.

afterEach(cleanUp);

const { forward } = PassthroughService.method;

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
