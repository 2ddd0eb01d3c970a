import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { answerOptions } from "@weir/dialect/openai-responses/testing";
import { choiceEnd, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { edgeSettings, type EdgeSettings } from "@weir/edge/config";
import { type FakeChat, type Harness, startEdge, stopEdges, untilCancelled, wire } from "@weir/edge/testing/harness";
import { noConversations } from "@weir/edge/testing/no-conversations";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import type { Client } from "@weir/kit/call";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { conversationsOn } from "@weir/metering/conversations/testing";
import { migrate } from "@weir/metering/migrate";
import { openTestDatabase, type TestDatabase } from "@weir/metering/testing";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";

// Edges before one store, and what becomes of stored responses when one of them fails.

type Conversations = Client<typeof ConversationService>;

let db: TestDatabase;
let store: Conversations;

beforeAll(async () => {
  db = await openTestDatabase("embedded");
  await migrate(db.database);
  store = await conversationsOn(db.database);
});
afterAll(() => db.end());
afterEach(stopEdges);

let serial = 0;
const head = { status: 200, contentType: "application/json", provider: "sim", model: "m", attempts: 1 };
const usage = { inputTokens: 1, outputTokens: 1 };

function answer(): Buffer {
  const id = `resp_edges_${++serial}`;
  const events = [
    startEvent({ id, model: "m" }),
    textEvent(0, 0, "hello"),
    endEvent([choiceEnd(0, StopReason.END, "stop")], undefined),
  ];
  return Buffer.from(openaiResponses.writeAnswer(events, answerOptions));
}

/** Answers at once. */
const prompt: FakeChat = async function* () {
  yield wire({ head, data: answer(), tail: { usage } });
};

/** Answers nothing until it is left. */
const silent: FakeChat = async function* ({ signal }) {
  yield await untilCancelled(signal);
};

async function edge(
  chat: FakeChat,
  conversations: Conversations = store,
  responses: Partial<EdgeSettings["responses"]> = {},
) {
  const settings = { responses: { ...edgeSettings().responses, ...responses } };
  const harness = await startEdge({ chat, settings, deps: { conversations } });
  const openai = new OpenAI({ baseURL: `${harness.url}/v1`, apiKey: harness.key, maxRetries: 0 });
  return { ...harness, openai };
}

const hasLeft = ({ calls }: Pick<Harness, "calls">) =>
  vi.waitFor(() => expect(calls[0]?.signal.aborted).toBe(true), 4_000);
const request = { model: "small", input: "hi" };
const away = { status: 503, type: "server_error" };

test("a response that one edge makes is cancelled at another, within about a second", async () => {
  const maker = await edge(silent);
  const other = await edge(prompt);
  const { id } = await maker.openai.responses.create({ ...request, background: true });
  await vi.waitFor(() => expect(maker.calls).toHaveLength(1));
  const start = performance.now();
  expect(await other.openai.responses.cancel(id)).toMatchObject({ id, status: "cancelled" });
  await hasLeft(maker);
  expect(performance.now() - start).toBeLessThan(2_500);
  expect((await maker.openai.responses.retrieve(id)).status).toBe("cancelled");
});

test("a response whose edge died has failed once its lease ran out, and not before", async () => {
  const maker = await edge(silent);
  const other = await edge(prompt);
  const { id } = await maker.openai.responses.create({ ...request, background: true });
  await maker.edge.close();
  expect((await other.openai.responses.retrieve(id)).status).toBe("in_progress");
  await db.query("update responses set lease_expire_time = now() where response_id = $1", [id]);
  const failed = await other.openai.responses.retrieve(id);
  expect(failed).toMatchObject({ id, status: "failed", error: { code: "server_error" }, background: true });
  expect(await other.openai.responses.cancel(id)).toMatchObject({ status: "failed" });
  expect((await other.openai.responses.inputItems.list(id)).data).toHaveLength(1);
});

test("the lease of a response that is being made is renewed", async () => {
  const { openai } = await edge(silent, store, { leaseMs: 1_500 });
  const { id } = await openai.responses.create({ ...request, background: true });
  const [before] = await db.query("select lease_expire_time as time from responses where response_id = $1", [id]);
  await vi.waitFor(async () => {
    const [row] = await db.query("select lease_expire_time > $2 as later from responses where response_id = $1", [
      id,
      before?.["time"],
    ]);
    expect(row?.["later"]).toBe(true);
  }, 4_000);
  expect((await openai.responses.retrieve(id)).status).toBe("in_progress");
  await openai.responses.cancel(id);
});

test("a response that lost its lease is given up, and stays failed", async () => {
  const maker = await edge(silent);
  const { id } = await maker.openai.responses.create({ ...request, background: true });
  await vi.waitFor(() => expect(maker.calls).toHaveLength(1));
  // Its maker may renew the lease before anybody looks: then nothing is lost.
  await vi.waitFor(async () => {
    await db.query("update responses set lease_expire_time = now() where response_id = $1", [id]);
    expect((await maker.openai.responses.retrieve(id)).status).toBe("failed");
  });
  await hasLeft(maker);
  expect((await maker.openai.responses.retrieve(id)).status).toBe("failed");
});

test("an edge that drains finishes what it makes in the background", async () => {
  let finish: (() => void) | undefined;
  const waiting = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const maker = await edge(async function* () {
    await waiting;
    yield wire({ head, data: answer(), tail: { usage } });
  });
  const other = await edge(prompt);
  const { id } = await maker.openai.responses.create({ ...request, background: true });
  await vi.waitFor(() => expect(maker.calls).toHaveLength(1));
  const drained = maker.edge.drain(5_000);
  finish?.();
  await drained;
  expect(await other.openai.responses.retrieve(id)).toMatchObject({ status: "completed", output_text: "hello" });
});

test("what an edge cannot finish while it drains is stored as failed", async () => {
  const maker = await edge(silent);
  const other = await edge(prompt);
  const { id } = await maker.openai.responses.create({ ...request, background: true });
  await vi.waitFor(() => expect(maker.calls).toHaveLength(1));
  await maker.edge.drain(100);
  expect(await other.openai.responses.retrieve(id)).toMatchObject({
    status: "failed",
    error: { code: "server_error", message: expect.stringContaining("shut down") as string },
  });
});

test("an end that the store does not take at once is told again", async () => {
  let failures = 2;
  const flaky: Conversations = {
    ...store,
    finishResponse: (message, options) =>
      failures-- > 0
        ? Promise.reject(new WeirError(ErrorReason.STORE_UNAVAILABLE))
        : store.finishResponse(message, options),
  };
  const { openai } = await edge(prompt, flaky);
  const { id } = await openai.responses.create({ ...request, background: true });
  await vi.waitFor(async () => expect((await openai.responses.retrieve(id)).status).toBe("completed"), 4_000);
  expect(failures).toBe(-1);
});

test("while the store is away, what does not need it is answered and says that it is not stored", async () => {
  const { openai, calls } = await edge(prompt, noConversations);
  const { data, response } = await openai.responses.create(request).withResponse();
  expect(data.output_text).toBe("hello");
  expect(response.headers.get("x-weir-warnings")).toBe("not_stored");
  const unstored = await openai.responses.create({ ...request, store: false }).withResponse();
  expect(unstored.response.headers.get("x-weir-warnings")).toBeNull();
  expect(calls).toHaveLength(2);
});

test("while the store is away, what needs it is refused before anything is called, and never looks missing", async () => {
  const { openai, calls } = await edge(prompt, noConversations);
  const needy = [
    () => openai.responses.create({ ...request, previous_response_id: "resp_1" }),
    () => openai.responses.create({ ...request, background: true }),
    () => openai.responses.retrieve("resp_1"),
    () => openai.responses.delete("resp_1"),
    () => openai.responses.cancel("resp_1"),
    () => openai.responses.inputItems.list("resp_1"),
  ];
  for (const call of needy) await expect(call()).rejects.toMatchObject(away);
  expect(calls).toEqual([]);
});

test("a store that does not answer holds an answer up for two seconds at most", async () => {
  const slow: Conversations = {
    ...store,
    storeResponse: (_, { timeoutMs = 60_000 } = {}) =>
      new Promise((__, reject) => {
        setTimeout(() => reject(new WeirError(ErrorReason.DEADLINE_EXCEEDED)), timeoutMs);
      }),
  };
  const { openai } = await edge(prompt, slow);
  const start = performance.now();
  const { response } = await openai.responses.create(request).withResponse();
  expect(performance.now() - start).toBeLessThan(3_000);
  expect(response.headers.get("x-weir-warnings")).toBe("not_stored");
});

test("a client that leaves while its history is looked up causes no call", async () => {
  let asked = 0;
  let left = false;
  const hanging: Conversations = {
    ...store,
    getHistory: (_, { signal } = {}) => {
      asked += 1;
      return new Promise((__, reject) => {
        const handleEvent = () => {
          left = true;
          reject(new CallCancelled());
        };
        signal?.addEventListener("abort", { handleEvent });
      });
    },
  };
  const { openai, calls } = await edge(prompt, hanging);
  const leaving = new AbortController();
  const call = openai.responses.create({ ...request, previous_response_id: "resp_1" }, { signal: leaving.signal });
  await vi.waitFor(() => expect(asked).toBe(1));
  leaving.abort();
  await expect(call).rejects.toBeInstanceOf(Error);
  await vi.waitFor(() => expect(left).toBe(true));
  expect(calls).toEqual([]);
});

test("a response in the background has only so much time", async () => {
  const { openai } = await edge(
    async function* ({ options }) {
      expect(options.timeoutMs).toBeLessThanOrEqual(1_234);
      throw new WeirError(ErrorReason.DEADLINE_EXCEEDED);
    },
    store,
    { backgroundTimeoutMs: 1_234 },
  );
  const { id } = await openai.responses.create({ ...request, background: true });
  await vi.waitFor(async () =>
    expect(await openai.responses.retrieve(id)).toMatchObject({ status: "failed", error: { code: "server_error" } }),
  );
});

test("where nothing is stored, requests go straight through and what was stored before is still there", async () => {
  const before = await edge(prompt);
  const kept = await before.openai.responses.create(request);
  const off = await edge(prompt, store, { store: false });
  const { data, response } = await off.openai.responses.create(request).withResponse();
  expect(response.headers.get("x-weir-warnings")).toBeNull();
  await expect(off.openai.responses.retrieve(data.id)).rejects.toMatchObject({ status: 404 });
  await expect(off.openai.responses.create({ ...request, background: true })).rejects.toMatchObject({
    status: 400,
    param: "background",
  });
  expect(await off.openai.responses.retrieve(kept.id)).toEqual(kept);
  const next = await off.openai.responses.create({ ...request, previous_response_id: kept.id });
  expect(next.previous_response_id).toBe(kept.id);
  await expect(off.openai.responses.retrieve(next.id)).rejects.toMatchObject({ status: 404 });
});

test("what a response in the background used, with the conversation that it continued, counts against its key's tokens", async () => {
  const used = { inputTokens: 12_000, outputTokens: 5 };
  const { openai } = await edge(async function* ({ request: { model } }) {
    yield wire({ head, data: answer(), tail: { usage: model === "long" ? used : usage } });
  });
  const { id } = await openai.responses.create(request);
  const remaining = async () => {
    const { response } = await openai.responses.create({ ...request, max_output_tokens: 16 }).withResponse();
    return Number(response.headers.get("x-ratelimit-remaining-tokens"));
  };
  const before = await remaining();
  await openai.responses.create({ model: "long", input: "hi", background: true, previous_response_id: id });
  await vi.waitFor(async () => expect(before - (await remaining())).toBeGreaterThan(12_000));
});

test("what is entered when its edge has given up is not made, and fails", async () => {
  const entering = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const slow: Conversations = {
    ...store,
    async beginResponse(message, options) {
      asked.resolve();
      await entering.promise;
      const answered = await store.beginResponse(message, options);
      setImmediate(entered.resolve);
      return answered;
    },
  };
  const { edge: maker, openai, calls } = await edge(prompt, slow);
  const failure = expect(openai.responses.create({ ...request, background: true })).rejects.toBeInstanceOf(Error);
  await asked.promise;
  await maker.close();
  entering.resolve();
  await failure;
  await entered.promise;
  expect(calls).toEqual([]);
});

test("answers from the store take up room, and where there is none for one it is refused", async () => {
  const bodiesBytesMax = 500;
  const small = await startEdge({ chat: prompt, settings: { bodiesBytesMax }, deps: { conversations: store } });
  const openai = new OpenAI({ baseURL: `${small.url}/v1`, apiKey: small.key, maxRetries: 0 });
  const { id } = await openai.responses.create(request);
  await expect(openai.responses.retrieve(id)).rejects.toMatchObject(away);
  const large = await edge(prompt);
  expect(Buffer.byteLength(JSON.stringify(await large.openai.responses.retrieve(id)))).toBeGreaterThan(bodiesBytesMax);
});

test("an answer in the background that is larger than may be stored is a failure, and a request that is, is refused", async () => {
  const { openai, calls } = await edge(
    async function* () {
      yield wire({ head, data: Buffer.alloc(2_500, " ") });
      yield wire({ data: answer(), tail: { usage } });
    },
    store,
    { bytesMax: 3_000 },
  );
  const { id } = await openai.responses.create({ ...request, background: true });
  await vi.waitFor(async () =>
    expect(await openai.responses.retrieve(id)).toMatchObject({ status: "failed", error: { code: "server_error" } }),
  );
  const long = { ...request, input: "x".repeat(3_000), background: true };
  await expect(openai.responses.create(long)).rejects.toMatchObject({ status: 413 });
  expect(calls).toHaveLength(1);
});
