import type { CostRow, UnreportedSums } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { LedgerRow } from "./compare.ts";
import type { UsageClass } from "./usage-row.ts";

/** The ledger's side of a comparison: a sum by day and model. */
export function fromProtoCostRow(row: CostRow): LedgerRow {
  const { day, model, attemptCount, unservedCount, estimatedCount, countedCount, unreported } = row;
  return {
    day,
    model,
    counts: { ...sumsOf(row), requests: attemptCount - unservedCount },
    unreported: { ...sumsOf(unreported), requests: estimatedCount + countedCount - unservedCount },
    unservedCount,
  };
}

function sumsOf(sums: CostRow | UnreportedSums | undefined): Record<Exclude<UsageClass, "requests">, bigint> {
  return {
    input_tokens: sums?.inputTokens ?? 0n,
    cached_input_tokens: sums?.cachedInputTokens ?? 0n,
    cache_write_tokens: sums?.cacheWriteTokens ?? 0n,
    cache_write_long_tokens: sums?.cacheWriteLongTokens ?? 0n,
    output_tokens: sums?.outputTokens ?? 0n,
    reasoning_tokens: sums?.reasoningTokens ?? 0n,
    cost_usd: sums?.costNanoUsd ?? 0n,
  };
}
