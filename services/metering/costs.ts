import { CostDimension } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { SQL } from "drizzle-orm";
import { sql } from "./drizzle.ts";
import { attemptsAsAdjusted } from "./attempts-as-adjusted.ts";
import type { Rows } from "./database.ts";
import type { PlaceValue } from "./page-token.ts";
import { attempts } from "./schema.ts";
import { attemptsIn, tagNameOf, type UsageFilter, type UsageRange } from "./usage-question.ts";

/** What to sum. */
export interface CostQuery {
  readonly range: UsageRange;
  readonly filter: UsageFilter;
  readonly dimensions: readonly CostDimension[];
  readonly rowCountMax: number;
}

/** One sum; dimensions that were not asked for are empty. */
export interface CostSum {
  readonly day: string;
  readonly tenant: string;
  readonly key: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly user: string;
  readonly tag: string;
  readonly attemptCount: bigint;
  readonly requestCount: bigint;
  readonly inputTokens: bigint;
  readonly outputTokens: bigint;
  readonly costNanoUsd: bigint;
  readonly chargeNanoUsd: bigint;
  readonly estimatedCount: bigint;
  readonly cachedInputTokens: bigint;
  readonly cacheWriteTokens: bigint;
  readonly cacheWriteLongTokens: bigint;
  readonly reasoningTokens: bigint;
  readonly countedCount: bigint;
  readonly unservedCount: bigint;
  /** Attempts whose cost is not known; they add nothing to the amounts. */
  readonly unpricedCount: bigint;
  /** Of attempts whose counts their provider did not report. */
  readonly unreported: Readonly<Record<UnreportedSum, bigint>>;
}

type UnreportedSum =
  | "inputTokens"
  | "cachedInputTokens"
  | "cacheWriteTokens"
  | "cacheWriteLongTokens"
  | "outputTokens"
  | "reasoningTokens"
  | "costNanoUsd";

/** Dimensions under the names of their columns, in the order in which rows are told apart. */
const dimensionValues = {
  day: [CostDimension.DAY, sql`to_char(${attempts.startTime} at time zone 'UTC', 'YYYY-MM-DD')`],
  tenant: [CostDimension.TENANT, sql`${attempts.tenant}`],
  key: [CostDimension.KEY, sql`${attempts.key}`],
  alias: [CostDimension.ALIAS, sql`${attempts.alias}`],
  provider: [CostDimension.PROVIDER, sql`${attempts.provider}`],
  model: [CostDimension.MODEL, sql`${attempts.model}`],
  end_user: [CostDimension.USER, sql`${attempts.endUser}`],
  tag: [CostDimension.TAG, sql`tagged.name || '=' || tagged.value`],
} as const satisfies Record<string, readonly [CostDimension, SQL]>;

/** What a row of `readCosts` is ordered by. */
export const shapeOfCostPlace: readonly PlaceValue[] = ["text", "number", ...Array<"text">(7).fill("text")];

/** Where it stands among others. */
export function placeOfCost(row: CostSum): readonly string[] {
  const { day, costNanoUsd, tenant, key, alias, provider, model, user, tag } = row;
  return [day, String(costNanoUsd), tenant, key, alias, provider, model, user, tag];
}

/**
 * Sums the ledger. Newest day first, then the dearest.
 * @returns one row more than asked for when there are more
 * @throws WeirError STORE_UNAVAILABLE
 */
export async function readCosts(database: Pick<Rows, "read">, query: CostQuery): Promise<readonly CostSum[]> {
  const { range, filter, dimensions, rowCountMax } = query;
  const columns = Object.entries(dimensionValues).map(
    ([name, [dimension, value]]) =>
      sql`${dimensions.includes(dimension) ? value : sql.raw("''::text")} as ${sql.identifier(name)}`,
  );
  // Asked for one tag, other tags of the same attempts are of no interest.
  const tags = dimensions.includes(CostDimension.TAG)
    ? sql`join lateral jsonb_each_text(${attempts.tags}) as tagged (name, value)
        on ${filter.tag === "" ? sql`true` : sql`tagged.name = ${tagNameOf(filter)}`}`
    : sql``;
  const unreported = sql`${attempts.usageSource} in ('estimated', 'counted')`;
  const found = await database.read((queries) =>
    queries.execute<CostRow>(sql`
      select * from (
        select ${sql.join(columns, sql`, `)},
          count(*) as attempt_count,
          count(distinct ${attempts.requestId} collate "C") as request_count,
          coalesce(sum(${attempts.inputTokens}), 0) as input_tokens,
          coalesce(sum(${attempts.outputTokens}), 0) as output_tokens,
          coalesce(sum(${attempts.costNanoUsd}), 0) as cost_nano_usd,
          coalesce(sum(${attempts.chargeNanoUsd}), 0) as charge_nano_usd,
          count(*) filter (where ${attempts.usageSource} = 'estimated') as estimated_count,
          coalesce(sum(${attempts.cachedInputTokens}), 0) as cached_input_tokens,
          coalesce(sum(${attempts.cacheWriteTokens}), 0) as cache_write_tokens,
          coalesce(sum(${attempts.cacheWriteLongTokens}), 0) as cache_write_long_tokens,
          coalesce(sum(${attempts.reasoningTokens}), 0) as reasoning_tokens,
          count(*) filter (where ${attempts.usageSource} = 'counted') as counted_count,
          count(*) filter (
            where ${attempts.usageSource} = 'counted' and original_input_tokens = 0
              and original_output_tokens = 0
          ) as unserved_count,
          count(*) filter (where ${attempts.pricing} <> 'priced') as unpriced_count,
          coalesce(sum(${attempts.inputTokens}) filter (where ${unreported}), 0) as unreported_input_tokens,
          coalesce(sum(${attempts.cachedInputTokens}) filter (where ${unreported}), 0) as unreported_cached_input_tokens,
          coalesce(sum(${attempts.cacheWriteTokens}) filter (where ${unreported}), 0) as unreported_cache_write_tokens,
          coalesce(sum(${attempts.cacheWriteLongTokens}) filter (where ${unreported}), 0)
            as unreported_cache_write_long_tokens,
          coalesce(sum(${attempts.outputTokens}) filter (where ${unreported}), 0) as unreported_output_tokens,
          coalesce(sum(${attempts.reasoningTokens}) filter (where ${unreported}), 0) as unreported_reasoning_tokens,
          coalesce(sum(${attempts.costNanoUsd}) filter (where ${unreported}), 0) as unreported_cost_nano_usd
        from ${sql.raw(attemptsAsAdjusted)} ${tags}
        where ${attemptsIn(range, filter)}
        group by 1, 2, 3, 4, 5, 6, 7, 8
      ) as sums
      ${behind(range.after)}
      order by day desc, cost_nano_usd desc, tenant, key, alias, provider, model, end_user, tag
      limit ${rowCountMax + 1}`),
  );
  return found.rows.map((row) => ({
    day: row.day,
    tenant: row.tenant,
    key: row.key,
    alias: row.alias,
    provider: row.provider,
    model: row.model,
    user: row.end_user,
    tag: row.tag,
    attemptCount: BigInt(row.attempt_count),
    requestCount: BigInt(row.request_count),
    inputTokens: BigInt(row.input_tokens),
    outputTokens: BigInt(row.output_tokens),
    costNanoUsd: BigInt(row.cost_nano_usd),
    chargeNanoUsd: BigInt(row.charge_nano_usd),
    estimatedCount: BigInt(row.estimated_count),
    cachedInputTokens: BigInt(row.cached_input_tokens),
    cacheWriteTokens: BigInt(row.cache_write_tokens),
    cacheWriteLongTokens: BigInt(row.cache_write_long_tokens),
    reasoningTokens: BigInt(row.reasoning_tokens),
    countedCount: BigInt(row.counted_count),
    unservedCount: BigInt(row.unserved_count),
    unpricedCount: BigInt(row.unpriced_count),
    unreported: {
      inputTokens: BigInt(row.unreported_input_tokens),
      cachedInputTokens: BigInt(row.unreported_cached_input_tokens),
      cacheWriteTokens: BigInt(row.unreported_cache_write_tokens),
      cacheWriteLongTokens: BigInt(row.unreported_cache_write_long_tokens),
      outputTokens: BigInt(row.unreported_output_tokens),
      reasoningTokens: BigInt(row.unreported_reasoning_tokens),
      costNanoUsd: BigInt(row.unreported_cost_nano_usd),
    },
  }));
}

/** int8 and numeric come as text. */
interface CostRow extends Record<string, unknown> {
  readonly day: string;
  readonly tenant: string;
  readonly key: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly end_user: string;
  readonly tag: string;
  readonly attempt_count: string;
  readonly request_count: string;
  readonly input_tokens: string;
  readonly output_tokens: string;
  readonly cost_nano_usd: string;
  readonly charge_nano_usd: string;
  readonly estimated_count: string;
  readonly cached_input_tokens: string;
  readonly cache_write_tokens: string;
  readonly cache_write_long_tokens: string;
  readonly reasoning_tokens: string;
  readonly counted_count: string;
  readonly unserved_count: string;
  readonly unpriced_count: string;
  readonly unreported_input_tokens: string;
  readonly unreported_cached_input_tokens: string;
  readonly unreported_cache_write_tokens: string;
  readonly unreported_cache_write_long_tokens: string;
  readonly unreported_output_tokens: string;
  readonly unreported_reasoning_tokens: string;
  readonly unreported_cost_nano_usd: string;
}

function behind([day, cost, ...others]: readonly string[]): SQL {
  if (day === undefined || cost === undefined) return sql``;
  const values = sql.join(
    others.map((value) => sql`${value}`),
    sql`, `,
  );
  return sql`where day < ${day} or (day = ${day} and
    (-cost_nano_usd, tenant, key, alias, provider, model, end_user, tag) > (-${cost}::numeric, ${values}))`;
}
