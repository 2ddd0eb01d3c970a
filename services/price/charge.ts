import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { batchTier, costNanoUsd, type Price } from "./price.ts";

/** Why an attempt has a cost or has none; the words of the ledger's column `pricing`. */
export type Pricing = "priced" | "unpriced" | "price_unknown" | "usage_unknown" | "out_of_range";

/** What an attempt cost, and whether that is known. Amounts are null unless `pricing` is `priced`. */
export interface PricedUsage {
  readonly pricing: Pricing;
  /** What the provider bills. */
  readonly costNanoUsd: bigint | null;
  /** What the tenant pays. */
  readonly chargeNanoUsd: bigint | null;
}

const unknown = { costNanoUsd: null, chargeNanoUsd: null };

/** Of an attempt whose target has no price. */
export const unpriced: PricedUsage = { ...unknown, pricing: "unpriced" };

/**
 * What an attempt costs, and what its tenant pays for it. The tenant pays what the provider bills for an answer, whole
 * or in part, but no more than its budgets set aside; the rest, and what a provider bills for an attempt that gave no answer,
 * is the operator's loss.
 * @param outcome word of weir.metering.v1.AttemptOutcome, in lower case: `completed`
 * @param price undefined: not known
 * @param chargeMaxNanoUsd what budgets set aside; undefined: no budget is about the attempt
 */
export function priceUsage(
  outcome: string,
  usage: Usage,
  price: Price | undefined,
  chargeMaxNanoUsd?: bigint,
): PricedUsage {
  if (!price) return { ...unknown, pricing: "price_unknown" };
  if (usage.serviceTier === batchTier && !coversBatches(price)) return unpriced;
  const gaveNothing = outcome === "failed" || outcome === "rejected";
  const hasUnits = Object.keys(usage.serverToolUses).length > 0 && isByUnits(price);
  const reported = usage.inputTokens !== undefined || usage.outputTokens !== undefined || hasUnits;
  // A provider that failed or refused and reported nothing bills nothing. An answer without any count costs something
  // that nobody knows, which is not zero.
  if (!reported && !gaveNothing && !isFree(price)) return { ...unknown, pricing: "usage_unknown" };
  const cost = costNanoUsd(usage, price);
  if (cost > int8Max) return { ...unknown, pricing: "out_of_range" };
  const charge = chargeMaxNanoUsd !== undefined && cost > chargeMaxNanoUsd ? chargeMaxNanoUsd : cost;
  return { pricing: "priced", costNanoUsd: cost, chargeNanoUsd: gaveNothing ? 0n : charge };
}

/**
 * Whether a price tells what batches cost: it has their tier, or bills nothing. Other rates are no guess at it: what batches cost
 * less differs from vendor to vendor.
 */
export function coversBatches(price: Price): boolean {
  return price.tiers?.some(({ serviceTier }) => serviceTier === batchTier) === true || isFree(price);
}

const int8Max = 2n ** 63n - 1n;

/** Whether nothing is billed but units: seconds of sound, characters, images. */
function isByUnits({ nanoUsdPerMillion, tiers = [], nanoUsdPerThousandUses = {} }: Price): boolean {
  const byTokens = [nanoUsdPerMillion, ...tiers.map((tier) => tier.nanoUsdPerMillion)];
  const isBilled = (rates: object) => Object.values(rates).some((rate: bigint | undefined) => rate);
  return !byTokens.some(isBilled) && isBilled(nanoUsdPerThousandUses);
}

function isFree({ nanoUsdPerMillion, tiers = [], nanoUsdPerThousandUses = {} }: Price): boolean {
  return [nanoUsdPerMillion, ...tiers.map((tier) => tier.nanoUsdPerMillion), nanoUsdPerThousandUses].every((rates) =>
    Object.values(rates).every((rate: bigint | undefined) => !rate),
  );
}
