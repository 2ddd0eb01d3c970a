import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type Attempt, CostDimension } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { CostSum } from "./costs.ts";
import { type CsvColumn, csvHeader, csvLine, decimalUsd } from "./csv.ts";

/** Rows of one page, and what asks for the next one; empty on the last. */
export interface Page<T> {
  readonly rows: readonly T[];
  readonly nextPageToken: string;
}

/** Pages as CSV, the line of names first. Reads a page when the one before was taken. */
export async function* csvPages<T>(
  columns: readonly CsvColumn<T>[],
  readPage: (pageToken: string) => Promise<Page<T>>,
): AsyncGenerator<{ csv: Uint8Array }, void, undefined> {
  let text = csvHeader(columns);
  let pageToken = "";
  do {
    const page = await readPage(pageToken);
    for (const row of page.rows) text += csvLine(columns, row);
    yield { csv: Buffer.from(text) };
    text = "";
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

export const attemptCsv: readonly CsvColumn<Attempt>[] = [
  { name: "start_time", value: ({ startTime }) => startTime && timestampDate(startTime).toISOString() },
  { name: "end_time", value: ({ endTime }) => endTime && timestampDate(endTime).toISOString() },
  { name: "attempt_id", value: (row) => row.attemptId },
  { name: "request_id", value: (row) => row.requestId },
  { name: "tenant", value: (row) => row.tenant },
  { name: "key", value: (row) => row.key },
  { name: "user", value: (row) => row.user },
  { name: "alias", value: (row) => row.alias },
  { name: "provider", value: (row) => row.provider },
  { name: "model", value: (row) => row.model },
  {
    name: "tags",
    value: ({ tags }) =>
      Object.entries(tags)
        .map(([name, value]) => `${name}=${value}`)
        .join(","),
  },
  { name: "stream", value: (row) => row.stream },
  { name: "outcome", value: (row) => row.outcome },
  { name: "provider_status", value: (row) => row.providerStatus },
  { name: "provider_reply_id", value: (row) => row.providerReplyId },
  { name: "usage_source", value: (row) => row.usageSource },
  { name: "input_tokens", value: (row) => row.inputTokens },
  { name: "cached_input_tokens", value: (row) => row.cachedInputTokens },
  { name: "output_tokens", value: (row) => row.outputTokens },
  { name: "reasoning_tokens", value: (row) => row.reasoningTokens },
  { name: "first_token_us", value: (row) => row.firstTokenUs },
  { name: "price_id", value: (row) => row.priceId },
  { name: "pricing", value: (row) => row.pricing },
  { name: "cost_usd", value: (row) => decimalUsd(row.costNanoUsd) },
  { name: "charge_usd", value: (row) => decimalUsd(row.chargeNanoUsd) },
  { name: "adjustments", value: (row) => row.adjustmentCount },
  { name: "original_cost_usd", value: (row) => decimalUsd(row.originalCostNanoUsd) },
  { name: "original_charge_usd", value: (row) => decimalUsd(row.originalChargeNanoUsd) },
];

const dimensionCsv: readonly (readonly [CostDimension, CsvColumn<CostSum>])[] = [
  [CostDimension.DAY, { name: "day", value: (row) => row.day }],
  [CostDimension.TENANT, { name: "tenant", value: (row) => row.tenant }],
  [CostDimension.KEY, { name: "key", value: (row) => row.key }],
  [CostDimension.USER, { name: "user", value: (row) => row.user }],
  [CostDimension.ALIAS, { name: "alias", value: (row) => row.alias }],
  [CostDimension.PROVIDER, { name: "provider", value: (row) => row.provider }],
  [CostDimension.MODEL, { name: "model", value: (row) => row.model }],
  [CostDimension.TAG, { name: "tag", value: (row) => row.tag }],
];

/** The columns of sums by some dimensions. */
export function costCsv(dimensions: readonly CostDimension[]): readonly CsvColumn<CostSum>[] {
  return [
    ...dimensionCsv.filter(([dimension]) => dimensions.includes(dimension)).map(([, column]) => column),
    { name: "requests", value: (row) => row.requestCount },
    { name: "attempts", value: (row) => row.attemptCount },
    { name: "input_tokens", value: (row) => row.inputTokens },
    { name: "output_tokens", value: (row) => row.outputTokens },
    { name: "cost_usd", value: (row) => decimalUsd(row.costNanoUsd) },
    { name: "charge_usd", value: (row) => decimalUsd(row.chargeNanoUsd) },
    { name: "estimated_attempts", value: (row) => row.estimatedCount },
    { name: "unpriced_attempts", value: (row) => row.unpricedCount },
    { name: "cached_input_tokens", value: (row) => row.cachedInputTokens },
    { name: "cache_write_tokens", value: (row) => row.cacheWriteTokens },
    { name: "reasoning_tokens", value: (row) => row.reasoningTokens },
  ];
}
