import { join } from "node:path";
import type * as fs from "node:fs";
import { type Cursor, encodeSegmentHeader, segmentHeaderBytes, segmentSeed } from "./record.ts";

/** The calls that write the journal: node:fs, or in tests a disk that fails. */
export type JournalFiles = Pick<
  typeof fs,
  | "openSync"
  | "writeSync"
  | "ftruncateSync"
  | "closeSync"
  | "renameSync"
  | "unlinkSync"
  | "fsyncSync"
  | "fdatasync"
  | "fsync"
>;

/** A place in a segment from where it can be read. */
export interface IndexEntry {
  /** Offset of a record. */
  readonly offset: number;
  /** No settled event with a lower number stands at or after the offset. */
  readonly sequence: number;
  /** About when that event ended, in milliseconds since 1970. */
  readonly timeMs: number;
}

/** What is known of one segment. */
export interface Segment {
  readonly number: number;
  readonly path: string;
  readonly seed: number;
  /** Number of the first settled event in it, or of the next one when it began. */
  readonly firstSequence: number;
  /** Number of the last settled event in it; `firstSequence - 1` when there is none. */
  lastSequence: number;
  /** Bytes written. */
  bytes: number;
  /** Whether the file and its entry in the directory survive a power cut. */
  durable: boolean;
  /** Ascending; the first entry is the segment's beginning. */
  readonly index: IndexEntry[];
}

/** The segment that is written to. */
export interface OpenSegment extends Segment {
  readonly fd: number;
  /** Size when it began: the header, and what was carried into it. */
  beginBytes: number;
}

/** Bytes between entries of the index: what one read from disk takes. */
export const indexStrideBytes = 65_536;

const namePattern = /^segment-(\d{10})\.wal$/;
const unfinishedPattern = /^segment-\d{10}\.wal\.new$/;

export function segmentName(number: number): string {
  return `segment-${String(number).padStart(10, "0")}.wal`;
}

/** The number in a segment's name; undefined for other names. */
export function segmentNumber(name: string): number | undefined {
  const digits = namePattern.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Whether a name is that of a segment whose creation was cut off. */
export function isUnfinishedSegment(name: string): boolean {
  return unfinishedPattern.test(name);
}

export interface SegmentOptions {
  readonly files: JournalFiles;
  readonly directory: string;
  readonly journalId: string;
  readonly number: number;
  readonly firstSequence: number;
  readonly nowMs: number;
}

/**
 * Creates a segment. Nobody sees it before `begin` has written what it begins with: it gets its name after that.
 * @param begin writes records through the segment it is given
 * @throws what the file system throws; then nothing is left of it
 */
export function createSegment(options: SegmentOptions, begin: (segment: OpenSegment) => void): OpenSegment {
  const { files, directory, journalId, number, firstSequence } = options;
  const path = join(directory, segmentName(number));
  const unfinished = `${path}.new`;
  const fd = files.openSync(unfinished, "wx", 0o600);
  try {
    const header = encodeSegmentHeader({ segmentNumber: number, journalId, firstSequence });
    writeAll(files, fd, header, header.length);
    const segment: OpenSegment = {
      number,
      path,
      seed: segmentSeed(journalId, number),
      firstSequence,
      lastSequence: firstSequence - 1,
      bytes: segmentHeaderBytes,
      durable: false,
      index: [{ offset: segmentHeaderBytes, sequence: firstSequence, timeMs: options.nowMs }],
      fd,
      beginBytes: segmentHeaderBytes,
    };
    begin(segment);
    segment.beginBytes = segment.bytes;
    files.renameSync(unfinished, path);
    return segment;
  } catch (error) {
    closeQuietly(files, fd);
    removeQuietly(files, unfinished);
    throw error;
  }
}

/**
 * Writes whole records to the end of a segment.
 * @param lastSequence number of the last settled event in them, or of the last before them
 * @throws what write(2) throws; the file may then end in a torn record
 */
export function appendRecords(
  files: JournalFiles,
  segment: OpenSegment,
  records: Cursor,
  lastSequence: number,
  now: () => number,
): void {
  writeAll(files, segment.fd, records.bytes, records.at);
  const indexed = segment.index[segment.index.length - 1];
  if (indexed && segment.bytes - indexed.offset >= indexStrideBytes) {
    segment.index.push({ offset: segment.bytes, sequence: segment.lastSequence + 1, timeMs: now() });
  }
  segment.bytes += records.at;
  segment.lastSequence = lastSequence;
}

function writeAll(files: JournalFiles, fd: number, bytes: Buffer, length: number): void {
  let written = files.writeSync(fd, bytes, 0, length);
  while (written < length) written += files.writeSync(fd, bytes, written, length - written);
}

/** Closes a file that is not written to any more. What close(2) may report then, fdatasync has reported. */
export function closeQuietly(files: JournalFiles, fd: number): void {
  try {
    files.closeSync(fd);
  } catch {
    // The descriptor is gone all the same.
  }
}

/** Deletes a file that nobody needs. */
export function removeQuietly(files: JournalFiles, path: string): void {
  try {
    files.unlinkSync(path);
  } catch {
    // It is read as what it is, or removed, when the journal is opened the next time.
  }
}

/** Makes a directory's entries survive a power cut, where the system can. */
export function syncDirectory(files: JournalFiles, directory: string, done: (error: Error | null) => void): void {
  // Windows has no way to open a directory for it.
  if (process.platform === "win32") {
    done(null);
    return;
  }
  let fd: number;
  try {
    fd = files.openSync(directory, "r");
  } catch (error) {
    done(error as Error);
    return;
  }
  files.fsync(fd, (error) => {
    closeQuietly(files, fd);
    done(error);
  });
}
