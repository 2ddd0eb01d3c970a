import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Target } from "@weir/gen/weir/routing/v1/target_pb";

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
}

/** Consecutive settled events, ready to leave: they are on disk, synced. */
export interface SettledEvents {
  /** Number of the first event; the others follow without a gap. Meaningless when there are none. */
  readonly firstSequence: number;
  readonly events: readonly UsageEvent[];
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
   * the disk is back. Written within one turn of the event loop. The event is not copied: do not change it afterwards.
   * @returns whether the attempt was open; if not, nothing is recorded (the first settlement stands)
   */
  settle(event: UsageEvent): boolean;
  /** Oldest event that can still be read; `lastSequence + 1` when there is none. */
  readonly firstSequence: number;
  /** Newest event that is synced to disk and may be read. */
  readonly readableSequence: number;
  readonly committedSequence: number;
  /**
   * Reads settled events after a number, in order. None when nothing after it is readable. Numbers whose event is gone
   * (trimmed, or destroyed by damage) are filled with a copy of the next event there is: the ledger knows events by attempt
   * id, so a copy changes nothing, and numbers stay without a gap.
   */
  read(afterSequence: number, limits: ReadLimits): Promise<SettledEvents>;
  /** Says what the ledger confirmed. Whole segments up to there are deleted soon. Lower or unknown numbers are ignored. */
  trim(committedSequence: number): void;
  /** Called whenever `readableSequence` grew. One listener at a time; undefined removes it. */
  onReadable(listener: (() => void) | undefined): void;
  status(): JournalStatus;
  /** Writes and syncs what is pending, stops admitting, gives the directory up. Open attempts stay open on disk. Idempotent. */
  close(): Promise<void>;
}
