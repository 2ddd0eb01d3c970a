import { unlink } from "node:fs/promises";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Appender } from "./appender.ts";
import type { Segment } from "./segment-file.ts";
import { writeWatermark } from "./watermark-file.ts";

export interface TrimmingOptions {
  readonly directory: string;
  readonly journalId: string;
  /** All segments, by number, ascending. Those that are deleted are taken out. */
  readonly segments: Segment[];
  readonly appender: Pick<Appender, "current" | "removed">;
  /** The watermark that the directory has. */
  readonly writtenSequence: number;
  /** What the ledger confirmed last. */
  readonly committedSequence: () => number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Lets go of what the ledger has, and keeps on disk how much that is. */
export interface Trimming {
  /** The ledger confirmed another number. */
  moved(): void;
  /** Deletes segments that nobody needs, behind the caller's back; one run at a time. */
  removeSegments(): void;
  /** Ends what is under way, and writes the last number down. Nothing is deleted from then on. */
  close(): Promise<void>;
}

const watermarkIntervalMs = 1_000;

export function createTrimming(options: TrimmingOptions): Trimming {
  const { directory, journalId, segments, appender, committedSequence, clock, log } = options;
  let { writtenSequence } = options;
  let removing: Promise<void> | undefined;
  let toldOfRemoval = false;
  let stopWatermarkTimer: (() => void) | undefined;
  let closing = false;

  function removeSegments(): void {
    if (closing || segments.length === 1) return;
    removing ??= removeUnneeded().finally(() => {
      removing = undefined;
    });
  }

  /** Those whose events the ledger has; the next one carries their open attempts. */
  async function removeUnneeded(): Promise<void> {
    try {
      for (let i = 0; i < segments.length - 1; ) {
        const segment = segments[i] as Segment;
        const empty = segment.lastSequence < segment.firstSequence;
        const needed = segment.lastSequence > committedSequence() && !empty;
        if (needed || segment === appender.current || !segments[i + 1]?.durable) {
          i += 1;
          continue;
        }
        await unlink(segment.path);
        segments.splice(segments.indexOf(segment), 1);
        appender.removed(segment);
        toldOfRemoval = false;
      }
    } catch (error) {
      if (!toldOfRemoval) log.warn({ error, directory }, "a segment of the journal could not be deleted");
      toldOfRemoval = true;
    }
  }

  async function saveWatermark(): Promise<void> {
    const sequence = committedSequence();
    if (sequence === writtenSequence) return;
    try {
      await writeWatermark(directory, journalId, sequence);
      writtenSequence = sequence;
    } catch (error) {
      log.debug({ error, directory }, "the journal's watermark could not be written");
    }
  }

  return {
    moved() {
      stopWatermarkTimer ??= clock.after(watermarkIntervalMs, () => {
        stopWatermarkTimer = undefined;
        void saveWatermark();
      });
      removeSegments();
    },
    removeSegments,
    async close() {
      closing = true;
      stopWatermarkTimer?.();
      await removing;
      await saveWatermark();
    },
  };
}
