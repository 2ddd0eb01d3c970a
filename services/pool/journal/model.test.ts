import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AttemptOutcome, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import fc from "fast-check";
import { expect, test } from "vitest";
import { eventsOf, exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { type Journal, openJournal } from "./journal.ts";

// Random lives of a journal against a model of what may and may not happen. A kill is a copy of the directory's files at
// that moment: what was handed to the operating system is there, what was not is gone.

type Step =
  | { readonly kind: "intend" | "turn" | "synced" | "kill" | "close" | "drain" }
  | { readonly kind: "progress" | "settle" | "trim"; readonly pick: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Step>({ kind: "intend" }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("progress" as const), pick: fc.nat() }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("settle" as const), pick: fc.nat() }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: "turn" }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: "synced" }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: "drain" }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("trim" as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "kill" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ kind: "close" }) },
);

interface Attempt {
  /** Usage of the settlement that was asked for, and whether a turn has passed since. */
  settled?: { readonly outputTokens: number; safe: boolean };
  /** Output tokens of progress records since the last one that is surely written; the first is that one. */
  progress: number[];
}

const limits = { eventsMax: 7, bytesMax: 2_000 };

async function live(steps: readonly Step[], root: string): Promise<void> {
  let directory = join(root, "0");
  let generation = 0;
  const attempts = new Map<string, Attempt>();
  /** What the ledger was given, by number. */
  const delivered = new Map<number, UsageEvent>();
  let deliveredThrough = 0;
  let confirmed = 0;
  let count = 0;
  // Small enough that segments change and memory forgets all the time.
  const open = () =>
    openJournal({
      directory,
      syncIntervalMs: 1,
      segmentBytes: 1_500,
      recentBytesMax: 1_000,
      clock: systemClock,
      log: silentLog,
    });
  let journal: Journal = await open();

  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const makeSafe = () => {
    for (const attempt of attempts.values()) {
      if (attempt.settled) attempt.settled.safe = true;
      attempt.progress.splice(0, attempt.progress.length - 1);
    }
  };
  const unsettled = () => [...attempts].filter(([, attempt]) => !attempt.settled).map(([id]) => id);
  const synced = async () => {
    await turn();
    makeSafe();
    const { lastSequence } = journal.status();
    while (journal.readableSequence < lastSequence) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const drain = async (after = deliveredThrough) => {
    for (let at = after; ; ) {
      const batch = await journal.read(at, limits);
      expect(batch.firstSequence).toBe(at + 1);
      if (batch.count === 0) break;
      const events = eventsOf(batch);
      expect(events).toHaveLength(batch.count);
      for (const event of events) {
        at += 1;
        const before = delivered.get(at);
        // A number means the same event for ever, except where the journal no longer has to know.
        if (before && at > confirmed) expect(event).toEqual(before);
        else if (!before) delivered.set(at, event);
      }
      deliveredThrough = Math.max(deliveredThrough, at);
    }
  };
  const reopen = async () => {
    journal = await open();
    const status = journal.status();
    expect(status.openAttempts).toBe(0);
    expect(status.damagedRecords).toBe(0);
    expect(status.readableSequence).toBe(status.lastSequence);
    // Every attempt has ended: each is one number.
    expect(status.lastSequence).toBe(attempts.size);
    await drain();
    expect(deliveredThrough).toBe(attempts.size);
    for (const event of delivered.values()) {
      const attempt = attempts.get(event.attemptId);
      if (!attempt) throw new Error("an event of an attempt that was never made");
      const outputTokens = event.usage?.outputTokens;
      if (event.outcome === AttemptOutcome.LOST) {
        if (attempt.settled?.safe) expect(attempt.settled.outputTokens).toBe(-1);
        if (!attempt.settled || attempt.settled.outputTokens !== -1) expect(attempt.progress).toContain(outputTokens);
        attempt.settled = { outputTokens: -1, safe: true };
      } else {
        expect(outputTokens).toBe(attempt.settled?.outputTokens);
        if (attempt.settled) attempt.settled.safe = true;
      }
    }
    expect(new Set([...delivered.values()].map((event) => event.attemptId)).size).toBe(attempts.size);
  };

  for (const next of steps) {
    switch (next.kind) {
      case "intend": {
        count += 1;
        const id = uuidOf(count);
        void journal.intend(exampleIntent(id, exampleUsage(1, 1_000_000 + count)));
        // Whatever was pending went with it.
        makeSafe();
        attempts.set(id, { progress: [1_000_000 + count] });
        break;
      }
      case "progress": {
        const ids = unsettled();
        const id = ids[next.pick % ids.length];
        if (id === undefined) break;
        count += 1;
        journal.progress(id, exampleUsage(1, count));
        attempts.get(id)?.progress.push(count);
        break;
      }
      case "settle": {
        const ids = unsettled();
        const id = ids[next.pick % ids.length];
        if (id === undefined) break;
        count += 1;
        expect(journal.settle(exampleEvent(id, exampleUsage(1, count)))).toBe(true);
        (attempts.get(id) as Attempt).settled = { outputTokens: count, safe: false };
        break;
      }
      case "turn":
        await turn();
        makeSafe();
        break;
      case "synced":
        await synced();
        break;
      case "drain":
        await drain();
        break;
      case "trim": {
        confirmed += next.pick % (deliveredThrough - confirmed + 1);
        journal.trim(confirmed);
        // What is not confirmed can be read again.
        await drain(confirmed);
        break;
      }
      case "kill": {
        const left = directory;
        generation += 1;
        directory = join(root, String(generation));
        fs.mkdirSync(directory);
        for (const name of fs.readdirSync(left).toSorted()) {
          if (name !== "lock") copyIfThere(join(left, name), join(directory, name));
        }
        await journal.close();
        await reopen();
        break;
      }
      case "close":
        await journal.close();
        makeSafe();
        await reopen();
        break;
    }
  }
  await journal.close();
  makeSafe();
  await reopen();
  await journal.close();
}

/** Segments that nobody needs are being deleted meanwhile. */
function copyIfThere(from: string, to: string): void {
  try {
    fs.copyFileSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function uuidOf(count: number): string {
  const hex = createHash("md5").update(String(count)).digest("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

test("every intent ends exactly once, under one number, and is delivered until it is confirmed", {
  timeout: 30_000,
}, async () => {
  const root = fs.mkdtempSync(join(tmpdir(), "weir-journal-model-"));
  let life = 0;
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 120, size: "max" }), async (steps) => {
        life += 1;
        const own = join(root, String(life));
        fs.mkdirSync(own);
        await live(steps, own);
        fs.rmSync(own, { recursive: true });
      }),
      { numRuns: 40, endOnFailure: true },
    );
  } finally {
    fs.rmSync(root, { recursive: true });
  }
});
