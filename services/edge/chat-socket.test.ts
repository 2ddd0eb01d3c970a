import { create, fromBinary, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { type RecordRefusalsRequest, RecordRefusalsResponseSchema } from "@weir/gen/weir/account/v1/audit_service_pb";
import { GenerateResponseSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ChatSocketRequestSchema, ChatSocketResponseSchema } from "@weir/gen/weir/chat/v1/chat_socket_pb";
import { type RequestRecord, RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { keyDigest } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import {
  eventually,
  type FakeChat,
  type Harness,
  openRaw,
  pepper,
  startEdge,
  stopEdges,
  untilCancelled,
} from "./testing/harness.ts";

afterEach(stopEdges);

function event(kind: Parameters<typeof create<typeof GenerateResponseSchema>>[1]) {
  return create(GenerateResponseSchema, kind);
}

const say = (text: string) =>
  event({
    payload: {
      case: "event",
      value: { kind: { case: "delta", value: { content: { case: "text", value: text } } } },
    },
  });
const end = event({
  payload: { case: "event", value: { kind: { case: "end", value: { usage: { inputTokens: 3, outputTokens: 2 } } } } },
});

/** Says the model's name and ends. */
const echo: FakeChat = async function* ({ request }) {
  yield say(request.model);
  yield end;
};

interface Said extends JsonObject {
  readonly id?: string;
}

/** A client that keeps what it hears. */
async function connect(edge: Harness, headers: Record<string, string> = {}, protocols: string[] = []) {
  const socket = new WebSocket(edge.url.replace("http", "ws") + "/v1/chat/ws", protocols, {
    headers: { authorization: `Bearer ${edge.key}`, ...headers },
  });
  const heard: Said[] = [];
  const binary: Buffer[] = [];
  let closed: { code: number; reason: string } | undefined;
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) binary.push(data);
    else heard.push(JSON.parse(data.toString()) as Said);
  });
  socket.on("close", (code, reason) => (closed = { code, reason: reason.toString() }));
  socket.on("error", () => undefined);
  await new Promise<void>((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("unexpected-response", (_, response) => reject(new Error(`refused with ${response.statusCode}`)));
  });
  return {
    socket,
    heard,
    binary,
    closed: () => closed,
    ask: (message: unknown) => socket.send(typeof message === "string" ? message : JSON.stringify(message)),
    of: (id: string) => heard.filter((said) => said.id === id),
  };
}

const generate = (id: string, model = "small") => ({
  id,
  generate: { model, messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }] },
});

test("how long a conversation waited for its first content is told as it was", async () => {
  let nowMs = 1_000_000;
  const told: RequestRecord[] = [];
  const requests = hostService(RequestService, {
    recordRequests({ records }) {
      told.push(...records);
      return {};
    },
  });
  const edge = await startEdge({
    clock: { ...systemClock, monotonic: () => nowMs },
    async *chat({ request }) {
      nowMs += 37.5;
      yield say(request.model);
      nowMs += 4.5;
      yield end;
    },
    deps: { requests: createClient(RequestService, createLocalDoor([requests])) },
  });
  const client = await connect(edge);
  client.ask(generate("a"));
  await eventually(() => told.length > 0);
  expect(told).toMatchObject([{ route: "/v1/chat/ws", firstContentUs: 37_500n, durationUs: 42_000n }]);
});

test("several conversations go on at once, each with its own end, and the first message of each names its request", async () => {
  const gates = new Map<string, () => void>();
  const edge = await startEdge({
    async *chat({ request }) {
      yield say(`${request.model} begins`);
      await new Promise<void>((resolve) => gates.set(request.model, resolve));
      yield end;
    },
  });
  const client = await connect(edge);
  client.ask(generate("a", "one"));
  client.ask(generate("b", "two"));
  await eventually(() => client.of("a").length === 1 && client.of("b").length === 1);
  await eventually(() => gates.size === 2);
  gates.get("two")?.();
  await eventually(() => client.of("b").length === 2);
  expect(client.of("a").length).toBe(1);
  gates.get("one")?.();
  await eventually(() => client.of("a").length === 2);
  expect(client.of("a")).toEqual([
    { id: "a", event: { delta: { text: "one begins" } }, requestId: expect.stringMatching(/^req_[0-9a-f]{32}$/) },
    { id: "a", event: { end: { usage: { inputTokens: 3, outputTokens: 2 } } } },
  ]);
  expect(client.of("a")[0]?.["requestId"]).not.toBe(client.of("b")[0]?.["requestId"]);
  client.socket.close();
});

test("what is asked in binary is answered in binary", async () => {
  const edge = await startEdge({ chat: echo });
  const client = await connect(edge);
  const request = create(ChatSocketRequestSchema, { id: "x", kind: { case: "generate", value: { model: "small" } } });
  client.socket.send(toBinary(ChatSocketRequestSchema, request));
  await eventually(() => client.binary.length === 2);
  const [first, last] = client.binary.map((data) => fromBinary(ChatSocketResponseSchema, data));
  expect(first?.kind.case).toBe("event");
  expect(last?.kind).toMatchObject({ case: "event", value: { kind: { case: "end" } } });
  expect(client.heard).toEqual([]);
  client.socket.close();
});

test("a conversation that is given up cancels its call, and leaves the others alone", async () => {
  const edge = await startEdge({
    async *chat({ request, signal }) {
      yield say("begins");
      if (request.model === "long") await untilCancelled(signal);
      yield end;
    },
  });
  const client = await connect(edge);
  client.ask(generate("a", "long"));
  await eventually(() => client.of("a").length === 1);
  client.ask({ id: "a", cancel: {} });
  await eventually(() => client.of("a").length === 2);
  expect(client.of("a")[1]).toEqual({ id: "a", cancelled: {} });
  await eventually(() => edge.calls[0]?.signal.aborted === true);
  client.ask(generate("a", "short"));
  await eventually(() => client.of("a").length === 4);
  client.socket.close();
});

test("a connection that breaks cancels every call", async () => {
  const edge = await startEdge({
    async *chat({ signal }) {
      yield say("begins");
      await untilCancelled(signal);
    },
  });
  const client = await connect(edge);
  for (const id of ["a", "b", "c"]) client.ask(generate(id));
  await eventually(() => client.heard.length === 3);
  client.socket.terminate();
  await eventually(() => edge.calls.every((call) => call.signal.aborted));
  await eventually(() => edge.logs.filter((line) => line.includes('"status":499')).length === 3);
});

test("a ping is answered with its own text", async () => {
  const edge = await startEdge({ chat: echo });
  const client = await connect(edge);
  client.ask({ ping: { text: "still there?" } });
  await eventually(() => client.heard.length === 1);
  expect(client.heard[0]).toEqual({ pong: { text: "still there?" } });
  client.socket.close();
});

test.each([
  ["no JSON", "{", "INVALID_REQUEST"],
  ["no object", "[]", "INVALID_REQUEST"],
  ["a field that is not there", JSON.stringify({ id: "a", generat: {} }), "INVALID_REQUEST"],
  ["nesting without end", `{"id":"a","generate":${"[".repeat(100_000)}`, "INVALID_REQUEST"],
  ["nothing asked", JSON.stringify({ id: "a" }), "INVALID_REQUEST"],
  ["no id", JSON.stringify(generate("")), "INVALID_REQUEST"],
  ["no model", JSON.stringify(generate("a", "")), "INVALID_REQUEST"],
  [
    "a field for processes of the gateway",
    JSON.stringify({ id: "a", generate: { model: "m", wire: {} } }),
    "INVALID_REQUEST",
  ],
  ["a model that the key may not call", JSON.stringify(generate("a", "other")), "MODEL_FORBIDDEN"],
])("a message with %s is refused as google.rpc.Status, and the connection goes on", async (_, text, reason) => {
  const edge = await startEdge({ chat: echo, scope: { models: ["small", "m"] } });
  const client = await connect(edge);
  client.ask(text);
  await eventually(() => client.heard.length === 1);
  expect(client.heard[0]).toMatchObject({
    error: {
      code: expect.any(Number),
      message: expect.any(String),
      details: [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason, domain: "weir" }],
    },
  });
  expect(edge.calls.length).toBe(0);
  client.ask(generate("next"));
  await eventually(() => client.of("next").length === 2);
  client.socket.close();
});

test("an id that is in use is refused without an id, and its conversation goes on", async () => {
  const edge = await startEdge({
    async *chat({ signal }) {
      yield say("begins");
      await untilCancelled(signal);
    },
  });
  const client = await connect(edge);
  client.ask(generate("a"));
  await eventually(() => client.of("a").length === 1);
  client.ask(generate("a"));
  await eventually(() => client.heard.length === 2);
  expect(client.heard[1]).toMatchObject({ error: { details: [{ metadata: { param: "id" } }] } });
  expect(client.heard[1]?.id).toBeUndefined();
  expect(edge.calls.length).toBe(1);
  client.socket.close();
});

test("each conversation counts as a request of its key", async () => {
  const edge = await startEdge({ chat: echo, scope: { requestsPerMinute: 2 } });
  const client = await connect(edge);
  client.ask(generate("a"));
  await eventually(() => client.of("a").length === 2);
  client.ask(generate("b"));
  await eventually(() => client.of("b").length > 0);
  expect(client.of("b")[0]).toMatchObject({ error: { code: 8, details: [{ reason: "RATE_LIMITED" }, {}] } });
  client.socket.close();
});

test("a client that does not read holds its replies back, and not those of others", async () => {
  let made = 0;
  const edge = await startEdge({
    async *chat({ request }) {
      for (let count = 0; count < (request.model === "long" ? 10_000 : 1); count += 1) {
        if (request.model === "long") made += 1;
        yield say("x".repeat(10_000));
      }
      yield end;
    },
  });
  const slow = await connect(edge);
  slow.socket.pause();
  slow.ask(generate("a", "long"));
  await eventually(() => made > 0);
  let before = -1;
  // Until the system's own buffers are full.
  await eventually(async () => {
    const now = made;
    await new Promise((resolve) => setTimeout(resolve, 100));
    const still = now === before && now === made;
    before = made;
    return still;
  });
  expect(made).toBeLessThan(5_000);
  const other = await connect(edge);
  other.ask(generate("b", "short"));
  await eventually(() => other.of("b").length === 2);
  slow.socket.resume();
  await eventually(() => made === 10_000);
  await eventually(() => slow.of("a").length === 10_001);
  slow.socket.close();
  other.socket.close();
});

test("browsers give the key as a sub-protocol, and may connect from allowed origins alone", async () => {
  const edge = await startEdge({ chat: echo, settings: { corsOrigins: ["https://app.example"] } });
  const protocols = ["weir.chat.v1", `weir-api-key.${edge.key}`];
  const headers = { authorization: "", origin: "https://app.example" };
  const url = edge.url.replace("http", "ws") + "/v1/chat/ws";
  const socket = new WebSocket(url, protocols, { headers: { origin: headers.origin } });
  await new Promise((resolve) => socket.once("open", resolve));
  expect(socket.protocol).toBe("weir.chat.v1");
  socket.close();
  await expect(connect(edge, { origin: "https://evil.example" })).rejects.toThrow("refused with 403");
});

test("a page of another origin is in the audit log with its key", async () => {
  const told: { detail: string; key: string | undefined }[] = [];
  const edge = await startEdge({
    deps: {
      audit: {
        recordRefusals(request) {
          for (const { detail, actor } of (request as RecordRefusalsRequest).refusals) {
            told.push({ detail, key: actor?.key });
          }
          return Promise.resolve(create(RecordRefusalsResponseSchema, {}));
        },
      },
    },
  });
  await expect(connect(edge, { origin: "https://evil.example" })).rejects.toThrow("refused with 403");
  await edge.edge.close();
  expect(told).toEqual([{ detail: "origin", key: edge.keyId }]);
});

test.each<[string, (edge: Harness) => Parameters<Harness["feed"]>[0]]>([
  ["is revoked", ({ keyId }) => ({ removed: [keyId] })],
  [
    "is confined to something else",
    ({ key, keyId }) => ({
      records: [{ id: keyId, digest: keyDigest(pepper, key), tenant: "acme", scope: { endpoints: ["embeddings"] } }],
    }),
  ],
  ["is of a tenant that was disabled", () => ({ subjects: [{ name: "tenants/acme", disabled: true }] })],
])("a key that %s ends its connection and what goes on there", async (_name, change) => {
  const edge = await startEdge({
    async *chat({ signal }) {
      yield say("begins");
      await untilCancelled(signal);
    },
  });
  const client = await connect(edge);
  client.ask(generate("a"));
  await eventually(() => client.of("a").length === 1);
  edge.feed(change(edge));
  await eventually(() => client.closed() !== undefined);
  expect(client.closed()).toMatchObject({ code: 1008 });
  expect(client.of("a").at(-1)).toMatchObject({ error: { message: expect.any(String) } });
  expect(edge.calls[0]?.signal.aborted).toBe(true);
});

test("what is refused before there is a WebSocket is refused over HTTP, in JSON", async () => {
  const edge = await startEdge({ chat: echo });
  await expect(connect(edge, { authorization: "Bearer weir_wrong" })).rejects.toThrow("refused with 401");
  const plain = await fetch(`${edge.url}/v1/chat/ws`, { headers: { authorization: `Bearer ${edge.key}` } });
  expect(plain.status).toBe(400);
  expect(await plain.json()).toMatchObject({ error: { message: expect.stringContaining("WebSocket") } });
});

test.each([
  ["an old version", "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "Version"],
  ["no version", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "Version"],
  ["no key", "Sec-WebSocket-Version: 13\r\n", "Key"],
  ["a key that is none", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", "Key"],
  [
    "a broken list of sub-protocols",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: a,,b\r\n",
    "Protocol",
  ],
])("a handshake with %s is answered with 400, and the connection closes", async (_, lines, text) => {
  const edge = await startEdge({ chat: echo });
  const raw = await openRaw(edge.port);
  raw.socket.write(
    `GET /v1/chat/ws HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${lines}\r\n`,
  );
  const answer = await raw.whole();
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toContain(text);
  expect(answer).toMatch(/\r\nx-request-id: req_/);
  expect(edge.calls.length).toBe(0);
  expect((await fetch(`${edge.url}/health/live`)).status).toBe(200);
});

test("a message that is too large ends the connection, and no call is left", async () => {
  const edge = await startEdge({ chat: echo });
  const client = await connect(edge);
  client.ask(`{"id":"a","generate":{"model":"${"x".repeat(5_000_000)}"}}`);
  await eventually(() => client.closed() !== undefined);
  expect(client.closed()?.code).toBe(1009);
  expect(edge.calls.length).toBe(0);
});

test("when the gateway stops, open conversations end well, new ones are refused, and the connection closes", async () => {
  let finish: (() => void) | undefined;
  const edge = await startEdge({
    async *chat() {
      yield say("begins");
      await new Promise<void>((resolve) => (finish = resolve));
      yield end;
    },
  });
  const client = await connect(edge);
  client.ask(generate("a"));
  await eventually(() => finish !== undefined && client.of("a").length === 1);
  const drained = edge.edge.drain(10_000);
  client.ask(generate("b"));
  await eventually(() => client.of("b").length === 1);
  expect(client.of("b")[0]).toMatchObject({ error: { code: 14, details: [{ reason: "OVERLOADED" }, {}] } });
  finish?.();
  await eventually(() => client.closed() !== undefined);
  expect(client.closed()?.code).toBe(1012);
  expect(client.of("a")[1]).toMatchObject({ event: { end: {} } });
  await drained;
});
