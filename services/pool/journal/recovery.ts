import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { open as openFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { eventAttemptId, readProgress, readSettlement, settlementSequence } from "./event-bytes.ts";
import {
  formatVersion,
  parseSegmentHeader,
  RecordKind,
  type SegmentHeader,
  scanRecords,
  segmentHeaderBytes,
  segmentSeed,
} from "./record.ts";
import { lockName } from "./directory-lock.ts";
import { type IndexEntry, indexStrideBytes, isUnfinishedSegment, type Segment, segmentNumber } from "./segment-file.ts";
import { watermarkName } from "./watermark-file.ts";

/** An attempt that nobody settled. */
export interface OpenRecord {
  /** Payload of its intent. */
  readonly intent: Buffer;
  progress: Usage | undefined;
}

/** What a directory holds. */
export interface Recovered {
  /** By number, ascending. */
  readonly segments: Segment[];
  /** By attempt id, oldest first. */
  readonly open: ReadonlyMap<string, OpenRecord>;
  readonly lastSequence: number;
  /** Records or places that could not be read; the torn tail of the last segment is not counted. */
  readonly damagedRecords: number;
  /** Bytes at the end of the last segment that are no whole record. */
  readonly cutBytes: number;
  /** One sentence for each thing that an operator should know. */
  readonly warnings: readonly string[];
}

/** Thrown for a directory that cannot be opened; the text says why and what to do. */
export class JournalUnreadable extends Error {
  override readonly name = "JournalUnreadable";
}

const idPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const idFileName = "journal.id";

/** Where a segment is. */
export interface SegmentPath {
  readonly number: number;
  readonly path: string;
}

/** What lies in a directory. */
export interface DirectoryContent {
  /** By number, ascending. */
  readonly segments: readonly SegmentPath[];
  /** Segments whose creation was cut off. */
  readonly unfinished: readonly string[];
  /** Names that are not a journal's. */
  readonly foreign: readonly string[];
}

/** @throws JournalUnreadable when the directory is plainly not a journal's */
export function listDirectory(directory: string): DirectoryContent {
  const segments: SegmentPath[] = [];
  const unfinished: string[] = [];
  const foreign: string[] = [];
  let own = false;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    const number = segmentNumber(entry.name);
    if (number !== undefined) {
      if (!entry.isFile())
        throw new JournalUnreadable(`${path} has the name of a segment and is no file; move it away.`);
      segments.push({ number, path });
    } else if (isUnfinishedSegment(entry.name)) {
      unfinished.push(path);
    } else if (entry.name === idFileName) {
      own = true;
    } else if (!isOwnName(entry.name) && !entry.name.startsWith(".") && entry.name !== "lost+found") {
      foreign.push(entry.name);
    }
  }
  if (!own && segments.length === 0 && foreign.length > 0) {
    throw new JournalUnreadable(
      `${directory} holds no journal but other files (${foreign.slice(0, 3).join(", ")}); choose an empty directory for the journal.`,
    );
  }
  return { segments: segments.toSorted((a, b) => a.number - b.number), unfinished, foreign };
}

function isOwnName(name: string): boolean {
  return name.startsWith(lockName) || name.startsWith(watermarkName) || name === `${idFileName}.new`;
}

/**
 * Whose the directory is: the id in its id file, else that in the header of a segment; undefined for an empty directory.
 * @throws JournalUnreadable when the id cannot be told, a segment is another journal's or a later version wrote one
 */
export function readJournalId(directory: string, headers: readonly (SegmentHeader | undefined)[]): string | undefined {
  const stored = readIdFile(directory);
  let id = stored;
  for (const header of headers) {
    if (!header) continue;
    if (header.version > formatVersion) {
      throw new JournalUnreadable(
        `${directory} was written by a later version of Weir (format ${header.version}, known ${formatVersion}); ` +
          "start that version, or let it drain the journal first.",
      );
    }
    if (id === undefined) id = header.journalId;
    if (header.journalId !== id) {
      throw new JournalUnreadable(
        `segment ${header.segmentNumber} in ${directory} belongs to journal ${header.journalId}, the rest to ${id}; ` +
          "move the files of one of them to a directory of their own.",
      );
    }
  }
  if (id === undefined && headers.length > 0) {
    throw new JournalUnreadable(
      `nothing in ${directory} tells the journal's id: ${idFileName} and the headers of all segments are missing or damaged; ` +
        `restore ${idFileName} from a copy, or move the directory away.`,
    );
  }
  return id;
}

function readIdFile(directory: string): string | undefined {
  try {
    const id = readFileSync(join(directory, idFileName), "utf8").trim();
    return idPattern.test(id) ? id : undefined;
  } catch {
    return undefined;
  }
}

/** The header of a segment; undefined when it is damaged. */
export function readHeader(path: string): SegmentHeader | undefined {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  const fd = openSync(path, "r");
  try {
    return parseSegmentHeader(bytes.subarray(0, readSync(fd, bytes)));
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads all segments of a journal, cuts the torn tail of the last one, and syncs them: a killed process leaves records that
 * are not on disk yet.
 */
export async function recover(journalId: string, files: readonly SegmentPath[]): Promise<Recovered> {
  const found = await readSegments(journalId, files);
  const last = found.segments.at(-1);
  for (const segment of found.segments) await syncFile(segment.path, segment === last ? segment.bytes : undefined);
  return found;
}

/** Reads all segments of a journal and changes nothing. `cutBytes` are those that `recover` would cut. */
export async function readSegments(journalId: string, files: readonly SegmentPath[]): Promise<Recovered> {
  const segments: Segment[] = [];
  const warnings: string[] = [];
  let open = new Map<string, OpenRecord>();
  let lastSequence = 0;
  let damagedRecords = 0;
  let cutBytes = 0;
  for (const file of files) {
    const isLast = file === files.at(-1);
    const bytes = await readFile(file.path);
    const header = parseSegmentHeader(bytes);
    // A crash can leave the last segment without a whole header; anywhere else that is damage.
    if (!header && (!isLast || bytes.length >= segmentHeaderBytes)) {
      damagedRecords += 1;
      warnings.push(`the header of ${file.path} is damaged`);
    }
    const scanned = scanSegment(bytes, segmentSeed(journalId, file.number), open);
    if (scanned.replacesOpen) open = scanned.replacesOpen;
    const firstSequence = header?.firstSequence ?? scanned.firstSequence ?? lastSequence + 1;
    lastSequence = Math.max(lastSequence, scanned.lastSequence, firstSequence - 1);
    if (scanned.damagedPlaces > 0) {
      damagedRecords += scanned.damagedPlaces;
      warnings.push(`${file.path} is damaged in ${scanned.damagedPlaces} places; the records around them were read`);
    }
    if (scanned.end < bytes.length) {
      if (isLast) {
        cutBytes = bytes.length - scanned.end;
      } else {
        damagedRecords += 1;
        warnings.push(`${file.path} ends in ${bytes.length - scanned.end} bytes that are no record`);
      }
    }
    segments.push({
      ...file,
      seed: segmentSeed(journalId, file.number),
      firstSequence,
      lastSequence: Math.max(scanned.lastSequence, firstSequence - 1),
      bytes: scanned.end,
      durable: true,
      index:
        scanned.index.length > 0 ? scanned.index : [{ offset: segmentHeaderBytes, sequence: firstSequence, timeMs: 0 }],
    });
  }
  return { segments, open, lastSequence, damagedRecords, cutBytes, warnings };
}

/** @param size what is kept of the file; undefined: all of it */
async function syncFile(path: string, size: number | undefined): Promise<void> {
  const file = await openFile(path, "r+");
  try {
    if (size !== undefined && (await file.stat()).size > size) await file.truncate(size);
    await file.datasync();
  } finally {
    await file.close();
  }
}

interface ScannedSegment {
  readonly firstSequence: number | undefined;
  readonly lastSequence: number;
  readonly end: number;
  readonly damagedPlaces: number;
  readonly index: IndexEntry[];
  /** The attempts open after this segment, when it tells them without the earlier ones. */
  readonly replacesOpen: Map<string, OpenRecord> | undefined;
}

/** @param open attempts open before the segment; changed to those open after it */
function scanSegment(bytes: Buffer, seed: number, open: Map<string, OpenRecord>): ScannedSegment {
  const index: IndexEntry[] = [];
  let firstSequence: number | undefined;
  let lastSequence = 0;
  let records = 0;
  // Attempts whose records stand in this segment. They are all there are, once a whole checkpoint has said so.
  const own = new Map<string, OpenRecord>();
  let complete = false;
  const body = bytes.subarray(Math.min(segmentHeaderBytes, bytes.length));
  const scan = scanRecords(body, segmentHeaderBytes, seed, (kind, start, end, offset) => {
    switch (kind) {
      case RecordKind.intent: {
        const record: OpenRecord = { intent: Buffer.from(body.subarray(start, end)), progress: undefined };
        const attemptId = eventAttemptId(body, start);
        open.set(attemptId, record);
        own.set(attemptId, record);
        break;
      }
      case RecordKind.progress: {
        const { attemptId, usage } = readProgress(body.subarray(start, end));
        const record = open.get(attemptId);
        if (record) record.progress = usage;
        break;
      }
      case RecordKind.settlement: {
        const sequence = settlementSequence(body, start);
        const attemptId = eventAttemptId(body, start + 8);
        open.delete(attemptId);
        own.delete(attemptId);
        firstSequence ??= sequence;
        lastSequence = sequence;
        const indexed = index.at(-1);
        if (!indexed || offset - indexed.offset >= indexStrideBytes) {
          const ended = readSettlement(body.subarray(start, end)).endTime;
          index.push({ offset, sequence, timeMs: ended ? Number(ended.seconds) * 1000 : 0 });
        }
        break;
      }
      case RecordKind.checkpoint:
        complete = body.readUInt32LE(start) === records;
        break;
      default:
        break;
    }
    records += 1;
  });
  return {
    firstSequence,
    lastSequence,
    end: Math.min(bytes.length, scan.end),
    damagedPlaces: scan.damagedPlaces,
    index,
    replacesOpen: complete ? own : undefined,
  };
}
