import { fromBinary } from "@bufbuild/protobuf";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, describe, expect, test } from "vitest";
import {
  event,
  eventHead,
  hello,
  helloBody,
  helloStream,
  jsonHead,
  startEdge,
  untilCancelled,
  usage,
  wire,
  stopEdges,
} from "./testing/harness.ts";

afterEach(stopEdges);

const requestId = /^req_[0-9a-f]{32}$/;

describe("an answer at once", () => {
  test("is the service's bytes with a length, and headers that say who served it", async () => {
    const edge = await startEdge();
    const response = await edge.post(hello);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe(helloBody);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("content-length")).toBe(String(helloBody.length));
    expect(response.headers.get("x-request-id")).toMatch(requestId);
    expect(response.headers.get("x-weir-model")).toBe("demo/small");
    expect(response.headers.get("x-weir-attempts")).toBe("1");
    expect(response.headers.get("openai-processing-ms")).toMatch(/^\d+$/);
    expect(response.headers.get("x-ratelimit-limit-requests")).toBe("10000");
    expect(response.headers.get("x-ratelimit-remaining-requests")).toBe("9999");
    expect(response.headers.get("x-ratelimit-reset-requests")).toMatch(/^(1m[01]s|\d+s)$/);
    expect(response.headers.get("x-ratelimit-remaining-tokens")).toBe(String(10_000_000 - 15));
  });

  test("tells OpenAI's clients alone by OpenAI's header how long it took", async () => {
    const edge = await startEdge();
    const messages = [{ role: "user", content: "hi" }];
    for (const [path, body, isTold] of [
      ["/v1/chat/completions", hello, true],
      ["/v1/completions", { model: "small", prompt: "hi" }, true],
      ["/v1/responses", { model: "small", input: "hi", store: false }, true],
      ["/v1/messages", { model: "small", max_tokens: 9, messages }, false],
      ["/v1/chat", { model: "small", messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }] }, false],
      ["/v1beta/models/small:generateContent", { contents: [{ role: "user", parts: [{ text: "hi" }] }] }, false],
    ] as const) {
      const headers = { "x-api-key": edge.key, "content-type": "application/json" };
      const response = await fetch(edge.url + path, { method: "POST", headers, body: JSON.stringify(body) });
      await response.arrayBuffer();
      expect([path, response.status, response.headers.has("openai-processing-ms")]).toEqual([path, 200, isTold]);
    }
  });

  test("is also given without /v1", async () => {
    const edge = await startEdge();
    const response = await fetch(`${edge.url}/chat/completions?api-version=1`, {
      method: "POST",
      headers: { "x-api-key": edge.key },
      // Bytes have no content type of their own, so that none is sent.
      body: Buffer.from(JSON.stringify(hello)),
    });
    expect(response.status).toBe(200);
  });

  test("comes from a call that carries body, spans, principal, request id, trace and deadline", async () => {
    const edge = await startEdge();
    const body =
      '{ "model" : "models/small", "user":"eve", "messages":[{"role":"user","content":"hi"}], "new_field": 1 }';
    const response = await edge.post(body, {
      headers: {
        "x-stainless-timeout": "7",
        "x-client-request-id": "theirs",
        "x-request-id": "theirs",
        "weir-principal-bin": "Zm9yZ2Vk",
        "weir-request-id": "forged",
      },
    });
    const [call] = edge.calls;
    expect(Buffer.from(call?.request.wire?.body ?? []).toString()).toBe(body);
    const span = call?.request.wire?.model;
    expect(body.slice(span?.start, span?.end)).toBe('"models/small"');
    expect(call?.request.model).toBe("small");
    expect(call?.options.timeoutMs).toBe(7_000);
    const metadata = call?.options.metadata ?? {};
    expect(metadata["weir-request-id"]).toBe(response.headers.get("x-request-id"));
    const principal = fromBinary(PrincipalSchema, Buffer.from(metadata["weir-principal-bin"] ?? "", "base64"));
    expect(principal).toMatchObject({ tenant: "acme", key: edge.keyId, user: "eve" });
    expect(Object.keys(metadata).sort()).toEqual(["weir-principal-bin", "weir-request-id"]);
  });

  test("carries the client's tags to who pays for it, and is refused when they are none", async () => {
    const edge = await startEdge();
    await edge.post(hello, { headers: { "x-weir-tags": "team=search, job=nightly" } });
    const metadata = edge.calls[0]?.options.metadata ?? {};
    const principal = fromBinary(PrincipalSchema, Buffer.from(metadata["weir-principal-bin"] ?? "", "base64"));
    expect(principal).toMatchObject({ tenant: "acme", user: "", tags: { team: "search", job: "nightly" } });
    const refused = await edge.post(hello, { headers: { "x-weir-tags": "team" } });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: "x-weir-tags" } });
    expect(edge.calls).toHaveLength(1);
  });

  test("has no deadline of the client when it is a stream: the SDKs' timers end with the head", async () => {
    const edge = await startEdge();
    await edge.post(JSON.stringify({ ...hello, stream: true }), { headers: { "x-stainless-timeout": "7" } });
    expect(edge.calls[0]?.options.timeoutMs).toBeUndefined();
  });

  test("passes a valid trace context on and drops any other", async () => {
    const edge = await startEdge();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const tracestate = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
    await edge.post(hello, { headers: { traceparent, tracestate } });
    expect(edge.calls[0]?.options.metadata).toMatchObject({ traceparent, tracestate });
    await edge.post(hello, {
      headers: { traceparent: "00-00000000000000000000000000000000-b7ad6b7169203331-01", tracestate },
    });
    expect(edge.calls[1]?.options.metadata).not.toHaveProperty("traceparent");
    expect(edge.calls[1]?.options.metadata).not.toHaveProperty("tracestate");
  });

  test("in many pieces is put together", async () => {
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: jsonHead, data: Buffer.from('{"a":') });
        yield wire({ data: Buffer.from('"b"') });
        yield wire({ data: Buffer.from("}"), tail: { usage } });
      },
    });
    const response = await edge.post(hello);
    expect(response.headers.get("content-length")).toBe("9");
    expect(await response.json()).toEqual({ a: "b" });
  });

  test("that is large goes out as it comes", async () => {
    const piece = Buffer.alloc(400_000, "x");
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: jsonHead, data: piece });
        for (let index = 0; index < 9; index++) yield wire({ data: piece });
        yield wire({ data: Buffer.from("end"), tail: { usage } });
      },
    });
    const response = await edge.post(hello);
    expect(response.headers.get("content-length")).toBeNull();
    expect((await response.text()).length).toBe(4_000_003);
  });

  test("keeps a provider's refusal and its allowed headers, and never lets it set ours", async () => {
    const edge = await startEdge({
      async *chat() {
        const headers = {
          "openai-version": "2020-10-01",
          "x-request-id": "theirs",
          "content-length": "1",
          "bad name": "x",
        };
        yield wire({ head: { ...jsonHead, status: 422, headers, model: "a\r\nb" }, data: Buffer.from("{}"), tail: {} });
      },
    });
    const response = await edge.post(helloStream);
    expect(response.status).toBe(422);
    expect(await response.text()).toBe("{}");
    expect(response.headers.get("openai-version")).toBe("2020-10-01");
    expect(response.headers.get("x-request-id")).toMatch(requestId);
    expect(response.headers.get("x-weir-model")).toBe("demo/a??b");
  });

  test("that breaks off before its length is known is an error with a status", async () => {
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: jsonHead, data: Buffer.from('{"a":') });
      },
    });
    const response = await edge.post(hello);
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { code: "stream_truncated" } });
  });
});

describe("limits", () => {
  test("of requests refuse with the delay, and recover the truth about tokens", async () => {
    const edge = await startEdge({ scope: { requestsPerMinute: 2 } });
    expect((await edge.post(hello)).status).toBe(200);
    expect((await edge.post(hello)).status).toBe(200);
    const refused = await edge.post(hello);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(Number(refused.headers.get("retry-after-ms"))).toBeGreaterThan(50_000);
    expect(refused.headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect(await refused.json()).toMatchObject({
      error: { type: "requests", code: "rate_limit_exceeded", param: null },
    });
    expect(edge.calls.length).toBe(2);
  });

  test("of tokens reserve the worst case and give back what was not used", async () => {
    const edge = await startEdge({ scope: { tokensPerMinute: 1_000 } });
    for (let index = 0; index < 3; index++) {
      const response = await edge.post({ ...hello, max_tokens: 900 });
      expect(response.status).toBe(200);
      await response.text();
      expect(response.headers.get("x-ratelimit-remaining-tokens")).toBe(String(1_000 - 15 * (index + 1)));
    }
    const refused = await edge.post({ ...hello, max_tokens: 990 });
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({ error: { code: "rate_limit_exceeded" } });
  });

  test("take nothing for calls that never began", async () => {
    const edge = await startEdge({
      scope: { tokensPerMinute: 1_000 },
      async *chat() {
        throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
      },
    });
    const response = await edge.post({ ...hello, max_tokens: 900 });
    expect(response.status).toBe(503);
    const next = await fetch(`${edge.url}/v1/models`, { headers: { "api-key": edge.key } });
    expect(next.headers.get("x-ratelimit-remaining-tokens")).toBe("1000");
  });

  test("of open requests refuse what is too much", async () => {
    const edge = await startEdge({
      settings: { requestsMax: 1 },
      async *chat({ signal }) {
        yield wire({ head: eventHead, data: event("1") });
        await untilCancelled(signal);
      },
    });
    const leaving = new AbortController();
    await edge.post(helloStream, { signal: leaving.signal });
    const refused = await edge.post(hello);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchObject({ error: { code: "overloaded" } });
    expect((await fetch(`${edge.url}/health/live`)).status).toBe(200);
    leaving.abort();
  });

  test("keep a key to its models, by whatever name they go", async () => {
    const edge = await startEdge({ scope: { models: ["small", "team-*"] } });
    const status = async (model: string) => (await edge.post({ ...hello, model })).status;
    expect(await status("small")).toBe(200);
    expect(await status("team-a")).toBe(200);
    expect(await status("models/small")).toBe(200);
    expect(await status("large")).toBe(403);
    expect(await status("models/models/large")).toBe(403);
    expect(await status("smallest")).toBe(403);
    const refused = await edge.post({ ...hello, model: "large" });
    expect(await refused.json()).toMatchObject({ error: { code: "model_forbidden" } });
    expect(edge.calls.length).toBe(3);
  });
});

test.each(Object.keys(errorTable).map((reason) => Number(reason) as Reason))(
  "failure %i has its status and the four members of an error",
  async (reason) => {
    const edge = await startEdge({
      async *chat() {
        throw new WeirError(reason);
      },
    });
    const response = await edge.post(hello);
    const row = errorTable[reason];
    expect(response.status).toBe(row.openai.status);
    expect(await response.json()).toEqual({
      error: { message: row.text, type: row.openai.type, param: null, code: row.openai.code },
    });
    expect(response.headers.get("x-request-id")).toMatch(requestId);
    expect(response.headers.has("retry-after")).toBe(row.retry !== "never");
  },
);
