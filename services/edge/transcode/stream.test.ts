import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { onCallEnd } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import { eventually, openRaw, stopEdges } from "../testing/harness.ts";
import { startMessaging, three } from "./testing/messaging.ts";

afterEach(stopEdges);

test.each([
  [undefined, "lines"],
  ["*/*", "lines"],
  ["application/x-ndjson", "lines"],
  ["application/x-ndjson;q=1, text/event-stream;q=0.5", "lines"],
  ["text/event-stream;q=0", "lines"],
  ["text/event-stream", "events"],
  ["Text/Event-Stream, */*;q=0.1", "events"],
  ["application/json;q=0.5, text/event-stream", "events"],
])("a stream for a client that accepts %s comes as %s", async (accept, kind) => {
  const { call } = await startMessaging({ list: three });
  const response = await call("/v1/things", { headers: accept === undefined ? {} : { accept } });
  const isEvents = kind === "events";
  expect(response.headers.get("content-type")).toBe(
    isEvents ? "text/event-stream; charset=utf-8" : "application/x-ndjson",
  );
  const lines = ["a", "b", "c"].map((name) => JSON.stringify({ name }));
  expect(await response.text()).toBe(lines.map((line) => (isEvents ? `data: ${line}\n\n` : `${line}\n`)).join(""));
});

test("a stream without a message is empty", async () => {
  const { call } = await startMessaging({ async *list() {} });
  const response = await call("/v1/things");
  expect([response.status, await response.text()]).toEqual([200, ""]);
});

test("a stream brings each message as it is made", async () => {
  const { promise: gate, resolve: more } = Promise.withResolvers<void>();
  const { call } = await startMessaging({
    async *list() {
      yield { name: "first" };
      await gate;
      yield { name: "second" };
    },
  });
  const reader = (await call("/v1/things")).body?.getReader();
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('{"name":"first"}\n');
  more();
  expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('{"name":"second"}\n');
});

test("a stream that fails before its first message has a status of its own", async () => {
  const { call } = await startMessaging({
    async *list() {
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: 1_000 });
    },
  });
  for (const accept of ["text/event-stream", "application/x-ndjson"]) {
    const response = await call("/v1/things", { headers: { accept } });
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 14 });
  }
});

test.each([
  ["text/event-stream", /data: \{"name":"a"\}\n\n[^]*event: error\ndata: \{"code":14,[^]*\}\n\n/],
  ["application/x-ndjson", /\{"name":"a"\}\n[^]*\{"error":\{"code":14,[^]*\}\}\n/],
])("a stream as %s that fails later says so in its last piece, and is cut", async (accept, pattern) => {
  const { edge } = await startMessaging({
    async *list() {
      yield { name: "a" };
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(
    `GET /v1/things HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\nAccept: ${accept}\r\n\r\n`,
  );
  const text = await raw.whole();
  expect(text).toMatch(pattern);
  // No end of the chunked answer.
  expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
});

test("a stream as events shows signs of life while it waits", async () => {
  const { promise: gate, resolve: more } = Promise.withResolvers<void>();
  const { edge } = await startMessaging(
    {
      async *list() {
        await gate;
        yield { name: "a" };
      },
    },
    { settings: { holdHeadersMs: 50, heartbeatMs: 50 } },
  );
  const raw = await openRaw(edge.port);
  raw.socket.write(
    `GET /v1/things HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\nAccept: text/event-stream\r\n\r\n`,
  );
  await raw.until(/: ping\n\n[^]*: ping\n\n/);
  more();
  expect(await raw.until(/data: \{"name":"a"\}\n\n/)).toMatch(/^HTTP\/1\.1 200 /);
  raw.socket.destroy();
});

test("a stream ends when its client leaves", async () => {
  let ended = false;
  const { call } = await startMessaging({
    async *list(_, context) {
      onCallEnd(context, () => {
        ended = true;
      });
      for (;;) {
        yield { name: "a" };
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
  });
  const left = new AbortController();
  const response = await call("/v1/things", { signal: left.signal });
  await response.body?.getReader().read();
  expect(ended).toBe(false);
  left.abort();
  await eventually(() => ended);
});

test("a stream of a client that does not read holds the call back, and is reset when nothing leaves", async () => {
  let made = 0;
  let ended = false;
  const name = "x".repeat(50_000);
  const { edge } = await startMessaging(
    {
      async *list(_, context) {
        onCallEnd(context, () => {
          ended = true;
        });
        for (let index = 0; index < 2_000; index++) {
          made += name.length;
          yield { name };
          if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
      },
    },
    { settings: { writeStallMs: 500 } },
  );
  const raw = await openRaw(edge.port);
  raw.socket.pause();
  raw.socket.write(`GET /v1/things HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\n\r\n`);
  await eventually(() => ended);
  // What the kernel buffers on both sides of loopback, and no more.
  expect(made).toBeLessThan(20_000_000);
  raw.socket.destroy();
});

test("a stream that pauses after a slow reader caught up is not cut", async () => {
  const { edge } = await startMessaging(
    {
      async *list() {
        for (let index = 0; index < 200; index++) yield { name: "x".repeat(50_000) };
        await new Promise((resolve) => setTimeout(resolve, 700));
        yield { name: "last" };
      },
    },
    { settings: { writeStallMs: 200 } },
  );
  const raw = await openRaw(edge.port);
  raw.socket.write(`GET /v1/things HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\n\r\n`);
  expect(await raw.until(/"last"/)).toBeTruthy();
  raw.socket.destroy();
});
