import { hash } from "node:crypto";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { PricedUsage, Pricing } from "@weir/price/charge";
import type { ClientBase } from "pg";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import type { Outcome } from "./ledger.ts";
import { postingOfAdjustments } from "./transfers.ts";
import { toUsage, usageColumns, type UsageRow } from "./usage-columns.ts";

/** How an attempt stands: as it was recorded, or as its adjustments left it. */
export interface Standing {
  readonly attemptId: string;
  readonly tenant: string;
  readonly provider: string;
  readonly model: string;
  readonly outcome: Outcome;
  /** Milliseconds since 1970. */
  readonly startTimeMs: number;
  /** As far as amounts depend on it. */
  readonly usage: Usage;
  /** Empty: none. */
  readonly priceId: string;
  readonly priced: PricedUsage;
  /** The most that the tenant pays; undefined: no bound, or none that is known. */
  readonly chargeMaxNanoUsd: bigint | undefined;
  /** How often it was adjusted. */
  readonly number: number;
}

/** What an attempt is to be from now on. Of the usage only the counts that providers' exports tell may differ. */
export interface Adjustment {
  readonly standing: Standing;
  readonly usage: Usage;
  readonly priceId: string;
  readonly priced: PricedUsage;
}

/** What adjustments are made for. */
export interface AdjustmentRun {
  readonly reason: "rerate" | "true_up";
  /** JSON, its names always in the same order: the same question has the same id. */
  readonly question: Readonly<Record<string, unknown>>;
}

/** Columns of `attemptsAsAdjusted` that `toStanding` reads. */
export const standingColumns = `attempt_id, tenant, provider, model, outcome, start_time, ${usageColumns}, price_id, pricing,
  cost_nano_usd, charge_nano_usd, charge_max_nano_usd, adjustments`;

/** What those columns hold; int8 comes as text. */
export interface StandingRow extends UsageRow {
  readonly attempt_id: string;
  readonly tenant: string;
  readonly provider: string;
  readonly model: string;
  readonly outcome: Outcome;
  readonly start_time: Date;
  readonly price_id: string;
  readonly pricing: Pricing;
  readonly cost_nano_usd: string | null;
  readonly charge_nano_usd: string | null;
  readonly charge_max_nano_usd: string | null;
  readonly adjustments: number;
}

export function toStanding(row: StandingRow): Standing {
  const amount = (text: string | null) => (text === null ? null : BigInt(text));
  return {
    attemptId: row.attempt_id,
    tenant: row.tenant,
    provider: row.provider,
    model: row.model,
    outcome: row.outcome,
    startTimeMs: row.start_time.getTime(),
    usage: toUsage(row),
    priceId: row.price_id,
    priced: {
      pricing: row.pricing,
      costNanoUsd: amount(row.cost_nano_usd),
      chargeNanoUsd: amount(row.charge_nano_usd),
    },
    chargeMaxNanoUsd: amount(row.charge_max_nano_usd) ?? undefined,
    number: row.adjustments,
  };
}

/**
 * Lets no one else adjust, or give amounts to rows without one, until the transaction ends. To be called before what is
 * adjusted is read.
 */
export async function lockAdjustments(client: ClientBase): Promise<void> {
  await client.query("lock table attempt_standings in share row exclusive mode");
}

/**
 * Writes adjustments with their transfers. What they write depends on nothing but what is given: no time, no chance.
 * @param client holds `lockAdjustments` since before the standings were read
 * @param adjustments at most one of each attempt
 */
export async function writeAdjustments(
  client: ClientBase,
  { reason, question }: AdjustmentRun,
  adjustments: readonly Adjustment[],
): Promise<void> {
  if (adjustments.length === 0) return;
  const text = JSON.stringify(question);
  const runId = hash("sha256", `${reason}\n${text}`).slice(0, 32);
  await client.query(
    "insert into adjustment_runs (run_id, reason, question) values ($1, $2, $3::jsonb) on conflict (run_id) do nothing",
    [runId, reason, text],
  );
  await client.query({
    name: "adjust",
    text: `
      with changed as (select * from ${unnested(changeColumns, "t")}),
      adjusted as (
        insert into adjustments (attempt_id, number, run_id, tenant, price_id, pricing, cost_nano_usd, charge_nano_usd,
          ${countNames.join(", ")})
        select attempt_id, number, $${changeColumns.length + 1}::text, tenant, price_id, pricing, cost_delta, charge_delta,
          ${countNames.map((name) => `${name}_delta`).join(", ")}
        from changed order by attempt_id
      ),
      posted as (${postingOfAdjustments("changed")})
      insert into attempt_standings as s (${standingNames.join(", ")}, trued_up)
      select ${standingNames.join(", ")}, $${changeColumns.length + 2}::bool from changed order by attempt_id
      on conflict (attempt_id) do update set
        ${standingNames.map((name) => `${name} = excluded.${name}`).join(", ")}, trued_up = s.trued_up or excluded.trued_up`,
    values: [...arrayParameters(changeColumns, adjustments), runId, reason === "true_up"],
  });
}

/** Counts that providers' exports tell, and so true-ups change. */
export const truedUpCounts = [
  ["input_tokens", "inputTokens"],
  ["cached_input_tokens", "cachedInputTokens"],
  ["cache_write_tokens", "cacheWriteTokens"],
  ["cache_write_long_tokens", "cacheWriteLongTokens"],
  ["output_tokens", "outputTokens"],
  ["reasoning_tokens", "reasoningTokens"],
] as const;

const countNames = truedUpCounts.map(([name]) => name);
const standingNames = [
  "attempt_id",
  "tenant",
  "number",
  "price_id",
  "pricing",
  "cost_nano_usd",
  "charge_nano_usd",
  ...countNames,
];

const changeColumns: readonly ArrayColumn<Adjustment>[] = [
  { name: "attempt_id", type: "uuid", value: ({ standing }) => standing.attemptId },
  { name: "tenant", type: "text", value: ({ standing }) => standing.tenant },
  { name: "provider", type: "text", value: ({ standing }) => standing.provider },
  { name: "number", type: "int4", value: ({ standing }) => standing.number + 1 },
  { name: "price_id", type: "text", value: ({ priceId }) => priceId },
  { name: "pricing", type: "text", value: ({ priced }) => priced.pricing },
  { name: "cost_nano_usd", type: "int8", value: ({ priced }) => priced.costNanoUsd },
  { name: "charge_nano_usd", type: "int8", value: ({ priced }) => priced.chargeNanoUsd },
  {
    name: "cost_delta",
    type: "int8",
    value: ({ standing, priced }) => (priced.costNanoUsd ?? 0n) - (standing.priced.costNanoUsd ?? 0n),
  },
  {
    name: "charge_delta",
    type: "int8",
    value: ({ standing, priced }) => (priced.chargeNanoUsd ?? 0n) - (standing.priced.chargeNanoUsd ?? 0n),
  },
  ...truedUpCounts.map(
    ([name, count]): ArrayColumn<Adjustment> => ({ name, type: "int8", value: ({ usage }) => usage[count] }),
  ),
  ...truedUpCounts.map(
    ([name, count]): ArrayColumn<Adjustment> => ({
      name: `${name}_delta`,
      type: "int8",
      value: ({ standing, usage }) => (usage[count] ?? 0) - (standing.usage[count] ?? 0),
    }),
  ),
];
