import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import { createSimulator } from "@weir/simulator/simulator";
import { expect, test } from "vitest";
import { eventsOf } from "./journal/examples.ts";
import { type Journal, openJournal } from "./journal/journal.ts";
import { createTestPool, hello, readAll, silent } from "./testing/pool-under-test.ts";

const open = (directory: string) => openJournal({ directory, syncIntervalMs: 1, clock: systemClock, log: silent });

async function readEvents(journal: Journal): Promise<UsageEvent[]> {
  const all: UsageEvent[] = [];
  for (;;) {
    const batch = await journal.read(all.length, { eventsMax: 64, bytesMax: 1_000_000 });
    if (batch.count === 0) return all;
    all.push(...eventsOf(batch));
  }
}

test("what the pool settles stands in the journal, also for the process after it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "weir-pool-"));
  const simulator = createSimulator({ seed: 3, faultPercent: 30, script: { tokens: 20 } });
  const { url } = await simulator.listen();
  const journal = await open(directory);
  const pool = createTestPool(`${url}/v1`, {}, { journal });
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, i) => readAll(pool.run({ ...hello, stream: i % 2 === 0 }))),
  );
  const left = pool.run({ ...hello, stream: true, x_sim: { tokens: 1_000, gapMs: 5, fault: "stall", after: 2 } });
  await left.next();
  await pool[Symbol.asyncDispose](); // settles the one that is still open
  await expect(left.next()).rejects.toMatchObject({ name: "WeirError" });
  expect(journal.status()).toMatchObject({ openAttempts: 0, lastSequence: 61 });
  await journal.close();

  const next = await open(directory);
  expect(next.status()).toMatchObject({ lostAttempts: 0, lastSequence: 61 });
  const events = await readEvents(next);
  expect(new Set(events.map(({ attemptId }) => attemptId)).size).toBe(61);
  const completed = events.filter(({ outcome }) => outcome === AttemptOutcome.COMPLETED);
  expect(completed).toHaveLength(answers.filter(({ error }) => error === undefined).length);
  expect(events.filter(({ outcome }) => outcome === AttemptOutcome.CANCELLED)).toHaveLength(1);
  for (const { attemptId, usageSource, usage } of events) {
    if (usageSource !== UsageSource.REPORTED) continue;
    expect(simulator.attempt(attemptId)).toMatchObject([
      { inputTokens: usage?.inputTokens, outputTokens: usage?.outputTokens },
    ]);
  }
  await next.close();
  await simulator.close();
  await rm(directory, { recursive: true });
}, 30_000);
