import type { LedgerRow } from "../../ledger.ts";
import type { Served } from "../vendors/vendor.ts";

/**
 * Compares the ledger with what vendors themselves count, and says everything that differs: each call that was served has
 * one row; an answer that was finished has the vendor's counts; what nobody served costs nothing. Pure.
 */
export function ledgerFaults(rows: readonly LedgerRow[], served: readonly Served[]): string[] {
  const faults: string[] = [];
  const byId = new Map(rows.map((row) => [row.attemptId, row]));
  if (byId.size !== rows.length) faults.push("an attempt has two rows");
  for (const { attemptId, model, billed } of served) {
    const row = byId.get(attemptId);
    byId.delete(attemptId);
    if (row === undefined) {
      faults.push(`${model}: no row`);
      continue;
    }
    const usage = billed();
    if (usage === undefined) continue;
    // Some dialects have a zero where nothing was counted.
    const counted = [row.inputTokens, row.cachedInputTokens ?? 0, row.outputTokens, row.reasoningTokens ?? 0];
    const own = [usage.inputTokens, usage.cachedInputTokens ?? 0, usage.outputTokens, usage.reasoningTokens ?? 0];
    if (row.usageSource !== "reported") faults.push(`${model}: ${row.usageSource}`);
    else if (String(counted) !== String(own))
      faults.push(`${model}: ${String(counted)}; the vendor has ${String(own)}`);
  }
  for (const row of byId.values()) {
    if (row.costNanoUsd !== 0n) faults.push(`${row.model}: charged, and no vendor served it`);
  }
  return faults;
}
