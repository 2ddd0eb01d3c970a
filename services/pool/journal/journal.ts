import { randomUUID } from "node:crypto";
import * as nodeFiles from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { BudgetHold, UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { createJournal, type OpenedJournal } from "./create-journal.ts";
import { lockDirectory } from "./directory-lock.ts";
import { idFileName, listDirectory, readHeader, readJournalId, recover } from "./recovery.ts";
import { type JournalFiles, removeQuietly } from "./segment-file.ts";
import { readWatermark } from "./watermark-file.ts";

/** What is known of an attempt before it leaves. Not changed by anyone until the attempt is settled. */
export interface Intent {
  /** UUID of version 7; ours, never the provider's. */
  readonly attemptId: string;
  readonly requestId: string;
  readonly principal: Principal;
  readonly alias: string;
  readonly target: Target;
  /** Price in force at `startTimeMs`; empty when the target has none. */
  readonly priceId: string;
  /** Wall clock, in milliseconds since 1970. */
  readonly startTimeMs: number;
  readonly stream: boolean;
  /** The worst case: what the attempt counts as if this process dies and no progress was recorded. */
  readonly reserved: Usage;
  /** What budgets set aside at the beginning; undefined: no budget is about the attempt. */
  readonly hold?: BudgetHold | undefined;
}

/** Consecutive settled events, ready to leave: they are on disk, synced. */
export interface SettledBatch {
  /** Number of the first event; the others follow without a gap. Meaningless when there are none. */
  readonly firstSequence: number;
  /** How many events there are. */
  readonly count: number;
  /** They as a weir.metering.v1.UsageBatch, encoded; nobody else's memory. */
  readonly bytes: Uint8Array;
}

export interface ReadLimits {
  readonly eventsMax: number;
  /** Of encoded events. At least one event is returned, whatever its size. */
  readonly bytesMax: number;
}

export interface JournalStatus {
  /** Attempts with an intent and no settlement. */
  readonly openAttempts: number;
  /** Size on disk. */
  readonly bytes: number;
  readonly segments: number;
  /** Number of the newest settled event; 0 before the first. */
  readonly lastSequence: number;
  /** Number of the newest event that is synced to disk and may be read. */
  readonly readableSequence: number;
  /** What the ledger confirmed last. */
  readonly committedSequence: number;
  /** Age of the oldest event that the ledger has not confirmed, in milliseconds; 0 when there is none. */
  readonly oldestUnconfirmedAgeMs: number;
  /** Records found damaged when the journal was opened, at least one for each damaged place. */
  readonly damagedRecords: number;
  /** Attempts that an earlier process left open and that were settled as lost at opening. */
  readonly lostAttempts: number;
  /** Whether `intend` admits attempts, and if not, why. */
  readonly writable: true | string;
}

/**
 * The write-ahead log of attempts. One process owns one journal. Every intent ends in exactly one settled event, numbered
 * 1, 2, 3..., by `settle` or, after a crash, by the next process that opens the journal.
 */
export interface Journal {
  /** UUID, made with the journal. */
  readonly id: string;
  /**
   * Records that an attempt is about to leave. When it returns, the record survives the death of this process; in strict
   * mode it returns a promise, and when that resolves, the record survives a power cut. Only then may the call leave.
   * @throws WeirError STORE_UNAVAILABLE when the journal is full, cannot be written or is closed; ALREADY_EXISTS when an
   *   attempt of this id is open; OVERLOADED when too many are open; INVALID_REQUEST when the record would be too long.
   *   (In strict mode the promise may reject with STORE_UNAVAILABLE.) The attempt is then not on record and must not leave.
   */
  intend(intent: Intent): void | Promise<void>;
  /**
   * Records how far an open attempt came: `usage` is the total so far. Written within one turn of the event loop. Does
   * nothing for an attempt that is not open.
   */
  progress(attemptId: string, usage: Usage): void;
  /**
   * Ends an open attempt. Never fails for reasons of storage: what cannot be written now is kept in memory and written when
   * the disk is back. Written within one turn of the event loop.
   * @returns whether the attempt was open; if not, nothing is recorded (the first settlement stands)
   */
  settle(event: UsageEvent): boolean;
  /** Oldest event that can still be read; `lastSequence + 1` when there is none. */
  readonly firstSequence: number;
  /** Newest settled event, synced or not. */
  readonly lastSequence: number;
  /** Newest event that is synced to disk and may be read. */
  readonly readableSequence: number;
  readonly committedSequence: number;
  /**
   * Reads settled events after a number, in order. None when nothing after it is readable. Numbers whose event is gone
   * (trimmed, or destroyed by damage) are filled with a copy of the next event there is: the ledger knows events by attempt
   * id, so a copy changes nothing, and numbers stay without a gap.
   */
  read(afterSequence: number, limits: ReadLimits): Promise<SettledBatch>;
  /**
   * Says how much the ledger has; whole segments up to there are deleted soon. Less than before means that the ledger went
   * back. A number that is not readable yet is ignored.
   */
  trim(committedSequence: number): void;
  /**
   * For a ledger that has more of this journal than the journal itself, because the directory is an older copy: goes on
   * after the ledger's number, under which settled events get new numbers if the ledger did not confirm them under their own.
   * A crash before this resolves may cost those events.
   * @throws WeirError STORE_UNAVAILABLE, or what the file system throws, when they cannot be written: they have their new
   *   numbers then, nothing is deleted, and `trim` takes the ledger's number once they are on disk
   */
  continueAfter(committedSequence: number): Promise<void>;
  /** Called whenever `readableSequence` grew. One listener at a time; undefined removes it. */
  onReadable(listener: (() => void) | undefined): void;
  status(): JournalStatus;
  /** Writes and syncs what is pending, stops admitting, gives the directory up. Open attempts stay open on disk. Idempotent. */
  close(): Promise<void>;
}

export interface JournalOptions {
  /** Made when it is missing; used by one process at a time. */
  readonly directory: string;
  /**
   * How often what was written is synced to disk, in milliseconds: what a power cut may cost. 0: strict mode, `intend`
   * resolves after the sync. Default 10.
   */
  readonly syncIntervalMs?: number | undefined;
  /** Most bytes on disk; beyond it no new attempts. Settlements of open ones are still taken. Default 1 GiB. */
  readonly bytesMax?: number | undefined;
  /** Size of a segment, the unit of deletion. Default 64 MiB; never more than a quarter of `bytesMax`. */
  readonly segmentBytes?: number | undefined;
  /** Default 100,000. */
  readonly openAttemptsMax?: number | undefined;
  /** Encoded size of the newest events that are kept in memory for the drain. Default 8 MiB. */
  readonly recentBytesMax?: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** For tests: a disk that fails. */
  readonly files?: JournalFiles | undefined;
}

/**
 * Opens the journal in a directory: takes the directory, reads what an earlier process left, cuts a torn tail, and settles
 * what that process left open as lost. All of that is on disk before this resolves.
 * @throws WeirError STORE_UNAVAILABLE when another process uses the directory; JournalUnreadable when it holds something
 *   else or a later version's journal; what the file system throws
 */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { directory, clock, log } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  let opened: OpenedJournal | undefined;
  const lock = await lockDirectory(directory, clock, () => opened?.abandon("another process took the directory"));
  try {
    const files = options.files ?? nodeFiles;
    const content = listDirectory(directory);
    for (const path of content.unfinished) removeQuietly(files, path);
    if (content.foreign.length > 0) log.warn({ directory, names: content.foreign }, "files that are not the journal's");
    const headers = content.segments.map(({ path }) => readHeader(path));
    const id = readJournalId(directory, headers) ?? randomUUID();
    await writeId(directory, id);
    const found = await recover(id, content.segments);
    const committed = readWatermark(directory, id) ?? 0;
    for (const warning of found.warnings) log.error({ directory }, `journal: ${warning}`);
    if (found.cutBytes > 0)
      log.warn({ directory, bytes: found.cutBytes }, "journal: a torn record was cut from the end");
    opened = await createJournal(id, options, found, committed, lock.release);
    if (found.open.size > 0)
      log.warn({ directory, attempts: found.open.size }, "journal: open attempts were settled as lost");
    return opened.journal;
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function writeId(directory: string, id: string): Promise<void> {
  const path = join(directory, idFileName);
  await writeFile(`${path}.new`, `${id}\n`, { mode: 0o600, flush: true });
  await rename(`${path}.new`, path);
}
