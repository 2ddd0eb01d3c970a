import { randomBytes } from "node:crypto";
import { create, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import {
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  ClaimState,
  IdempotencyService,
  StoredAnswerSchema,
} from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { createKeyText, keyDigest } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import { rpcService } from "../rpc/public-methods.ts";
import {
  eventHead,
  event,
  eventually,
  type FakeChat,
  friendly,
  hello,
  helloBody,
  helloStream,
  type HarnessOptions,
  jsonHead,
  pepper,
  startEdge,
  stopEdges,
  untilCancelled,
  usage,
  wire,
} from "../testing/harness.ts";
import { createRequestSeal } from "./sealed-answer.ts";

afterEach(stopEdges);

interface Row {
  digest: string;
  claimId: string;
  outcome: Buffer | undefined;
}

const rpcEvents = (["start", "end"] as const).map((kind) =>
  create(GenerateResponseSchema, {
    payload: {
      case: "event",
      value: { kind: kind === "start" ? { case: kind, value: { model: "small" } } : { case: kind, value: {} } },
    },
  }),
) as [GenerateResponse, GenerateResponse];

/** A store in memory, which several edges may share. */
function createStore() {
  const rows = new Map<string, Row>();
  const failing = new Set<string>();
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const rowOf = (claimId: string) => [...rows].find(([, row]) => row.claimId === claimId);
  const fail = (method: string) => {
    if (failing.has(method)) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
  };
  const hosted = hostService(IdempotencyService, {
    claimKey({ keyId, requestDigest, claimId }) {
      fail("claimKey");
      const row = rows.get(hex(keyId));
      if (row === undefined) {
        rows.set(hex(keyId), { digest: hex(requestDigest), claimId, outcome: undefined });
        return { state: ClaimState.CLAIMED };
      }
      if (row.digest !== hex(requestDigest)) return { state: ClaimState.OTHER_REQUEST };
      return row.outcome === undefined
        ? { state: ClaimState.IN_USE }
        : { state: ClaimState.ANSWERED, outcome: row.outcome };
    },
    storeOutcome({ claimId, outcome }) {
      fail("storeOutcome");
      const row = rowOf(claimId)?.[1];
      if (row !== undefined) row.outcome = Buffer.from(outcome);
      return { stored: row !== undefined };
    },
    releaseClaim({ claimId }) {
      const found = rowOf(claimId);
      if (found !== undefined) rows.delete(found[0]);
      return {};
    },
    renewClaims: () => ({}),
  });
  return {
    rows,
    failing,
    client: createClient(IdempotencyService, createLocalDoor([hosted], { onDefect: () => undefined })),
  };
}

function createRecord() {
  const { id, text } = createKeyText(randomBytes);
  return {
    record: { id, digest: keyDigest(pepper, text), tenant: "acme" },
    headers: { authorization: `Bearer ${text}` },
  };
}

async function start(options: HarnessOptions = {}, store = createStore()) {
  const edge = await startEdge({ ...options, deps: { ...options.deps, idempotency: store.client } });
  const ask = async (body: unknown, key = "k-1") => {
    const response = await edge.post(body, { headers: { "idempotency-key": key } });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  return { ...edge, store, ask };
}

test("the same request gets the same answer, and the model is called once", async () => {
  const { ask, calls } = await start();
  const first = await ask(hello);
  const second = await ask(hello);
  expect([first.status, first.text]).toEqual([200, helloBody]);
  expect([second.status, second.text]).toEqual([200, helloBody]);
  expect(first.headers.get("idempotency-replayed")).toBeNull();
  expect(second.headers.get("idempotency-replayed")).toBe("true");
  for (const name of ["content-type", "x-weir-provider", "x-weir-model"]) {
    expect(second.headers.get(name)).toBe(first.headers.get(name));
  }
  expect(second.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
  expect(calls).toHaveLength(1);
  await ask(hello, "k-2");
  expect(calls).toHaveLength(2);
});

test("a stream is repeated byte for byte, with its end", async () => {
  const { ask, calls } = await start();
  const first = await ask(helloStream);
  const second = await ask(helloStream);
  expect(first.text).toContain("[DONE]");
  expect(second.text).toBe(first.text);
  expect(second.headers.get("content-type")).toBe(first.headers.get("content-type"));
  expect(calls).toHaveLength(1);
});

test("without the header nothing is stored, and a store that is away is not missed", async () => {
  const { post, ask, store, calls } = await start();
  store.failing.add("claimKey");
  expect((await post(hello)).status).toBe(200);
  expect(store.rows.size).toBe(0);
  const refused = await ask(hello);
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(calls).toHaveLength(1);
});

test("another request under the same key is refused, and one that is being answered is waited for", async () => {
  let release = () => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slow: FakeChat = async function* (call) {
    await gate;
    yield* friendly(call);
  };
  const { ask, calls } = await start({ chat: slow });
  const first = ask(hello);
  await eventually(() => calls.length === 1);
  const meanwhile = await ask(hello);
  expect([meanwhile.status, meanwhile.headers.get("retry-after")]).toEqual([409, "1"]);
  expect((await ask({ ...hello, model: "other" })).status).toBe(422);
  release();
  expect((await first).status).toBe(200);
  expect((await ask({ ...hello, model: "other" })).status).toBe(422);
  expect((await ask(hello)).headers.get("idempotency-replayed")).toBe("true");
  expect(calls).toHaveLength(1);
});

test("scripts of allowed origins see that an answer is a repetition", async () => {
  const { post } = await start({ settings: { corsOrigins: ["https://app.example"] } });
  const headers = { "idempotency-key": "k-1", origin: "https://app.example" };
  const exposed = (await post(hello, { headers })).headers.get("access-control-expose-headers");
  expect(exposed).toMatch(/idempotency-replayed, idempotency-stored/);
});

test("another caller's key of the same text is another key", async () => {
  const store = createStore();
  const one = await start({}, store);
  const two = await start({}, store);
  await one.ask(hello);
  expect((await two.ask(hello)).headers.get("idempotency-replayed")).toBeNull();
  expect(store.rows.size).toBe(2);
});

test("what the request is at fault for is repeated, and what may go well the next time is not", async () => {
  let isAway = true;
  const chat: FakeChat = async function* (call) {
    if (isAway) throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
    yield* friendly(call);
  };
  const { ask, calls } = await start({ chat });
  expect((await ask("{")).status).toBe(400);
  const again = await ask("{");
  expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([400, "true"]);
  expect((await ask(hello, "k-2")).status).toBe(503);
  isAway = false;
  const retried = await ask(hello, "k-2");
  expect([retried.status, retried.headers.get("idempotency-replayed")]).toEqual([200, null]);
  expect(calls).toHaveLength(2);
});

const rpcRequest: JsonObject = {
  model: "small",
  messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }],
};
const rpcForms = {
  "application/connect+json": Buffer.from(JSON.stringify(rpcRequest)),
  "application/grpc-web+proto": Buffer.from(
    toBinary(GenerateRequestSchema, fromJson(GenerateRequestSchema, rpcRequest)),
  ),
};

test.each(
  Object.entries(rpcForms).flatMap(([type, message]) => [[type, message, 0] as const, [type, message, 1] as const]),
)("a failure that %s tells of in an answer of status 200 is made anew", async (type, message, eventCount) => {
  let isAway = true;
  const chat: FakeChat = async function* () {
    const [start, end] = rpcEvents;
    if (!isAway || eventCount > 0) yield start;
    if (isAway) throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
    yield end;
  };
  const { url, key, calls } = await start({ chat });
  const send = async () => {
    const response = await fetch(`${url}/weir.chat.v1.ChatService/Generate`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": type, "idempotency-key": "k-1" },
      body: encodeEnvelope(0, message),
    });
    const failed = /unavailable|grpc-status: 14/.test(await response.text());
    const { headers } = response;
    return {
      status: response.status,
      failed: failed || headers.get("grpc-status") === "14",
      replayed: headers.get("idempotency-replayed"),
    };
  };
  expect(await send()).toEqual({ status: 200, failed: true, replayed: null });
  isAway = false;
  expect(await send()).toEqual({ status: 200, failed: false, replayed: null });
  expect(await send()).toEqual({ status: 200, failed: false, replayed: "true" });
  expect(calls).toHaveLength(2);
});

test("a body beyond what its method takes is refused with an idempotency key as without", async () => {
  const budgets = createClient(BudgetService, createLocalDoor([]));
  const { url, key } = await start({ deps: { rpc: [rpcService(BudgetService, budgets)] }, role: Role.OWNER });
  for (const extra of [{}, { "idempotency-key": "k-1" }]) {
    const response = await fetch(`${url}/v1/budgets`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...extra },
      body: JSON.stringify({ displayName: "x".repeat(4_200_000) }),
    });
    expect([response.status, await response.json()]).toMatchObject([413, { code: 8 }]);
  }
});

test("a stream that broke off, and one whose client left, are made anew", async () => {
  let mode: "break" | "hang" | "whole" = "break";
  const chat: FakeChat = async function* (call) {
    if (mode === "whole") return yield* friendly(call);
    yield wire({ head: eventHead, data: event('{"n":1}') });
    if (mode === "hang") await untilCancelled(call.signal);
    throw new WeirError(ErrorReason.STREAM_TRUNCATED);
  };
  const { post, ask, store, calls } = await start({ chat });
  await expect(ask(helloStream)).rejects.toThrow("terminated");
  await eventually(() => store.rows.size === 0);
  mode = "hang";
  const left = new AbortController();
  const response = await post(helloStream, { headers: { "idempotency-key": "k-1" }, signal: left.signal });
  await response.body?.getReader().read();
  left.abort();
  await eventually(() => store.rows.size === 0);
  mode = "whole";
  expect((await ask(helloStream)).text).toContain("[DONE]");
  expect(calls).toHaveLength(3);
});

test("an answer is stored before its last byte leaves: nobody who has it whole can make it be paid for twice", async () => {
  const { ask, store } = await start();
  for (const [key, body] of [
    ["k-1", hello],
    ["k-2", helloStream],
  ] as const) {
    await ask(body, key);
    expect([...store.rows.values()].every(({ outcome }) => outcome !== undefined)).toBe(true);
  }
});

test("an answer that is too long leaves whole, says that it is not kept, and is not paid for again", async () => {
  const long = `{"x":"${"y".repeat(1_100_000)}"}`;
  const chat: FakeChat = async function* ({ request }) {
    if (request.wire?.stream) {
      for (let index = 0; index < 20; index++)
        yield wire({ ...(index === 0 && { head: eventHead }), data: Buffer.alloc(65_536, "x") });
      yield wire({ data: event("[DONE]"), tail: { usage } });
    } else yield wire({ head: jsonHead, data: Buffer.from(long), tail: { usage } });
  };
  const { ask, calls } = await start({ chat });
  const first = await ask(hello);
  expect([first.text === long, first.headers.get("idempotency-stored")]).toEqual([true, "false"]);
  const second = await ask(hello);
  expect([second.status, second.text.includes("too long")]).toEqual([422, true]);
  await ask(helloStream, "k-2");
  expect((await ask(helloStream, "k-2")).status).toBe(422);
  expect(calls).toHaveLength(2);
});

test("a store that goes away in between does not keep the answer from its client", async () => {
  const { ask, store } = await start();
  store.failing.add("storeOutcome");
  const first = await ask(hello);
  expect([first.status, first.headers.get("idempotency-stored")]).toEqual([200, "false"]);
  expect((await ask(helloStream, "k-2")).text).toContain("[DONE]");
});

test("another edge repeats what this one answered, also when this one is gone", async () => {
  const store = createStore();
  const key = createRecord();
  const one = await start({}, store);
  one.feed({ records: [key.record] });
  await eventually(async () => (await fetch(`${one.url}/v1/models`, { headers: key.headers })).status === 200);
  const post = (url: string) =>
    fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { ...key.headers, "content-type": "application/json", "idempotency-key": "k-1" },
      body: JSON.stringify(hello),
    });
  expect((await post(one.url)).status).toBe(200);
  await one.edge.close();
  const two = await start({}, store);
  two.feed({ records: [key.record] });
  await eventually(async () => (await fetch(`${two.url}/v1/models`, { headers: key.headers })).status === 200);
  const response = await post(two.url);
  expect([response.headers.get("idempotency-replayed"), await response.text()]).toEqual(["true", helloBody]);
  expect(two.calls).toHaveLength(0);
});

test.each(["", " ", "a b", "x".repeat(256), "ü"])("%j is no idempotency key", async (key) => {
  const { ask, calls } = await start();
  expect((await ask(hello, key)).status).toBe(400);
  expect(calls).toHaveLength(0);
});

test("uploads are not repeated, and say so", async () => {
  const { url, key } = await start();
  const headers = {
    authorization: `Bearer ${key}`,
    "idempotency-key": "k-1",
    "content-type": "multipart/form-data; boundary=x",
  };
  const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: "--x--" });
  expect([response.status, (await response.text()).includes("multipart")]).toEqual([400, true]);
});

test("the store has nothing that can be read: not without the client's key, and not without the secret", () => {
  const parts = ["caller", "/v1/chat/completions", "k-1"];
  const seal = createRequestSeal(pepper, parts);
  const answer = create(StoredAnswerSchema, { status: 200, headers: ["a", "b"], body: Buffer.from("canary") });
  const sealed = seal.close(answer);
  expect(sealed.includes("canary")).toBe(false);
  expect(Buffer.from(seal.open(sealed)?.body ?? []).toString()).toBe("canary");
  expect(createRequestSeal(pepper, ["caller", "/v1/chat/completions", "k-2"]).open(sealed)).toBeUndefined();
  expect(createRequestSeal(randomBytes(32), parts).open(sealed)).toBeUndefined();
  expect(createRequestSeal(pepper, ["caller", "/v1/chat/completions,k-1"]).keyId).not.toEqual(seal.keyId);
  sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
  expect(seal.open(sealed)).toBeUndefined();
  expect(seal.open(Buffer.alloc(3))).toBeUndefined();
});
