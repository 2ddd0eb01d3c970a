import type { AttemptRecord } from "@weir/simulator/simulator";
import { differences, type LedgerRow, sumsAfterTrueUp } from "../ledger.ts";
import { priceOf } from "./setting.ts";
import type { StormOutcome } from "./storm.ts";

/** Times of two processes on one machine differ by no more. */
const clockSlackMs = 100;
/** What a provider writes in this time may be on its way when a stream is cut, and so stand on one side only. */
const onTheWayMs = 100;

export interface Evidence {
  readonly outcome: Pick<StormOutcome, "complete" | "lies">;
  readonly rows: readonly LedgerRow[];
  /** The simulator's own records. */
  readonly served: readonly AttemptRecord[];
  /**
   * When a process that holds a journal was killed, in milliseconds since 1970: only that can lose a settlement, and only of
   * attempts that were open then.
   */
  readonly journalKilledAtMs?: number | undefined;
}

/** Everything that is wrong with the ledger after a trial. */
export function faultsAfter({ outcome, rows, served, journalKilledAtMs }: Evidence): string[] {
  const found = [...outcome.lies, ...differences(rows, served, priceOf), ...sumsAfterTrueUp(rows, served)];
  const recordOf = new Map(served.map((record) => [record.id, record]));
  let reported = 0;
  for (const row of rows) {
    const record = recordOf.get(row.attemptId);
    const stoppable = row.alias.startsWith("chat");
    if (row.usageSource === "reported") reported++;
    else if (row.usageSource === "estimated") found.push(...wrongEstimate(row, record, stoppable, journalKilledAtMs));
    else if (record === undefined) continue;
    else if (!stoppable)
      found.push(`${row.attemptId} is counted (${row.outcome}), and its provider (${record.end}) reports`);
    else if (Math.abs((row.outputTokens ?? 0) - record.outputTokens) > tokensOnTheWay(record)) {
      found.push(`${row.attemptId} counts ${row.outputTokens} tokens out; the simulator billed ${record.outputTokens}`);
    }
  }
  if (reported < outcome.complete) found.push(`${outcome.complete} complete answers, ${reported} reported rows`);
  return found;
}

/** An answer that is no stream is on its way as a whole. */
function tokensOnTheWay({ stream, outputTokens, chunks, startMs, endMs }: AttemptRecord): number {
  if (!stream) return outputTokens;
  return 5 + Math.ceil((chunks * onTheWayMs) / Math.max(1, endMs - startMs));
}

function wrongEstimate(
  row: LedgerRow,
  record: AttemptRecord | undefined,
  stoppable: boolean,
  journalKilledAtMs: number | undefined,
): string[] {
  // The client's side died before an answer that is no stream, and its provider stopped: nobody knows what it made.
  if (stoppable && !row.stream && row.outcome === "cancelled") return [];
  if (journalKilledAtMs === undefined) return [`${row.attemptId} is estimated, and no journal was in danger`];
  if (row.outcome !== "lost") return [`${row.attemptId} is estimated, and ${row.outcome} instead of lost`];
  if (record === undefined) return [];
  const open = record.startMs <= journalKilledAtMs + clockSlackMs && record.endMs >= journalKilledAtMs - clockSlackMs;
  return open ? [] : [`${row.attemptId} is estimated, and was not open when the process died`];
}
