import type { AttemptRecord } from "@weir/simulator/simulator";
import { differences, type LedgerRow, sumsAfterTrueUp } from "../ledger.ts";
import { priceOf } from "./setting.ts";
import type { StormOutcome } from "./storm.ts";

/** Times of two processes on one machine differ by no more. */
const clockSlackMs = 100;
/** What a provider writes in this time may be on its way when a stream is cut, and so stand on one side only. */
const onTheWayMs = 100;

/** What a trial knows beside the simulator's count and the ledger. */
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

/** What is wrong with the ledger, by the simulator's count alone. */
export function ledgerFaults(rows: readonly LedgerRow[], served: readonly AttemptRecord[]): string[] {
  const found = [...differences(rows, served, priceOf), ...sumsAfterTrueUp(rows, served)];
  const recordOf = new Map(served.map((record) => [record.id, record]));
  for (const row of rows) {
    const record = recordOf.get(row.attemptId);
    if (row.usageSource !== "counted" || record === undefined) continue;
    if (!isStoppable(row))
      found.push(`${row.attemptId} is counted (${row.outcome}), and its provider (${record.end}) reports`);
    else if (Math.abs((row.outputTokens ?? 0) - record.outputTokens) > tokensOnTheWay(record)) {
      found.push(`${row.attemptId} counts ${row.outputTokens} tokens out; the simulator billed ${record.outputTokens}`);
    }
  }
  return found;
}

/** What is wrong beside that, for those who know what happened: estimates that nothing excuses, and answers. */
export function trialFaults({ outcome, rows, served, journalKilledAtMs }: Evidence): string[] {
  const found = [...outcome.lies];
  const recordOf = new Map(served.map((record) => [record.id, record]));
  for (const row of rows) {
    if (row.usageSource === "estimated") {
      found.push(...wrongEstimate(row, recordOf.get(row.attemptId), isStoppable(row), journalKilledAtMs));
    }
  }
  const reported = rows.filter(({ usageSource }) => usageSource === "reported").length;
  if (reported < outcome.complete) found.push(`${outcome.complete} complete answers, ${reported} reported rows`);
  return found;
}

/** Whether its provider stops, and bills no more, when its client leaves. */
function isStoppable({ alias }: LedgerRow): boolean {
  return alias.startsWith("chat");
}

/** An answer that is no stream is on its way as a whole. */
function tokensOnTheWay({ stream, outputTokens, chunks, tokensFromMs, endMs }: AttemptRecord): number {
  if (!stream) return outputTokens;
  // A provider that is not made to wait joins many tokens in one write. After a pause before the first they come at once.
  const lateChunks = 1 + Math.ceil((chunks * onTheWayMs) / Math.max(1, endMs - tokensFromMs));
  return 5 + Math.ceil((outputTokens / Math.max(1, chunks)) * lateChunks);
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
