import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CostDimension } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { and, desc, gte, lt, type SQL, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { attempts } from "./schema.ts";

/** What to sum. */
export interface CostQuery {
  /** Attempts that began at this time or later, in milliseconds since 1970. */
  readonly startTimeMs: number;
  /** Attempts that began before this time. */
  readonly endTimeMs: number;
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
  readonly attemptCount: bigint;
  readonly requestCount: bigint;
  readonly inputTokens: bigint;
  readonly outputTokens: bigint;
  readonly costNanoUsd: bigint;
  readonly chargeNanoUsd: bigint;
  readonly estimatedCount: bigint;
}

/**
 * Sums the ledger. Newest day first, then the dearest.
 * @throws WeirError INVALID_REQUEST for an empty or unthinkable range, STORE_UNAVAILABLE
 */
export async function readCosts(
  database: Database,
  query: CostQuery,
): Promise<{ readonly rows: readonly CostSum[]; readonly truncated: boolean }> {
  const { startTimeMs, endTimeMs, rowCountMax } = query;
  if (!(startTimeMs >= timeMinMs && startTimeMs < endTimeMs && endTimeMs <= timeMaxMs)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`start_time` must lie before `end_time`.",
      metadata: { param: "start_time" },
    });
  }
  const asked = (dimension: CostDimension, value: SQL | typeof attempts.tenant) =>
    query.dimensions.includes(dimension) ? sql<string>`${value}` : sql<string>`''`;
  const dimensions = {
    day: asked(CostDimension.DAY, sql`to_char(${attempts.startTime} at time zone 'UTC', 'YYYY-MM-DD')`),
    tenant: asked(CostDimension.TENANT, sql`${attempts.tenant}`),
    key: asked(CostDimension.KEY, sql`${attempts.key}`),
    alias: asked(CostDimension.ALIAS, sql`${attempts.alias}`),
    provider: asked(CostDimension.PROVIDER, sql`${attempts.provider}`),
    model: asked(CostDimension.MODEL, sql`${attempts.model}`),
    user: asked(CostDimension.USER, sql`${attempts.endUser}`),
  };
  const sums = {
    attemptCount: exact(sql`count(*)`),
    requestCount: exact(sql`count(distinct ${attempts.requestId})`),
    inputTokens: exact(sql`coalesce(sum(${attempts.inputTokens}), 0)`),
    outputTokens: exact(sql`coalesce(sum(${attempts.outputTokens}), 0)`),
    costNanoUsd: exact(sql`coalesce(sum(${attempts.costNanoUsd}), 0)`),
    chargeNanoUsd: exact(sql`coalesce(sum(${attempts.chargeNanoUsd}), 0)`),
    estimatedCount: exact(sql`count(*) filter (where ${attempts.usageSource} = 'estimated')`),
  };
  const found = await database.read((queries) =>
    queries
      .select({ ...dimensions, ...sums })
      .from(attempts)
      .where(and(gte(attempts.startTime, new Date(startTimeMs)), lt(attempts.startTime, new Date(endTimeMs))))
      .groupBy(sql`1, 2, 3, 4, 5, 6, 7`)
      .orderBy(sql`1 desc`, desc(sums.costNanoUsd), sql`2, 3, 4, 5, 6, 7`)
      // A sum over no rows is a row all the same when nothing is grouped; it says nothing.
      .having(sql`count(*) > 0`)
      .limit(rowCountMax + 1),
  );
  return { rows: found.slice(0, rowCountMax), truncated: found.length > rowCountMax };
}

/** int8 and numeric come as text. */
function exact(value: SQL): SQL<bigint> {
  return value.mapWith((text: string) => BigInt(text));
}

const timeMinMs = 0;
const timeMaxMs = Date.UTC(9999, 0, 1);
