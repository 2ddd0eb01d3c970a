import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createServer } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { expect, test } from "vitest";
import {
  answerJson,
  chunk,
  createTestPool,
  eventStream,
  hello,
  json,
  listen,
  readAll,
  sse,
  startProvider,
  streaming,
  until,
} from "./testing/pool-under-test.ts";

const ms = durationFromMs;

test("first_token: a provider that takes the request and is silent", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const startMs = performance.now();
  const { error } = await readAll(pool.run(streaming, { timeouts: { firstToken: ms(150) } }));
  expect(performance.now() - startMs).toBeGreaterThan(145);
  expect(performance.now() - startMs).toBeLessThan(1_500);
  expect(error).toMatchObject({
    reason: ErrorReason.PROVIDER_TIMEOUT,
    metadata: { provider: "p", timer: "first_token" },
  });
  await until(() => provider.sockets.size === 0);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.FAILED, usageSource: UsageSource.COUNTED }]);
});

test("first_token: signs of life are no content", async () => {
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    const timer = setInterval(() => response.write(": ping\n\n"), 10);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  const { error } = await readAll(pool.run(streaming, { timeouts: { firstToken: ms(150) } }));
  expect(error).toMatchObject({ metadata: { timer: "first_token" } });
});

test("first_token does not hurry an answer that is no stream", async () => {
  await using provider = await startProvider(
    (response) => void setTimeout(() => response.writeHead(200, json).end(answerJson), 200),
  );
  await using pool = createTestPool(provider.url);
  expect((await readAll(pool.run(hello, { timeouts: { firstToken: ms(50), idle: ms(50) } }))).error).toBeUndefined();
});

test("idle: a stream that stops, and one that goes on slowly", async () => {
  let go = true;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream).write(sse(chunk({ content: "a" })));
    let events = 0;
    const timer = setInterval(() => {
      if (events++ < 10) response.write(sse(chunk({ content: "b" })));
      else if (go) response.end(sse("[DONE]"));
    }, 40);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  expect((await readAll(pool.run(streaming, { timeouts: { idle: ms(200), connect: ms(60) } }))).error).toBeUndefined();
  go = false;
  const { error, text } = await readAll(pool.run(streaming, { timeouts: { idle: ms(200), connect: ms(60) } }));
  expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "idle" } });
  expect(text).toContain('"b"');
  expect(pool.journal.events[1]).toMatchObject({
    outcome: AttemptOutcome.TRUNCATED,
    usageSource: UsageSource.COUNTED,
    usage: { outputTokens: 11 },
  });
  expect(pool.journal.progress_.length).toBeGreaterThan(2);
});

test("total: for a stream that never ends and an answer that never comes", async () => {
  await using provider = await startProvider((response, { body }) => {
    if (!body.includes('"stream":true')) return;
    response.writeHead(200, eventStream);
    const timer = setInterval(() => response.write(sse(chunk({ content: "b" }))), 10);
    response.on("close", () => clearInterval(timer));
  });
  await using pool = createTestPool(provider.url);
  for (const request of [streaming, hello]) {
    const { error } = await readAll(pool.run(request, { timeouts: { total: ms(150) } }));
    expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "total" } });
  }
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.TRUNCATED },
    { outcome: AttemptOutcome.FAILED },
  ]);
});

test("connect: a connection that does not come to stand", async () => {
  // TLS against a server that never says a word.
  await using provider = await listen(createServer());
  await using pool = createTestPool(`https://127.0.0.1:${provider.port}/v1`);
  const { error } = await readAll(pool.run(hello, { timeouts: { connect: ms(100) } }));
  expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_TIMEOUT, metadata: { timer: "connect" } });
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.FAILED, usage: { inputTokens: 0, outputTokens: 0 } },
  ]);
});
