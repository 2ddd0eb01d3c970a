import type { SettledBatch } from "./journal.ts";
import type { Cursor } from "./record.ts";
import { writeText, writeUint, writeVarint } from "./wire-bytes.ts";

/** Tag of `UsageBatch.events`. */
const eventTag = 0x1a;
/** A tag, and the length of what fits in a record. */
export const eventHeadBytesMax = 4;

/** Puts before an event what it has before it in a batch. */
export function writeEventHead(cursor: Cursor, length: number): void {
  cursor.bytes[cursor.at++] = eventTag;
  writeVarint(cursor, length);
}

/** Where the event begins whose head stands at a place. */
export function endOfEventHead(bytes: Buffer, start: number): number {
  let at = start + 1;
  while ((bytes[at] as number) >= 0x80) at += 1;
  return at + 1;
}

/** Settled events one after another, each with its head. */
export interface EventRun {
  readonly count: number;
  readonly pieces: readonly Uint8Array[];
}

/** @param events each an encoded UsageEvent that fits in a record */
export function runOf(events: readonly Uint8Array[]): EventRun {
  const pieces = events.flatMap((event) => {
    const cursor: Cursor = { bytes: Buffer.allocUnsafe(eventHeadBytesMax), at: 0 };
    writeEventHead(cursor, event.length);
    return [cursor.bytes.subarray(0, cursor.at), event];
  });
  return { count: events.length, pieces };
}

/** Copies events into a batch. */
export function toBatch(journalId: string, firstSequence: number, { count, pieces }: EventRun): SettledBatch {
  const cursor: Cursor = { bytes: Buffer.allocUnsafe(64), at: 0 };
  writeText(cursor, 0x0a, journalId);
  writeUint(cursor, 0x10, firstSequence);
  return { firstSequence, count, bytes: Buffer.concat([cursor.bytes.subarray(0, cursor.at), ...pieces]) };
}
