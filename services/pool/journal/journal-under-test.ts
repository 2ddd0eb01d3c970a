import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { afterEach, beforeEach, expect } from "vitest";
import { exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { type Journal, type JournalOptions, openJournal } from "./journal.ts";

/** The folder of the test that runs; a new one for each. */
export let directory: string;
const opened: Journal[] = [];

/** Gives each test of a file an empty folder, and closes and removes at its end what it opened there. */
export function useFolders(): void {
  beforeEach(() => {
    directory = fs.mkdtempSync(join(tmpdir(), "weir-journal-"));
  });
  afterEach(async () => {
    await closeAll();
    fs.rmSync(directory, { recursive: true });
  });
}

export async function closeAll(): Promise<void> {
  for (const journal of opened.splice(0)) await journal.close();
}

/** Opens the test's folder. */
export async function open(options: Partial<JournalOptions> = {}): Promise<Journal> {
  const journal = await openJournal({ directory, syncIntervalMs: 1, clock: systemClock, log: silentLog, ...options });
  opened.push(journal);
  return journal;
}

/** Makes calls that end at once. @returns the ids of their attempts */
export function run(journal: Journal, count: number, usage = exampleUsage(1, 2)): string[] {
  return Array.from({ length: count }, () => {
    const id = randomUUID();
    void journal.intend(exampleIntent(id));
    expect(journal.settle(exampleEvent(id, usage))).toBe(true);
    return id;
  });
}
