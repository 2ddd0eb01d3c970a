import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { expect, test, vi } from "vitest";
import { eventsOf, exampleEvent, exampleIntent, exampleUsage } from "./examples.ts";
import { type Journal, openJournal } from "./journal.ts";
import type { JournalFiles } from "./segment-file.ts";

type Done = (error: NodeJS.ErrnoException | null) => void;

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code });
}

/** A disk that fails when it is told to. */
function createDisk() {
  const disk = {
    full: false,
    syncFails: false,
    /** Bytes that a failing write still takes. */
    partial: 0,
    /** Syncs by file descriptor, in order. */
    syncedFds: [] as number[],
    failedFds: [] as number[],
  };
  const files: JournalFiles = {
    ...fs,
    writeSync: ((fd: number, bytes: Buffer, offset: number, length: number) => {
      if (!disk.full) return fs.writeSync(fd, bytes, offset, length);
      // As the kernel does it: first a short write, then the error.
      const taken = Math.min(disk.partial, length);
      disk.partial -= taken;
      if (taken > 0) return fs.writeSync(fd, bytes, offset, taken);
      throw systemError("ENOSPC");
    }) as typeof fs.writeSync,
    fdatasync: ((fd: number, done: Done) => {
      if (!disk.syncFails) {
        disk.syncedFds.push(fd);
        fs.fdatasync(fd, done);
        return;
      }
      disk.failedFds.push(fd);
      setImmediate(done, systemError("EIO"));
    }) as typeof fs.fdatasync,
  };
  return { disk, files };
}

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = fs.mkdtempSync(join(tmpdir(), "weir-journal-failure-"));
  try {
    await body(directory);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

const base = { clock: systemClock, log: silentLog, syncIntervalMs: 1 };

function attempt(journal: Journal, ids: string[]): void {
  const id = randomUUID();
  void journal.intend(exampleIntent(id));
  ids.push(id);
}

async function idsOf(journal: Journal): Promise<string[]> {
  const { lastSequence } = journal.status();
  await vi.waitFor(() => expect(journal.readableSequence).toBe(lastSequence));
  const events = eventsOf(await journal.read(0, { eventsMax: 100_000, bytesMax: 2 ** 30 }));
  expect(events).toHaveLength(lastSequence);
  return events.map((event) => event.attemptId);
}

const unavailable = expect.objectContaining({ reason: ErrorReason.STORE_UNAVAILABLE });

test.each([0, 1, 40, 400])(
  "a full disk (after %d bytes) stops new attempts, loses no settlement, and goes on alone",
  async (partial) => {
    await withDirectory(async (directory) => {
      const { disk, files } = createDisk();
      const journal = await openJournal({ ...base, directory, files });
      const ids: string[] = [];
      for (let i = 0; i < 6; i += 1) attempt(journal, ids);
      journal.settle(exampleEvent(ids[0] as string));
      await vi.waitFor(() => expect(journal.readableSequence).toBe(1));
      disk.full = true;
      disk.partial = partial;
      // This one is not written yet when the disk is found full.
      journal.settle(exampleEvent(ids[1] as string));
      expect(() => journal.intend(exampleIntent(randomUUID()))).toThrow(unavailable);
      expect(journal.status()).toMatchObject({
        writable: expect.stringContaining("ENOSPC"),
        openAttempts: 4,
        lastSequence: 2,
      });
      journal.settle(exampleEvent(ids[2] as string));
      journal.progress(ids[3] as string, exampleUsage(8, 9));
      expect(() => journal.intend(exampleIntent(randomUUID()))).toThrow(unavailable);
      // What is not on disk is not given to the drain.
      expect(journal.readableSequence).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 250));
      expect(journal.status().writable).not.toBe(true);
      disk.full = false;
      await vi.waitFor(() => expect(journal.status().writable).toBe(true), { timeout: 5_000 });
      attempt(journal, ids);
      journal.settle(exampleEvent(ids[6] as string));
      expect(await idsOf(journal)).toEqual([ids[0], ids[1], ids[2], ids[6]]);
      await journal.close();

      const again = await openJournal({ ...base, directory });
      expect(again.status()).toMatchObject({ lastSequence: 7, lostAttempts: 3, damagedRecords: 0 });
      const events = eventsOf(await again.read(0, { eventsMax: 100, bytesMax: 1e9 }));
      expect(events.map((event) => event.attemptId)).toEqual([ids[0], ids[1], ids[2], ids[6], ids[3], ids[4], ids[5]]);
      // The last progress was known in memory when the new segment began.
      expect(events[4]?.usage).toEqual(exampleUsage(8, 9));
      await again.close();
    });
  },
);

test("a process that dies while the disk is full leaves a journal without damage and without wrong records", async () => {
  await withDirectory(async (directory) => {
    const { disk, files } = createDisk();
    const journal = await openJournal({ ...base, directory, files });
    const ids: string[] = [];
    for (let i = 0; i < 3; i += 1) attempt(journal, ids);
    disk.full = true;
    disk.partial = 100;
    journal.settle(exampleEvent(ids[0] as string));
    expect(() => journal.intend(exampleIntent(randomUUID()))).toThrow(unavailable);
    const copy = join(directory, "copy");
    fs.mkdirSync(copy);
    for (const name of fs.readdirSync(directory)) {
      if (/\.wal$|journal\.id/.test(name)) fs.copyFileSync(join(directory, name), join(copy, name));
    }
    const again = await openJournal({ ...base, directory: copy });
    // The settlement was never on disk: its attempt is estimated. The refused attempt is not there.
    expect(again.status()).toMatchObject({ lostAttempts: 3, lastSequence: 3, damagedRecords: 0 });
    expect(await idsOf(again)).toEqual(ids);
    await again.close();
    disk.full = false;
    await journal.close();
  });
});

test("a failed sync is not tried again on its file: all that it may have lost is written to a new one", async () => {
  await withDirectory(async (directory) => {
    const { disk, files } = createDisk();
    const journal = await openJournal({ ...base, directory, files });
    const ids: string[] = [];
    for (let i = 0; i < 4; i += 1) attempt(journal, ids);
    await vi.waitFor(() => expect(disk.syncedFds.length).toBeGreaterThan(1));
    disk.syncFails = true;
    journal.settle(exampleEvent(ids[0] as string));
    journal.settle(exampleEvent(ids[1] as string));
    await vi.waitFor(() => expect(journal.status().writable).toEqual(expect.stringContaining("EIO")));
    expect(journal.readableSequence).toBe(0);
    expect(() => journal.intend(exampleIntent(randomUUID()))).toThrow(unavailable);
    expect(disk.failedFds.length).toBeGreaterThan(0);
    disk.syncFails = false;
    await vi.waitFor(() => expect(journal.status().writable).toBe(true), { timeout: 5_000 });
    expect(await idsOf(journal)).toEqual([ids[0], ids[1]]);
    await journal.close();
    // The first segment, whose sync failed, is not needed: without it the same events and open attempts are there.
    fs.rmSync(join(directory, "segment-0000000001.wal"));
    const again = await openJournal({ ...base, directory });
    expect(again.status()).toMatchObject({ lostAttempts: 2, lastSequence: 4, damagedRecords: 0 });
    expect(await idsOf(again)).toEqual(ids);
    await again.close();
  });
});

test("in strict mode a failed sync refuses the attempts that wait for it, and they never count", async () => {
  await withDirectory(async (directory) => {
    const { disk, files } = createDisk();
    const journal = await openJournal({ ...base, directory, files, syncIntervalMs: 0 });
    await journal.intend(exampleIntent(randomUUID()));
    disk.syncFails = true;
    const waits = [journal.intend(exampleIntent(randomUUID())), journal.intend(exampleIntent(randomUUID()))];
    for (const wait of waits) await expect(wait).rejects.toThrow(unavailable);
    expect(journal.status().openAttempts).toBe(1);
    disk.syncFails = false;
    await vi.waitFor(() => expect(journal.status().writable).toBe(true), { timeout: 5_000 });
    await journal.close();
    const again = await openJournal({ ...base, directory });
    expect(again.status()).toMatchObject({ lostAttempts: 1, lastSequence: 1 });
    await again.close();
  });
});

test("an older copy keeps events under their old numbers until they are on disk under the new ones", async () => {
  await withDirectory(async (directory) => {
    const { disk, files } = createDisk();
    const journal = await openJournal({ ...base, directory, files });
    const ids: string[] = [];
    for (let i = 0; i < 3; i += 1) attempt(journal, ids);
    for (const id of ids) journal.settle(exampleEvent(id));
    await vi.waitFor(() => expect(journal.readableSequence).toBe(3));
    disk.syncFails = true;
    await expect(journal.continueAfter(1_000)).rejects.toThrow("EIO");
    expect(journal.committedSequence).toBe(0);
    expect(journal.lastSequence).toBe(1_003);
    journal.trim(1_000);
    expect(journal.committedSequence).toBe(0);
    disk.syncFails = false;
    await vi.waitFor(() => expect(journal.readableSequence).toBe(1_003), { timeout: 5_000 });
    journal.trim(1_000);
    expect(journal.committedSequence).toBe(1_000);
    const events = eventsOf(await journal.read(1_000, { eventsMax: 10, bytesMax: 1e9 }));
    expect(events.map((event) => event.attemptId)).toEqual(ids);
    await journal.close();
  });
});

test("closing on a disk that is still full says so in time and gives the directory up", async () => {
  await withDirectory(async (directory) => {
    const { disk, files } = createDisk();
    const journal = await openJournal({ ...base, directory, files });
    const ids: string[] = [];
    attempt(journal, ids);
    disk.full = true;
    journal.settle(exampleEvent(ids[0] as string));
    await journal.close();
    const again = await openJournal({ ...base, directory });
    expect(again.status()).toMatchObject({ lostAttempts: 1, lastSequence: 1 });
    await again.close();
  });
});

test("a process whose directory another one took stops writing", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    await withDirectory(async (directory) => {
      const journal = await openJournal({ ...base, directory });
      fs.writeFileSync(join(directory, "lock"), "{}");
      await vi.advanceTimersByTimeAsync(3_000);
      await vi.waitFor(() => expect(journal.status().writable).toEqual(expect.stringContaining("another process")));
      const size = fs.statSync(join(directory, "segment-0000000001.wal")).size;
      expect(() => journal.intend(exampleIntent(randomUUID()))).toThrow(unavailable);
      await journal.close();
      expect(fs.statSync(join(directory, "segment-0000000001.wal")).size).toBe(size);
      expect(fs.readFileSync(join(directory, "lock"), "utf8")).toBe("{}");
    });
  } finally {
    vi.useRealTimers();
  }
});

test.runIf(process.getuid?.() === 0 && process.platform === "linux")(
  "a real small disk that fills up and is freed",
  async () => {
    await withDirectory(async (directory) => {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", directory]);
      try {
        const journal = await openJournal({ ...base, directory });
        const filler = join(directory, ".filler");
        fs.writeFileSync(filler, Buffer.alloc(180 * 1024));
        const ids: string[] = [];
        const settled: string[] = [];
        const error = (() => {
          try {
            for (let i = 0; i < 10_000; i += 1) {
              attempt(journal, ids);
              if (i % 4 === 0) {
                journal.settle(exampleEvent(ids[i] as string));
                settled.push(ids[i] as string);
              }
            }
          } catch (thrown) {
            return thrown;
          }
          return undefined;
        })();
        expect(error).toEqual(unavailable);
        expect(journal.status().writable).toEqual(expect.stringContaining("ENOSPC"));
        journal.settle(exampleEvent(ids[1] as string));
        settled.push(ids[1] as string);
        fs.rmSync(filler);
        await vi.waitFor(() => expect(journal.status().writable).toBe(true), { timeout: 5_000 });
        attempt(journal, ids);
        journal.settle(exampleEvent(ids.at(-1) as string));
        settled.push(ids.at(-1) as string);
        expect(await idsOf(journal)).toEqual(settled);
        await journal.close();
        const again = await openJournal({ ...base, directory });
        expect(again.status()).toMatchObject({ damagedRecords: 0, lostAttempts: ids.length - settled.length });
        const all = await idsOf(again);
        expect(all.slice(0, settled.length)).toEqual(settled);
        expect(new Set(all)).toEqual(new Set(ids));
        expect(all).toHaveLength(ids.length);
        await again.close();
      } finally {
        execFileSync("umount", [directory]);
      }
    });
  },
);
