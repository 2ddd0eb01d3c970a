import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallCancelled } from "@weir/kit/weir-error";
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

const ms = durationFromMs;

test("a slow reader pauses the provider", async () => {
  const piece = sse(chunk({ content: "x".repeat(4_000) }));
  let written = 0;
  let blocked = false;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    const more = () => {
      while (written < 60_000_000) {
        written += piece.length;
        if (!response.write(piece)) {
          blocked = true;
          response.once("drain", () => {
            blocked = false;
            more();
          });
          return;
        }
      }
      response.end(sse("[DONE]"));
    };
    more();
  });
  await using pool = createTestPool(provider.url);
  const messages = pool.run(streaming, { timeouts: { idle: ms(300) } });
  const first = await messages.next();
  let last = -1;
  let standsSinceMs = performance.now();
  // Until nothing has moved for longer than a stalled provider would be given.
  await until(() => {
    const nowMs = performance.now();
    if (!blocked || written !== last) standsSinceMs = nowMs;
    last = written;
    return nowMs - standsSinceMs > 700;
  });
  expect(written).toBeLessThan(20_000_000); // what the sockets of the machine hold
  const rest = await readAll(messages);
  expect(rest.error).toBeUndefined();
  const firstBytes = first.value?.payload.case === "wire" ? first.value.payload.value.data.length : 0;
  expect(firstBytes + rest.text.length).toBe(written + sse("[DONE]").length);
}, 20_000);

test("a slow reader of events pauses the provider, however little each of them says", async () => {
  const piece = sse(chunk({ content: "x" })).repeat(50);
  const whole = 24_000_000;
  let written = 0;
  await using provider = await startProvider((response) => {
    response.writeHead(200, eventStream);
    const more = () => {
      while (written < whole) {
        written += piece.length;
        if (!response.write(piece)) return void response.once("drain", more);
      }
      response.end(sse(chunk({}, "stop"), "[DONE]"));
    };
    more();
  });
  await using pool = createTestPool(provider.url);
  const messages = [{ role: Role.USER, parts: [{ content: { case: "text" as const, value: { text: "hi" } } }] }];
  const request = create(GenerateRequestSchema, { model: "alias", messages });
  const stream = pool.client.runAttempt({ ...attemptRequest(hello), request }, { metadata: principalMetadata });
  await stream.next();
  let last = -1;
  let standsSinceMs = performance.now();
  await until(() => {
    const nowMs = performance.now();
    if (written !== last) standsSinceMs = nowMs;
    last = written;
    return nowMs - standsSinceMs > 300;
  });
  expect(written).toBeLessThan(whole); // what the sockets of the machine hold
  let words = 1; // the first event began the reply
  for await (const { payload } of stream)
    if (payload.case === "event" && payload.value.kind.case === "delta") words += 1;
  expect(words - 1).toBe((written / piece.length) * 50);
}, 20_000);

test("calls beyond the limit wait, and beyond the queue are refused", async () => {
  const waiting: (() => void)[] = [];
  await using provider = await startProvider((response) => {
    waiting.push(() => response.writeHead(200, json).end(answerJson));
  });
  await using pool = createTestPool(provider.url, { callsMax: 2, queueMax: 2 });
  const answers = [1, 2, 3, 4].map(() => readAll(pool.run(hello)));
  await until(() => waiting.length === 2);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 2, waiting: 2 }]);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.OVERLOADED, retryAfterMs: 1_000 });
  expect(pool.journal.intents.size).toBe(2); // those that wait have not begun
  // One of those that wait leaves, and its place is free.
  for (let served = 0; served < 4; served += 1) {
    await until(() => waiting.length > 0);
    waiting.shift()?.();
  }
  expect((await Promise.all(answers)).map(({ error }) => error)).toEqual([undefined, undefined, undefined, undefined]);
  expect(pool.pool.status().providers).toEqual([{ id: "p", calls: 0, waiting: 0 }]);
});

test("a caller that leaves the queue gives up its place, and one that waits too long is refused", async () => {
  await using provider = await startProvider();
  await using pool = createTestPool(provider.url, { callsMax: 1, queueMax: 1 });
  const holder = new AbortController();
  void readAll(pool.run(hello, {}, { signal: holder.signal }));
  await until(() => provider.received.length === 1);
  const stop = new AbortController();
  const leaving = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => pool.pool.status().providers[0]?.waiting === 1);
  stop.abort();
  expect((await leaving).error).toBeInstanceOf(CallCancelled);
  expect(pool.pool.status().providers[0]?.waiting).toBe(0);
  const late = await readAll(pool.run(hello, { timeouts: { total: ms(80) } }));
  expect(late.error).toMatchObject({ reason: ErrorReason.OVERLOADED });
  expect(pool.journal.intents.size).toBe(1);
  holder.abort();
});
