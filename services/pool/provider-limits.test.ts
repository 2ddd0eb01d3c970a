import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { answerJson, createTestPool, hello, json, readAll, startProvider, until } from "./testing/pool-under-test.ts";

const limited = (limit: string) => ({
  reason: ErrorReason.PROVIDER_RATE_LIMITED,
  metadata: { provider: "p", limit },
});

test("a provider's requests of a minute and of a day are counted together, and a refused call is not sent", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  await using pool = createTestPool(provider.url, { limits: { requestsPerMinute: 5, requestsPerDay: 2n } });
  for (let call = 0; call < 2; call++) expect((await readAll(pool.run(hello))).error).toBeUndefined();
  const { error } = await readAll(pool.run(hello));
  expect(error).toMatchObject(limited("requests"));
  expect((error as { retryAfterMs: number }).retryAfterMs).toBeGreaterThan(23 * 3_600_000);
  expect(provider.received).toHaveLength(2);
  expect(pool.journal.intents.size).toBe(2);
});

test("tokens are set aside by estimate and settled by what the provider reports", async () => {
  await using provider = await startProvider((response) => response.writeHead(200, json).end(answerJson));
  // An answer of the test uses few tokens; its estimate, with 500 of output, is more than half of the limit.
  await using pool = createTestPool(provider.url, { limits: { tokensPerMinute: 900 } });
  const request = { ...hello, max_tokens: 500 };
  const [first, second] = [readAll(pool.run(request)), readAll(pool.run(request))];
  expect((await first).error).toBeUndefined();
  expect((await second).error).toMatchObject(limited("tokens"));
  expect((await readAll(pool.run(request))).error).toBeUndefined();
});

test("a call that is over, or was never sent, holds no place", async () => {
  const unfinished: (() => void)[] = [];
  await using provider = await startProvider((response) => {
    unfinished.push(() => response.writeHead(200, json).end(answerJson));
  });
  await using pool = createTestPool(provider.url, { limits: { concurrentRequests: 1, requestsPerMinute: 3 } });
  const open = readAll(pool.run(hello));
  await until(() => unfinished.length === 1);
  const { error } = await readAll(pool.run(hello));
  expect(error).toMatchObject({ reason: ErrorReason.OVERLOADED, retryAfterMs: 1_000 });
  unfinished.pop()?.();
  expect((await open).error).toBeUndefined();

  const { intend } = pool.journal;
  pool.journal.intend = () => Promise.reject(new Error("the disk is full"));
  expect((await readAll(pool.run(hello))).error).toBeDefined();
  pool.journal.intend = intend;

  // A caller that leaves, then one that stays: three requests in all were sent, none of those above counts.
  const stop = new AbortController();
  const left = readAll(pool.run(hello, {}, { signal: stop.signal }));
  await until(() => unfinished.length === 1);
  stop.abort();
  await left;
  unfinished.pop();
  const last = readAll(pool.run(hello));
  await until(() => unfinished.length === 1);
  unfinished.pop()?.();
  expect((await last).error).toBeUndefined();
  expect((await readAll(pool.run(hello))).error).toMatchObject(limited("requests"));
});
