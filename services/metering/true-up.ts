import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { priceUsage, unpriced } from "@weir/price/charge";
import type { Price } from "@weir/price/price";
import type { ClientBase } from "pg";
import {
  type Adjustment,
  lockAdjustments,
  type Standing,
  standingColumns,
  type StandingRow,
  toStanding,
  truedUpCounts,
  writeAdjustments,
} from "./adjustments.ts";
import { attemptsAsAdjusted } from "./attempts-as-adjusted.ts";
import type { Confinement } from "./confinement.ts";
import type { Database } from "./database.ts";
import { recordAdjusted } from "./ledger-deeds.ts";
import { selectPrices } from "./price-rows.ts";
import { type TokenCounts, trueUpCounts } from "./true-up-shares.ts";

/** What a provider says was used of a model in a day. */
export interface TrueUpQuestion {
  readonly provider: string;
  readonly model: string;
  /** First moment of the UTC day, in milliseconds since 1970. */
  readonly dayMs: number;
  /** What is not there was not told. */
  readonly counts: ToldCounts;
}

type ToldCounts = { readonly [Name in keyof TokenCounts]?: bigint | undefined };

export interface TruedUp {
  readonly adjustedCount: number;
  /** Attempts of the day and model whose usage the provider did not report. */
  readonly unreportedCount: number;
}

/**
 * Makes the ledger's counts of a model in a day what its provider says, as far as attempts whose usage it did not report can
 * carry the difference; see `trueUpCounts` for how it is shared out. They cost from then on what they count, at the price
 * that they had.
 * @param by who asks
 * @throws WeirError INVALID_REQUEST for too many such attempts; STORE_UNAVAILABLE
 */
export function trueUp(database: Database, question: TrueUpQuestion, by: Confinement): Promise<TruedUp> {
  return database.transaction(async (client) => {
    await lockAdjustments(client);
    const standings = await readUnreported(client, question);
    if (standings.length === 0) return { adjustedCount: 0, unreportedCount: 0 };
    const reported = await readReportedSums(client, question);
    const adjustments = adjustmentsOf(
      standings,
      sumsLeft(question.counts, reported),
      await pricesOf(client, standings),
    );
    for (let index = 0; index < adjustments.length; index += rowsAtOnce) {
      await writeAdjustments(client, runOf(question), adjustments.slice(index, index + rowsAtOnce));
    }
    await recordAdjusted(client, by, runOf(question), adjustments);
    return { adjustedCount: adjustments.length, unreportedCount: standings.length };
  });
}

const rowsAtOnce = 1_000;
const attemptsMax = 100_000;
const dayMs = 86_400_000;

/** What is left for the attempts that the provider did not report; never below zero. */
function sumsLeft(told: ToldCounts, reported: TokenCounts): Partial<TokenCounts> {
  return Object.fromEntries(
    truedUpCounts.flatMap(([, name]) => {
      const total = told[name];
      if (total === undefined) return [];
      return [[name, total > reported[name] ? total - reported[name] : 0n]];
    }),
  );
}

/** Of those that change. */
function adjustmentsOf(
  standings: readonly Standing[],
  sums: Partial<TokenCounts>,
  prices: ReadonlyMap<string, Price>,
): Adjustment[] {
  const next = trueUpCounts(
    standings.map(({ usage }) => withinTotals(usage)),
    sums,
  );
  return standings.flatMap((standing, index): Adjustment[] => {
    const counts = next[index];
    const changed = counts && truedUpCounts.filter(([, name]) => counts[name] !== BigInt(standing.usage[name] ?? 0));
    if (changed === undefined || changed.length === 0) return [];
    const usage: Usage = { ...standing.usage };
    for (const [, name] of changed) usage[name] = Number(counts?.[name]);
    const { priceId, outcome, chargeMaxNanoUsd } = standing;
    const priced = priceId === "" ? unpriced : priceUsage(outcome, usage, prices.get(priceId), chargeMaxNanoUsd);
    return [{ standing, usage, priceId, priced }];
  });
}

/** What an attempt counts; a part that was reported larger than its total is cut to it. */
function withinTotals(usage: Usage): TokenCounts {
  const count = (name: keyof TokenCounts) => usage[name] ?? 0;
  const cachedInput = Math.min(count("cachedInputTokens"), count("inputTokens"));
  const cacheWrite = Math.min(count("cacheWriteTokens"), count("inputTokens") - cachedInput);
  return {
    inputTokens: BigInt(count("inputTokens")),
    cachedInputTokens: BigInt(cachedInput),
    cacheWriteTokens: BigInt(cacheWrite),
    cacheWriteLongTokens: BigInt(Math.min(count("cacheWriteLongTokens"), cacheWrite)),
    outputTokens: BigInt(count("outputTokens")),
    reasoningTokens: BigInt(Math.min(count("reasoningTokens"), count("outputTokens"))),
  };
}

function runOf({ provider, model, dayMs: startMs, counts }: TrueUpQuestion) {
  const told = truedUpCounts.flatMap(([column, name]) => {
    const count = counts[name];
    return count === undefined ? [] : [[column, String(count)]];
  });
  const day = new Date(startMs).toISOString().slice(0, 10);
  return { reason: "true_up", question: { provider, model, day, counts: Object.fromEntries(told) } } as const;
}

async function pricesOf(client: ClientBase, standings: readonly Standing[]): Promise<ReadonlyMap<string, Price>> {
  const ids = [...new Set(standings.map(({ priceId }) => priceId))];
  return new Map((await selectPrices(client, ids)).map((price) => [price.id, price]));
}

const ofDay = "provider = $1 and model = $2 and start_time >= $3 and start_time < $4";
/** What was never sent or not served used nothing, and its provider counts nothing for it. */
const isUnreported = `usage_source in ('estimated', 'counted')
  and (usage_source <> 'counted' or original_input_tokens is distinct from 0 or original_output_tokens is distinct from 0)`;

function valuesOf({ provider, model, dayMs: startMs }: TrueUpQuestion): unknown[] {
  return [provider, model, new Date(startMs), new Date(startMs + dayMs)];
}

async function readUnreported(client: ClientBase, question: TrueUpQuestion): Promise<Standing[]> {
  const { rows } = await client.query<StandingRow>(
    `select ${standingColumns} from ${attemptsAsAdjusted} where ${ofDay} and ${isUnreported}
     order by attempt_id limit ${attemptsMax + 1}`,
    valuesOf(question),
  );
  if (rows.length > attemptsMax) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: `The provider reported no usage for more than ${attemptsMax} attempts of this model and day: too many to be trued up.`,
      metadata: { param: "day" },
    });
  }
  return rows.map(toStanding);
}

async function readReportedSums(client: ClientBase, question: TrueUpQuestion): Promise<TokenCounts> {
  const sums = truedUpCounts.map(([column]) => `coalesce(sum(${column}), 0) as ${column}`);
  const { rows } = await client.query<Record<(typeof truedUpCounts)[number][0], string>>(
    `select ${sums.join(", ")} from ${attemptsAsAdjusted} where ${ofDay} and not (${isUnreported})`,
    valuesOf(question),
  );
  const [row] = rows;
  return Object.fromEntries(truedUpCounts.map(([column, name]) => [name, BigInt(row?.[column] ?? 0)])) as Record<
    keyof TokenCounts,
    bigint
  >;
}
