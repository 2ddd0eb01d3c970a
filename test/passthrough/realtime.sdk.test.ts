import { once } from "node:events";
import { Agent } from "node:https";
import { connect as netConnect } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { parseKeyText } from "@weir/kit/api-key";
import { WeirError } from "@weir/kit/weir-error";
import { floodPieces } from "@weir/simulator/realtime";
import { noBudgets } from "@weir/pool/testing/pool-under-test";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Gateway, startGateway } from "./gateway.ts";

// OpenAI's own library for Realtime against edge, router and pool, which meet over a link.

let gateway: Gateway;
let budgetLeft = Number.POSITIVE_INFINITY;
beforeAll(async () => {
  gateway = await startGateway({
    budgets: {
      ...noBudgets,
      hold() {
        budgetLeft -= 1;
        if (budgetLeft < 0) throw new WeirError(ErrorReason.BUDGET_EXHAUSTED);
        return undefined;
      },
    },
  });
});
afterAll(() => gateway.close());
afterEach(async () => {
  await until(() => gateway.pool.status().openAttempts === 0);
  gateway.events.length = 0;
  gateway.intents.clear();
  budgetLeft = Number.POSITIVE_INFINITY;
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error("not within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

interface Event {
  readonly type: string;
  readonly [name: string]: unknown;
}

/** A client that is no library, and what it has heard. */
async function connect(model = "my-model", key = gateway.key) {
  const url = `${gateway.url.replace("http", "ws")}/v1/realtime?model=${model}`;
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${key}` } });
  const heard: Event[] = [];
  let closed: { code: number; reason: string } | undefined;
  socket.on("message", (data) => heard.push(JSON.parse((data as Buffer).toString()) as Event));
  socket.on("close", (code, reason) => (closed = { code, reason: reason.toString() }));
  socket.on("error", () => undefined);
  await once(socket, "open");
  return {
    socket,
    heard,
    say: (event: object) => socket.send(JSON.stringify(event)),
    types: () => heard.map(({ type }) => type),
    closed: () => closed,
  };
}

/** The status of a handshake that is refused. */
function refusal(model: string, key = gateway.key): Promise<number | undefined> {
  const url = `${gateway.url.replace("http", "ws")}/v1/realtime?model=${model}`;
  const socket = new WebSocket(url, { headers: { authorization: `Bearer ${key}` } });
  return new Promise((resolve, reject) => {
    socket.on("unexpected-response", (_, response) => {
      response.resume();
      resolve(response.statusCode);
    });
    socket.on("open", () => reject(new Error("was not refused")));
    socket.on("error", () => undefined);
  });
}

const lastSession = () => {
  const session = gateway.simulator.realtimeCalls().at(-1);
  if (session === undefined) throw new Error("no session reached the provider");
  return session;
};

describe("OpenAI's library", () => {
  const client = () => new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: gateway.key, maxRetries: 0 });

  /** The library speaks TLS alone; here it gets the plain connection that a proxy would make. */
  const plainConnections = (): Agent => {
    const agent = new Agent();
    agent.createConnection = () => netConnect({ host: "127.0.0.1", port: gateway.port });
    return agent;
  };

  test("talks: events pass both ways, each response is on record", async () => {
    const sdk = await OpenAIRealtimeWS.create(client(), { model: "my-model", options: { agent: plainConnections() } });
    const done: unknown[] = [];
    const created: unknown[] = [];
    sdk.on("session.created", (event) => created.push(event));
    sdk.on("response.done", ({ response }) => done.push(response.usage?.total_tokens));
    await until(() => created.length === 1);
    sdk.send({ type: "response.create" });
    await until(() => done.length === 1);
    sdk.send({ type: "response.create" });
    await until(() => done.length === 2);
    sdk.close();
    await until(() => gateway.pool.status().openAttempts === 0);
    expect(done).toEqual([15, 15]);
    const { url, headers, events } = lastSession();
    expect(url).toBe("/v1/realtime?model=real-model");
    expect(headers.authorization).toBe("Bearer sk-secret");
    expect(headers["sec-websocket-protocol"]).toBeUndefined();
    expect(events).toEqual([{ type: "response.create" }, { type: "response.create" }]);
    const response = {
      alias: "my-model",
      target: { provider: "sim", model: "real-model" },
      outcome: AttemptOutcome.COMPLETED,
      usageSource: UsageSource.REPORTED,
      usage: { inputTokens: 10, outputTokens: 5, cachedInputTokens: 2, audioInputTokens: 6, audioOutputTokens: 4 },
      providerReplyId: "resp_1",
    };
    expect(gateway.events).toMatchObject([response, { ...response, providerReplyId: "resp_2" }]);
    expect(new Set(gateway.events.map(({ attemptId }) => attemptId)).size).toBe(2);
    expect(new Set(gateway.events.map(({ requestId }) => requestId)).size).toBe(1);
  });
});

test("pages bring their key in a sub-protocol, as OpenAI's do", async () => {
  const protocols = ["realtime", `openai-insecure-api-key.${gateway.key}`, "openai-beta.realtime-v1"];
  const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/v1/realtime?model=my-model`, protocols);
  await once(socket, "open");
  expect(socket.protocol).toBe("realtime");
  expect(lastSession().headers["openai-beta"]).toBe("realtime=v1");
  expect(JSON.stringify(lastSession().headers)).not.toContain(gateway.key);
  socket.close();
});

test("a session in which nothing was asked is on record with nothing", async () => {
  const client = await connect();
  await until(() => client.types().includes("session.created"));
  client.socket.close(1000);
  await until(() => gateway.events.length === 1);
  expect(gateway.events).toMatchObject([
    { outcome: AttemptOutcome.COMPLETED, usage: { inputTokens: 0, outputTokens: 0 } },
  ]);
  await until(() => lastSession().closeCode === 1000);
});

test("the intent of a response is on record before the event that asks for it leaves", async () => {
  const client = await connect();
  client.say({ type: "sim.begin" });
  await until(() => client.types().includes("response.created"));
  const open = [...gateway.intents.keys()].filter((id) => !gateway.events.some(({ attemptId }) => attemptId === id));
  expect(open).toHaveLength(1);
  client.socket.terminate();
  await until(() => gateway.events.length === 1);
  // What it used is known to nobody, which is not zero.
  expect(gateway.events).toMatchObject([{ attemptId: open[0], outcome: AttemptOutcome.CANCELLED }]);
  expect(gateway.events[0]?.usage?.inputTokens).toBeUndefined();
});

test("a budget that ends cuts the session with an error event; one that is spent refuses it", async () => {
  budgetLeft = 1;
  const client = await connect();
  client.say({ type: "response.create" });
  await until(() => client.types().includes("response.done"));
  client.say({ type: "response.create" });
  await until(() => client.closed() !== undefined);
  expect(client.heard.at(-1)).toMatchObject({ type: "error", error: { code: "insufficient_quota" } });
  expect(client.closed()).toMatchObject({ code: 1008 });
  expect(lastSession().events).toHaveLength(1);
  expect(await refusal("my-model")).toBe(429);
});

describe("responses that run at once", () => {
  const aside = { type: "response.create", response: { conversation: "none" } };
  const settled = (id: string) => gateway.events.filter(({ providerReplyId }) => providerReplyId === id);
  const countOf = (types: readonly string[], type: string) => types.filter((one) => one === type).length;
  const unsettled = () => gateway.intents.size - gateway.events.length;

  test("each has its own attempt, on record before it was asked for, and settled with what it used", async () => {
    const client = await connect();
    for (let count = 0; count < 3; count += 1) client.say(aside);
    await until(() => countOf(client.types(), "response.created") === 3);
    expect([gateway.events.length, gateway.intents.size]).toEqual([0, 3]);
    client.say({ type: "sim.end" });
    await until(() => countOf(client.types(), "response.done") === 3);
    expect(gateway.events.map(({ providerReplyId }) => providerReplyId)).toEqual(["resp_3", "resp_2", "resp_1"]);
    const used = { outcome: AttemptOutcome.COMPLETED, usage: { inputTokens: 10, outputTokens: 5 } };
    expect(gateway.events).toMatchObject([used, used, used]);
    client.socket.close();
  });

  test("money is set aside for each", async () => {
    budgetLeft = 2;
    const client = await connect();
    for (let count = 0; count < 3; count += 1) client.say(aside);
    await until(() => client.closed() !== undefined);
    expect(client.closed()).toMatchObject({ code: 1008 });
    expect(lastSession().events).toHaveLength(2);
  });

  test("those that did not end when the session did are on record, and nobody knows what they used", async () => {
    const client = await connect();
    for (let count = 0; count < 2; count += 1) client.say(aside);
    await until(() => countOf(client.types(), "response.created") === 2);
    client.socket.terminate();
    await until(() => gateway.events.length === 2);
    for (const id of ["resp_1", "resp_2"]) {
      expect(settled(id)).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.COUNTED }]);
      expect(settled(id)[0]?.usage?.inputTokens).toBeUndefined();
    }
  });

  test("are at most 16: another one is refused, and the session goes on", async () => {
    const client = await connect();
    for (let count = 0; count < 17; count += 1) client.say({ ...aside, event_id: `ask_${count}` });
    await until(() => client.types().includes("error") && countOf(client.types(), "response.created") === 16);
    expect(client.heard.find(({ type }) => type === "error")).toMatchObject({
      error: { type: "invalid_request_error", code: "too_many_responses", event_id: "ask_16" },
    });
    expect(lastSession().events).toHaveLength(16);
    client.say({ type: "sim.end" });
    await until(() => countOf(client.types(), "response.done") === 16);
    client.say({ type: "response.create" });
    await until(() => countOf(client.types(), "response.done") === 17);
    client.socket.close();
  });

  test("one that the provider does not take leaves its place to the next", async () => {
    const client = await connect();
    for (let count = 0; count < 20; count += 1) {
      client.say({ type: "response.create", response: { conversation: "unknown" } });
      await until(() => countOf(client.types(), "error") === count + 1);
    }
    expect(lastSession().events).toHaveLength(20);
    expect(unsettled()).toBe(1);
    client.say({ type: "response.create" });
    await until(() => client.types().includes("response.done"));
    expect(gateway.events).toHaveLength(1);
    client.socket.close();
  });

  test("one that nobody asked for is on record once, and one that does not end as well", async () => {
    const client = await connect();
    client.say({ type: "sim.unasked" });
    await until(() => settled("resp_a").length + settled("resp_b").length === 2);
    expect([...settled("resp_a"), ...settled("resp_b")]).toMatchObject([
      { usage: { inputTokens: 10 } },
      { usage: { inputTokens: 10 } },
    ]);
    client.socket.close();
    await until(() => settled("resp_c").length === 1 && unsettled() === 0);
    expect(gateway.events).toHaveLength(3);
  });

  test("one that nobody asked for and for which no money is left is on record, and the session ends", async () => {
    budgetLeft = 1;
    const client = await connect();
    client.say({ type: "sim.unasked" });
    await until(() => client.closed() !== undefined);
    expect(client.heard.at(-1)).toMatchObject({ type: "error", error: { code: "insufficient_quota" } });
    await until(() => gateway.events.length === 3 && unsettled() === 0);
    expect(settled("resp_b")).toMatchObject([{ usage: { inputTokens: 10, outputTokens: 5 } }]);
  });
});

test("refusals have their own status: model, scope, provider, form", async () => {
  expect(await refusal("none")).toBe(404);
  expect(await refusal("unpriced")).toBe(400);
  expect(await refusal("wrong-kind")).toBe(400);
  expect(await refusal("", gateway.key)).toBe(400);
  expect(await refusal("my-model", gateway.addKey("acme", { models: ["other"] }))).toBe(403);
  expect(await refusal("my-model", gateway.addKey("acme", { endpoints: ["chat"] }))).toBe(403);
  expect(await refusal("my-model", "weir_wrong")).toBe(401);
  const plain = await fetch(`${gateway.url}/v1/realtime?model=my-model`, {
    headers: { authorization: `Bearer ${gateway.key}` },
  });
  expect(plain.status).toBe(400);
  expect(gateway.events).toEqual([]);
});

test("a provider that breaks off in a response: the client is told, and the session closed", async () => {
  const client = await connect();
  client.say({ type: "sim.begin" });
  client.say({ type: "sim.cut" });
  await until(() => client.closed() !== undefined);
  expect(client.heard.at(-1)).toMatchObject({ type: "error" });
  expect(client.closed()).toMatchObject({ code: 1011 });
});

test.each(["client_secrets", "sessions", "transcription_sessions", "calls"])("%s are not served", async (name) => {
  const response = await fetch(`${gateway.url}/v1/realtime/${name}`, {
    method: "POST",
    headers: { authorization: `Bearer ${gateway.key}`, "content-type": "application/json" },
    body: "{}",
  });
  expect(response.status).toBe(404);
  expect(await response.text()).toContain("connect to /v1/realtime");
});

test("binary frames and frames that are too large close the session", async () => {
  const binary = await connect();
  binary.socket.send(Buffer.from("x"), { binary: true });
  await until(() => binary.closed() !== undefined);
  expect(binary.closed()).toMatchObject({ code: 1003 });
  const large = await connect();
  large.socket.send("x".repeat(17 * 1024 * 1024));
  await until(() => large.closed() !== undefined);
  expect(large.closed()).toMatchObject({ code: 1009 });
});

test("a client that does not read holds its provider back, and gets everything later", async () => {
  const client = await connect();
  client.socket.pause();
  client.say({ type: "sim.flood" });
  let unsent = 0;
  // It stands still when nothing left the provider for a while, though there is much to send.
  await until(async () => {
    unsent = lastSession().unsentBytes();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return unsent > 0 && lastSession().unsentBytes() === unsent;
  });
  expect(unsent).toBeGreaterThan(floodPieces * 5_000);
  client.socket.resume();
  await until(() => client.types().filter((type) => type === "sim.piece").length === floodPieces);
  client.socket.close();
});

test("a key that is revoked ends its session, which asks for nothing more", async () => {
  const key = gateway.addKey("acme");
  const [revoked, other] = [await connect("my-model", key), await connect()];
  gateway.edge.feed({ removed: [parseKeyText(key)?.id ?? ""] });
  await until(() => revoked.closed() !== undefined);
  expect(revoked.heard.at(-1)).toMatchObject({ type: "error", error: { code: "invalid_api_key" } });
  expect(revoked.closed()).toMatchObject({ code: 1008 });
  await until(() => gateway.pool.status().openAttempts === 1);
  other.say({ type: "response.create" });
  await until(() => other.types().includes("response.done"));
  other.socket.close();
});

test.each([
  ["another model", { models: ["other"] }, "model_forbidden"],
  ["another endpoint", { endpoints: ["chat"] }, "forbidden"],
])("a key that is confined to %s while its session is open ends it", async (_name, scope, code) => {
  const key = gateway.addKey("acme");
  const client = await connect("my-model", key);
  gateway.confine(key, scope);
  await until(() => client.closed() !== undefined);
  expect(client.heard.at(-1)).toMatchObject({ type: "error", error: { code } });
  expect(client.closed()).toMatchObject({ code: 1008 });
});

// Last: the edge serves nobody after it.
test("a gateway that shuts down tells the client why, and what was begun is settled", async () => {
  const client = await connect();
  client.say({ type: "response.create" });
  await until(() => client.types().includes("response.done"));
  await gateway.edge.edge.drain(50);
  await until(() => client.closed() !== undefined);
  expect(client.heard.at(-1)).toMatchObject({ type: "error", error: { code: "overloaded" } });
  expect(client.closed()).toMatchObject({ code: 1012 });
  await until(() => gateway.pool.status().openAttempts === 0);
  expect(gateway.events).toHaveLength(1);
});
