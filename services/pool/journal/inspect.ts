import { holderOf } from "./directory-lock.ts";
import { listDirectory, readHeader, readJournalId, readSegments } from "./recovery.ts";
import { readWatermark } from "./watermark-file.ts";

/** What a journal's directory holds. */
export interface JournalContents {
  /** UUID of the journal. */
  readonly id: string;
  /** Who uses the directory now, for people; undefined: nobody. What a living process is writing may be counted in part. */
  readonly holder: string | undefined;
  readonly segments: number;
  /** Size of the segments. */
  readonly bytes: number;
  /** Attempts with an intent and no settlement. */
  readonly openAttempts: number;
  /** Number of the newest settled event; 0 when there is none. */
  readonly lastSequence: number;
  /** What the ledger had confirmed when the journal last noted it; it may have more. */
  readonly committedSequence: number;
  readonly damagedRecords: number;
  /** One sentence for each damaged place. */
  readonly warnings: readonly string[];
}

/**
 * Reads a directory without changing it, also while a process uses it.
 * @returns undefined when it holds no journal
 * @throws JournalUnreadable when it holds something else, or a later version's journal; what the file system throws
 */
export async function inspectJournal(directory: string): Promise<JournalContents | undefined> {
  const { segments } = listDirectory(directory);
  const id = readJournalId(
    directory,
    segments.map(({ path }) => readHeader(path)),
  );
  if (id === undefined) return undefined;
  const found = await readSegments(id, segments);
  const committedSequence = readWatermark(directory, id) ?? 0;
  return {
    id,
    holder: holderOf(directory),
    segments: found.segments.length,
    bytes: found.segments.reduce((sum, segment) => sum + segment.bytes, 0),
    openAttempts: found.open.size,
    lastSequence: Math.max(found.lastSequence, committedSequence),
    committedSequence,
    damagedRecords: found.damagedRecords,
    warnings: found.warnings,
  };
}
