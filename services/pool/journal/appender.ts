import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { type Carry, createCarryingSegment } from "./carrying-segment.ts";
import { type Cursor, RecordKind, recordBytesMax, recordHeaderBytes, sealRecord } from "./record.ts";
import {
  appendRecords,
  closeQuietly,
  type JournalFiles,
  type OpenSegment,
  removeQuietly,
  type Segment,
  syncDirectory,
} from "./segment-file.ts";

export interface AppenderOptions {
  readonly files: JournalFiles;
  readonly directory: string;
  readonly journalId: string;
  /** 0: as soon as something was written. */
  readonly syncIntervalMs: number;
  /** What a segment may take beyond what it begins with. */
  readonly segmentBytes: number;
  /** All segments, by number, ascending. The appender adds those that it creates. */
  readonly segments: Segment[];
  /** Number of the last settled event that is on disk and synced. */
  readonly syncedSequence: number;
  /** Number of the last settled event, also of those that could not be written yet. */
  readonly lastSequence: () => number;
  readonly carry: Carry;
  /** Called after each sync. */
  readonly onSynced: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** The writing end of the journal: one segment at a time, synced in groups, replaced by a new one after a failure. */
export interface Appender {
  /** Why nothing can be written; undefined when it can. */
  readonly failure: string | undefined;
  /** Size of all segments. */
  readonly bytes: number;
  /** Number of the last settled event that is synced. */
  readonly syncedSequence: number;
  /** The segment that is written to. */
  readonly current: Segment;
  /** Begins a record: the payload goes to the cursor. Undefined when nothing can be written. */
  begin(): Cursor | undefined;
  /** Ends it. @param lastSequence number of the last settled event so far, this one included */
  end(kind: number, lastSequence: number): void;
  /** Takes a record back that was begun. */
  cancel(): void;
  /** Writes what was appended. Returns whether all of it is in the hands of the operating system. */
  flush(): boolean;
  /** The same, at the end of this turn of the event loop or earlier. */
  flushSoon(): void;
  /** Resolves when all that was written before is synced; rejects when that failed. */
  synced(): Promise<void>;
  /** Tells that a segment was deleted. */
  removed(segment: Segment): void;
  /** Gives up because another process took the directory. */
  abandon(reason: string): void;
  /** Writes and syncs the rest. Returns whether that worked. */
  close(): Promise<boolean>;
}

const bufferBytes = 2 * recordBytesMax;
/** A turn of a busy process may be long: what has gathered so far does not wait for its end. */
const promptBytes = 4_096;
const resumeDelayMs = { first: 100, max: 5_000 };

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** @throws what the file system throws when the first segment cannot be created */
export async function createAppender(options: AppenderOptions): Promise<Appender> {
  const { files, directory, segments, clock, log } = options;
  const now = () => clock.now();
  const pending: Cursor = { bytes: Buffer.allocUnsafeSlow(bufferBytes), at: 0 };
  let recordStart = 0;
  let pendingSequence = options.syncedSequence;
  let writtenSequence = options.syncedSequence;
  let syncedSequence = options.syncedSequence;
  let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  let nextNumber = (segments.at(-1)?.number ?? 0) + 1;
  let failure: string | undefined;
  let closing = false;
  let directoryLost = false;
  let flushPlanned = false;
  let dirty = false;
  let syncing: Promise<void> | undefined;
  let resuming: Promise<boolean> | undefined;
  let stopSyncTimer: (() => void) | undefined;
  let stopResumeTimer: (() => void) | undefined;
  let waiters: Waiter[] = [];
  /** Full segments whose last records are not synced yet. */
  let retired: OpenSegment[] = [];
  /** Segments that are not written to any more, to be closed when no sync uses them. */
  let abandoned: OpenSegment[] = [];

  let current = newSegment(syncedSequence + 1);
  await makeDurable([current]).catch((error: unknown) => {
    closeQuietly(files, current.fd);
    removeQuietly(files, current.path);
    throw error;
  });
  adopt(current);
  syncedSequence = writtenSequence;

  function newSegment(fromSequence: number): OpenSegment {
    const number = nextNumber;
    nextNumber += 1;
    const { journalId, carry } = options;
    return createCarryingSegment(
      { files, directory, journalId, number, firstSequence: fromSequence, nowMs: clock.now() },
      carry,
    );
  }

  /** Makes a new segment the one that is written to. */
  function adopt(segment: OpenSegment): void {
    current = segment;
    segments.push(segment);
    bytes += segment.bytes;
    writtenSequence = pendingSequence = segment.lastSequence;
  }

  async function makeDurable(targets: readonly OpenSegment[]): Promise<void> {
    for (const target of targets) {
      await new Promise<void>((resolve, reject) => {
        files.fdatasync(target.fd, (error) => (error ? reject(error) : resolve()));
      });
    }
    if (targets.every((target) => target.durable)) return;
    await new Promise<void>((resolve, reject) => {
      syncDirectory(files, directory, (error) => (error ? reject(error) : resolve()));
    });
    for (const target of targets) target.durable = true;
  }

  function closeAbandoned(): void {
    for (const segment of abandoned) closeQuietly(files, segment.fd);
    abandoned = [];
  }

  /** A file whose write or sync failed is not trusted again: what it lost is written to a new one. */
  function fail(step: string, error: unknown): void {
    if (failure !== undefined) return;
    failure = `${step}: ${(error as NodeJS.ErrnoException).code ?? "failed"}`;
    log.error({ error, path: current.path, step }, "the journal cannot be written; no new attempts until it can");
    pending.at = 0;
    pendingSequence = writtenSequence;
    try {
      // A record that was cut off goes, so that nobody takes it for damage.
      files.ftruncateSync(current.fd, current.bytes);
    } catch {
      // Then it is found and skipped when the journal is opened.
    }
    abandoned.push(current, ...retired);
    retired = [];
    dirty = false;
    stopSyncTimer?.();
    stopSyncTimer = undefined;
    if (!syncing) closeAbandoned();
    rejectAll(waiters, error);
    waiters = [];
    if (!closing) planResume(resumeDelayMs.first);
  }

  function planResume(delayMs: number): void {
    stopResumeTimer = clock.after(delayMs, () => {
      void resume().then((resumed) => {
        if (!resumed && !closing) planResume(Math.min(delayMs * 2, resumeDelayMs.max));
      });
    });
  }

  function resume(): Promise<boolean> {
    resuming ??= startAgain().finally(() => {
      resuming = undefined;
    });
    return resuming;
  }

  /** Goes on in a new segment, which must be synced before anything is admitted. */
  async function startAgain(): Promise<boolean> {
    let segment: OpenSegment;
    try {
      segment = newSegment(syncedSequence + 1);
    } catch (error) {
      log.debug({ error }, "the journal still cannot be written");
      return false;
    }
    try {
      await makeDurable([segment]);
    } catch (error) {
      log.debug({ error }, "the journal still cannot be synced");
      closeQuietly(files, segment.fd);
      removeQuietly(files, segment.path);
      return false;
    }
    adopt(segment);
    failure = undefined;
    syncedSequence = writtenSequence;
    log.info({ path: segment.path }, "the journal is written again");
    // Settled while the segment was synced.
    putUnwritten();
    options.onSynced();
    return true;
  }

  function putUnwritten(): void {
    if (options.lastSequence() === writtenSequence) return;
    options.carry((kind, write, lastSequence) => {
      if (kind !== RecordKind.settlement) return;
      const cursor = begin();
      if (!cursor) return;
      write(cursor);
      end(kind, lastSequence);
    }, writtenSequence + 1);
    flush();
  }

  function rotate(): void {
    try {
      const segment = newSegment(writtenSequence + 1);
      retired.push(current);
      adopt(segment);
      markDirty();
    } catch (error) {
      fail("rotate", error);
    }
  }

  function begin(): Cursor | undefined {
    if (failure !== undefined) return undefined;
    if (pending.at + recordBytesMax > bufferBytes) flush();
    if (current.bytes - current.beginBytes + pending.at >= options.segmentBytes && flush()) rotate();
    if (failure !== undefined) return undefined;
    recordStart = pending.at;
    pending.at += recordHeaderBytes;
    return pending;
  }

  function end(kind: number, lastSequence: number): void {
    sealRecord(pending, recordStart, kind, current.seed, current.bytes + recordStart);
    pendingSequence = lastSequence;
  }

  function flush(): boolean {
    if (failure !== undefined) return false;
    if (pending.at === 0) return true;
    try {
      appendRecords(files, current, pending, pendingSequence, now);
    } catch (error) {
      fail("write", error);
      return false;
    }
    bytes += pending.at;
    pending.at = 0;
    writtenSequence = pendingSequence;
    markDirty();
    return true;
  }

  function markDirty(): void {
    if (dirty) return;
    dirty = true;
    planSync();
  }

  function planSync(): void {
    if (syncing || closing) return;
    // Strict callers of one turn share a sync.
    if (options.syncIntervalMs === 0) queueMicrotask(startSync);
    else stopSyncTimer ??= clock.after(options.syncIntervalMs, startSync);
  }

  function startSync(): void {
    stopSyncTimer = undefined;
    if (syncing || !dirty || failure !== undefined) return;
    syncing = syncOnce();
  }

  async function syncOnce(): Promise<void> {
    dirty = false;
    const through = writtenSequence;
    const served = waiters;
    waiters = [];
    const full = retired;
    retired = [];
    let failed: unknown;
    try {
      await makeDurable([...full, current]);
      syncedSequence = Math.max(syncedSequence, through);
    } catch (error) {
      failed = error;
    }
    syncing = undefined;
    abandoned.push(...full);
    if (failed === undefined) for (const waiter of served) waiter.resolve();
    else rejectAll(served, failed);
    if (failed !== undefined) fail("fdatasync", failed);
    closeAbandoned();
    if (failed === undefined) options.onSynced();
    if (dirty) planSync();
  }

  return {
    get failure() {
      return failure;
    },
    get bytes() {
      return bytes;
    },
    get syncedSequence() {
      return syncedSequence;
    },
    get current() {
      return current;
    },
    begin,
    end,
    cancel() {
      pending.at = recordStart;
    },
    flush,
    flushSoon() {
      if (pending.at >= promptBytes) {
        flush();
        return;
      }
      if (flushPlanned) return;
      flushPlanned = true;
      setImmediate(() => {
        flushPlanned = false;
        flush();
      });
    },
    synced() {
      return new Promise<void>((resolve, reject) => void waiters.push({ resolve, reject }));
    },
    removed(segment) {
      bytes -= segment.bytes;
    },
    abandon(reason) {
      closing = true;
      directoryLost = true;
      fail("lock", Object.assign(new Error(reason), { code: reason }));
    },
    async close() {
      closing = true;
      stopResumeTimer?.();
      stopSyncTimer?.();
      flush();
      await syncing;
      if (failure === undefined && dirty) await (syncing = syncOnce());
      if (failure !== undefined && !directoryLost) await resume();
      // What was settled while the new segment began.
      if (failure === undefined && dirty) await (syncing = syncOnce());
      if (failure !== undefined) return false;
      closeQuietly(files, current.fd);
      return true;
    },
  };
}

function rejectAll(waiters: readonly Waiter[], error: unknown): void {
  for (const waiter of waiters) waiter.reject(error as Error);
}
