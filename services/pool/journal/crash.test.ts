import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AttemptOutcome, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { expect, test } from "vitest";
import { eventsOf } from "./examples.ts";
import { type Journal, openJournal } from "./journal.ts";

const trials = 20;
const seed = Number(process.env["WEIR_TEST_SEED"] ?? 20_261_121);

/** Runs the child and kills it without warning some time after it opened the journal. Returns what it had said. */
function runAndKill(directory: string, childSeed: number, delayMs: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, "crash-child.ts"), directory, String(childSeed)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => {
      if (text === "") setTimeout(() => child.kill("SIGKILL"), delayMs);
      text += chunk.toString("latin1");
    });
    child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString("latin1")));
    child.on("close", (_, signal) => {
      // A line that was cut off was not said.
      if (signal === "SIGKILL") resolve(text.slice(0, text.lastIndexOf("\n")).split("\n"));
      else reject(new Error(errors));
    });
  });
}

async function readAll(journal: Journal): Promise<UsageEvent[]> {
  const events: UsageEvent[] = [];
  for (;;) {
    const next = await journal.read(events.length, { eventsMax: 500, bytesMax: 2 ** 20 });
    if (next.count === 0) return events;
    events.push(...eventsOf(next));
  }
}

test(`kill -9 at ${trials} random moments (seed ${seed}) loses nothing that was promised`, {
  timeout: 60_000,
}, async () => {
  const directory = fs.mkdtempSync(join(tmpdir(), "weir-journal-crash-"));
  const intended = new Set<string>();
  const settled = new Map<string, number>();
  let before: UsageEvent[] = [];
  try {
    for (let trial = 0; trial < trials; trial += 1) {
      const lines = await runAndKill(directory, seed + trial, (seed * (trial + 1) * 7_919) % 60);
      for (const line of lines) {
        const [kind, id, tokens] = line.split(" ") as [string, string, string];
        if (kind === "i") intended.add(id);
        if (kind === "s") settled.set(id, Number(tokens));
      }
      const journal = await openJournal({ directory, clock: systemClock, log: silentLog });
      const { damagedRecords, lastSequence, lostAttempts } = journal.status();
      expect(damagedRecords).toBe(0);
      const events = await readAll(journal);
      expect(events).toHaveLength(lastSequence);
      // Numbers that were there before mean the same events.
      expect(events.slice(0, before.length)).toEqual(before);
      const byId = new Map(events.map((event) => [event.attemptId, event]));
      expect(byId.size).toBe(events.length);
      for (const id of intended) expect(byId.has(id)).toBe(true);
      for (const [id, tokens] of settled) {
        expect(byId.get(id)).toMatchObject({ outcome: AttemptOutcome.COMPLETED, usage: { outputTokens: tokens } });
      }
      expect(events.slice(before.length).filter((event) => event.outcome === AttemptOutcome.LOST)).toHaveLength(
        lostAttempts,
      );
      before = events;
      await journal.close();
    }
    expect(settled.size).toBeGreaterThan(trials);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
