import { crc32 } from "node:zlib";

/**
 * Framing of the journal's records. All integers are little-endian.
 *
 * A segment is a header of 64 bytes, then records without padding:
 *
 * | bytes | segment header                     |   | bytes | record                               |
 * | ----- | ---------------------------------- |---| ----- | ------------------------------------ |
 * | 8     | magic                              |   | 4     | CRC-32 of all that follows           |
 * | 4     | version                            |   | 1     | marker                               |
 * | 4     | segment number                     |   | 1     | kind                                 |
 * | 16    | journal id                         |   | 2     | length of the payload                |
 * | 8     | number of the next settled event   |   |       | payload                              |
 * | 20    | zero                               |   |       |                                      |
 * | 4     | CRC-32 of the 60 bytes before      |   |       |                                      |
 *
 * The CRC of a record starts from a seed made of the journal's id, the segment's number and the record's offset. So bytes
 * that a caller put into a name never pass for a record while a reader looks for the next whole one after damage, and a
 * record that a disk returns from another place is not taken either.
 */
export const RecordKind = {
  /** A UsageEvent as it counts if its process dies: outcome LOST, the reserved usage, no end time. */
  intent: 1,
  /** Length of the attempt id in one byte, the attempt id, and a Usage. */
  progress: 2,
  /** Number of the event in 8 bytes, and a UsageEvent. */
  settlement: 3,
  /**
   * Number of records before it in the segment, in 4 bytes. Those are all attempts that were open when the segment began,
   * and settled events that were not known to be on disk: earlier segments are not needed to know what is open.
   */
  checkpoint: 4,
} as const;

/** Kinds up to here may come with later versions and are skipped; a higher one is damage. */
const kindMax = 15;
const marker = 0xa7;

export const recordHeaderBytes = 8;
export const payloadBytesMax = 0xffff;
export const recordBytesMax = recordHeaderBytes + payloadBytesMax;

/** Bytes under construction: a buffer and where the next byte goes. */
export interface Cursor {
  readonly bytes: Buffer;
  at: number;
}

/** Seed of the records of one segment. */
export function segmentSeed(journalId: string, segmentNumber: number): number {
  const place = Buffer.alloc(20);
  idBytes(journalId).copy(place);
  place.writeUInt32LE(segmentNumber, 16);
  return crc32(place);
}

/**
 * Frames a payload that stands at `start + recordHeaderBytes` and ends at the cursor.
 * @param offset where the record will stand in its segment
 */
export function sealRecord(cursor: Cursor, start: number, kind: number, seed: number, offset: number): void {
  const bytes = cursor.bytes;
  const length = cursor.at - start - recordHeaderBytes;
  bytes[start + 4] = marker;
  bytes[start + 5] = kind;
  bytes[start + 6] = length & 0xff;
  bytes[start + 7] = length >>> 8;
  const crc = crc32(bytes.subarray(start + 4, cursor.at), (seed + offset) >>> 0);
  bytes[start] = crc & 0xff;
  bytes[start + 1] = (crc >>> 8) & 0xff;
  bytes[start + 2] = (crc >>> 16) & 0xff;
  bytes[start + 3] = crc >>> 24;
}

/** Called for each whole record: the payload is `bytes` from `start` to `end`; `offset` is the record's in its segment. */
export type RecordVisitor = (kind: number, start: number, end: number, offset: number) => void;

export interface Scan {
  /** End of the last whole record, as an offset in the segment. What follows is a torn tail. */
  readonly end: number;
  /** Damaged places with a whole record after them. */
  readonly damagedPlaces: number;
}

/**
 * Visits the records in a piece of a segment. Damage is skipped up to the next whole record.
 * @param bytes a piece that begins and ends with a record (or ends torn)
 * @param base offset of the piece in its segment
 */
export function scanRecords(bytes: Buffer, base: number, seed: number, visit: RecordVisitor): Scan {
  let at = 0;
  let end = 0;
  let damagedPlaces = 0;
  while (at + recordHeaderBytes <= bytes.length) {
    const size = wholeRecordAt(bytes, at, base, seed);
    if (size === 0) {
      at += 1;
      continue;
    }
    if (at !== end) damagedPlaces += 1;
    visit(bytes[at + 5] as number, at + recordHeaderBytes, at + size, base + at);
    at += size;
    end = at;
  }
  return { end: base + end, damagedPlaces };
}

/** Size of the record at a position; 0 when there is no whole one. */
function wholeRecordAt(bytes: Buffer, at: number, base: number, seed: number): number {
  if (bytes[at + 4] !== marker) return 0;
  const kind = bytes[at + 5] as number;
  if (kind === 0 || kind > kindMax) return 0;
  const end = at + recordHeaderBytes + bytes.readUInt16LE(at + 6);
  if (end > bytes.length) return 0;
  const crc = crc32(bytes.subarray(at + 4, end), (seed + base + at) >>> 0);
  return crc === bytes.readUInt32LE(at) ? end - at : 0;
}

export const segmentHeaderBytes = 64;
const magic = Buffer.from("WEIRJRN\n", "latin1");
export const formatVersion = 1;

export interface SegmentHeader {
  readonly version: number;
  readonly segmentNumber: number;
  readonly journalId: string;
  /** Number of the first settled event that the segment may hold. */
  readonly firstSequence: number;
}

export function encodeSegmentHeader(header: Omit<SegmentHeader, "version">): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  magic.copy(bytes);
  bytes.writeUInt32LE(formatVersion, 8);
  bytes.writeUInt32LE(header.segmentNumber, 12);
  idBytes(header.journalId).copy(bytes, 16);
  bytes.writeBigUInt64LE(BigInt(header.firstSequence), 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, segmentHeaderBytes - 4)), segmentHeaderBytes - 4);
  return bytes;
}

/** Undefined when the header is cut or damaged. The fields of a later version are those of this one. */
export function parseSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderBytes || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  const crc = crc32(bytes.subarray(0, segmentHeaderBytes - 4));
  if (crc !== bytes.readUInt32LE(segmentHeaderBytes - 4)) return undefined;
  return {
    version: bytes.readUInt32LE(8),
    segmentNumber: bytes.readUInt32LE(12),
    journalId: idText(bytes.subarray(16, 32)),
    firstSequence: Number(bytes.readBigUInt64LE(32)),
  };
}

function idBytes(id: string): Buffer {
  return Buffer.from(id.replaceAll("-", ""), "hex");
}

function idText(bytes: Buffer): string {
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
