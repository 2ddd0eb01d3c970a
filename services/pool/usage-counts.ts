import type { UsageReading } from "@weir/dialect/codec";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { costNanoUsd, type Price } from "@weir/price/price";

/** Counts, and where they come from. */
export interface Metered {
  readonly usage: Usage;
  readonly source: UsageSource;
}

// No model takes more; embedded images and files would otherwise reserve a token for each of their bytes.
const inputTokensMax = 10_000_000;
/** Output tokens reserved for a call whose client set no limit, since the models' own limits are not known here. */
const outputTokensReserved = 32_768;

export function totals(inputTokens: number, outputTokens: number): Usage {
  return { $typeName: "weir.common.v1.Usage", serverToolUses: {}, inputTokens, outputTokens };
}

/** The service tier that a provider was asked for by name, where the price knows it. */
export interface AskedTier {
  readonly name: string;
  /** In force when the attempt began. */
  readonly price: Price;
}

/**
 * Counts of an attempt whose provider does not say in which tier it served: in the tier that was asked for, or in the standard one if
 * they cost more there. A provider that does not know a tier leaves it out of its answer, and serves in the standard one.
 * @param usage without a tier
 * @param asked undefined: the standard tier
 */
export function inDearerTier(usage: Usage, asked: AskedTier | undefined): Usage {
  if (asked === undefined) return usage;
  const served = { ...usage, serviceTier: asked.name };
  return costNanoUsd(served, asked.price) < costNanoUsd(usage, asked.price) ? usage : served;
}

/**
 * The worst case of a call: no token is shorter than a byte.
 * @param maxOutputTokens over all choices; undefined when the client set no limit
 */
export function reserve(bodyBytes: number, maxOutputTokens: number | undefined, choiceCount: number): Usage {
  return totals(Math.min(bodyBytes, inputTokensMax), maxOutputTokens ?? outputTokensReserved * choiceCount);
}

/** What a call used that the provider did not serve at all. */
export const unused: Metered = { usage: totals(0, 0), source: UsageSource.COUNTED };

/**
 * What a provider reported; a total that it left out is filled with what was counted, and the whole then is no better
 * than counted. Counts that contradict each other or the provider's own total are kept, and are no better than estimated.
 */
export function fromReading(reading: UsageReading, counted: () => Usage, askedTier: AskedTier | undefined): Metered {
  const { usage, sound, standardTier = false } = reading;
  const supposed = usage.serviceTier !== undefined || standardTier ? undefined : askedTier;
  if (usage.inputTokens !== undefined && usage.outputTokens !== undefined) {
    return { usage: inDearerTier(usage, supposed), source: sound ? UsageSource.REPORTED : UsageSource.ESTIMATED };
  }
  return { usage: inDearerTier({ ...counted(), ...usage }, supposed), source: UsageSource.COUNTED };
}
