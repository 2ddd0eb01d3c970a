import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  CircuitState,
  ListRoutesResponseSchema,
  ListTargetHealthResponseSchema,
} from "@weir/gen/weir/routing/v1/route_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, describe, expect, test } from "vitest";
import {
  event,
  eventHead,
  eventually,
  hello,
  helloStream,
  openRaw,
  rawPost,
  startEdge,
  stopEdges,
  untilCancelled,
  usage,
  wire,
} from "./testing/harness.ts";

afterEach(stopEdges);

function routesOf(...aliases: string[]) {
  let asked = 0;
  return {
    asked: () => asked,
    listRoutes: () => {
      asked += 1;
      const routes = aliases.map((alias) => ({
        name: `routes/${alias}`,
        alias,
        targets: [{ provider: "demo", model: alias }],
        createTime: timestampFromMs(1_700_000_000_500),
      }));
      return Promise.resolve(create(ListRoutesResponseSchema, { routes }));
    },
    listTargetHealth: () =>
      Promise.resolve(
        create(ListTargetHealthResponseSchema, {
          targets: [
            {
              target: { provider: "demo", model: "small" },
              state: CircuitState.OPEN,
              consecutiveFailures: 5,
              retryTime: timestampFromMs(1_700_000_000_000),
            },
          ],
        }),
      ),
  };
}

describe("models", () => {
  test("are listed as OpenAI lists them, without those that the key may not call, and without patterns", async () => {
    const routes = routesOf("small", "large", "meta/llama", "meta/*");
    const edge = await startEdge({ scope: { models: ["small", "meta/*"] }, deps: { routes } });
    const get = (path: string) => fetch(`${edge.url}${path}`, { headers: { "x-api-key": edge.key } });
    const list = await get("/v1/models");
    const model = (id: string) => ({ id, object: "model", created: 1_700_000_000, owned_by: "demo" });
    expect(await list.json()).toEqual({ object: "list", data: [model("small"), model("meta/llama")] });
    expect(list.headers.get("x-ratelimit-remaining-requests")).toBe("9999");
    expect(await (await get("/models/meta/llama")).json()).toEqual(model("meta/llama"));
    expect(await (await get("/v1/models/meta%2Fother")).json()).toEqual(model("meta/other"));
    for (const hidden of ["large", "nothing", "__proto__", "small/x"]) {
      const response = await get(`/v1/models/${hidden}`);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({
        error: { type: "invalid_request_error", code: "model_not_found" },
      });
    }
    expect(routes.asked()).toBe(1);
    const head = await fetch(`${edge.url}/v1/models`, { method: "HEAD", headers: { "x-api-key": edge.key } });
    expect(head.status).toBe(200);
    expect(Number(head.headers.get("content-length"))).toBeGreaterThan(100);
  });

  test("are not remembered as missing when the router does not answer", async () => {
    const routes = routesOf("small");
    let down = true;
    const listRoutes = () => (down ? Promise.reject(new WeirError(ErrorReason.OVERLOADED)) : routes.listRoutes());
    const edge = await startEdge({ deps: { routes: { ...routes, listRoutes } } });
    const get = () => fetch(`${edge.url}/v1/models`, { headers: { "x-api-key": edge.key } });
    expect((await get()).status).toBe(503);
    down = false;
    expect((await get()).status).toBe(200);
  });
});

describe("health", () => {
  test("is ready once keys are known", async () => {
    const edge = await startEdge({ loads: false });
    expect((await fetch(`${edge.url}/health/live`)).status).toBe(200);
    const starting = await fetch(`${edge.url}/health/ready`);
    expect(starting.status).toBe(503);
    expect(await starting.json()).toEqual({ status: "starting" });
    const early = await edge.post(hello);
    expect(early.status).toBe(503);
    expect(early.headers.has("retry-after")).toBe(true);
    edge.feed({ complete: true });
    await eventually(async () => (await fetch(`${edge.url}/health/ready`)).status === 200);
    expect((await edge.post(hello)).status).toBe(401);
  });

  test.each(["/health", "/v1/health"])("%s says how everything is, to everyone", async (path) => {
    const dependencies = () => [{ name: "journal", status: "up" as const }];
    const edge = await startEdge({ deps: { routes: routesOf(), dependencies } });
    const response = await fetch(`${edge.url}${path}`);
    expect(response.headers.get("x-request-id")).toMatch(/^req_/);
    expect(await response.json()).toEqual({
      status: "ok",
      version: "1.2.3",
      uptime_seconds: expect.any(Number),
      providers: [
        {
          name: "demo",
          models: [
            { model: "small", circuit: "open", consecutive_failures: 5, retry_time: "2023-11-14T22:13:20.000Z" },
          ],
        },
      ],
      dependencies: [
        { name: "keys", status: "up" },
        { name: "router", status: "up" },
        { name: "journal", status: "up" },
      ],
    });
  });

  test("names providers that nobody has called yet", async () => {
    const listTargetHealth = () => Promise.resolve(create(ListTargetHealthResponseSchema, {}));
    const edge = await startEdge({ deps: { routes: { ...routesOf("small", "large"), listTargetHealth } } });
    const response = await fetch(`${edge.url}/health`);
    expect(await response.json()).toMatchObject({ status: "ok", providers: [{ name: "demo", models: [] }] });
  });

  test("is degraded, not dead, when something is down", async () => {
    const listTargetHealth = () => Promise.reject(new Error("no"));
    const edge = await startEdge({ deps: { routes: { ...routesOf(), listTargetHealth } } });
    const response = await fetch(`${edge.url}/health`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ status: "degraded", providers: [] });
  });
});

describe("metrics", () => {
  test("are for this machine, for a port of their own, and for roles that read the state of the gateway", async () => {
    const edge = await startEdge({ role: Role.AUDITOR });
    const member = await startEdge();
    const local = await fetch(`${edge.url}/metrics`);
    expect(local.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await local.text()).toBe("up 1\n");
    const forwarded = { "x-forwarded-for": "203.0.113.9" };
    expect((await fetch(`${edge.url}/v1/metrics`, { headers: forwarded })).status).toBe(401);
    expect((await fetch(`${edge.url}/v1/metrics`, { headers: { ...forwarded, "api-key": edge.key } })).status).toBe(
      200,
    );
    const refused = await fetch(`${member.url}/v1/metrics`, { headers: { ...forwarded, "api-key": member.key } });
    expect(refused.status).toBe(403);
  });

  test("have a port of their own that answers nothing else but health", async () => {
    const free = await startEdge();
    const { port } = free;
    await free.edge.close();
    const edge = await startEdge({ settings: { metricsAddress: { host: "127.0.0.1", port } } });
    const base = `http://127.0.0.1:${port}`;
    const forwarded = { "x-forwarded-for": "203.0.113.9" };
    expect((await fetch(`${base}/metrics`, { headers: forwarded })).status).toBe(200);
    expect((await fetch(`${base}/health/ready`)).status).toBe(200);
    expect((await fetch(`${base}/v1/models`, { headers: { "api-key": edge.key } })).status).toBe(404);
  });
});

describe("scripts of other origins", () => {
  const preflight = {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type, x-stainless-lang",
    },
  };

  test("may call when their origin is allowed, and read our headers, also those of errors", async () => {
    const edge = await startEdge({ settings: { corsOrigins: ["https://app.example"] } });
    const allowed = await fetch(`${edge.url}/v1/chat/completions`, preflight);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get("access-control-allow-origin")).toBe("https://app.example");
    expect(allowed.headers.get("access-control-allow-methods")).toBe("POST, OPTIONS");
    expect(allowed.headers.get("access-control-allow-headers")).toBe("authorization,content-type, x-stainless-lang");
    expect(allowed.headers.get("x-request-id")).toMatch(/^req_/);
    const answer = await fetch(`${edge.url}/v1/models`, { headers: { origin: "https://app.example" } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
    const exposed = answer.headers.get("access-control-expose-headers")?.split(", ");
    expect(exposed).toEqual(expect.arrayContaining(["x-request-id", "request-id", "x-weir-warnings"]));
    expect(answer.headers.get("vary")).toBe("Origin");
    const other = await fetch(`${edge.url}/v1/models`, { headers: { origin: "https://evil.example" } });
    expect(other.headers.has("access-control-allow-origin")).toBe(false);
    expect(other.headers.get("vary")).toBe("Origin");
  });

  test("of any origin may call under *, and of none by default", async () => {
    const any = await startEdge({ settings: { corsOrigins: ["*"] } });
    expect((await fetch(`${any.url}/v1/models`, preflight)).headers.get("access-control-allow-origin")).toBe("*");
    const none = await startEdge();
    const refused = await fetch(`${none.url}/v1/chat/completions`, preflight);
    expect(refused.status).toBe(204);
    expect(refused.headers.get("allow")).toBe("POST, OPTIONS");
    expect(refused.headers.has("access-control-allow-origin")).toBe(false);
  });
});

describe("the end of service", () => {
  test("lets open requests finish, closes idle connections and refuses new ones", async () => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: eventHead, data: event("1") });
        await gate;
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const idle = await openRaw(edge.port);
    idle.socket.write("GET /health/live HTTP/1.1\r\nHost: edge\r\n\r\n");
    await idle.until(/"ok"/);
    const busy = await openRaw(edge.port);
    busy.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await busy.until(/data: 1/);
    const drained = edge.edge.drain(10_000);
    await idle.whole();
    await eventually(async () => {
      const [asked] = await Promise.allSettled([fetch(`${edge.url}/health/live`)]);
      return asked.status === "rejected";
    });
    expect(busy.ended()).toBeUndefined();
    more();
    expect(await busy.whole()).toContain("data: [DONE]\n\n\r\n0\r\n\r\n");
    await drained;
  });

  test("answers a client that uses its connection again after an answer that was not its last", async () => {
    const { promise: gate, resolve: more } = Promise.withResolvers<void>();
    const edge = await startEdge({
      async *chat() {
        yield wire({ head: eventHead, data: event("1") });
        await gate;
        yield wire({ data: event("[DONE]"), tail: { usage } });
      },
    });
    const again = await openRaw(edge.port);
    again.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await again.until(/data: 1/);
    const drained = edge.edge.drain(10_000);
    more();
    await again.until(/\r\n0\r\n\r\n$/);
    again.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    expect(await again.whole()).toMatch(/0\r\n\r\nHTTP\/1.1 200 OK\r\n[^]*connection: close\r\n/);
    await drained;
  });

  test("is announced while the port is still open", async () => {
    const edge = await startEdge();
    const drained = edge.edge.drain(5_000, 300);
    const ready = await fetch(`${edge.url}/health/ready`);
    expect(ready.status).toBe(503);
    expect(ready.headers.get("connection")).toBe("close");
    expect(await ready.json()).toEqual({ status: "draining" });
    const served = await edge.post(hello);
    expect(served.status).toBe(200);
    expect(served.headers.get("connection")).toBe("close");
    await drained;
    await expect(edge.post(hello)).rejects.toThrow("fetch failed");
  });

  test("gives requests that do not end an error: in the stream, or as a status", async () => {
    const edge = await startEdge({
      async *chat({ request, signal }) {
        if (request.wire?.stream) yield wire({ head: eventHead, data: event("1") });
        await untilCancelled(signal);
      },
    });
    const stream = await openRaw(edge.port);
    stream.socket.write(rawPost(edge.key, JSON.stringify(helloStream)));
    await stream.until(/data: 1/);
    const plain = edge.post(hello);
    const half = await openRaw(edge.port);
    half.socket.write("POST /v1/chat/completions HTTP/1.1\r\nHos");
    await eventually(() => edge.calls.length === 2);
    await edge.edge.drain(100);
    expect((await plain).status).toBe(503);
    const whole = await stream.whole();
    expect(whole).toContain('data: {"error":{"message":"The gateway is shutting down; send the request again."');
    expect(whole).not.toMatch(/\r\n0\r\n\r\n$/);
    expect(edge.calls.every((call) => call.signal.aborted)).toBe(true);
    await half.whole();
  });

  test("may be asked for twice, and closing after it is harmless", async () => {
    const edge = await startEdge();
    await Promise.all([edge.edge.drain(1_000), edge.edge.drain(1_000)]);
    await edge.edge.close();
  });
});
