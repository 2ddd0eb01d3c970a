import { type Cursor, RecordKind, recordBytesMax, recordHeaderBytes, sealRecord } from "./record.ts";
import { appendRecords, createSegment, type OpenSegment, type SegmentOptions } from "./segment-file.ts";

/** Puts one record into a segment that begins. `lastSequence` is the number of the last settled event so far. */
type PutRecord = (kind: number, write: (cursor: Cursor) => void, lastSequence: number) => void;

/** Puts what a segment begins with: all open attempts, and the settled events from a number on. */
export type Carry = (put: PutRecord, fromSequence: number) => void;

const bufferBytes = 2 * recordBytesMax;

/**
 * Creates a segment that begins with what is carried into it, and a checkpoint that counts it: the segments before it are not needed to know
 * what is open.
 * @throws what the file system throws; then nothing is left of it
 */
export function createCarryingSegment(options: SegmentOptions, carry: Carry): OpenSegment {
  const { files, firstSequence, nowMs } = options;
  return createSegment(options, (segment) => {
    const cursor: Cursor = { bytes: Buffer.allocUnsafe(bufferBytes), at: 0 };
    let records = 0;
    let last = firstSequence - 1;
    const write = () => {
      appendRecords(files, segment, cursor, last, () => nowMs);
      cursor.at = 0;
    };
    const put: PutRecord = (kind, writePayload, lastSequence) => {
      if (cursor.at + recordBytesMax > bufferBytes) write();
      const start = cursor.at;
      cursor.at = start + recordHeaderBytes;
      writePayload(cursor);
      sealRecord(cursor, start, kind, segment.seed, segment.bytes + start);
      last = lastSequence;
      records += 1;
    };
    carry(put, firstSequence);
    const count = records;
    put(RecordKind.checkpoint, (at) => void (at.at = at.bytes.writeUInt32LE(count, at.at)), last);
    write();
  });
}
