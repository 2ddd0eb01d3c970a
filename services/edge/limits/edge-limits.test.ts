import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import { edgeSettings } from "../config.ts";
import {
  event,
  eventHead,
  eventually,
  type FakeChat,
  type Harness,
  hello,
  helloStream,
  startEdge,
  stopEdges,
  untilCancelled,
  wire,
} from "../testing/harness.ts";
import { aliasLimits } from "./alias-limits.ts";

afterEach(stopEdges);

/** Tells the edge of limits of the key's tenant, and waits until they hold. */
async function limitTenant(edge: Harness, limits: Parameters<Harness["feed"]>[0]["subjects"]): Promise<void> {
  edge.feed({ subjects: limits ?? [] });
  // The next message is read after it.
  await new Promise((resolve) => setTimeout(resolve, 250));
}

const onePlace = [{ name: "tenants/acme", limits: { concurrentRequests: 1 } }];

const ways: readonly (readonly [string, FakeChat, (edge: Harness) => Promise<unknown>])[] = [
  [
    "a whole answer",
    async function* () {
      yield wire({ head: { ...eventHead, contentType: "application/json" }, data: Buffer.from("{}"), tail: {} });
    },
    async (edge) => (await edge.post(hello)).text(),
  ],
  [
    "a stream",
    async function* () {
      yield wire({ head: eventHead, data: event("{}") });
      yield wire({ data: event("[DONE]"), tail: {} });
    },
    async (edge) => (await edge.post(helloStream)).text(),
  ],
  [
    "a failure before the answer",
    async function* () {
      throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
    },
    async (edge) => (await edge.post(hello)).text(),
  ],
  [
    "a stream that breaks",
    async function* () {
      yield wire({ head: eventHead, data: event("{}") });
      throw new WeirError(ErrorReason.STREAM_TRUNCATED);
    },
    async (edge) => expect((await edge.post(helloStream)).text()).rejects.toThrow("terminated"),
  ],
  [
    "a client that leaves",
    async function* ({ signal }) {
      yield wire({ head: eventHead, data: event("{}") });
      await untilCancelled(signal);
    },
    async (edge) => {
      const leaving = new AbortController();
      const response = await edge.post(helloStream, { signal: leaving.signal });
      leaving.abort();
      await expect(response.text()).rejects.toThrow("aborted");
    },
  ],
  ["a body that is no JSON", async function* () {}, async (edge) => (await edge.post("{")).text()],
];

test.each(ways)("the place of a call is free after %s", async (_what, chat, call) => {
  const edge = await startEdge({ chat });
  await limitTenant(edge, onePlace);
  for (let turn = 0; turn < 3; turn++) {
    await call(edge);
    // The server may learn of the end a moment later than the client.
    await eventually(async () => {
      const response = await fetch(`${edge.url}/v1/models`, { headers: { authorization: `Bearer ${edge.key}` } });
      await response.text();
      return response.status === 200;
    });
  }
});

test("a call that is open holds its place, and the refusal says whose limit it is", async () => {
  const edge = await startEdge({
    chat: async function* ({ signal }) {
      yield wire({ head: eventHead, data: event("{}") });
      await untilCancelled(signal);
    },
  });
  await limitTenant(edge, onePlace);
  const leaving = new AbortController();
  const open = await edge.post(helloStream, { signal: leaving.signal });
  const refused = await edge.post(hello);
  expect(refused.status).toBe(429);
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(await refused.json()).toMatchObject({
    error: {
      message: expect.stringContaining("1 requests at once for this tenant") as string,
      code: "rate_limit_exceeded",
    },
  });
  const end = edge.edge.drain(200);
  await expect(open.text()).rejects.toThrow("terminated");
  await end;
});

test("headers tell the tightest limit of key and tenant, and the day's where it is limited", async () => {
  const edge = await startEdge();
  await limitTenant(edge, [{ name: "tenants/acme", limits: { requestsPerMinute: 7, tokensPerDay: 1_000_000n } }]);
  const { headers } = await edge.post(hello);
  expect(headers.get("x-ratelimit-limit-requests")).toBe("7");
  expect(headers.get("x-ratelimit-remaining-requests")).toBe("6");
  expect(headers.get("x-ratelimit-limit-tokens")).toBe("10000000");
  expect(headers.get("x-ratelimit-limit-tokens-day")).toBe("1000000");
  expect(headers.get("x-ratelimit-remaining-tokens-day")).toBe(String(1_000_000 - 15));
  edge.feed({ subjects: [{ name: "tenants/acme" }] });
  await eventually(async () => (await edge.post(hello)).headers.get("x-ratelimit-limit-requests") === "10000");
});

test("an alias has limits for all its callers, and its refusals take no request of the key's", async () => {
  const limits = aliasLimits({ small: { limits: { requestsPerMinute: 1 } } });
  const edge = await startEdge({ settings: { ...edgeSettings(), requestsPerMinute: 100, aliasLimits: limits } });
  expect((await edge.post(hello)).status).toBe(200);
  const refused = await edge.post(hello);
  expect(refused.status).toBe(429);
  expect(refused.headers.get("x-ratelimit-remaining-requests")).toBe("99");
  expect((await edge.post({ ...hello, model: "other" })).status).toBe(200);
  expect(edge.calls).toHaveLength(2);
});

test("what a call that passes through sets aside is there again when its provider never answered", async () => {
  const edge = await startEdge();
  await limitTenant(edge, [{ name: "tenants/acme", limits: { tokensPerMinute: 100_000 } }]);
  const body = JSON.stringify({ model: "small", input: "hello" });
  const headers = { authorization: `Bearer ${edge.key}`, "content-type": "application/json" };
  const failed = await fetch(`${edge.url}/v1/moderations`, { method: "POST", headers, body });
  // Of a service that is not there.
  expect(failed.status).toBe(405);
  await failed.text();
  const next = await fetch(`${edge.url}/v1/models`, { headers });
  await next.text();
  expect(next.headers.get("x-ratelimit-remaining-tokens")).toBe("100000");
});
