import type { UsageReading } from "@weir/dialect/codec";
import { type Usage, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";

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

/** The same counts in a tier; undefined: the standard one. */
export function inTier(usage: Usage, serviceTier: string | undefined): Usage {
  return serviceTier === undefined ? usage : { ...usage, serviceTier };
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
 * @param askedTier the tier that was asked for, if it is another than the standard one and the price knows it: it counts where the
 *   provider does not say in which it served
 */
export function fromReading(reading: UsageReading, counted: () => Usage, askedTier: string | undefined): Metered {
  const { sound, standardTier = false } = reading;
  const supposed = reading.usage.serviceTier !== undefined || standardTier ? undefined : askedTier;
  const usage = inTier(reading.usage, supposed);
  if (usage.inputTokens !== undefined && usage.outputTokens !== undefined) {
    return { usage, source: sound ? UsageSource.REPORTED : UsageSource.ESTIMATED };
  }
  return { usage: { ...counted(), ...usage }, source: UsageSource.COUNTED };
}
