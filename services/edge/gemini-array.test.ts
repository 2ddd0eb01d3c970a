import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import {
  event,
  eventHead,
  type FakeChat,
  type Harness,
  type HarnessOptions,
  jsonHead,
  openRaw,
  startEdge,
  stopEdges,
  untilCancelled,
  usage,
  wire,
} from "./testing/harness.ts";

afterEach(stopEdges);

const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "hi" }] }] });
const path = "/v1beta/models/small:streamGenerateContent";

function post(edge: Harness, query = "", init: RequestInit = {}): Promise<Response> {
  return fetch(edge.url + path + query, {
    method: "POST",
    headers: { "x-goog-api-key": edge.key, "content-type": "application/json" },
    body,
    ...init,
  });
}

function rawPost(key: string, query = ""): string {
  return [
    `POST ${path}${query} HTTP/1.1`,
    "Host: edge",
    `x-goog-api-key: ${key}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");
}

/** What stands in the chunks of a raw answer. */
function chunksOf(raw: string): string {
  let text = "";
  let rest = raw.slice(raw.indexOf("\r\n\r\n") + 4);
  for (;;) {
    const [, size = "0"] = /^([0-9a-f]+)\r\n/.exec(rest) ?? [];
    const start = size.length + 2;
    const length = Number.parseInt(size, 16);
    if (length === 0) return text;
    text += rest.slice(start, start + length);
    rest = rest.slice(start + length + 2);
  }
}

async function* three(): ReturnType<FakeChat> {
  yield wire({ head: eventHead, data: event('{"n":1}') });
  yield wire({ data: Buffer.concat([event('{"n":2}'), Buffer.from("data: ")]) });
  yield wire({ data: Buffer.from('{"n":3}\n\n'), tail: { usage } });
}

function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

const failing = (error: WeirError, options: HarnessOptions = {}) =>
  startEdge({
    ...options,
    async *chat() {
      yield wire({ head: eventHead, data: event('{"n":1}') });
      throw error;
    },
  });

test.each(["", "?alt=json", "?key=ignored", "?$alt=json"])(
  "a stream asked for with %j is one JSON array",
  async (query) => {
    const edge = await startEdge({ chat: three });
    const answer = await post(edge, query);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("application/json; charset=UTF-8");
    expect(answer.headers.get("x-weir-model")).toBe("demo/small");
    expect(await answer.text()).toBe('[{"n":1}\n,\r\n{"n":2}\n,\r\n{"n":3}]');
    expect(edge.calls[0]?.request.wire?.stream).toBe(true);
  },
);

test.each(["?alt=sse", "?$alt=sse"])("a stream asked for with %j is server-sent events", async (query) => {
  const edge = await startEdge({ chat: three });
  const answer = await post(edge, query);
  expect(answer.headers.get("content-type")).toMatch(/^text\/event-stream/);
  expect(await answer.text()).toBe('data: {"n":1}\n\ndata: {"n":2}\n\ndata: {"n":3}\n\n');
});

test("another form is refused", async () => {
  const edge = await startEdge();
  const answer = await post(edge, "?alt=proto");
  expect([answer.status, await answer.json()]).toMatchObject([400, { error: { status: "INVALID_ARGUMENT" } }]);
  expect(edge.calls).toEqual([]);
});

test("an item leaves as soon as it is there", async () => {
  const { opened, open } = gate();
  const edge = await startEdge({
    async *chat() {
      yield wire({ head: eventHead, data: event('{"n":1}') });
      await opened;
      yield wire({ data: event('{"n":2}'), tail: { usage } });
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key));
  expect(chunksOf(await raw.until(/"n":1/))).toBe('[{"n":1}');
  open();
  expect(JSON.parse(chunksOf(await raw.until(/\r\n0\r\n\r\n/)))).toEqual([{ n: 1 }, { n: 2 }]);
  raw.socket.destroy();
});

test("a failure after items is the array's last item, and the connection is cut", async () => {
  const edge = await failing(new WeirError(ErrorReason.STREAM_TRUNCATED));
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key));
  const whole = await raw.whole();
  expect(whole).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(JSON.parse(chunksOf(whole))).toMatchObject([{ n: 1 }, { error: { code: 500, status: "DATA_LOSS" } }]);
});

test("a reply that ends inside an event is not whole", async () => {
  const edge = await startEdge({
    async *chat() {
      yield wire({ head: eventHead, data: event('{"n":1}') });
      yield wire({ data: Buffer.from('data: {"n":'), tail: { usage } });
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key));
  const whole = await raw.whole();
  expect(whole).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(JSON.parse(chunksOf(whole))).toMatchObject([{ n: 1 }, { error: { status: "DATA_LOSS" } }]);
});

test("a failure before the first item has a status of its own", async () => {
  const edge = await startEdge({
    async *chat() {
      throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
    },
  });
  const answer = await post(edge);
  expect([answer.status, await answer.json()]).toMatchObject([503, { error: { status: "UNAVAILABLE" } }]);
});

test("a provider's refusal passes as it came", async () => {
  const refusal = '{"error":{"code":400,"status":"INVALID_ARGUMENT"}}';
  const edge = await startEdge({
    async *chat() {
      yield wire({ head: { ...jsonHead, status: 400 }, data: Buffer.from(refusal), tail: {} });
    },
  });
  const answer = await post(edge);
  expect([answer.status, await answer.text()]).toEqual([400, refusal]);
});

test.each([
  ["an answer", undefined],
  ["a failure", new WeirError(ErrorReason.PROVIDER_UNAVAILABLE)],
])("signs of life while it waits leave %s one array", async (_, error) => {
  const { opened, open } = gate();
  const edge = await startEdge({
    settings: { holdHeadersMs: 50, heartbeatMs: 50 },
    async *chat() {
      await opened;
      if (error !== undefined) throw error;
      yield wire({ head: eventHead, data: event('{"n":1}') });
      yield wire({ data: Buffer.alloc(0), tail: { usage } });
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key));
  expect(chunksOf(await raw.until(/\r\n1\r\n\n\r\n/))).toMatch(/^\[\n+$/);
  open();
  const text = chunksOf(await raw.until(error === undefined ? /\r\n0\r\n\r\n/ : /"details"[^]*\]/));
  expect(JSON.parse(text)).toMatchObject(error === undefined ? [{ n: 1 }] : [{ error: { status: "UNAVAILABLE" } }]);
  raw.socket.destroy();
});

test("a client that leaves ends the reply", async () => {
  const edge = await startEdge({
    async *chat({ signal }) {
      yield wire({ head: eventHead, data: event('{"n":1}') });
      await untilCancelled(signal);
    },
  });
  const raw = await openRaw(edge.port);
  raw.socket.write(rawPost(edge.key));
  await raw.until(/"n":1/);
  raw.socket.destroy();
  const [call] = edge.calls;
  await new Promise((resolve) => call?.signal.addEventListener("abort", resolve, { once: true }));
});
