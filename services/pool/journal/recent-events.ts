import { endOfEventHead, type EventRun, eventHeadBytesMax, writeEventHead } from "./batch-bytes.ts";
import type { ReadLimits } from "./journal.ts";
import type { Cursor } from "./record.ts";

/**
 * The newest settled events, by number without a gap, encoded as they travel to the ledger: as objects they would be
 * copied and marked by the garbage collector for as long as they wait.
 */
export interface RecentEvents {
  /** Number of the oldest one; that of the next one when there is none. */
  readonly firstSequence: number;
  /** Copies an encoded UsageEvent. */
  add(bytes: Buffer, start: number, end: number): void;
  /** The encoded UsageEvent of a number, until the next `evict`; undefined outside of what is kept. */
  at(sequence: number): Buffer | undefined;
  /** The events from a number that is kept up to another one, as far as the limits go, until the next `evict`. */
  read(from: number, through: number, limits: ReadLimits): EventRun;
  /** Lets go what the ledger has, and of what is synced the oldest while all take too much. */
  evict(committedSequence: number, syncedSequence: number): void;
}

/** Some hundred events, filled one after another and used again. */
interface Slab {
  readonly bytes: Buffer;
  /** Where each event ends. */
  readonly ends: Uint32Array;
  first: number;
  count: number;
}

const slabBytes = 262_144;
const slabEventsMax = 4_096;
/** Empty slabs that are kept. */
const sparesMax = 4;

/** @param bytesMax of encoded events; in memory they take so much and up to two slabs */
export function createRecentEvents(nextSequence: number, bytesMax: number): RecentEvents {
  const slabs: Slab[] = [];
  const spares: Slab[] = [];
  let first = nextSequence;
  let next = nextSequence;
  let bytes = 0;

  function slabFor(length: number): Slab {
    const newest = slabs.at(-1);
    if (newest !== undefined && newest.count < slabEventsMax && usedBytes(newest) + length <= slabBytes) return newest;
    const slab = spares.pop() ?? {
      bytes: Buffer.allocUnsafeSlow(slabBytes),
      ends: new Uint32Array(slabEventsMax),
      first: 0,
      count: 0,
    };
    slab.first = next;
    slab.count = 0;
    slabs.push(slab);
    return slab;
  }

  function slabOf(sequence: number): Slab | undefined {
    if (sequence < first || sequence >= next) return undefined;
    return slabs.findLast((slab) => slab.first <= sequence);
  }

  return {
    get firstSequence() {
      return first;
    },
    add(source, start, end) {
      const slab = slabFor(end - start + eventHeadBytesMax);
      const before = usedBytes(slab);
      const cursor: Cursor = { bytes: slab.bytes, at: before };
      writeEventHead(cursor, end - start);
      source.copy(slab.bytes, cursor.at, start, end);
      slab.ends[slab.count] = cursor.at + end - start;
      slab.count += 1;
      next += 1;
      bytes += usedBytes(slab) - before;
    },
    at(sequence) {
      const slab = slabOf(sequence);
      if (slab === undefined) return undefined;
      const index = sequence - slab.first;
      return slab.bytes.subarray(endOfEventHead(slab.bytes, startOf(slab, index)), slab.ends[index]);
    },
    read(from, through, limits) {
      const pieces: Buffer[] = [];
      let count = 0;
      let bytesLeft = limits.bytesMax;
      for (let slab = slabOf(from); slab !== undefined; slab = slabOf(from + count)) {
        const start = from + count - slab.first;
        const most = Math.min(slab.count, through + 1 - slab.first, start + limits.eventsMax - count);
        let index = start;
        for (; index < most && bytesLeft > 0; index += 1) bytesLeft -= sizeOf(slab, index);
        if (index === start) break;
        pieces.push(slab.bytes.subarray(startOf(slab, start), slab.ends[index - 1]));
        count += index - start;
      }
      return { count, pieces };
    },
    evict(committedSequence, syncedSequence) {
      while (first < next) {
        if (first > committedSequence && (bytes <= bytesMax || first > syncedSequence)) break;
        const oldest = slabs[0] as Slab;
        bytes -= sizeOf(oldest, first - oldest.first);
        first += 1;
        if (first < oldest.first + oldest.count) continue;
        slabs.shift();
        if (spares.length < sparesMax) spares.push(oldest);
      }
    },
  };
}

function usedBytes({ ends, count }: Slab): number {
  return count === 0 ? 0 : (ends[count - 1] as number);
}

function startOf({ ends }: Slab, index: number): number {
  return index === 0 ? 0 : (ends[index - 1] as number);
}

function sizeOf(slab: Slab, index: number): number {
  return (slab.ends[index] as number) - startOf(slab, index);
}
