import { estimateInputTokens } from "@weir/dialect/wire-request";
import type { Price, Rates } from "@weir/price/price";

/** What tokens cost at most, in nano-USD for one. */
export interface TokenRates {
  readonly input: number;
  readonly output: number;
}

const million = 1_000_000;

/** @param inputTokens decides whether rates for long input hold */
export function dearestRates(price: Price, inputTokens: number): TokenRates {
  const { longContext, nanoUsdPerMillion } = price;
  const isLong = longContext !== undefined && inputTokens > longContext.inputTokensAbove;
  const rates = isLong ? longContext.nanoUsdPerMillion : nanoUsdPerMillion;
  return { input: Number(dearestInput(rates)) / million, output: Number(rates.output) / million };
}

function dearestInput({ input, cachedInput, cacheWrite, cacheWriteLong = 0n }: Rates): bigint {
  return [cachedInput, cacheWrite, cacheWriteLong].reduce((most, rate) => (rate > most ? rate : most), input);
}

/** What a number of tokens costs at most, in whole nano-USD; at least 1. */
export function amountOf(rates: TokenRates, inputTokens: number, outputTokens: number): number {
  return Math.max(1, Math.ceil(inputTokens * rates.input + outputTokens * rates.output));
}

/** Shorter bodies are taken as text throughout: what an embedded picture could save is less than looking for it costs. */
const lookAboveBytes = 16_384;

/**
 * What is set aside for the input: a token for every three bytes, a third more than the usual guess, so that nearly every
 * input is covered from the beginning.
 */
export function inputTokensToHold(body: Uint8Array): number {
  if (body.length <= lookAboveBytes) return Math.ceil(body.length / 3);
  return Math.ceil((estimateInputTokens(Buffer.from(body.buffer, body.byteOffset, body.byteLength)) * 4) / 3);
}
