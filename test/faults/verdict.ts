import type { AttemptRecord } from "@weir/simulator/simulator";
import { priceOf } from "../e2e/setting.ts";
import { differences, type LedgerRow } from "../ledger.ts";
import type { Trial, TrialOutcome } from "./storm.ts";

/** Times of two processes on one machine differ by no more. */
const clockSlackMs = 100;
/** Chunks that may be on their way when a stream is cut, and so stand on one side only. */
const chunksOnTheWay = 5;

/**
 * Everything that is wrong with the ledger after a trial.
 * @param journalVictims processes that hold a journal: only their end can lose a settlement
 */
export function faultsAfter(
  trial: Trial,
  outcome: TrialOutcome,
  rows: readonly LedgerRow[],
  served: readonly AttemptRecord[],
  journalVictims: readonly string[],
): string[] {
  const found = [...outcome.lies, ...differences(rows, served, priceOf)];
  const recordOf = new Map(served.map((record) => [record.id, record]));
  let reported = 0;
  for (const row of rows) {
    const record = recordOf.get(row.attemptId);
    if (row.usageSource === "reported") reported++;
    else if (row.usageSource === "estimated") found.push(...wrongEstimate(trial, outcome, row, record, journalVictims));
    else if (row.alias !== "chat") found.push(`${row.attemptId} is counted, though its provider reports to the end`);
    else if (record !== undefined && Math.abs((row.outputTokens ?? 0) - record.outputTokens) > chunksOnTheWay) {
      found.push(`${row.attemptId} counts ${row.outputTokens} tokens out; the simulator billed ${record.outputTokens}`);
    }
  }
  if (reported < outcome.complete) found.push(`${outcome.complete} complete answers, ${reported} reported rows`);
  return found;
}

function wrongEstimate(
  trial: Trial,
  outcome: TrialOutcome,
  row: LedgerRow,
  record: AttemptRecord | undefined,
  journalVictims: readonly string[],
): string[] {
  // The client's side died before an answer that is no stream, and its provider stopped: nobody knows what it made.
  if (row.alias === "chat" && !row.stream && row.outcome === "cancelled") return [];
  if (!journalVictims.includes(trial.victim)) return [`${row.attemptId} is estimated, and no journal was in danger`];
  if (row.outcome !== "lost") return [`${row.attemptId} is estimated, and ${row.outcome} instead of lost`];
  if (record === undefined) return [];
  const open = record.startMs <= outcome.killedAtMs + clockSlackMs && record.endMs >= outcome.killedAtMs - clockSlackMs;
  return open ? [] : [`${row.attemptId} is estimated, and was not open when the process died`];
}
