import { fromBinary, toJson } from "@bufbuild/protobuf";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { onCallEnd, requestMetadata } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { rpcService } from "../rpc/public-methods.ts";
import { eventually, openRaw, startEdge, stopEdges } from "../testing/harness.ts";
import { startMessaging, three } from "./testing/messaging.ts";
import { createTestService, type MethodInit } from "./testing/schema.ts";

afterEach(stopEdges);

describe("a call", () => {
  test("is bound, made with the caller's principal, and answered as proto JSON", async () => {
    let principal: unknown;
    let requestId: string | undefined;
    const { edge, call } = await startMessaging({
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
    const { call, patch } = await startMessaging({});
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
    const { edge } = await startMessaging({});
    expect(await (await fetch(`${edge.url}/v1/open?name=n`)).json()).toEqual({ name: "n" });
  });

  test("by HEAD has the head of GET, and a stream's is not begun for it", async () => {
    let begun = 0;
    const { call } = await startMessaging({
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
    const { call } = await startMessaging({
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
    const { call } = await startMessaging({
      get: (_, context) => new Promise((resolve) => onCallEnd(context, () => resolve({}))),
    });
    const response = await call("/v1/things/a", { headers: { "x-server-timeout": "0.1" } });
    expect(response.status).toBe(504);
    expect(await response.json()).toMatchObject({ code: 4, details: [{ reason: "DEADLINE_EXCEEDED" }, {}] });
  });

  test.each(["0", "-1", "1s", "", "86401", "1e3", "NaN"])("with the time %j is refused", async (text) => {
    const { call } = await startMessaging({});
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
      const { call } = await startMessaging({
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
    const { patch } = await startMessaging({});
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
    const { call } = await startMessaging({}, { settings: { bodyBytesMax: 1_000 } });
    const response = await call("/v1/things/a", { method, headers, ...(body === undefined ? {} : { body }) });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ code: expect.any(Number), message: expect.any(String) });
    if (status === 405) expect(response.headers.get("allow")).toBe("GET, HEAD, PATCH, OPTIONS");
  });

  test("for a key whose scope lacks the endpoint is 403", async () => {
    const { call } = await startMessaging({}, { scope: { endpoints: ["costs"] } });
    const response = await call("/v1/things/a");
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      code: 7,
      details: [{ reason: "FORBIDDEN", metadata: { endpoint: "chat" } }, {}],
    });
  });

  test("for a GET with a body is told before it is read", async () => {
    const { edge } = await startMessaging({});
    const raw = await openRaw(edge.port);
    raw.socket.write(
      `GET /v1/things/a HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\nContent-Length: 2\r\n\r\n{}`,
    );
    expect(await raw.until(/no body/)).toMatch(/^HTTP\/1\.1 400 /);
    raw.socket.destroy();
  });
});

test("OPTIONS tells the methods, and CORS to origins that are allowed", async () => {
  const { edge } = await startMessaging({}, { settings: { corsOrigins: ["https://app.example"] } });
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

test("whatever is sent to whatever path, nothing fails inside", async () => {
  const { edge, call } = await startMessaging({ list: three }, { scope: { requestsPerMinute: 100_000 } });
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
