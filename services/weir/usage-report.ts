import { create, toJson } from "@bufbuild/protobuf";
import { type CostRow, CostRowSchema, UnreportedSumsSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { type Column, renderTable, usdText } from "./table.ts";

/** A dimension of usage, as a column. */
export interface UsageDimension {
  readonly name: string;
  readonly text: (row: CostRow) => string;
}

/** One row for rows that share no attempt. */
export function totalOf(rows: readonly CostRow[]): CostRow {
  const unreported = create(UnreportedSumsSchema);
  const total = create(CostRowSchema, { unreported });
  for (const row of rows) {
    total.attemptCount += row.attemptCount;
    total.requestCount += row.requestCount;
    total.inputTokens += row.inputTokens;
    total.outputTokens += row.outputTokens;
    total.costNanoUsd += row.costNanoUsd;
    total.chargeNanoUsd += row.chargeNanoUsd;
    total.estimatedCount += row.estimatedCount;
    total.cachedInputTokens += row.cachedInputTokens;
    total.cacheWriteTokens += row.cacheWriteTokens;
    total.cacheWriteLongTokens += row.cacheWriteLongTokens;
    total.reasoningTokens += row.reasoningTokens;
    total.countedCount += row.countedCount;
    total.unservedCount += row.unservedCount;
    total.unpricedCount += row.unpricedCount;
    unreported.inputTokens += row.unreported?.inputTokens ?? 0n;
    unreported.cachedInputTokens += row.unreported?.cachedInputTokens ?? 0n;
    unreported.cacheWriteTokens += row.unreported?.cacheWriteTokens ?? 0n;
    unreported.cacheWriteLongTokens += row.unreported?.cacheWriteLongTokens ?? 0n;
    unreported.outputTokens += row.unreported?.outputTokens ?? 0n;
    unreported.reasoningTokens += row.unreported?.reasoningTokens ?? 0n;
    unreported.costNanoUsd += row.unreported?.costNanoUsd ?? 0n;
  }
  return total;
}

/** Rows as a table for a terminal, with a last line for all that was asked for, shown or not. */
export function renderUsage(rows: readonly CostRow[], total: CostRow, dimensions: readonly UsageDimension[]): string {
  const columns = dimensions.map(
    ({ name, text }, index): Column<CostRow> => ({
      title: name,
      text: (row) => (row !== total ? text(row) : index === 0 ? "total" : ""),
    }),
  );
  return renderTable([...rows, total], [...columns, ...sums]);
}

/** Rows and total as JSON: proto JSON of weir.metering.v1.CostRow. */
export function usageJson(rows: readonly CostRow[], total: CostRow): string {
  const toRow = (row: CostRow) => toJson(CostRowSchema, row);
  return `${JSON.stringify({ rows: rows.map(toRow), total: toRow(total) }, null, 2)}\n`;
}

const sums: readonly Column<CostRow>[] = [
  { title: "requests", text: (row) => String(row.requestCount), align: "right" },
  { title: "attempts", text: (row) => String(row.attemptCount), align: "right" },
  { title: "input", text: (row) => String(row.inputTokens), align: "right" },
  { title: "output", text: (row) => String(row.outputTokens), align: "right" },
  { title: "cost USD", text: (row) => usdText(row.costNanoUsd), align: "right" },
  { title: "charge USD", text: (row) => usdText(row.chargeNanoUsd), align: "right" },
  { title: "estimated", text: (row) => String(row.estimatedCount), align: "right" },
  { title: "unpriced", text: (row) => String(row.unpricedCount), align: "right" },
];
