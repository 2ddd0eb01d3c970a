import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import * as fs from "node:fs";
import { join } from "node:path";
import { AttemptOutcome, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { expect, test, vi } from "vitest";
import { eventsOf, exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { type Journal, type JournalOptions, openJournal } from "./journal.ts";
import { closeAll, directory, open, run, useFolders } from "./journal-under-test.ts";

useFolders();

/** What a killed process leaves: the files as they are, and nobody who holds them. */
async function reopenAsAfterKill(options: Partial<JournalOptions> = {}): Promise<Journal> {
  const copy = `${directory}.copy`;
  fs.cpSync(directory, copy, { recursive: true });
  fs.rmSync(join(copy, "lock"));
  await closeAll();
  fs.rmSync(directory, { recursive: true });
  fs.renameSync(copy, directory);
  return open(options);
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const all = { eventsMax: 100_000, bytesMax: 2 ** 30 };

async function readAll(journal: Journal, after = 0): Promise<UsageEvent[]> {
  const { lastSequence } = journal.status();
  await vi.waitFor(() => expect(journal.readableSequence).toBe(lastSequence));
  const events: UsageEvent[] = [];
  for (let at = after; at < lastSequence; ) {
    const read = await journal.read(at, all);
    expect(read.firstSequence).toBe(at + 1);
    expect(read.count).toBeGreaterThan(0);
    events.push(...eventsOf(read));
    at += read.count;
  }
  return events;
}

function failure(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return undefined;
}

test("settled events come back in order, numbered from 1, now and after a restart", async () => {
  const journal = await open();
  const ids = run(journal, 50);
  expect((await readAll(journal)).map((event) => event.attemptId)).toEqual(ids);
  await journal.close();
  const again = await open();
  expect(again.id).toBe(journal.id);
  expect((await readAll(again)).map((event) => event.attemptId)).toEqual(ids);
  const more = run(again, 3);
  expect((await readAll(again, 50)).map((event) => event.attemptId)).toEqual(more);
});

test("limits of a read hold, from memory and from disk", async () => {
  const first = await open();
  run(first, 30);
  const check = async (journal: Journal) => {
    expect(eventsOf(await journal.read(10, { eventsMax: 7, bytesMax: 1e9 }))).toHaveLength(7);
    expect(eventsOf(await journal.read(10, { eventsMax: 7, bytesMax: 1 }))).toHaveLength(1);
    expect(eventsOf(await journal.read(28, { eventsMax: 7, bytesMax: 1e9 }))).toHaveLength(2);
    expect((await journal.read(30, all)).count).toBe(0);
    expect((await journal.read(1e6, all)).count).toBe(0);
  };
  await readAll(first);
  await check(first);
  await first.close();
  await check(await open());
});

test("an attempt that its process left open is settled as lost before new ones are admitted", async () => {
  const journal = await open();
  const [plain, streamed, done] = [randomUUID(), randomUUID(), randomUUID()];
  void journal.intend(exampleIntent(plain, exampleUsage(900, 4_000)));
  void journal.intend(exampleIntent(streamed));
  void journal.intend(exampleIntent(done));
  journal.progress(streamed, exampleUsage(5, 6));
  journal.progress(streamed, exampleUsage(5, 60));
  journal.settle(exampleEvent(done));
  await turn();
  const again = await reopenAsAfterKill();
  expect(again.status()).toMatchObject({ lostAttempts: 2, openAttempts: 0, lastSequence: 3, readableSequence: 3 });
  const events = await readAll(again);
  expect(events.map((event) => event.attemptId)).toEqual([done, plain, streamed]);
  const lost = { outcome: AttemptOutcome.LOST, usageSource: UsageSource.ESTIMATED };
  expect(events[1]).toMatchObject({ ...lost, usage: exampleUsage(900, 4_000) });
  expect(events[2]).toMatchObject({ ...lost, usage: exampleUsage(5, 60) });
  const third = await reopenAsAfterKill();
  expect(third.status()).toMatchObject({ lostAttempts: 0, lastSequence: 3 });
  expect(await readAll(third)).toEqual(events);
});

test("an attempt is open once and ends once", async () => {
  const journal = await open();
  const id = randomUUID();
  void journal.intend(exampleIntent(id));
  expect(failure(() => journal.intend(exampleIntent(id)))).toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
  expect(journal.settle(exampleEvent(id))).toBe(true);
  expect(journal.settle(exampleEvent(id))).toBe(false);
  expect(journal.settle(exampleEvent(randomUUID()))).toBe(false);
  journal.progress(randomUUID(), exampleUsage(1, 1));
  expect(journal.status()).toMatchObject({ openAttempts: 0, lastSequence: 1 });
});

test("what the ledger would refuse is not recorded", async () => {
  const journal = await open({ openAttemptsMax: 1 });
  const bad = { reason: ErrorReason.INVALID_REQUEST };
  expect(failure(() => journal.intend(exampleIntent("no-uuid")))).toMatchObject(bad);
  const intent = exampleIntent(randomUUID());
  const nameless = exampleIntent(randomUUID());
  nameless.target.model = "";
  expect(failure(() => journal.intend(nameless))).toMatchObject(bad);
  expect(failure(() => journal.intend({ ...intent, alias: "x".repeat(20_000) }))).toMatchObject(bad);
  void journal.intend(intent);
  expect(failure(() => journal.intend(exampleIntent(randomUUID())))).toMatchObject({ reason: ErrorReason.OVERLOADED });
  // A settlement that cannot be recorded as it is keeps its tokens, and the attempt ends.
  const event = exampleEvent(intent.attemptId, exampleUsage(7, 8));
  const uses = event.usage?.serverToolUses ?? {};
  uses["x".repeat(70_000)] = 1;
  expect(journal.settle(event)).toBe(true);
  expect(await readAll(journal)).toMatchObject([
    {
      attemptId: intent.attemptId,
      outcome: AttemptOutcome.LOST,
      usageSource: UsageSource.ESTIMATED,
      usage: exampleUsage(7, 8),
    },
  ]);
});

/** The last of what is tried, with more of a three-byte character each time, before something refuses it. */
function mostThat(fits: (text: string) => boolean): string {
  let length = 22_000;
  while (!fits("\u20ac".repeat(length))) length -= 20;
  return "\u20ac".repeat(length);
}

test("the greatest intent with the greatest progress survives a crash as one event", async () => {
  const journal = await open();
  const id = randomUUID();
  const alias = mostThat((text) => {
    try {
      void journal.intend({ ...exampleIntent(id), alias: text });
      return true;
    } catch {
      return false;
    }
  });
  const refusals = vi.spyOn(silentLog, "error");
  const tool = mostThat((text) => {
    const before = refusals.mock.calls.length;
    journal.progress(id, create(UsageSchema, { outputTokens: 5, serverToolUses: { [text]: 1 } }));
    return refusals.mock.calls.length === before;
  });
  refusals.mockRestore();
  await turn();
  const again = await reopenAsAfterKill();
  expect(await readAll(again)).toMatchObject([
    { attemptId: id, alias, outcome: AttemptOutcome.LOST, usage: { outputTokens: 5, serverToolUses: { [tool]: 1 } } },
  ]);
  expect(await readAll(await reopenAsAfterKill())).toHaveLength(1);
});

test("a tier that does not fit costs an attempt its tier, and no tokens", async () => {
  const journal = await open();
  const id = randomUUID();
  void journal.intend(exampleIntent(id));
  const usage = create(UsageSchema, { outputTokens: 5, serviceTier: "x".repeat(70_000) });
  expect(journal.settle(exampleEvent(id, usage))).toBe(true);
  expect(await readAll(journal)).toMatchObject([{ attemptId: id, usage: { outputTokens: 5 } }]);
});

test("what takes the place of destroyed events is whole, whatever is settled while it is read", async () => {
  const journal = await open({ recentBytesMax: 400 });
  run(journal, 3);
  await readAll(journal);
  const [last] = run(journal, 1) as [string];
  await vi.waitFor(() => expect(journal.readableSequence).toBe(4));
  // Everything on disk is gone; one event is in memory.
  for (const name of fs.readdirSync(directory)) if (name.endsWith(".wal")) fs.truncateSync(join(directory, name), 64);
  let looks = 0;
  const batch = await journal.read(0, {
    bytesMax: all.bytesMax,
    get eventsMax() {
      looks += 1;
      // First where the disk is read, then where the event in memory is taken.
      if (looks === 2) {
        queueMicrotask(() => {
          journal.trim(4);
          run(journal, 4);
        });
      }
      return all.eventsMax;
    },
  });
  expect(looks).toBe(2);
  expect(eventsOf(batch).map(({ attemptId }) => attemptId)).toEqual([last, last, last]);
});

test("what takes the place of destroyed events is no larger than a batch may be, and at least one event", async () => {
  const journal = await open({ recentBytesMax: 400 });
  run(journal, 40);
  await readAll(journal);
  for (const name of fs.readdirSync(directory)) if (name.endsWith(".wal")) fs.truncateSync(join(directory, name), 64);
  const batch = await journal.read(0, { eventsMax: 30, bytesMax: 4_096 });
  expect(batch.count).toBeGreaterThan(1);
  expect(batch.bytes.length).toBeLessThan(4_300);
  expect(eventsOf(batch)).toHaveLength(batch.count);
  expect(await journal.read(0, { eventsMax: 30, bytesMax: 1 })).toMatchObject({ firstSequence: 1, count: 1 });
});

test("a settlement that no field can hold counts as lost, with what was on record", async () => {
  const journal = await open();
  const ids = [randomUUID(), randomUUID(), randomUUID()];
  for (const id of ids) void journal.intend(exampleIntent(id, exampleUsage(9, 90)));
  journal.progress(ids[1] as string, exampleUsage(9, 30));
  journal.progress(ids[1] as string, exampleUsage(9, Number.NaN));
  expect(journal.settle(exampleEvent(ids[0] as string, exampleUsage(1, 2 ** 33)))).toBe(true);
  expect(journal.settle(exampleEvent(ids[1] as string, exampleUsage(1, -5)))).toBe(true);
  const event = exampleEvent(ids[2] as string);
  event.outcome = AttemptOutcome.UNSPECIFIED;
  expect(journal.settle(event)).toBe(true);
  const lost = { outcome: AttemptOutcome.LOST, usageSource: UsageSource.ESTIMATED };
  const expected = [exampleUsage(9, 90), exampleUsage(9, 30), exampleUsage(9, 90)].map((usage) => ({ ...lost, usage }));
  expect(await readAll(journal)).toMatchObject(expected);
  expect(await readAll(await reopenAsAfterKill())).toMatchObject(expected);
});

test("many segments: open attempts move along, committed segments go, the rest is read from disk", async () => {
  const options = { bytesMax: 2 ** 20, segmentBytes: 4_096, recentBytesMax: 1_000 };
  const journal = await open(options);
  const long = randomUUID();
  void journal.intend(exampleIntent(long));
  journal.progress(long, exampleUsage(3, 4));
  const ids: string[] = [];
  for (let i = 0; i < 20; i += 1) {
    ids.push(...run(journal, 10));
    await turn();
  }
  expect((await readAll(journal)).map((event) => event.attemptId)).toEqual(ids);
  const before = journal.status();
  expect(before.segments).toBeGreaterThan(10);
  journal.trim(150);
  await vi.waitFor(() => expect(journal.status().segments).toBeLessThan(before.segments / 2));
  expect(journal.status().bytes).toBe(sizeOfSegments());
  expect(journal.firstSequence).toBeGreaterThan(100);
  expect(journal.firstSequence).toBeLessThanOrEqual(151);
  expect((await readAll(journal, 150)).map((event) => event.attemptId)).toEqual(ids.slice(150));
  // Numbers that are gone are filled with copies of the next event.
  const copies = await journal.read(3, { eventsMax: 5, bytesMax: 1e9 });
  expect(copies).toMatchObject({ firstSequence: 4 });
  expect(new Set(eventsOf(copies).map((event) => event.attemptId))).toEqual(new Set([ids[journal.firstSequence - 1]]));
  const again = await reopenAsAfterKill(options);
  expect(again.status()).toMatchObject({ lostAttempts: 1, lastSequence: 201 });
  const events = await readAll(again, 150);
  expect(events.map((event) => event.attemptId)).toEqual([...ids.slice(150), long]);
  expect(events.at(-1)).toMatchObject({ outcome: AttemptOutcome.LOST, usage: exampleUsage(3, 4) });
});

function sizeOfSegments(): number {
  const names = fs.readdirSync(directory).filter((name) => name.endsWith(".wal"));
  return names.reduce((sum, name) => sum + fs.statSync(join(directory, name)).size, 0);
}

test("a full journal refuses new attempts, takes the settlements of open ones, and admits again once the ledger confirms", async () => {
  const journal = await open({ bytesMax: 65_536, segmentBytes: 8_192 });
  const admitted: string[] = [];
  const full = failure(() => {
    for (let i = 0; i < 10_000; i += 1) {
      const id = randomUUID();
      void journal.intend(exampleIntent(id));
      admitted.push(id);
      if (i % 3 !== 0) journal.settle(exampleEvent(id));
    }
  });
  expect(full).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE, retryAfterMs: 1_000 });
  expect(journal.status().writable).toBe("full");
  const settled = journal.status().lastSequence;
  for (const id of admitted) journal.settle(exampleEvent(id));
  expect(journal.status()).toMatchObject({ lastSequence: admitted.length, openAttempts: 0 });
  expect(settled).toBeLessThan(admitted.length);
  await readAll(journal);
  expect(sizeOfSegments()).toBeLessThanOrEqual(65_536);
  journal.trim(admitted.length);
  await vi.waitFor(() => expect(journal.status().writable).toBe(true));
  run(journal, 1);
});

test("strict mode resolves after a sync, and shares it", async () => {
  let syncs = 0;
  const files = {
    ...fs,
    fdatasync: ((fd: number, done: (error: NodeJS.ErrnoException | null) => void) => {
      syncs += 1;
      fs.fdatasync(fd, done);
    }) as typeof fs.fdatasync,
  };
  const journal = await open({ syncIntervalMs: 0, files });
  const before = syncs;
  const ids = Array.from({ length: 20 }, () => randomUUID());
  let resolved = 0;
  const waits = ids.map(async (id) => {
    await journal.intend(exampleIntent(id));
    resolved += 1;
  });
  expect(resolved).toBe(0);
  await Promise.all(waits);
  expect(syncs - before).toBeGreaterThanOrEqual(1);
  expect(syncs - before).toBeLessThanOrEqual(2);
});

test("events are readable only when they are synced", async () => {
  let release = () => {};
  let held = false;
  const files = {
    ...fs,
    fdatasync: ((fd: number, done: (error: NodeJS.ErrnoException | null) => void) => {
      if (!held) fs.fdatasync(fd, done);
      else release = () => fs.fdatasync(fd, done);
    }) as typeof fs.fdatasync,
  };
  const journal = await open({ files });
  held = true;
  let calls = 0;
  journal.onReadable(() => (calls += 1));
  run(journal, 2);
  await turn();
  await vi.waitFor(() => expect(release).not.toBe(undefined));
  expect(journal.readableSequence).toBe(0);
  expect((await journal.read(0, all)).count).toBe(0);
  await vi.waitFor(() => {
    held = false;
    release();
    expect(journal.readableSequence).toBe(2);
  });
  expect(calls).toBeGreaterThan(0);
});

test("damage in the middle costs what it hit: it is counted, and the events around it come back", async () => {
  const journal = await open();
  const ids = run(journal, 20);
  await journal.close();
  const path = join(directory, "segment-0000000001.wal");
  const bytes = fs.readFileSync(path);
  const at = bytes.indexOf(ids[9] as string, bytes.indexOf(ids[9] as string) + 36 + 40);
  bytes[at] = (bytes[at] as number) ^ 0x10;
  fs.writeFileSync(path, bytes);
  const again = await open();
  expect(again.status()).toMatchObject({ damagedRecords: 1, lostAttempts: 1, lastSequence: 21 });
  const events = await readAll(again);
  const got = events.map((event) => event.attemptId);
  // Number 10 is gone; the event after it stands in for it. Its attempt counts as lost.
  expect(got).toEqual([...ids.slice(0, 9), ids[10], ...ids.slice(10), ids[9]]);
  expect(events.at(-1)).toMatchObject({ outcome: AttemptOutcome.LOST });
});

test("a damaged header costs nothing", async () => {
  const journal = await open();
  const ids = run(journal, 5);
  await journal.close();
  const path = join(directory, "segment-0000000001.wal");
  const bytes = fs.readFileSync(path);
  bytes[20] = (bytes[20] as number) ^ 1;
  fs.writeFileSync(path, bytes);
  const again = await open();
  expect(again.id).toBe(journal.id);
  expect(again.status().damagedRecords).toBe(1);
  expect((await readAll(again)).map((event) => event.attemptId)).toEqual(ids);
});

test("cut at any byte, the journal opens with the events before the cut", async () => {
  const journal = await open();
  const ids = run(journal, 6);
  await journal.close();
  const path = join(directory, "segment-0000000001.wal");
  const whole = fs.readFileSync(path);
  const kept = new Map<number, number>();
  for (let size = 0; size <= whole.length; size += 29) {
    for (const name of fs.readdirSync(directory)) if (name !== "journal.id") fs.rmSync(join(directory, name));
    fs.writeFileSync(path, whole.subarray(0, size));
    const again = await openJournal({ directory, clock: systemClock, log: silentLog });
    const { damagedRecords, lastSequence, lostAttempts } = again.status();
    expect(damagedRecords).toBe(0);
    const events = await readAll(again);
    expect(events.map((event) => event.attemptId)).toEqual(ids.slice(0, lastSequence));
    const settled = events.filter((event) => event.outcome === AttemptOutcome.COMPLETED).length;
    expect(settled).toBe(lastSequence - lostAttempts);
    kept.set(settled, size);
    await again.close();
  }
  expect([...kept.keys()]).toEqual([0, 1, 2, 3, 4, 5, 6].slice(0, kept.size));
  expect(kept.size).toBeGreaterThanOrEqual(6);
});

test("restarts without work leave no files behind", async () => {
  for (let i = 0; i < 5; i += 1) await (await open()).close();
  expect(fs.readdirSync(directory).filter((name) => name.endsWith(".wal"))).toHaveLength(1);
});

test("what the ledger confirmed is remembered; a closed journal admits nothing", async () => {
  const journal = await open();
  run(journal, 4);
  await readAll(journal);
  journal.trim(4);
  journal.trim(3);
  journal.trim(99);
  expect(journal.committedSequence).toBe(3);
  expect(journal.status().oldestUnconfirmedAgeMs).toBeGreaterThanOrEqual(0);
  const open1 = randomUUID();
  void journal.intend(exampleIntent(open1));
  await journal.close();
  expect(failure(() => journal.intend(exampleIntent(randomUUID())))).toMatchObject({
    reason: ErrorReason.STORE_UNAVAILABLE,
  });
  expect(journal.settle(exampleEvent(open1))).toBe(false);
  const again = await open();
  expect(again.committedSequence).toBe(3);
  expect(again.status()).toMatchObject({ lastSequence: 5, lostAttempts: 1 });
});

test("a journal that is an older copy goes on after the ledger's number, and keeps what the ledger may lack", async () => {
  const options = { segmentBytes: 4_096, recentBytesMax: 1_000 };
  const journal = await open(options);
  const ids = run(journal, 40);
  await readAll(journal);
  journal.trim(10);
  const still = randomUUID();
  void journal.intend(exampleIntent(still));
  await journal.continueAfter(1_000_000);
  journal.settle(exampleEvent(still));
  expect(journal.committedSequence).toBe(1_000_000);
  const expected = new Set([...ids.slice(10), still]);
  const events = await readAll(journal, 1_000_000);
  expect(new Set(events.map((event) => event.attemptId))).toEqual(expected);
  expect(events).toHaveLength(expected.size);
  const again = await reopenAsAfterKill(options);
  expect(await readAll(again, 1_000_000)).toEqual(events);
  expect(again.status()).toMatchObject({ lastSequence: 1_000_031, lostAttempts: 0 });
});

test("a segment that begins while an attempt is settled does not lose it in a crash", async () => {
  const journal = await open({ segmentBytes: 200 });
  const ids = Array.from({ length: 6 }, () => randomUUID());
  for (const id of ids) void journal.intend(exampleIntent(id));
  // The settlement begins a segment and is not flushed when the process dies.
  journal.settle(exampleEvent(ids[0] as string));
  const again = await reopenAsAfterKill();
  expect(again.status()).toMatchObject({ lastSequence: 6 });
  expect(new Set((await readAll(again)).map((event) => event.attemptId))).toEqual(new Set(ids));
});
