import { create, fromBinary, toJson } from "@bufbuild/protobuf";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { type GenerateRequest, GenerateResponseSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { choiceEnd, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { hostService, onCallEnd, requestMetadata } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { type RpcService, rpcService } from "../rpc/public-methods.ts";
import { eventually, type FakeChat, type HarnessOptions, openRaw, startEdge, stopEdges } from "../testing/harness.ts";
import { createTestService, type MethodInit } from "./testing/schema.ts";

afterEach(stopEdges);

const modelsCall = { permission: Permission.MODELS_CALL, endpoint: "chat" };

/** What the methods of a made-up service do. */
interface Script {
  readonly get?: (request: Record<string, unknown>, context: Context) => unknown;
  readonly list?: (request: Record<string, unknown>, context: Context) => AsyncGenerator<unknown, void, undefined>;
}
type Context = Parameters<typeof requestMetadata>[0];

const methods: Readonly<Record<string, MethodInit>> = {
  Get: {
    types: "Thing -> Thing",
    access: modelsCall,
    rule: {
      pattern: { case: "get", value: "/v1/{name=things/*}" },
      additionalBindings: [
        { pattern: { case: "patch", value: "/v1/{name=things/*}" }, body: "*" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:texts" }, responseBody: "texts" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:count" }, responseBody: "count" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:inner" }, responseBody: "inner" },
      ],
    },
  },
  List: {
    types: "Thing -> stream Thing",
    access: modelsCall,
    rule: { pattern: { case: "get", value: "/v1/things" } },
  },
  Open: {
    types: "Thing -> Thing",
    access: { permission: Permission.PUBLIC, endpoint: "" },
    rule: { pattern: { case: "get", value: "/v1/open" } },
  },
};

const testService = createTestService({
  messages: {
    Thing: { name: "string", texts: "repeated string", count: "int64", display_name: "string", inner: "Inner" },
    Inner: { leaf: "string" },
  },
  methods,
});

/** An edge before the made-up service. */
async function start(script: Script, options: HarnessOptions = {}) {
  const get = script.get ?? ((request) => request);
  const hosted = hostService(testService, { get, list: script.list, open: get } as never);
  const client = createClient(testService, createLocalDoor([hosted], { onDefect: () => undefined }));
  const rpc: RpcService[] = [rpcService(testService, client as never)];
  const edge = await startEdge({ ...options, deps: { rpc } });
  const call = (path: string, init: RequestInit = {}) =>
    fetch(`${edge.url}${path}`, { ...init, headers: { authorization: `Bearer ${edge.key}`, ...init.headers } });
  const json = { "content-type": "application/json" };
  const patch = (path: string, body: string, headers: Record<string, string> = json) =>
    call(path, { method: "PATCH", body, headers });
  return { edge, call, patch };
}

describe("a call", () => {
  test("is bound, made with the caller's principal, and answered as proto JSON", async () => {
    let principal: unknown;
    let requestId: string | undefined;
    const { edge, call } = await start({
      get(request, context) {
        const bytes = Buffer.from(requestMetadata(context, "weir-principal-bin") ?? "", "base64");
        principal = toJson(PrincipalSchema, fromBinary(PrincipalSchema, bytes));
        requestId = requestMetadata(context, "weir-request-id");
        return { ...request, displayName: "D", count: 9007199254740993n };
      },
    });
    const response = await call("/v1/things/a%2Fb?texts=x&texts=y", { headers: { "x-weir-tags": "team=search" } });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(response.headers.get("x-ratelimit-limit-requests")).not.toBeNull();
    expect(await response.json()).toEqual({
      name: "things/a%2Fb",
      texts: ["x", "y"],
      count: "9007199254740993",
      displayName: "D",
    });
    expect(principal).toMatchObject({ tenant: "acme", key: edge.keyId, tags: { team: "search" } });
    expect(response.headers.get("x-request-id")).toBe(requestId);
  });

  test("comes by each of its bindings, whose answer may be one field", async () => {
    const { call, patch } = await start({});
    expect(await (await patch("/v1/things/a", '{"display_name":"D"}')).json()).toEqual({
      name: "things/a",
      displayName: "D",
    });
    expect(await (await patch("/v1/things/a", "", {})).json()).toEqual({ name: "things/a" });
    expect(await (await call("/v1/things/a:texts?texts=x")).json()).toEqual(["x"]);
    expect(await (await call("/v1/things/a:texts")).json()).toEqual([]);
    expect(await (await call("/v1/things/a:count?count=5")).json()).toBe("5");
    expect(await (await call("/v1/things/a:count")).json()).toBe("0");
    expect(await (await call("/v1/things/a:inner?inner.leaf=x")).json()).toEqual({ leaf: "x" });
    expect(await (await call("/v1/things/a:inner")).json()).toBeNull();
  });

  test("of a method for everyone needs no key", async () => {
    const { edge } = await start({});
    expect(await (await fetch(`${edge.url}/v1/open?name=n`)).json()).toEqual({ name: "n" });
  });

  test("by HEAD has the head of GET, and a stream's is not begun for it", async () => {
    let begun = 0;
    const { call } = await start({
      async *list() {
        begun += 1;
        yield {};
      },
    });
    const head = await call("/v1/things/a", { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "19", ""]);
    const stream = await call("/v1/things", { method: "HEAD" });
    expect([stream.status, stream.headers.get("content-type"), await stream.text()]).toEqual([
      200,
      "application/x-ndjson",
      "",
    ]);
    expect(begun).toBe(0);
  });

  test("ends when its client leaves", async () => {
    let ended = false;
    let begun = false;
    const { call } = await start({
      get: (_, context) =>
        new Promise((resolve) => {
          begun = true;
          onCallEnd(context, () => {
            ended = true;
            resolve({});
          });
        }),
    });
    const left = new AbortController();
    const answer = call("/v1/things/a", { signal: left.signal });
    await eventually(() => begun);
    left.abort();
    await expect(answer).rejects.toThrow("aborted");
    await eventually(() => ended);
  });

  test("may have a time of its own, shorter than the door's", async () => {
    const { call } = await start({
      get: (_, context) => new Promise((resolve) => onCallEnd(context, () => resolve({}))),
    });
    const response = await call("/v1/things/a", { headers: { "x-server-timeout": "0.1" } });
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ code: 4, details: [{ reason: "DEADLINE_EXCEEDED" }, {}] });
  });

  test.each(["0", "-1", "1s", "", "86401", "1e3", "NaN"])("with the time %j is refused", async (text) => {
    const { call } = await start({});
    const response = await call("/v1/things/a", { headers: { "x-server-timeout": text } });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ details: [{ metadata: { param: "x-server-timeout" } }, {}, {}] });
  });
});

describe("a failure", () => {
  test.each(Object.keys(errorTable).map((reason) => [Number(reason)]))(
    "for reason %i is a google.rpc.Status",
    async (number) => {
      const reason = number as Reason;
      const { call } = await start({
        get() {
          throw new WeirError(reason, { text: "Told.", metadata: { resource: "things/a" }, retryAfterMs: 2_500 });
        },
      });
      const response = await call("/v1/things/a");
      const row = errorTable[reason];
      expect(response.status).toBe(row.openai.status);
      expect(response.headers.get("content-type")).toContain("application/json");
      expect(response.headers.get("retry-after")).toBe(row.retry === "never" ? null : "3");
      const { code, message, details } = (await response.json()) as {
        code: number;
        message: string;
        details: unknown[];
      };
      expect([code, message]).toEqual([row.code, "Told."]);
      expect(details[0]).toMatchObject({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        domain: "weir",
        metadata: { resource: "things/a" },
      });
      expect(details).toContainEqual({
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        requestId: response.headers.get("x-request-id"),
      });
      const retry = { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "2.5s" };
      if (row.retry === "never") expect(details).not.toContainEqual(retry);
      else expect(details).toContainEqual(retry);
    },
  );

  test("names the field at fault as BadRequest does", async () => {
    const { patch } = await start({});
    const response = await patch("/v1/things/a", '{"inner":{"nope":1}}');
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      code: 3,
      details: [{}, { fieldViolations: [{ field: "inner.nope", description: "There is no field `inner.nope`." }] }, {}],
    });
  });

  test.each<[string, number, string, string | Uint8Array<ArrayBuffer> | undefined, Record<string, string>]>([
    ["a wrong key", 401, "GET", undefined, { authorization: "Bearer weir_wrong" }],
    ["a method that the path lacks", 405, "DELETE", undefined, {}],
    ["a body of another type", 415, "PATCH", "name=a", { "content-type": "application/x-www-form-urlencoded" }],
    ["a compressed body", 415, "PATCH", "{}", { "content-type": "application/json", "content-encoding": "gzip" }],
    ["a body that is too large", 413, "PATCH", `"${"a".repeat(2_000)}"`, { "content-type": "application/json" }],
    [
      "a body that is no UTF-8",
      400,
      "PATCH",
      new Uint8Array([0x22, 0xff, 0x22]),
      { "content-type": "application/json" },
    ],
    ["tags that are none", 400, "GET", undefined, { "x-weir-tags": "x" }],
  ])("for %s is told so", async (_, status, method, body, headers) => {
    const { call } = await start({}, { settings: { bodyBytesMax: 1_000 } });
    const response = await call("/v1/things/a", { method, headers, ...(body === undefined ? {} : { body }) });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ code: expect.any(Number), message: expect.any(String) });
    if (status === 405) expect(response.headers.get("allow")).toBe("GET, HEAD, PATCH, OPTIONS");
  });

  test("for a key whose scope lacks the endpoint is 403", async () => {
    const { call } = await start({}, { scope: { endpoints: ["costs"] } });
    const response = await call("/v1/things/a");
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      code: 7,
      details: [{ reason: "FORBIDDEN", metadata: { endpoint: "chat" } }, {}],
    });
  });

  test("for a GET with a body is told before it is read", async () => {
    const { edge } = await start({});
    const raw = await openRaw(edge.port);
    raw.socket.write(
      `GET /v1/things/a HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\nContent-Length: 2\r\n\r\n{}`,
    );
    expect(await raw.until(/no body/)).toMatch(/^HTTP\/1\.1 400 /);
    raw.socket.destroy();
  });
});

test("OPTIONS tells the methods, and CORS to origins that are allowed", async () => {
  const { edge } = await start({}, { settings: { corsOrigins: ["https://app.example"] } });
  const response = await fetch(`${edge.url}/v1/things/a`, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "PATCH",
      "access-control-request-headers": "x-server-timeout",
    },
  });
  expect(response.status).toBe(204);
  expect(response.headers.get("access-control-allow-methods")).toBe("GET, HEAD, PATCH, OPTIONS");
  expect(response.headers.get("access-control-allow-headers")).toBe("x-server-timeout");
});

async function* three(): AsyncGenerator<unknown, void, undefined> {
  for (const name of ["a", "b", "c"]) {
    yield { name };
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a stream", () => {
  test.each([
    [undefined, "lines"],
    ["*/*", "lines"],
    ["application/x-ndjson", "lines"],
    ["application/x-ndjson;q=1, text/event-stream;q=0.5", "lines"],
    ["text/event-stream;q=0", "lines"],
    ["text/event-stream", "events"],
    ["Text/Event-Stream, */*;q=0.1", "events"],
    ["application/json;q=0.5, text/event-stream", "events"],
  ])("for a client that accepts %s comes as %s", async (accept, kind) => {
    const { call } = await start({ list: three });
    const response = await call("/v1/things", { headers: accept === undefined ? {} : { accept } });
    const isEvents = kind === "events";
    expect(response.headers.get("content-type")).toBe(
      isEvents ? "text/event-stream; charset=utf-8" : "application/x-ndjson",
    );
    const lines = ["a", "b", "c"].map((name) => JSON.stringify({ name }));
    expect(await response.text()).toBe(lines.map((line) => (isEvents ? `data: ${line}\n\n` : `${line}\n`)).join(""));
  });

  test("without a message is empty", async () => {
    const { call } = await start({ async *list() {} });
    const response = await call("/v1/things");
    expect([response.status, await response.text()]).toEqual([200, ""]);
  });

  test("brings each message as it is made", async () => {
    let more = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      more = resolve;
    });
    const { call } = await start({
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

  test("that fails before its first message has a status of its own", async () => {
    const { call } = await start({
      // oxlint-disable-next-line require-yield
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
  ])("as %s that fails later says so in its last piece, and is cut", async (accept, pattern) => {
    const { edge } = await start({
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

  test("as events shows signs of life while it waits", async () => {
    let more = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      more = resolve;
    });
    const { edge } = await start(
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

  test("ends when its client leaves", async () => {
    let ended = false;
    const { call } = await start({
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

  test("of a client that does not read holds the call back, and is reset when nothing leaves", async () => {
    let made = 0;
    let ended = false;
    const name = "x".repeat(50_000);
    const { edge } = await start(
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

  test("that pauses after a slow reader caught up is not cut", async () => {
    const { edge } = await start(
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
});

describe("ChatService.Generate", () => {
  const reply: FakeChat = async function* () {
    const choices = [choiceEnd(0, StopReason.END, "")];
    for (const value of [
      startEvent({ id: "r", model: "small" }),
      textEvent(0, 0, "Hi"),
      endEvent(choices, { $typeName: "weir.common.v1.Usage", inputTokens: 3, outputTokens: 2, serverToolUses: {} }),
    ]) {
      yield create(GenerateResponseSchema, { payload: { case: "event", value } });
    }
  };
  const body = JSON.stringify({ messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }], user: "u" });

  async function startChat(options: HarnessOptions = {}) {
    const edge = await startEdge({ chat: reply, ...options });
    const generate = (path: string, text = body) =>
      fetch(`${edge.url}${path}`, {
        method: "POST",
        body: text,
        headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json" },
      });
    return { edge, generate };
  }

  test("takes the model from the path and answers with events", async () => {
    const { edge, generate } = await startChat();
    const response = await generate("/v1/models/org/small:generate");
    expect(response.status).toBe(200);
    const lines = (await response.text()).trimEnd().split("\n");
    expect(lines.map((line) => Object.keys((JSON.parse(line) as { event: object }).event)[0])).toEqual([
      "start",
      "delta",
      "end",
    ]);
    const request = edge.calls[0]?.request as GenerateRequest;
    expect([request.model, request.messages.length, request.wire]).toEqual(["org/small", 1, undefined]);
  });

  test("keeps to the models of the key", async () => {
    const { edge, generate } = await startChat({ scope: { models: ["small"] } });
    expect((await generate("/v1/models/small:generate")).status).toBe(200);
    const response = await generate("/v1/models/large:generate");
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ code: 7, details: [{ reason: "MODEL_FORBIDDEN" }, {}] });
    expect(edge.calls.length).toBe(1);
  });

  test("takes tokens from the key's rate, as much as the reply used", async () => {
    const { generate } = await startChat({ scope: { tokensPerMinute: 2_000 } });
    for (let index = 0; index < 3; index++) {
      const response = await generate("/v1/models/small:generate");
      expect(response.status).toBe(200);
      await response.text();
    }
    const large = body.replace('"user"', '"maxOutputTokens":5000,"user"');
    expect((await generate("/v1/models/small:generate", large)).status).toBe(429);
  });

  test("does not take the form of the mesh, nor what breaks the schema's rules", async () => {
    const { edge, generate } = await startChat();
    const wire = await generate(
      "/v1/models/small:generate",
      '{"wire":{"body":"e30=","dialect":"DIALECT_OPENAI_CHAT"}}',
    );
    expect(wire.status).toBe(400);
    expect(await wire.json()).toMatchObject({ details: [{ metadata: { param: "wire" } }, {}, {}] });
    const logprobs = await generate("/v1/models/small:generate", '{"topLogprobs":21}');
    expect(await logprobs.json()).toMatchObject({ details: [{ metadata: { param: "top_logprobs" } }, {}, {}] });
    expect(edge.calls).toEqual([]);
  });
});

test("requests are checked against the rules of their schema", async () => {
  const asked: unknown[] = [];
  const budgets = hostService(BudgetService, {
    createBudget(request) {
      asked.push(request);
      return {};
    },
  });
  const client = createClient(BudgetService, createLocalDoor([budgets]));
  const edge = await startEdge({ deps: { rpc: [rpcService(BudgetService, client)] }, role: 5 });
  const send = (body: object) =>
    fetch(`${edge.url}/v1/budgets`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json" },
    });
  expect((await send({ displayName: "x".repeat(4_200_000) })).status).toBe(413);
  const response = await send({ budgetId: "Bad Id", limitNanoUsd: "1", window: { kind: "WINDOW_KIND_DAY" } });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ details: [{ metadata: { param: "budget_id" } }, {}, {}] });
  expect(asked).toEqual([]);
});

test("whatever is sent to whatever path, nothing fails inside", async () => {
  const { edge, call } = await start({ list: three }, { scope: { requestsPerMinute: 100_000 } });
  const piece = fc.constantFrom(
    "v1",
    "things",
    "a",
    ":count",
    ":texts",
    "%2F",
    "%zz",
    "%ff",
    "?",
    "&",
    "=",
    "texts",
    "inner.leaf",
    "count",
    "1",
    "/",
    ".",
    "{",
    "*",
    "é",
  );
  const path = fc
    .array(piece, { maxLength: 8 })
    .map((pieces) => encodeURI(`/v1/things${pieces.join("")}`).replaceAll("%25", "%"));
  const body = fc.oneof(fc.json(), fc.string({ unit: "grapheme" }), fc.constant('{"inner":{"leaf":"x"},"count":"5"}'));
  const accept = fc.constantFrom("*/*", "text/event-stream", "application/x-ndjson", "", ";;q=,");
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "PATCH", "DELETE", "HEAD", "OPTIONS"),
      path,
      body,
      accept,
      async (method, target, text, accepted) => {
        const response = await call(target, {
          method,
          headers: { "content-type": "application/json", accept: accepted },
          ...(method === "PATCH" ? { body: text } : {}),
        });
        const answer = await response.text();
        expect(response.status, `${method} ${target}: ${answer}`).toBeLessThan(500);
      },
    ),
    { numRuns: 300 },
  );
  expect(edge.logs.filter((line) => line.includes('"level":"error"'))).toEqual([]);
});

test("an export comes as lines, and as CSV to who accepts it", async () => {
  const usage = hostService(UsageService, {
    async *exportUsage({ table }) {
      yield { csv: Buffer.from(`${table.case ?? ""}\r\n`) };
    },
  });
  const client = createClient(UsageService, createLocalDoor([usage]));
  const edge = await startEdge({ deps: { rpc: [rpcService(UsageService, client)] } });
  const send = (accept: string) =>
    fetch(`${edge.url}/v1/usage:export`, {
      method: "POST",
      body: '{"attempts":{"tag":"a"}}',
      headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json", accept },
    });
  expect(await (await send("*/*")).text()).toBe(`{"csv":"${Buffer.from("attempts\r\n").toString("base64")}"}\n`);
  expect(await (await send("text/csv")).text()).toBe("attempts\r\n");
});

test("methods of the mesh have no path", async () => {
  const client = createClient(AccountService, createLocalDoor([]));
  const edge = await startEdge({ deps: { rpc: [rpcService(AccountService, client)] } });
  expect(edge.edge.routes.some(({ path }) => path.includes("atchKeys"))).toBe(false);
});

test("a rule that cannot be served, or that is another's path, stops the start", async () => {
  const startWith = (method: MethodInit) => {
    const service = createTestService({ messages: { Thing: { name: "string" } }, methods: { Do: method } });
    const client = createClient(service, createLocalDoor([]));
    return startEdge({ deps: { rpc: [rpcService(service, client as never)] } });
  };
  const types = "Thing -> Thing";
  await expect(startWith({ types })).rejects.toThrow("test.Messaging/Do: it has no rule");
  await expect(startWith({ types, rule: { pattern: { case: "get", value: "/v1/{nope}" } } })).rejects.toThrow(
    "no field nope",
  );
  await expect(startWith({ types, rule: { pattern: { case: "get", value: "/v1/{name=models/**}" } } })).rejects.toThrow(
    "are one path",
  );
});
