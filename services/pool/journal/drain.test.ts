import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import { metrics } from "@opentelemetry/api";
import { UsageBatchSchema, type UsageEvent, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { RecordUsageResponseSchema, GetWatermarkResponseSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { systemClock } from "@weir/kit/clock";
import { type Log, silentLog } from "@weir/kit/log";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createDrain, type Drain, type DrainOptions, type Sink } from "./drain.ts";
import { exampleEvent, exampleIntent } from "./examples.ts";
import { type Journal, type JournalOptions, openJournal, type SettledBatch } from "./journal.ts";
import { createDirectSink } from "./sink-direct.ts";

let directory: string;
let journal: Journal;
const drains: Drain[] = [];

beforeEach(async () => {
  directory = fs.mkdtempSync(join(tmpdir(), "weir-drain-"));
  journal = await open();
});

afterEach(async () => {
  for (const drain of drains.splice(0)) await drain.stop(0);
  await journal.close();
  fs.rmSync(directory, { recursive: true });
});

function open(options: Partial<JournalOptions> = {}): Promise<Journal> {
  return openJournal({ directory, syncIntervalMs: 1, clock: systemClock, log: silentLog, ...options });
}

function run(count: number, on = journal): string[] {
  return Array.from({ length: count }, () => {
    const id = randomUUID();
    void on.intend(exampleIntent(id));
    on.settle(exampleEvent(id));
    return id;
  });
}

/** Metering, as the contract has it: rows by attempt id, a watermark that only moves over runs that join it. */
function createLedger() {
  const rows = new Map<string, UsageEvent>();
  const ledger = {
    rows,
    committed: 0,
    batches: [] as { first: number; count: number; atMs: number }[],
    apply({ bytes }: Pick<SettledBatch, "bytes">): number {
      const batch = fromBinary(UsageBatchSchema, bytes);
      expect(batch.journalId).toMatch(/^[0-9a-f-]{36}$/);
      const first = Number(batch.firstSequence);
      const last = first + batch.events.length - 1;
      ledger.batches.push({ first, count: batch.events.length, atMs: performance.now() });
      for (const event of batch.events) {
        const row = rows.get(event.attemptId);
        if (row) expect(event).toEqual(row);
        else rows.set(event.attemptId, event);
      }
      if (first <= ledger.committed + 1) ledger.committed = Math.max(ledger.committed, last);
      return ledger.committed;
    },
  };
  return ledger;
}

type Ledger = ReturnType<typeof createLedger>;

function directSink(ledger: Ledger): Sink {
  return {
    inFlightMax: 1,
    send: async (batch) => BigInt(ledger.apply(batch)),
    watermark: async () => BigInt(ledger.committed),
    onWatermark() {},
  };
}

function start(sink: Sink, options: Partial<DrainOptions> = {}): Drain {
  const drain = createDrain({
    journal,
    sink,
    clock: systemClock,
    random: Math.random,
    meter: metrics.getMeter("test"),
    log: silentLog,
    stallMs: 50,
    ...options,
  });
  drains.push(drain);
  return drain;
}

const arrived = (ledger: Ledger, ids: readonly string[]) =>
  vi.waitFor(
    () => {
      expect(journal.committedSequence).toBe(journal.lastSequence);
      expect([...ledger.rows.keys()].toSorted()).toEqual(ids.toSorted());
    },
    { timeout: 20_000 },
  );

test("the first event after a rest leaves at once, the next ones share batches", async () => {
  const ledger = createLedger();
  start(directSink(ledger), { idleDelayMs: 150, batchDelayMs: 1_000, batchEventsMax: 500 });
  await vi.waitFor(() => expect(journal.readableSequence).toBe(0));
  const beganMs = performance.now();
  const ids = run(1);
  await arrived(ledger, ids);
  expect(performance.now() - beganMs).toBeLessThan(150);
  for (let i = 0; i < 20; i += 1) {
    ids.push(...run(5));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await arrived(ledger, ids);
  // 100 events in about 100 ms: all of them waited for the 150 ms after the first batch.
  expect(ledger.batches.length).toBeLessThanOrEqual(3);
  const more = run(1_200);
  await arrived(ledger, [...ids, ...more]);
  expect(ledger.batches.filter((batch) => batch.count === 500)).toHaveLength(2);
  expect(ledger.batches.every((batch) => batch.count <= 500)).toBe(true);
});

test("a sink that loses, repeats, delays, reorders and fails brings everything in the end", {
  timeout: 60_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.infiniteStream(fc.nat(99)),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
      async (stream, bursts) => {
        const own = fs.mkdtempSync(join(tmpdir(), "weir-drain-storm-"));
        const log = await openJournal({
          directory: own,
          syncIntervalMs: 1,
          segmentBytes: 4_096,
          recentBytesMax: 2_000,
          clock: systemClock,
          log: silentLog,
        });
        const ledger = createLedger();
        const chance = () => stream.next().value as number;
        let listener: ((committed: bigint) => void) | undefined;
        let underWay = 0;
        let mostUnderWay = 0;
        const soon = (call: () => void) => setTimeout(call, chance() / 20);
        const deliver = (batch: SettledBatch) =>
          soon(() => {
            const committed = BigInt(ledger.apply(batch));
            // Watermarks get lost and come late, too.
            if (chance() < 80) soon(() => listener?.(committed));
          });
        const sink: Sink = {
          inFlightMax: 3,
          async send(batch) {
            underWay += 1;
            mostUnderWay = Math.max(mostUnderWay, underWay);
            await new Promise<void>((resolve) => soon(resolve));
            underWay -= 1;
            if (chance() < 70) deliver(batch);
            if (chance() < 20) deliver(batch);
            if (chance() < 15) throw new Error("lost or not, nobody knows");
            return undefined;
          },
          async watermark() {
            if (chance() < 20) throw new Error("nobody answers");
            return BigInt(ledger.committed);
          },
          onWatermark: (next) => {
            listener = next;
          },
        };
        const drain = createDrain({
          journal: log,
          sink,
          clock: systemClock,
          random: () => 0,
          meter: metrics.getMeter("test"),
          log: silentLog,
          batchEventsMax: 20,
          batchDelayMs: 5,
          idleDelayMs: 2,
          stallMs: 10,
        });
        const ids: string[] = [];
        for (const burst of bursts) {
          ids.push(...run(burst, log));
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
        await vi.waitFor(() => expect(log.committedSequence).toBe(ids.length), { timeout: 20_000, interval: 5 });
        expect([...ledger.rows.keys()].toSorted()).toEqual(ids.toSorted());
        // Confirmed numbers are the ledger's, never a broker's.
        expect(ledger.committed).toBe(ids.length);
        expect(mostUnderWay).toBeLessThanOrEqual(3);
        await drain.stop(0);
        await log.close();
        fs.rmSync(own, { recursive: true });
      },
    ),
    { numRuns: 6, endOnFailure: true },
  );
});

test("nothing is sent or trimmed while the ledger does not answer, and everything once it does", async () => {
  const ledger = createLedger();
  const sink = directSink(ledger);
  let away = true;
  let asked = 0;
  let sent = 0;
  start({
    ...sink,
    send: (batch, again) => {
      sent += 1;
      return sink.send(batch, again);
    },
    watermark: (id) => {
      asked += 1;
      return away ? Promise.reject(new Error("away")) : sink.watermark(id);
    },
  });
  const ids = run(5);
  await vi.waitFor(() => expect(asked).toBeGreaterThanOrEqual(3));
  expect([sent, journal.committedSequence]).toEqual([0, 0]);
  away = false;
  await arrived(ledger, ids);
});

test("a broker's silence after it took a batch is no confirmation; the same batch goes again under another id", async () => {
  const ledger = createLedger();
  const agains: number[] = [];
  let swallow = 2;
  start({
    ...directSink(ledger),
    async send(batch, again) {
      agains.push(again);
      swallow -= 1;
      return swallow >= 0 ? undefined : BigInt(ledger.apply(batch));
    },
  });
  const ids = run(3);
  await arrived(ledger, ids);
  expect(agains).toEqual([0, 1, 2]);
});

test("a watermark that overtakes the end of a sending lets no more be under way than the sink takes", async () => {
  const ledger = createLedger();
  let underWay = 0;
  let mostUnderWay = 0;
  let listener: ((committed: bigint) => void) | undefined;
  const sink: Sink = {
    ...directSink(ledger),
    inFlightMax: 2,
    async send(batch) {
      underWay += 1;
      mostUnderWay = Math.max(mostUnderWay, underWay);
      listener?.(BigInt(ledger.apply(batch)));
      await new Promise((resolve) => setTimeout(resolve, 10));
      underWay -= 1;
      return undefined;
    },
    onWatermark: (next) => {
      listener = next;
    },
  };
  start(sink, { batchEventsMax: 1, stallMs: 5_000 });
  await arrived(ledger, run(10));
  expect(mostUnderWay).toBe(2);
});

test("a ledger that went back gets again what the journal still has, and goes on", async () => {
  await journal.close();
  journal = await open({ segmentBytes: 4_096 });
  const ledger = createLedger();
  start(directSink(ledger));
  for (let i = 0; i < 10; i += 1) {
    run(10);
    await vi.waitFor(() => expect(journal.committedSequence).toBe(10 * (i + 1)), { timeout: 5_000 });
  }
  await vi.waitFor(() => expect(journal.firstSequence).toBeGreaterThan(50));
  const kept = journal.firstSequence;
  // Restored from a backup.
  ledger.rows.clear();
  ledger.committed = 20;
  const ids = run(5);
  await vi.waitFor(() => expect(ledger.committed).toBe(105), { timeout: 10_000 });
  expect(journal.committedSequence).toBe(105);
  expect(ledger.rows.size).toBe(105 - kept + 1);
  for (const id of ids) expect(ledger.rows.has(id)).toBe(true);
});

test("an empty ledger under an old journal does not stop the journal, after a restart either", async () => {
  const first = createLedger();
  const drain = start(directSink(first));
  await arrived(first, run(30));
  await drain.stop(0);
  await journal.close();
  journal = await open();
  expect(journal.committedSequence).toBe(30);
  const fresh = createLedger();
  const errors: string[] = [];
  const log: Log = { ...silentLog, error: (_, text) => errors.push(text) };
  start(directSink(fresh), { log });
  const ids = run(2);
  await vi.waitFor(() => expect(fresh.committed).toBe(32), { timeout: 5_000 });
  for (const id of ids) expect(fresh.rows.has(id)).toBe(true);
  expect(journal.committedSequence).toBe(32);
  expect(errors).toEqual([expect.stringContaining("the ledger went back")]);
});

test("a journal that is an older copy loses nothing to the ledger's higher number", async () => {
  const ledger = createLedger();
  ledger.committed = 500;
  const ids = run(7);
  start(directSink(ledger));
  await arrived(ledger, ids);
  ids.push(...run(3));
  await arrived(ledger, ids);
  expect(journal.lastSequence).toBe(510);
  expect(ledger.committed).toBe(510);
});

test("a read that fails is tried again", async () => {
  const ledger = createLedger();
  let fails = 2;
  const flaky = new Proxy(journal, {
    get(target, name) {
      if (name !== "read" || fails === 0) return Reflect.get(target, name, target) as unknown;
      fails -= 1;
      return () => Promise.reject(new Error("EMFILE"));
    },
  });
  start(directSink(ledger), { journal: flaky });
  const ids = run(4);
  await arrived(ledger, ids);
  expect(fails).toBe(0);
});

test("stopping waits until the ledger has everything, but not longer than it may", async () => {
  const ledger = createLedger();
  const drain = start(directSink(ledger), { idleDelayMs: 60_000, batchDelayMs: 60_000 });
  run(1);
  await vi.waitFor(() => expect(ledger.committed).toBe(1));
  run(9);
  await drain.stop(5_000);
  expect(ledger.committed).toBe(10);
  expect(drain.idle).toBe(true);

  const silent = start({ ...directSink(ledger), watermark: () => new Promise(() => {}) });
  run(1);
  const beganMs = performance.now();
  await silent.stop(100);
  expect(performance.now() - beganMs).toBeLessThan(1_000);
  expect(silent.idle).toBe(false);
});

test("the direct way calls metering and takes its answers", async () => {
  const ledger = createLedger();
  const watermark = (journalId: string) =>
    create(WatermarkSchema, { journalId, committedSequence: BigInt(ledger.committed) });
  const sink = createDirectSink({
    async recordUsage({ encodedBatch }) {
      ledger.apply({ bytes: encodedBatch as Uint8Array });
      return create(RecordUsageResponseSchema, { watermark: watermark(journal.id) });
    },
    async getWatermark({ journalId }) {
      return create(GetWatermarkResponseSchema, { watermark: watermark(journalId as string) });
    },
  });
  start(sink);
  const ids = run(2_100);
  await arrived(ledger, ids);
  expect(ledger.batches).toMatchObject([
    { first: 1, count: 2_000 },
    { first: 2_001, count: 100 },
  ]);
});
