import { create } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { type RecordRefusalsRequest, RecordRefusalsResponseSchema } from "@weir/gen/weir/account/v1/audit_service_pb";
import { ErrorInfoSchema, RetryInfoSchema } from "@weir/gen/google/rpc/error_details_pb";
import {
  ChatService,
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { Dialect, WireRequestSchema } from "@weir/gen/weir/chat/v1/wire_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { afterEach, describe, expect, test } from "vitest";
import {
  eventually,
  type FakeCall,
  type HarnessOptions,
  openRaw,
  startEdge,
  stopEdges,
  untilCancelled,
} from "../testing/harness.ts";

afterEach(stopEdges);

const transports: Record<string, (baseUrl: string) => Transport> = {
  "Connect in JSON": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect in binary": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
};

const hello = {
  model: "small",
  messages: [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }],
};

function event(kind: "start" | "end"): GenerateResponse {
  const value =
    kind === "start"
      ? { kind: { case: "start" as const, value: { model: "small" } } }
      : { kind: { case: "end" as const, value: { usage: { inputTokens: 1, outputTokens: 1 } } } };
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

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  return ConnectError.from(
    await call.then(
      () => Promise.reject(new Error("it did not fail")),
      (thrown: unknown) => thrown,
    ),
  );
}

describe.each(Object.entries(transports))("%s", (_, open) => {
  async function serve(options: HarnessOptions = {}) {
    const harness = await startEdge(options);
    const transport = open(harness.url);
    return {
      ...harness,
      chat: createClient(ChatService, transport),
      routes: createClient(RouteService, transport),
      auth: { headers: { authorization: `Bearer ${harness.key}` } },
    };
  }

  test("a call and a stream are answered, and the services behind learn who calls from the edge alone", async () => {
    const { chat, routes, auth, calls, keyId } = await serve({ chat: twoEvents });
    const forged = { headers: { ...auth.headers, "weir-principal-bin": Buffer.from("forged").toString("base64") } };
    const replies = await collect(chat.generate(hello, forged));
    expect(replies.map((reply) => reply.payload.case)).toEqual(["event", "event"]);
    const principal = calls[0]?.options.metadata?.["weir-principal-bin"] ?? "";
    expect(Buffer.from(principal, "base64").toString("latin1")).toContain(keyId);
    expect(await routes.listRoutes({}, auth)).toMatchObject({ routes: [] });
  });

  test("without a key, a call and a stream are refused in the words of the protocol", async () => {
    const { chat, routes, calls } = await serve();
    for (const call of [routes.listRoutes({}), collect(chat.generate(hello))]) {
      const error = await failure(call);
      expect(error.code).toBe(Code.Unauthenticated);
      expect(error.findDetails(ErrorInfoSchema)).toMatchObject([{ reason: "API_KEY_INVALID", domain: "weir" }]);
    }
    expect(calls).toEqual([]);
  });

  test("a rate that is used up is told with the time to wait", async () => {
    const { routes, auth } = await serve({ scope: { requestsPerMinute: 1 } });
    await routes.listRoutes({}, auth);
    const error = await failure(routes.listRoutes({}, auth));
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.findDetails(RetryInfoSchema)[0]?.retryDelay?.seconds).toBeGreaterThan(0n);
  });

  test("a request that breaks a rule, a model out of scope and the form of the mesh are refused", async () => {
    const { chat, auth, calls } = await serve({ scope: { models: ["small"] } });
    const invalid = await failure(collect(chat.generate({ ...hello, model: "" }, auth)));
    expect(invalid.code).toBe(Code.InvalidArgument);
    const forbidden = await failure(collect(chat.generate({ ...hello, model: "large" }, auth)));
    expect(forbidden.findDetails(ErrorInfoSchema)[0]?.reason).toBe("MODEL_FORBIDDEN");
    const wire = create(WireRequestSchema, { dialect: Dialect.OPENAI_CHAT, body: Buffer.from("{}") });
    const meshOnly = await failure(collect(chat.generate({ model: "small", wire }, auth)));
    expect(meshOnly.findDetails(ErrorInfoSchema)[0]?.metadata).toEqual({ param: "wire" });
    expect(calls).toEqual([]);
  });

  test("a failure in the middle of a stream reaches the client after what came before", async () => {
    const { chat, auth } = await serve({
      async *chat() {
        yield event("start");
        throw new Error("secret-4711");
      },
    });
    const seen: unknown[] = [];
    const error = await failure(
      (async () => {
        for await (const reply of chat.generate(hello, auth)) seen.push(reply);
      })(),
    );
    expect(seen).toHaveLength(1);
    expect(error.code).toBe(Code.Internal);
    expect(error.message).not.toContain("4711");
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
    const stream = chat.generate(hello, { ...auth, signal: leaving.signal })[Symbol.asyncIterator]();
    await stream.next();
    leaving.abort();
    await eventually(() => seen[0]?.signal.aborted === true);
  });

  test("a client's time that is over ends its call, and the client is told", async () => {
    const { chat, auth, calls } = await serve({
      async *chat(call) {
        yield event("start");
        await untilCancelled(call.signal);
      },
    });
    const error = await failure(collect(chat.generate(hello, { ...auth, timeoutMs: 300 })));
    expect(error.code).toBe(Code.DeadlineExceeded);
    await eventually(() => calls[0]?.signal.aborted === true);
  });

  test("a client that read too slowly for a moment may wait for the next message", async () => {
    const { promise: quiet, resolve: speak } = Promise.withResolvers<void>();
    const long = create(GenerateResponseSchema, {
      payload: {
        case: "event",
        value: { kind: { case: "warning", value: { code: "long", param: "x".repeat(50_000) } } },
      },
    });
    const { chat, auth } = await serve({
      settings: { writeStallMs: 100 },
      async *chat() {
        yield long;
        await quiet;
        yield event("end");
      },
    });
    const stream = chat.generate(hello, auth)[Symbol.asyncIterator]();
    await stream.next();
    // Alarms of the write are looked at every 100 ms, and the second one would be the last.
    await new Promise((resolve) => setTimeout(resolve, 700));
    speak();
    expect((await stream.next()).done).toBe(false);
    expect((await stream.next()).done).toBe(true);
  });

  test("the end of service reaches an open stream as an error", async () => {
    const { chat, auth, edge } = await serve({
      async *chat(call) {
        yield event("start");
        await untilCancelled(call.signal);
      },
    });
    const stream = chat.generate(hello, auth)[Symbol.asyncIterator]();
    await stream.next();
    const rest = failure(stream.next());
    await edge.drain(100);
    expect([Code.Unavailable, Code.Aborted, Code.Internal]).toContain((await rest).code);
  });
});

test("what is refused behind the protocol's handler is in the audit log, as it is behind every door", async () => {
  const reasons: string[] = [];
  const audit: HarnessOptions["deps"] = {
    audit: {
      recordRefusals(request) {
        for (const { reason } of (request as RecordRefusalsRequest).refusals) reasons.push(reason);
        return Promise.resolve(create(RecordRefusalsResponseSchema, {}));
      },
    },
  };
  const { url, key } = await startEdge({ scope: { models: ["small"] }, deps: audit });
  for (const open of Object.values(transports)) {
    const chat = createClient(ChatService, open(url));
    const call = collect(chat.generate({ ...hello, model: "large" }, { headers: { authorization: `Bearer ${key}` } }));
    expect((await failure(call)).code).toBe(Code.PermissionDenied);
  }
  await eventually(() => reasons.length > 0);
  expect(new Set(reasons)).toEqual(new Set(["MODEL_FORBIDDEN"]));
});

test("a defect behind the protocol's handler is logged with the request that met it", async () => {
  const { url, key, logs } = await startEdge({
    async *chat() {
      throw new Error("a defect");
    },
  });
  const chat = createClient(ChatService, transports["gRPC-Web"]?.(url) as Transport);
  const call = failure(collect(chat.generate(hello, { headers: { authorization: `Bearer ${key}` } })));
  expect((await call).code).toBe(Code.Internal);
  await eventually(() => logs.some((line) => /"level":"error".*"requestId"|"requestId".*"level":"error"/.test(line)));
});

test.each([
  ["application/json", "CountTokens", false],
  ["application/connect+json", "Generate", true],
  ["application/grpc-web+json", "CountTokens", true],
])("a message in %s that cannot be read is refused in words that do not quote it", async (type, method, framed) => {
  const { url, key } = await startEdge();
  for (const message of ['{"model": CANARY}', '{"maxOutputTokens":"CANARY","request":{"maxOutputTokens":"CANARY"}}']) {
    const bytes = Buffer.from(message);
    const answer = await fetch(`${url}/weir.chat.v1.ChatService/${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": type },
      body: framed ? encodeEnvelope(0, bytes) : bytes,
    });
    const words = decodeURIComponent(`${answer.headers.get("grpc-message") ?? ""}${await answer.text()}`);
    expect(words).toContain(`The request is no weir.chat.v1.${method}Request.`);
    expect(words).not.toContain("CANARY");
  }
});

test.each([
  ["application/json", "CountTokens"],
  ["application/json; charset=utf-8", "CountTokens"],
  ["application/connect+json", "Generate"],
  ["application/grpc-web+json", "CountTokens"],
  ["application/proto", "CountTokens"],
  ["application/connect+proto", "Generate"],
  ["application/grpc-web", "Generate"],
])("a message in %s that is too much to be built is refused before it is", async (type, method) => {
  const { url, key, calls } = await startEdge();
  const send = async (body: Uint8Array<ArrayBuffer>) => {
    const headers = { authorization: `Bearer ${key}`, "content-type": type };
    const answer = await fetch(`${url}/weir.chat.v1.ChatService/${method}`, { method: "POST", headers, body });
    return decodeURIComponent(`${answer.headers.get("grpc-message") ?? ""}${await answer.text()}`);
  };
  const isFramed = /connect|web/.test(type);
  const framed = (bytes: Uint8Array<ArrayBuffer>) => (isFramed ? encodeEnvelope(0, bytes) : bytes);
  if (type.includes("json")) {
    expect(await send(framed(Buffer.from(`{"model":${"[".repeat(3_000_000)}`)))).toContain("100 levels");
    const values = `{"messages":[${"{},".repeat(1_100_000)}{}]}`;
    expect(await send(framed(Buffer.from(values)))).toContain("1000000 values");
  } else {
    // Empty messages, in the field `messages` of one request, and of the request that is in the other.
    const empty = Buffer.alloc(2_200_000, Buffer.from([(GenerateRequestSchema.field.messages.number << 3) | 2, 0]));
    const inner = Buffer.concat([new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(empty).finish()]);
    expect(await send(framed(method === "Generate" ? empty : inner))).toContain("1000000 fields");
  }
  if (isFramed) {
    const second = encodeEnvelope(0, Buffer.from("[".repeat(34)));
    expect(await send(Buffer.concat([framed(Buffer.from("{}")), second]))).toContain("not one message");
    expect(await send(Buffer.from([0, 0]))).toContain("not one message");
  }
  expect(calls).toEqual([]);
});

test.each([
  ["application/json", "CountTokens"],
  ["application/connect+json", "Generate"],
  ["application/grpc-web+json", "Generate"],
])("a name with an escape in %s is read as it is written, whatever was read before it", async (type, method) => {
  const { url, key, calls, counted } = await startEdge({ chat: twoEvents });
  const send = async (message: string) => {
    const bytes = Buffer.from(message);
    const body = type === "application/json" ? bytes : encodeEnvelope(0, bytes);
    const headers = { authorization: `Bearer ${key}`, "content-type": type };
    const answer = await fetch(`${url}/weir.chat.v1.ChatService/${method}`, { method: "POST", headers, body });
    await answer.arrayBuffer();
  };
  const wrapped = (request: string) => (method === "CountTokens" ? `{"request":${request}}` : request);
  const messages = '"messages":[{"role":"ROLE_USER","parts":[{"text":{"text":"hi"}}]}]';
  JSON.parse(wrapped(`{${messages},"\\\\u006":2}`));
  await send(wrapped(`{${messages},"\\u006dodel":"small"}`));
  expect([...calls.map(({ request }) => request.model), ...counted.map(({ request }) => request?.model)]).toEqual([
    "small",
  ]);
});

test("a body beyond what its method takes is refused as in REST", async () => {
  const { url, key } = await startEdge();
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/proto" };
  const body = Buffer.alloc(4_200_000);
  const answer = await fetch(`${url}/weir.metering.v1.UsageService/ListCosts`, { method: "POST", headers, body });
  expect(await answer.json()).toMatchObject({ code: "resource_exhausted" });
});

test("a target in absolute form is answered, whatever its authority", async () => {
  const { port, key } = await startEdge();
  const raw = await openRaw(port);
  raw.socket.write(
    `POST http://[::/weir.routing.v1.RouteService/ListRoutes HTTP/1.1\r\nHost: [::\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
  );
  expect(await raw.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 200 /);
  raw.socket.destroy();
});

test("gRPC-Web in base 64 is answered in base 64", async () => {
  const { url, key } = await startEdge({ chat: twoEvents });
  const frame = Buffer.from([0, 0, 0, 0, 0]).toString("base64");
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/grpc-web-text" };
  const answer = await fetch(`${url}/weir.routing.v1.RouteService/ListRoutes`, {
    method: "POST",
    headers,
    body: frame,
  });
  expect(answer.headers.get("content-type")).toBe("application/grpc-web-text+proto");
  const body = Buffer.concat((await answer.text()).match(/[^=]+=*/g)?.map((part) => Buffer.from(part, "base64")) ?? []);
  expect(body.toString("latin1")).toContain("grpc-status: 0");
});

test("scripts of allowed origins may call and read the trailers", async () => {
  const { url } = await startEdge({ settings: { corsOrigins: ["https://app.example"] } });
  const path = `${url}/weir.routing.v1.RouteService/ListRoutes`;
  const preflight = await fetch(path, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,connect-protocol-version,x-grpc-web",
    },
  });
  expect(preflight.headers.get("access-control-allow-headers")).toContain("connect-protocol-version");
  const call = await fetch(path, { method: "POST", headers: { origin: "https://app.example" }, body: "{}" });
  expect(call.headers.get("access-control-expose-headers")).toContain("grpc-status");
});

test("methods for processes of the gateway are served to nobody", async () => {
  const { url, key } = await startEdge();
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const answer = await fetch(`${url}/weir.account.v1.AccountService/WatchKeys`, {
    method: "POST",
    headers,
    body: "{}",
  });
  expect(answer.status).toBe(404);
});

test("a body beyond the limit is refused before it is read", async () => {
  const { url, key } = await startEdge({ settings: { bodyBytesMax: 1_024 } });
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const body = JSON.stringify({ model: "x".repeat(2_000) });
  const answer = await fetch(`${url}/weir.chat.v1.ChatService/CountTokens`, { method: "POST", headers, body });
  expect(await answer.json()).toMatchObject({ code: "resource_exhausted" });
});
