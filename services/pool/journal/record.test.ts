import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Cursor,
  encodeSegmentHeader,
  formatVersion,
  parseSegmentHeader,
  recordHeaderBytes,
  scanRecords,
  sealRecord,
  segmentHeaderBytes,
  segmentSeed,
} from "./record.ts";

interface Frame {
  readonly kind: number;
  readonly payload: Uint8Array;
}

const base = segmentHeaderBytes;
const seed = segmentSeed(randomUUID(), 7);
const frames = fc.array(
  fc.record({ kind: fc.integer({ min: 1, max: 15 }), payload: fc.uint8Array({ maxLength: 60 }) }),
  { minLength: 1, maxLength: 12 },
);

function encode(records: readonly Frame[], withSeed = seed): { bytes: Buffer; starts: number[] } {
  const cursor: Cursor = { bytes: Buffer.alloc(200_000), at: 0 };
  const starts: number[] = [];
  for (const { kind, payload } of records) {
    const start = cursor.at;
    starts.push(start);
    cursor.at += recordHeaderBytes;
    cursor.bytes.set(payload, cursor.at);
    cursor.at += payload.length;
    sealRecord(cursor, start, kind, withSeed, base + start);
  }
  return { bytes: Buffer.from(cursor.bytes.subarray(0, cursor.at)), starts };
}

function decode(bytes: Buffer) {
  const found: { kind: number; payload: number[] }[] = [];
  const scan = scanRecords(bytes, base, seed, (kind, start, end) =>
    found.push({ kind, payload: [...bytes.subarray(start, end)] }),
  );
  return { found, ...scan };
}

const plain = (records: readonly Frame[]) => records.map(({ kind, payload }) => ({ kind, payload: [...payload] }));

test("records come back as they were written", () => {
  fc.assert(
    fc.property(frames, (records) => {
      const { bytes } = encode(records);
      expect(decode(bytes)).toEqual({ found: plain(records), end: base + bytes.length, damagedPlaces: 0 });
    }),
  );
});

test("cut at any byte, the whole records before the cut come back", () => {
  fc.assert(
    fc.property(frames, (records) => {
      const { bytes, starts } = encode(records);
      const ends = [...starts.slice(1), bytes.length];
      for (let cut = 0; cut <= bytes.length; cut += 1) {
        const whole = ends.filter((end) => end <= cut).length;
        const { found, end, damagedPlaces } = decode(bytes.subarray(0, cut));
        expect(found).toEqual(plain(records.slice(0, whole)));
        expect(end).toBe(base + (whole === 0 ? 0 : (ends[whole - 1] as number)));
        expect(damagedPlaces).toBe(0);
      }
    }),
    { numRuns: 50 },
  );
});

test("any flipped bit costs the record that it is in and no other", () => {
  fc.assert(
    fc.property(frames, (records) => {
      const { bytes, starts } = encode(records);
      for (let bit = 0; bit < bytes.length * 8; bit += 1) {
        const at = bit >> 3;
        const mask = 1 << (bit & 7);
        bytes[at] = (bytes[at] as number) ^ mask;
        const hit = starts.findLastIndex((start) => start <= at);
        const { found, damagedPlaces } = decode(bytes);
        expect(found).toEqual(plain(records.filter((_, i) => i !== hit)));
        expect(damagedPlaces).toBe(hit === records.length - 1 ? 0 : 1);
        bytes[at] = bytes[at] ^ mask;
      }
    }),
    { numRuns: 20 },
  );
});

test("bytes overwritten anywhere never make a record that was not written", () => {
  fc.assert(
    fc.property(frames, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 100 }), (records, place, garbage) => {
      const { bytes, starts } = encode(records);
      const from = place % bytes.length;
      const to = Math.min(bytes.length, from + garbage.length);
      bytes.set(garbage.subarray(0, to - from), from);
      const ends = [...starts.slice(1), bytes.length];
      const untouched = records.filter((_, i) => (ends[i] as number) <= from || (starts[i] as number) >= to);
      const { found } = decode(bytes);
      // Garbage may by chance be what stood there.
      for (const record of plain(untouched)) expect(found).toContainEqual(record);
      const written = plain(records).map((record) => JSON.stringify(record));
      for (const record of found) expect(written).toContain(JSON.stringify(record));
    }),
    { numRuns: 300 },
  );
});

test("a record of another journal, segment or place inside a payload is not taken for one after damage", () => {
  const id = randomUUID();
  const inner = encode([{ kind: 3, payload: Buffer.from("forged") }], segmentSeed(id, 7)).bytes;
  const { bytes } = encode([
    { kind: 1, payload: inner },
    { kind: 2, payload: Buffer.from("next") },
  ]);
  bytes[5] = (bytes[5] as number) ^ 1;
  expect(decode(bytes).found).toEqual([{ kind: 2, payload: [...Buffer.from("next")] }]);
  // The same journal and segment, but the record was made for another place.
  const same = encode([{ kind: 3, payload: Buffer.from("forged") }]).bytes;
  const moved = encode([
    { kind: 1, payload: same },
    { kind: 2, payload: Buffer.from("next") },
  ]).bytes;
  moved[5] = (moved[5] as number) ^ 1;
  expect(decode(moved).found).toEqual([{ kind: 2, payload: [...Buffer.from("next")] }]);
});

test("a segment's header comes back, and no bit of it changes unseen", () => {
  const header = { segmentNumber: 12, journalId: randomUUID(), firstSequence: 2 ** 40 + 5 };
  const bytes = encodeSegmentHeader(header);
  expect(bytes.length).toBe(segmentHeaderBytes);
  expect(parseSegmentHeader(bytes)).toEqual({ version: formatVersion, ...header });
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(parseSegmentHeader(bytes)).toBeUndefined();
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  }
  expect(parseSegmentHeader(bytes.subarray(0, 63))).toBeUndefined();
});
