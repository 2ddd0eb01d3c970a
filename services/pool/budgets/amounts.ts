import { allRates, dearestRatesFor, type Price, type Rates } from "@weir/price/price";

/** What tokens cost at most, in nano-USD for one. */
export interface TokenRates {
  readonly input: number;
  readonly output: number;
}

const million = 1_000_000;

/**
 * Over all service tiers: which one an attempt is served in is known only at its end.
 * @param inputTokens decides whether rates for long input hold
 */
export function dearestRates(price: Price, inputTokens: number): TokenRates {
  let known = remembered.get(price);
  if (known === undefined) remembered.set(price, (known = []));
  let reached = 0;
  for (const { inputTokensAbove } of price.tiers ?? []) if (inputTokens > inputTokensAbove) reached += 1;
  return (known[reached] ??= findDearest(price, inputTokens));
}

/** By price, and by how many of its tiers the input reaches: which ones is decided by that. */
const remembered = new WeakMap<Price, TokenRates[]>();

function findDearest(price: Price, inputTokens: number): TokenRates {
  return highestRates(dearestRatesFor(price, inputTokens));
}

/** The rates of the dearest classes of input and of output. */
export function highestRates(some: Rates): TokenRates {
  const rates = allRates(some);
  const { input, cachedInput, cacheWrite, cacheWriteLong, audioInput, imageInput } = rates;
  const inputs = [input, cachedInput, cacheWrite, cacheWriteLong, audioInput, imageInput];
  const outputs = [rates.output, rates.audioOutput, rates.imageOutput];
  return { input: Number(highest(inputs)) / million, output: Number(highest(outputs)) / million };
}

function highest(rates: readonly bigint[]): bigint {
  return rates.reduce((most, rate) => (rate > most ? rate : most), 0n);
}

/** What a number of tokens costs at most, in whole nano-USD; at least 1. */
export function amountOf(rates: TokenRates, inputTokens: number, outputTokens: number): number {
  return Math.max(1, Math.ceil(inputTokens * rates.input + outputTokens * rates.output));
}
