import { type Price, priceId, type Rates } from "./price.ts";

const nothing: Rates = { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n };

/** Models that run on the operator's own machine, or nowhere: they bill nothing. */
const free: readonly Price[] = ["demo", "ollama", "vllm"].map((provider) => {
  const named = { provider, model: "*", effectiveTime: undefined };
  return { id: priceId(named), ...named, nanoUsdPerMillion: nothing, source: "no vendor bills it" };
});

/**
 * Prices of well-known models. A row is never edited: a new price, or a correction, is a new row with its own date.
 */
export const builtInPrices: readonly Price[] = [...free];
