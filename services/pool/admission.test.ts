import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { createPriceList } from "@weir/price/price";
import { expect, test } from "vitest";
import {
  answerJson,
  attemptRequest,
  chunk,
  createTestPool,
  eventStream,
  hello,
  json,
  principalMetadata,
  readAll,
  sse,
  startProvider,
  streaming,
  until,
} from "./testing/pool-under-test.ts";

/** undici gives a connection back one turn after the answer's end. */
const connectionFreed = () => new Promise((resolve) => setTimeout(resolve, 5));

test("missing requests, unknown providers and missing principals", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const { request: _, ...empty } = attemptRequest(hello);
  const cases: [Promise<{ error: unknown }>, object][] = [
    [readAll(pool.client.runAttempt(empty, { metadata: principalMetadata })), { reason: ErrorReason.INVALID_REQUEST }],
    [
      readAll(pool.run(hello, { target: { provider: "q", model: "m" } })),
      { reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { provider: "q", cause: "connect" } },
    ],
    [readAll(pool.client.runAttempt(attemptRequest(hello))), { reason: ErrorReason.INVALID_REQUEST }],
    [
      readAll(pool.run(hello, {}, { metadata: { "weir-principal-bin": "!!!" } })),
      { reason: ErrorReason.INVALID_REQUEST },
    ],
  ];
  for (const [answer, error] of cases) expect((await answer).error).toMatchObject(error);
  expect(provider.received).toEqual([]);
  expect(pool.journal.intents.size).toBe(0);
});

test("a model without a price is called only when that is allowed", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url, {}, { prices: () => createPriceList([]) });
  expect((await readAll(pool.run(hello))).error).toMatchObject({
    reason: ErrorReason.MODEL_UNPRICED,
    metadata: { model: "alias" },
  });
  expect((await readAll(pool.run(hello, { allowUnpriced: true }))).error).toBeUndefined();
  expect(pool.journal.events).toMatchObject([{ priceId: "" }]);
});

test("an attempt is made once", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url);
  const { attemptId } = attemptRequest(hello);
  expect((await readAll(pool.run(hello, { attemptId }))).error).toBeUndefined();
  expect((await readAll(pool.run(hello, { attemptId }))).error).toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
  expect(provider.received).toHaveLength(1);
});

test("without the journal nothing leaves", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url, { callsMax: 1, queueMax: 0 });
  const full = new WeirError(ErrorReason.STORE_UNAVAILABLE);
  pool.journal.intend = () => {
    throw full;
  };
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  pool.journal.intend = () => Promise.reject(full);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  expect(provider.received).toEqual([]);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
});

test("in strict mode the call leaves when the intent is on disk, and not for a caller that left meanwhile", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url);
  const { intend } = pool.journal;
  let written: (() => void) | undefined;
  pool.journal.intend = (intent) => {
    void intend(intent);
    return new Promise<void>((resolve) => (written = resolve));
  };
  const answer = readAll(pool.run(hello));
  await until(() => written !== undefined);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(provider.received).toEqual([]);
  written?.();
  expect((await answer).error).toBeUndefined();

  written = undefined;
  const stop = new AbortController();
  const left = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => written !== undefined);
  stop.abort();
  (written as unknown as () => void)();
  expect((await left).error).toBeInstanceOf(CallCancelled);
  await until(() => pool.journal.events.length === 2);
  expect(pool.journal.events[1]).toMatchObject({
    outcome: AttemptOutcome.CANCELLED,
    usage: { inputTokens: 0, outputTokens: 0 },
  });
  expect(provider.received).toHaveLength(1);
});

test("a reload keeps connections, and open calls to what it drops go on", async () => {
  let finish: (() => void) | undefined;
  await using old = await startProvider((response, { body }) => {
    if (body.includes('"stream":true')) {
      response.writeHead(200, eventStream).write(sse(chunk({ content: "a" })));
      finish = () => response.end(sse("[DONE]"));
    } else response.writeHead(200, json).end(answerJson);
  });
  await using fresh = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(old.url);
  await readAll(pool.run(hello));
  await connectionFreed();
  pool.reload(old.url, { apiKey: "sk-new" });
  await readAll(pool.run(hello));
  expect(new Set(old.received.map(({ socket }) => socket)).size).toBe(1);
  expect(old.received[1]?.headers.authorization).toBe("Bearer sk-new");

  const open = pool.run(streaming);
  await open.next();
  pool.reload(fresh.url);
  expect((await readAll(pool.run(hello))).error).toBeUndefined();
  expect(fresh.received).toHaveLength(1);
  finish?.();
  expect((await readAll(open)).error).toBeUndefined();
  await until(() => old.sockets.size === 0);
});

test.each<[string, { maxOutputTokens?: number; choiceCount?: number }, number]>([
  ["a limit, which is for each reply", { maxOutputTokens: 100, choiceCount: 3 }, 300],
  ["a limit alone", { maxOutputTokens: 100 }, 100],
  ["no limit", { choiceCount: 3 }, 3 * 32_768],
  ["neither", {}, 32_768],
])("of a canonical request is reserved what all its replies may use: %s", async (_, limits, outputTokens) => {
  await using provider = await startProvider((response) => response.writeHead(500, json).end("{}"));
  await using pool = createTestPool(provider.url);
  const messages = [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }];
  const request = create(GenerateRequestSchema, { model: "alias", messages, ...limits });
  await readAll(pool.client.runAttempt({ ...attemptRequest(hello), request }, { metadata: principalMetadata }));
  const [intent] = pool.journal.intents.values();
  const sentBytes = provider.received[0]?.body.length;
  expect(intent?.reserved).toMatchObject({ inputTokens: sentBytes, outputTokens });
});
