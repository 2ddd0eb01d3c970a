import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { type UsageEvent, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { WeirError } from "@weir/kit/weir-error";
import * as nodeFiles from "node:fs";
import { createAppender } from "./appender.ts";
import { type EventRun, runOf, toBatch } from "./batch-bytes.ts";
import type { Carry } from "./carrying-segment.ts";
import {
  lostEventBytes,
  lostEventOf,
  PayloadTooLong,
  plainUsage,
  settlementHeadBytes,
  writeIntent,
  writeProgress,
  writeSettled,
  writeSettlement,
} from "./event-bytes.ts";
import type { Intent, Journal, JournalOptions, ReadLimits, SettledBatch } from "./journal.ts";
import { createRecentEvents } from "./recent-events.ts";
import { checkIntent, checkSettlement } from "./record-checks.ts";
import { type Cursor, RecordKind, recordBytesMax } from "./record.ts";
import type { Recovered } from "./recovery.ts";
import type { Segment } from "./segment-file.ts";
import { readSettled } from "./settled-reader.ts";
import { createTrimming } from "./trimming.ts";

/** What an open attempt may still take on disk: its settlement, and its intent once more in a later segment. */
const openAttemptBytes = 1_024;
const retryAfterMs = 1_000;

export const defaults = {
  syncIntervalMs: 10,
  bytesMax: 1_073_741_824,
  segmentBytes: 67_108_864,
  openAttemptsMax: 100_000,
  recentBytesMax: 8_388_608,
} as const;

interface OpenAttempt {
  readonly intent: Intent;
  progress: Usage | undefined;
}

export interface OpenedJournal {
  readonly journal: Journal;
  /** Stops writing at once: the directory is another process's now. */
  abandon(reason: string): void;
}

/**
 * A journal over what was found in its directory.
 * @param committedHint what the ledger had confirmed, as far as the directory knows
 * @param release gives the directory up
 */
export async function createJournal(
  id: string,
  options: JournalOptions,
  found: Recovered,
  committedHint: number,
  release: () => void,
): Promise<OpenedJournal> {
  const { clock, log, directory } = options;
  const bytesMax = options.bytesMax ?? defaults.bytesMax;
  const openAttemptsMax = options.openAttemptsMax ?? defaults.openAttemptsMax;
  const syncIntervalMs = options.syncIntervalMs ?? defaults.syncIntervalMs;
  const segments: Segment[] = found.segments;
  const open = new Map<string, OpenAttempt>();
  /** Where a record is encoded that cannot be written now: what will not fit later must be known today. */
  const scratch: Cursor = { bytes: Buffer.allocUnsafeSlow(recordBytesMax), at: 0 };
  const recoveredSequence = Math.max(found.lastSequence, committedHint);
  const recentBytesMax = options.recentBytesMax ?? defaults.recentBytesMax;
  let recent = createRecentEvents(recoveredSequence + 1, recentBytesMax);
  let lastSequence = recoveredSequence;
  let committedSequence = committedHint;
  let closing: Promise<void> | undefined;
  let listener: (() => void) | undefined;

  const foundTimeMs = clock.now();
  for (const lost of found.open.values()) {
    lastSequence += 1;
    const event = lostEventBytes(lost.intent, lost.progress, foundTimeMs);
    recent.add(event, 0, event.length);
  }

  const carry: Carry = (put, fromSequence) => {
    for (const { intent, progress } of open.values()) {
      put(RecordKind.intent, (cursor) => writeIntent(cursor, intent), fromSequence - 1);
      if (progress) {
        put(RecordKind.progress, (cursor) => writeProgress(cursor, intent.attemptId, progress), fromSequence - 1);
      }
    }
    for (let sequence = Math.max(fromSequence, recent.firstSequence); sequence <= lastSequence; sequence += 1) {
      const event = recent.at(sequence);
      if (event) put(RecordKind.settlement, (cursor) => writeSettled(cursor, sequence, event), sequence);
    }
  };

  const appender = await createAppender({
    files: options.files ?? nodeFiles,
    directory,
    journalId: id,
    syncIntervalMs,
    segmentBytes: Math.min(options.segmentBytes ?? defaults.segmentBytes, Math.floor(bytesMax / 4)),
    segments,
    syncedSequence: recoveredSequence,
    lastSequence: () => lastSequence,
    carry,
    onSynced() {
      recent.evict(committedSequence, appender.syncedSequence);
      listener?.();
      trimming.removeSegments();
    },
    clock,
    log,
  });
  const trimming = createTrimming({
    directory,
    journalId: id,
    segments,
    appender,
    writtenSequence: committedHint,
    committedSequence: () => committedSequence,
    clock,
    log,
  });
  recent.evict(committedSequence, appender.syncedSequence);
  trimming.removeSegments();

  function isFull(attempts: number): boolean {
    return appender.bytes + attempts * openAttemptBytes > bytesMax;
  }

  function writability(): true | string {
    if (closing) return "closed";
    if (appender.failure !== undefined) return appender.failure;
    return isFull(open.size + 1) ? "full" : true;
  }

  function unavailable(why: string): WeirError {
    const text = `The journal of attempts takes no new ones (${why}); retry after the delay in Retry-After.`;
    return new WeirError(ErrorReason.STORE_UNAVAILABLE, { text, retryAfterMs });
  }

  async function strictly(intent: Intent): Promise<void> {
    try {
      await appender.synced();
    } catch {
      open.delete(intent.attemptId);
      throw unavailable(appender.failure ?? "not synced");
    }
  }

  async function read(afterSequence: number, limits: ReadLimits): Promise<SettledBatch> {
    const from = afterSequence + 1;
    const through = appender.syncedSequence;
    if (from > through) return toBatch(id, from, runOf([]));
    if (from >= recent.firstSequence) return toBatch(id, from, recent.read(from, through, limits));
    const events = await readSettled([...segments], from, through, limits);
    return toBatch(id, from, events.length > 0 ? runOf(events) : insteadOfMissing(from, limits));
  }

  /**
   * Copies of the oldest event in memory for the numbers before it, when everything on disk from a number on was destroyed or trimmed.
   * To be put into a batch before anything else runs.
   */
  function insteadOfMissing(from: number, limits: ReadLimits): EventRun {
    const next = recent.at(recent.firstSequence);
    if (next === undefined) return runOf([]);
    const fitting = Math.max(1, Math.floor(limits.bytesMax / next.length));
    const copies = Math.min(recent.firstSequence - from, limits.eventsMax, fitting);
    return runOf(Array.from({ length: copies }, () => next));
  }

  /**
   * Where the settlement goes that gets the next number. To be called while its attempt is open and has no number: this may begin a
   * segment, which carries what is open and what is numbered.
   */
  function beginSettlement(): Cursor {
    return appender.begin() ?? emptied(scratch);
  }

  /** Numbers the settlement whose payload stands between `start` and the cursor. */
  function endSettlement(cursor: Cursor, start: number): void {
    lastSequence += 1;
    recent.add(cursor.bytes, start + settlementHeadBytes, cursor.at);
    if (cursor === scratch) return;
    appender.end(RecordKind.settlement, lastSequence);
    appender.flushSoon();
  }

  /** Numbers an event that has been settled before. */
  function renumber(event: Uint8Array): void {
    const cursor = beginSettlement();
    const start = cursor.at;
    writeSettled(cursor, lastSequence + 1, event);
    endSettlement(cursor, start);
  }

  /** What is recorded in place of an event that cannot be. */
  function insteadOf(event: UsageEvent, { intent, progress }: OpenAttempt, error: unknown): UsageEvent {
    const fields = { error, attempt: event.attemptId };
    log.error(fields, "a settlement cannot be recorded as it is; the attempt counts as lost");
    // Too long is what a provider made so: its reply id, or the names of its tools. The counts of tokens stand.
    const usage = error instanceof PayloadTooLong && event.usage ? plainUsage(event.usage) : undefined;
    return lostEventOf(intent, usage ?? progress, clock.now());
  }

  async function continueAfter(sequence: number): Promise<void> {
    const last = lastSequence;
    if (sequence <= last || closing) return;
    const old = recent;
    const oldFirst = old.firstSequence;
    lastSequence = sequence;
    recent = createRecentEvents(sequence + 1, recentBytesMax);
    // At once: some of these may not be synced under their old numbers.
    for (let at = Math.max(committedSequence + 1, oldFirst); at <= last; at += 1) {
      const event = old.at(at);
      if (event) renumber(event);
    }
    for (let at = committedSequence + 1; at < oldFirst; ) {
      const events = await readSettled([...segments], at, oldFirst - 1, { eventsMax: 500, bytesMax: 2 ** 20 });
      if (events.length === 0) break;
      for (const event of events) renumber(event);
      at += events.length;
    }
    if (lastSequence > sequence) {
      // Until they are on disk under their new numbers, what they have under the old ones is kept.
      if (!appender.flush()) throw unavailable(appender.failure ?? "not written");
      if (appender.syncedSequence < lastSequence) await appender.synced();
    }
    committedSequence = sequence;
    trimming.moved();
  }

  function oldestUnconfirmedAgeMs(): number {
    const sequence = committedSequence + 1;
    if (sequence > lastSequence) return 0;
    const event = recent.at(sequence);
    const ended = event && fromBinary(UsageEventSchema, event).endTime;
    const timeMs = ended ? Number(ended.seconds) * 1_000 + ended.nanos / 1e6 : indexedTimeMs(segments, sequence);
    return timeMs === undefined ? 0 : Math.max(0, clock.now() - timeMs);
  }

  const journal: Journal = {
    id,
    get firstSequence() {
      return (
        segments.find((segment) => segment.lastSequence >= segment.firstSequence)?.firstSequence ?? lastSequence + 1
      );
    },
    get lastSequence() {
      return lastSequence;
    },
    get readableSequence() {
      return appender.syncedSequence;
    },
    get committedSequence() {
      return committedSequence;
    },
    intend(intent) {
      const writable = writability();
      if (writable !== true) throw unavailable(writable);
      const { attemptId } = intent;
      if (open.has(attemptId)) {
        throw new WeirError(ErrorReason.ALREADY_EXISTS, { text: "An attempt of this id is open." });
      }
      if (open.size >= openAttemptsMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs });
      checkIntent(intent);
      const cursor = appender.begin();
      if (!cursor) throw unavailable(appender.failure ?? "not written");
      try {
        writeIntent(cursor, intent);
      } catch (error) {
        appender.cancel();
        throw new WeirError(ErrorReason.INVALID_REQUEST, {
          text: "The journal cannot record the attempt: its names are too long, or a number is out of range.",
          cause: error,
        });
      }
      appender.end(RecordKind.intent, lastSequence);
      open.set(attemptId, { intent, progress: undefined });
      if (!appender.flush()) {
        open.delete(attemptId);
        throw unavailable(appender.failure ?? "not written");
      }
      return syncIntervalMs === 0 ? strictly(intent) : undefined;
    },
    progress(attemptId, usage) {
      const attempt = open.get(attemptId);
      if (!attempt || closing) return;
      const cursor = (isFull(0) ? undefined : appender.begin()) ?? emptied(scratch);
      try {
        writeProgress(cursor, attemptId, usage);
      } catch (error) {
        if (cursor !== scratch) appender.cancel();
        log.error({ error, attempt: attemptId }, "the progress of an attempt cannot be recorded");
        return;
      }
      attempt.progress = usage;
      if (cursor === scratch) return;
      appender.end(RecordKind.progress, lastSequence);
      appender.flushSoon();
    },
    settle(event) {
      const attempt = open.get(event.attemptId);
      if (!attempt || closing) return false;
      const cursor = beginSettlement();
      const start = cursor.at;
      try {
        checkSettlement(event);
        writeSettlement(cursor, lastSequence + 1, event);
      } catch (error) {
        cursor.at = start;
        writeSettlement(cursor, lastSequence + 1, insteadOf(event, attempt, error));
      }
      endSettlement(cursor, start);
      open.delete(event.attemptId);
      return true;
    },
    read,
    trim(sequence) {
      if (sequence === committedSequence || sequence > appender.syncedSequence) return;
      committedSequence = sequence;
      recent.evict(committedSequence, appender.syncedSequence);
      trimming.moved();
    },
    continueAfter,
    onReadable(call) {
      listener = call;
    },
    status: () => ({
      openAttempts: open.size,
      bytes: appender.bytes,
      segments: segments.length,
      lastSequence,
      readableSequence: appender.syncedSequence,
      committedSequence,
      oldestUnconfirmedAgeMs: oldestUnconfirmedAgeMs(),
      damagedRecords: found.damagedRecords,
      lostAttempts: found.open.size,
      writable: writability(),
    }),
    close() {
      closing ??= (async () => {
        const written = await appender.close();
        if (!written) {
          const events = lastSequence - appender.syncedSequence;
          log.error({ directory, events }, "the journal was closed with events that are not on disk");
        }
        await trimming.close();
        release();
      })();
      return closing;
    },
  };
  return { journal, abandon: (reason) => appender.abandon(reason) };
}

function emptied(cursor: Cursor): Cursor {
  cursor.at = 0;
  return cursor;
}

function indexedTimeMs(segments: readonly Segment[], sequence: number): number | undefined {
  const segment = segments.findLast((candidate) => candidate.firstSequence <= sequence) ?? segments[0];
  return (segment?.index.findLast((entry) => entry.sequence <= sequence) ?? segment?.index[0])?.timeMs;
}
