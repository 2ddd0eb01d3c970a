import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReportedCountsSchema } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import type { CostRow, UnreportedSums } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { LedgerRow } from "./compare.ts";
import type { UsageClass, UsageCounts } from "./usage-row.ts";

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

/** The tokens that a provider says were used; calls and money are not trued up. */
export function toProtoReportedCounts(counts: UsageCounts): MessageInitShape<typeof ReportedCountsSchema> {
  const told = [
    ["inputTokens", counts.input_tokens],
    ["cachedInputTokens", counts.cached_input_tokens],
    ["cacheWriteTokens", counts.cache_write_tokens],
    ["cacheWriteLongTokens", counts.cache_write_long_tokens],
    ["outputTokens", counts.output_tokens],
    ["reasoningTokens", counts.reasoning_tokens],
  ] as const;
  return Object.fromEntries(told.filter(([, count]) => count !== undefined));
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
