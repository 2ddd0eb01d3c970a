import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { faults, sseOddities, usageManners } from "@weir/simulator/script";
import { createSimulator, type Script } from "@weir/simulator/simulator";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { createTestPool, hello, type ProviderInit, readAll, until } from "./testing/pool-under-test.ts";

const streaming = { ...hello, stream: true };
const short = {
  connect: durationFromMs(300),
  firstToken: durationFromMs(400),
  idle: durationFromMs(400),
  total: durationFromMs(2_000),
};

async function start(script: Script, provider: ProviderInit = {}) {
  const simulator = createSimulator({ script });
  const { url } = await simulator.listen();
  const pool = createTestPool(`${url}/v1`, provider);
  return {
    simulator,
    pool,
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await simulator.close();
    },
  };
}

const billed = ({
  inputTokens,
  outputTokens,
}: {
  inputTokens?: number | undefined;
  outputTokens?: number | undefined;
}) => ({
  inputTokens,
  outputTokens,
});

// Faults after which the answer is whole all the same.
const harmless = new Set<string>(["no-done", "length-short", "length-long"]);

test.each(faults.flatMap((fault) => [[fault, true] as const, [fault, false] as const]))(
  "fault %s, stream %s: whole or failed, settled once, and exact unless it says otherwise",
  async (fault, stream) => {
    await using setup = await start({ fault, text: "a few words that make up an answer of some length", gapMs: 1 });
    const { simulator, pool } = setup;
    const answer = await readAll(pool.run(stream ? streaming : hello, { timeouts: short }));
    expect(pool.defects).toEqual([]);
    expect(pool.journal.events).toHaveLength(1);
    const [event] = pool.journal.events;
    if (answer.error === undefined) {
      expect(answer.tail).toBeDefined();
      expect(event?.outcome).toBe(AttemptOutcome.COMPLETED);
    } else {
      expect(answer.error).toBeInstanceOf(WeirError);
      expect(answer.tail).toBeUndefined();
      expect(answer.text).not.toContain("[DONE]");
      expect([AttemptOutcome.FAILED, AttemptOutcome.TRUNCATED, AttemptOutcome.REJECTED]).toContain(event?.outcome);
      const { reason } = answer.error as WeirError;
      expect(
        reason === ErrorReason.STREAM_TRUNCATED ||
          event?.outcome !== AttemptOutcome.TRUNCATED ||
          reason === ErrorReason.PROVIDER_TIMEOUT,
      ).toBe(true);
    }
    if (!harmless.has(fault) && stream) expect(answer.error).toBeDefined();
    if (event?.usageSource !== UsageSource.REPORTED) return;
    await until(() => simulator.attempt(event.attemptId).length === 1);
    expect(simulator.attempt(event.attemptId)).toMatchObject([billed(event.usage ?? {})]);
  },
);

test.each(usageManners.flatMap((usage) => [[usage, true] as const, [usage, false] as const]))(
  "usage %s, asked for %s: the book and the provider agree, or it says that they may not",
  async (usage, asked) => {
    await using setup = await start({ usage, tokens: 40, cachedTokens: 2 });
    const { simulator, pool } = setup;
    const answer = await readAll(
      pool.run({ ...streaming, ...(asked ? { stream_options: { include_usage: true } } : {}) }),
    );
    expect(answer.error).toBeUndefined();
    const [event] = pool.journal.events;
    const [record] = simulator.attempt(event?.attemptId ?? "");
    if (usage === "none" || usage === "null") {
      expect(event).toMatchObject({ usageSource: UsageSource.COUNTED, usage: { outputTokens: record?.outputTokens } });
    } else {
      expect(event?.usageSource).toBe(UsageSource.REPORTED);
      expect(billed(event?.usage ?? {})).toEqual(billed(record ?? {}));
    }
    const extra = answer.text.split("\n\n").filter((block) => block.includes('"choices":[]'));
    if (!asked) expect(extra).toEqual([]);
  },
);

test.each(sseOddities.flatMap((sse) => [1, 7, 100_000].map((sliceBytes) => [sse, sliceBytes] as const)))(
  "framing %s in writes of %i bytes: whole, and exact",
  async (sse, sliceBytes) => {
    await using setup = await start({ sse, sliceBytes, tokens: 12 });
    const { simulator, pool } = setup;
    const answer = await readAll(pool.run({ ...streaming, stream_options: { include_usage: true } }));
    expect(answer.error).toBeUndefined();
    expect(answer.text.endsWith("data: [DONE]\n\n")).toBe(true);
    const [event] = pool.journal.events;
    expect(event).toMatchObject({ outcome: AttemptOutcome.COMPLETED, usageSource: UsageSource.REPORTED });
    expect(billed(event?.usage ?? {})).toEqual(billed(simulator.attempt(event?.attemptId ?? "")[0] ?? {}));
  },
);

test("a stream that is left in the middle is counted to within what was on its way", async () => {
  await using setup = await start({ tokens: 10_000, gapMs: 1 });
  const { simulator, pool } = setup;
  const stop = new AbortController();
  let events = 0;
  await expect(
    (async () => {
      for await (const _ of pool.run(streaming, {}, { signal: stop.signal })) if (++events === 40) stop.abort();
    })(),
  ).rejects.toThrow(CallCancelled);
  const [event] = pool.journal.events;
  await until(() => simulator.attempt(event?.attemptId ?? "").length === 1);
  const [record] = simulator.attempt(event?.attemptId ?? "");
  expect(record).toMatchObject({ end: "abandoned", clientLeft: true });
  expect(event).toMatchObject({ outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.COUNTED });
  expect(Math.abs((record?.outputTokens ?? 0) - (event?.usage?.outputTokens ?? 0))).toBeLessThanOrEqual(10);
});

test("a provider that bills on is billed to the token", async () => {
  await using setup = await start(
    { tokens: 100, gapMs: 2, stopOnAbort: false, billing: "full" },
    { stopsOnDisconnect: false },
  );
  const { simulator, pool } = setup;
  for await (const _ of pool.run(streaming)) break;
  await until(() => pool.journal.events.length === 1);
  const [event] = pool.journal.events;
  expect(event).toMatchObject({ outcome: AttemptOutcome.CANCELLED, usageSource: UsageSource.REPORTED });
  expect(billed(event?.usage ?? {})).toEqual(billed(simulator.attempt(event?.attemptId ?? "")[0] ?? {}));
});

test("a storm of faults over many calls at once: every attempt that left is settled once", async () => {
  const simulator = createSimulator({ seed: 7, faultPercent: 50, script: { tokens: 30 } });
  const { url } = await simulator.listen();
  await using pool = createTestPool(`${url}/v1`, { callsMax: 20 });
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, i) => readAll(pool.run(i % 2 === 0 ? streaming : hello, { timeouts: short }))),
  );
  expect(pool.journal.events).toHaveLength(200);
  expect(pool.defects).toEqual([]);
  expect(answers.filter(({ error }) => error === undefined).length).toBeGreaterThan(50);
  expect(pool.pool.status()).toMatchObject({ openAttempts: 0, draining: 0, providers: [{ calls: 0, waiting: 0 }] });
  for (const { attemptId, usageSource, usage } of pool.journal.events) {
    if (usageSource === UsageSource.REPORTED) {
      expect(billed(usage ?? {})).toEqual(billed(simulator.attempt(attemptId)[0] ?? {}));
    }
  }
  await simulator.close();
}, 30_000);
