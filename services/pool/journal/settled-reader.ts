import { open } from "node:fs/promises";
import { settlementHeadBytes, settlementSequence } from "./event-bytes.ts";
import type { ReadLimits } from "./journal.ts";
import { RecordKind, recordHeaderBytes, scanRecords } from "./record.ts";
import type { Segment } from "./segment-file.ts";

/** A stretch of a segment between two entries of its index. */
interface Stretch {
  readonly segment: Segment;
  readonly start: number;
  readonly end: number;
  /** The first event in it has this number or a higher one. */
  readonly sequence: number;
  /** Events of higher numbers in it are read from the next segment. */
  readonly lastSequence: number;
}

/**
 * Reads settled events from disk: those from `fromSequence` to `throughSequence`, as far as the limits go. A number without
 * an event gets a copy of the next one.
 * @param segments by number, ascending
 * @returns each an encoded UsageEvent; none when there is no event from `fromSequence` to `throughSequence` on disk
 */
export async function readSettled(
  segments: readonly Segment[],
  fromSequence: number,
  throughSequence: number,
  limits: ReadLimits,
): Promise<Uint8Array[]> {
  const events: Uint8Array[] = [];
  let next = fromSequence;
  let bytesLeft = limits.bytesMax;
  const full = () => events.length >= limits.eventsMax || bytesLeft <= 0 || next > throughSequence;
  for (const stretch of stretchesFrom(segments, fromSequence)) {
    if (full()) break;
    if (stretch.sequence > throughSequence) break;
    const bytes = await readStretch(stretch);
    scanRecords(bytes, stretch.start, stretch.segment.seed, (kind, start, end) => {
      if (kind !== RecordKind.settlement) return;
      const sequence = settlementSequence(bytes, start);
      if (sequence < next || sequence > Math.min(throughSequence, stretch.lastSequence) || full()) return;
      const event = bytes.subarray(start + settlementHeadBytes, end);
      while (next <= sequence && (events.length === 0 || !full())) {
        events.push(event);
        bytesLeft -= end - start + recordHeaderBytes;
        next += 1;
      }
    });
  }
  return events;
}

/**
 * The stretches that hold a number and those after it. A number may stand in two segments: after a failed sync it was
 * written again, and the later one counts.
 */
function* stretchesFrom(segments: readonly Segment[], sequence: number): Generator<Stretch> {
  let from = segments.findLastIndex((segment) => segment.firstSequence <= sequence);
  if (from < 0) from = 0;
  for (let i = from; i < segments.length; i += 1) {
    const segment = segments[i] as Segment;
    if (segment.lastSequence < segment.firstSequence) continue;
    const lastSequence = (segments[i + 1]?.firstSequence ?? Number.POSITIVE_INFINITY) - 1;
    let k = i === from ? segment.index.findLastIndex((entry) => entry.sequence <= sequence) : 0;
    if (k < 0) k = 0;
    // The segment may grow while it is read; what it had at the beginning is enough.
    const { index, bytes } = segment;
    for (; k < index.length; k += 1) {
      const entry = index[k];
      if (!entry) break;
      yield {
        segment,
        start: entry.offset,
        end: index[k + 1]?.offset ?? bytes,
        sequence: entry.sequence,
        lastSequence,
      };
    }
  }
}

async function readStretch(stretch: Stretch): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(stretch.end - stretch.start);
  const file = await open(stretch.segment.path, "r");
  try {
    let at = 0;
    while (at < bytes.length) {
      const { bytesRead } = await file.read(bytes, at, bytes.length - at, stretch.start + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return bytes.subarray(0, at);
  } finally {
    await file.close();
  }
}
