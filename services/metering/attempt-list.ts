import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { type Attempt, AttemptSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { sql } from "./drizzle.ts";
import { attemptsAsAdjusted } from "./attempts-as-adjusted.ts";
import type { Rows } from "./database.ts";
import type { PlaceValue } from "./page-token.ts";
import { attempts } from "./schema.ts";
import { attemptsIn, type UsageFilter, type UsageRange } from "./usage-question.ts";

/** What attempts are ordered by: their start and their id. */
export const shapeOfAttemptPlace: readonly PlaceValue[] = ["time", "uuid"];

/** An attempt, and what it is ordered by. */
export interface ListedAttempt {
  readonly attempt: Attempt;
  /** Its start and its id. */
  readonly place: readonly [string, string];
}

/**
 * Attempts of a range, the newest first. A page of one tenant's, or of any's where they are not sparse, costs the same
 * wherever it begins.
 * @returns one more than asked for when there are more
 * @throws WeirError STORE_UNAVAILABLE
 */
export async function readAttempts(
  database: Pick<Rows, "read">,
  range: UsageRange,
  filter: UsageFilter,
  countMax: number,
): Promise<readonly ListedAttempt[]> {
  const [startTime] = range.after;
  const endTimeMs = startTime === undefined ? range.endTimeMs : Date.parse(startTime) + 1;
  // Those of a tenant or of a request stand in an index in this order. Others are sorted, so few are looked at first.
  const isIndexed = filter.tenant !== "" || (filter.requestId ?? "") !== "";
  for (let spanMs = isIndexed ? Number.POSITIVE_INFINITY : firstSpanMs; ; spanMs *= spanGrowth) {
    const startTimeMs = Math.max(range.startTimeMs, endTimeMs - spanMs);
    const found = await readNewest(database, { ...range, startTimeMs }, filter, countMax);
    if (found.length > countMax || startTimeMs === range.startTimeMs) return found;
  }
}

const firstSpanMs = 3_600_000;
const spanGrowth = 8;

async function readNewest(
  database: Pick<Rows, "read">,
  range: UsageRange,
  filter: UsageFilter,
  countMax: number,
): Promise<readonly ListedAttempt[]> {
  const [startTime, attemptId] = range.after;
  // The first condition says no more than the second does; the block range index knows only of the first.
  const behind =
    startTime === undefined || attemptId === undefined
      ? sql``
      : sql`and ${attempts.startTime} <= ${startTime}::timestamptz
          and (${attempts.startTime}, ${attempts.attemptId}) < (${startTime}::timestamptz, ${attemptId}::uuid)`;
  const found = await database.read((queries) =>
    queries.execute<AttemptRow>(sql`
      select attempt_id, request_id, tenant, key, end_user, alias, provider, model, stream, outcome, usage_source,
        input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, price_id, pricing, cost_nano_usd,
        charge_nano_usd, ${microseconds("start_time")}, ${microseconds("end_time")}, first_token_us, provider_status,
        provider_reply_id, tags, adjustments, original_cost_nano_usd, original_charge_nano_usd
      from ${sql.raw(attemptsAsAdjusted)}
      where ${attemptsIn(range, filter)} ${behind}
      order by ${attempts.startTime} desc, ${attempts.attemptId} desc
      limit ${countMax + 1}`),
  );
  return found.rows.map((row) => ({ attempt: toAttempt(row), place: [row.start_time, row.attempt_id] }));
}

/** `2026-11-20T12:00:00.000001Z`: the driver's own dates know milliseconds only. */
function microseconds(column: string) {
  return sql.raw(`to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as ${column}`);
}

/** int8 comes as text. */
interface AttemptRow extends Record<string, unknown> {
  readonly attempt_id: string;
  readonly request_id: string;
  readonly tenant: string;
  readonly key: string;
  readonly end_user: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly stream: boolean;
  readonly outcome: string;
  readonly usage_source: string;
  readonly input_tokens: string | null;
  readonly cached_input_tokens: string | null;
  readonly output_tokens: string | null;
  readonly reasoning_tokens: string | null;
  readonly price_id: string;
  readonly pricing: string;
  readonly cost_nano_usd: string | null;
  readonly charge_nano_usd: string | null;
  readonly start_time: string;
  readonly end_time: string;
  readonly first_token_us: string | null;
  readonly provider_status: number;
  readonly provider_reply_id: string;
  readonly tags: Record<string, string> | null;
  readonly adjustments: number;
  readonly original_cost_nano_usd: string | null;
  readonly original_charge_nano_usd: string | null;
}

function toAttempt(row: AttemptRow): Attempt {
  const attempt = create(AttemptSchema, {
    attemptId: row.attempt_id,
    requestId: row.request_id,
    tenant: row.tenant,
    key: row.key,
    user: row.end_user,
    alias: row.alias,
    provider: row.provider,
    model: row.model,
    stream: row.stream,
    outcome: row.outcome,
    usageSource: row.usage_source,
    priceId: row.price_id,
    pricing: row.pricing,
    startTime: toTimestamp(row.start_time),
    endTime: toTimestamp(row.end_time),
    providerStatus: row.provider_status,
    providerReplyId: row.provider_reply_id,
    tags: row.tags ?? {},
    adjustmentCount: row.adjustments,
  });
  if (row.input_tokens !== null) attempt.inputTokens = BigInt(row.input_tokens);
  if (row.cached_input_tokens !== null) attempt.cachedInputTokens = BigInt(row.cached_input_tokens);
  if (row.output_tokens !== null) attempt.outputTokens = BigInt(row.output_tokens);
  if (row.reasoning_tokens !== null) attempt.reasoningTokens = BigInt(row.reasoning_tokens);
  if (row.cost_nano_usd !== null) attempt.costNanoUsd = BigInt(row.cost_nano_usd);
  if (row.charge_nano_usd !== null) attempt.chargeNanoUsd = BigInt(row.charge_nano_usd);
  if (row.original_cost_nano_usd !== null) attempt.originalCostNanoUsd = BigInt(row.original_cost_nano_usd);
  if (row.original_charge_nano_usd !== null) attempt.originalChargeNanoUsd = BigInt(row.original_charge_nano_usd);
  if (row.first_token_us !== null) attempt.firstTokenUs = BigInt(row.first_token_us);
  return attempt;
}

function toTimestamp(text: string): Timestamp {
  const micros = Number(text.slice(20, 26));
  const seconds = BigInt(Date.parse(`${text.slice(0, 19)}Z`) / 1_000);
  return create(TimestampSchema, { seconds, nanos: micros * 1_000 });
}
