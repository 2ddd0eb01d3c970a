import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { createServer } from "node:net";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import {
  answerJson,
  chunk,
  createTestPool,
  eventStream,
  hello,
  json,
  listen,
  type ProviderInit,
  readAll,
  sse,
  startProvider,
  streamEvents,
  streaming,
  until,
} from "./testing/pool-under-test.ts";

const ms = durationFromMs;

test.each([
  ["a stream before its head", true, "hang"],
  ["a stream in the middle", true, "middle"],
  ["an answer before its head", false, "hang"],
  ["an answer in the middle", false, "middle"],
] as const)("a caller that leaves %s", async (_, stream, at) => {
  let closed = false;
  await using provider = await startProvider((response, { socket }) => {
    socket.on("close", () => (closed = true));
    if (at === "hang") return;
    response.writeHead(200, stream ? eventStream : json);
    response.write(stream ? sse(chunk({ content: "word" }), chunk({ content: "word" })) : '{"id":');
  });
  await using pool = createTestPool(provider.url);
  const stop = new AbortController();
  const messages = pool.run(stream ? streaming : hello, {}, { signal: stop.signal });
  const first = messages.next();
  first.catch(() => {}); // expected below, and may come before
  if (stream && at === "middle") await first;
  else await until(() => provider.received.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  stop.abort();
  expect(pool.journal.events).toHaveLength(1); // in this very turn
  await expect(at === "middle" && stream ? messages.next() : first).rejects.toThrow(CallCancelled);
  await until(() => closed); // long before any timer of the attempt
  const [event] = pool.journal.events;
  // What is no stream is made, and billed, before its first byte comes.
  const made = !stream && at === "middle";
  // How far work had come that stopped before it is not known.
  const usageSource = stream ? UsageSource.COUNTED : UsageSource.ESTIMATED;
  expect(event).toMatchObject({ outcome: AttemptOutcome.CANCELLED, usageSource });
  expect(event?.usage?.inputTokens).toBeGreaterThan(5);
  expect(event?.usage?.outputTokens).toBe(made ? 32_768 : stream && at === "middle" ? 2 : 0);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, providers: [{ calls: 0 }] });
});

test("a reader that stops early hangs up", async () => {
  let closed = false;
  await using provider = await startProvider((response, { socket }) => {
    socket.on("close", () => (closed = true));
    response.writeHead(200, eventStream).write(sse(chunk({ content: "word" })));
  });
  await using pool = createTestPool(provider.url);
  for await (const _ of pool.run(streaming)) break;
  await until(() => closed);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { outputTokens: 1 } }]);
});

test("a caller that left before the call was made costs nothing", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url);
  const { error } = await readAll(pool.run(hello, {}, { signal: AbortSignal.abort() }));
  expect(error).toBeInstanceOf(CallCancelled);
  expect(pool.journal.intents.size).toBe(0);
});

test("a caller that leaves while the connection is being made costs nothing", async () => {
  await using provider = await listen(createServer());
  await using pool = createTestPool(`https://127.0.0.1:${provider.port}/v1`);
  const stop = new AbortController();
  const answer = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => pool.journal.intents.size === 1);
  stop.abort();
  expect((await answer).error).toBeInstanceOf(CallCancelled);
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { inputTokens: 0 } }]);
});

const billsOn: ProviderInit = { stopsOnDisconnect: false };

test("a provider that bills on is read to its end for its usage", async () => {
  const unfinished: (() => void)[] = [];
  await using provider = await startProvider((response, { body }) => {
    const stream = body.includes('"stream":true');
    response.writeHead(200, stream ? eventStream : json);
    if (stream) response.write(sse(...streamEvents.slice(0, 2)));
    unfinished.push(() => response.end(stream ? sse(...streamEvents.slice(2)) : answerJson));
  });
  await using pool = createTestPool(provider.url, billsOn);
  for (const request of [streaming, hello]) {
    const stop = new AbortController();
    const answer = readAll(pool.run(request, {}, { signal: stop.signal }));
    await until(() => unfinished.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    stop.abort();
    expect((await answer).error).toBeInstanceOf(CallCancelled);
    expect(pool.pool.status()).toMatchObject({ openAttempts: 1, draining: 1 });
    const before = pool.journal.events.length;
    unfinished.pop()?.();
    await until(() => pool.journal.events.length > before);
    expect(pool.journal.events.at(-1)).toMatchObject({
      outcome: AttemptOutcome.CANCELLED,
      usageSource: UsageSource.REPORTED,
      usage: { inputTokens: 9, outputTokens: 3 },
    });
    expect(pool.pool.status()).toMatchObject({ openAttempts: 0, draining: 0 });
  }
});

test("an answer that is read on for its usage may take its time", async () => {
  await using provider = await startProvider((response) => {
    setTimeout(() => response.writeHead(200, json).write(answerJson.slice(0, 20)), 60);
    setTimeout(() => response.end(answerJson.slice(20)), 300);
  });
  await using pool = createTestPool(provider.url, billsOn);
  const stop = new AbortController();
  const answer = readAll(pool.run(hello, { timeouts: { idle: ms(50) } }, { signal: stop.signal }));
  await until(() => provider.received.length === 1);
  stop.abort();
  await answer;
  await until(() => pool.journal.events.length === 1);
  expect(pool.journal.events).toMatchObject([
    { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.REPORTED, usage: { outputTokens: 3 } },
  ]);
});

test("a provider that bills on and never ends is an estimate", async () => {
  await using provider = await startProvider((response, { body }) => {
    if (body.includes('"stream":true')) response.writeHead(200, eventStream).write(sse(chunk({ content: "word" })));
  });
  {
    await using pool = createTestPool(provider.url, billsOn);
    for (const request of [streaming, hello]) {
      const stop = new AbortController();
      const before = provider.received.length;
      const messages = pool.run(
        { ...request, max_tokens: 77 },
        { timeouts: { total: ms(300) } },
        { signal: stop.signal },
      );
      const first = messages.next();
      first.catch(() => {}); // expected below, and may come before
      if (request === streaming) await first;
      else await until(() => provider.received.length > before);
      stop.abort();
      await expect(request === streaming ? messages.next() : first).rejects.toThrow(CallCancelled);
    }
    await until(() => pool.journal.events.length === 2);
    expect(pool.journal.events).toMatchObject([
      { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.ESTIMATED, usage: { outputTokens: 1 } },
      { outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.ESTIMATED, usage: { outputTokens: 77 } },
    ]);
  }
});

test("closing the pool settles what is open", async () => {
  await using provider = await startProvider(
    (response) => void response.writeHead(200, eventStream).write(sse(chunk({ content: "word" }))),
  );
  const pool = createTestPool(provider.url);
  const messages = pool.run(streaming);
  await messages.next();
  await pool.pool.close();
  expect((await readAll(messages)).error).toMatchObject({ reason: ErrorReason.STREAM_TRUNCATED });
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.CANCELLED, usage: { outputTokens: 1 } }]);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.OVERLOADED });
});
