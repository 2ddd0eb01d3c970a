import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";

/** Nano-USD for a million tokens of each class: 2.50 USD a million is 2_500_000_000n. Never negative. */
export interface Rates {
  readonly input: bigint;
  readonly cachedInput: bigint;
  readonly cacheWrite: bigint;
  /** Cache writes for one hour. Default: as `cacheWrite`. */
  readonly cacheWriteLong?: bigint | undefined;
  readonly output: bigint;
}

/** What a model costs from a moment on. Never edited: a new price is a new object with a new id. */
export interface Price {
  /** `provider/model@YYYY-MM-DD`; the date is the day of `effectiveTime` in UTC, or `always`. */
  readonly id: string;
  readonly provider: string;
  /** As the provider names it; a `*` at the end stands for any rest. */
  readonly model: string;
  /** Milliseconds since 1970 from when the price holds; undefined: always. */
  readonly effectiveTime: number | undefined;
  readonly nanoUsdPerMillion: Rates;
  /** Rates for the whole of an attempt whose input is longer than so many tokens. */
  readonly longContext?: { readonly inputTokensAbove: number; readonly nanoUsdPerMillion: Rates } | undefined;
  /** Where the price was read: a URL and a date, or `weir.yaml`. */
  readonly source: string;
}

/** Prices by target and time. Immutable. */
export interface PriceList {
  readonly prices: readonly Price[];
  /** The price in force: an exact name before a pattern, a longer pattern before a shorter one, the newest of each. */
  find(target: { readonly provider: string; readonly model: string }, atMs: number): Price | undefined;
  /** The price that an intent recorded, in force or not. */
  get(id: string): Price | undefined;
}

/** @throws RangeError when two prices share an id, a rate is negative, or two hold for one model from one moment on */
export function createPriceList(prices: readonly Price[]): PriceList {
  const byId = new Map<string, Price>();
  const providers = new Map<string, ProviderPrices>();
  for (const price of prices) {
    check(price);
    if (byId.has(price.id)) throw new RangeError(`two prices have the id ${price.id}`);
    byId.set(price.id, price);
    let provider = providers.get(price.provider);
    if (!provider) providers.set(price.provider, (provider = { exact: new Map(), patterns: new Map(), lengths: [] }));
    const isPattern = price.model.endsWith("*");
    const models = isPattern ? provider.patterns : provider.exact;
    const name = isPattern ? price.model.slice(0, -1) : price.model;
    const versions = models.get(name);
    if (!versions) models.set(name, [price]);
    else if (versions.some((other) => other.effectiveTime === price.effectiveTime)) {
      throw new RangeError(`two prices hold for ${price.provider}/${price.model} from the same moment on`);
    } else versions.push(price);
  }
  for (const provider of providers.values()) {
    for (const versions of [...provider.exact.values(), ...provider.patterns.values()]) {
      versions.sort((a, b) => (b.effectiveTime ?? -Infinity) - (a.effectiveTime ?? -Infinity));
    }
    provider.lengths = [...new Set(Array.from(provider.patterns.keys(), (prefix) => prefix.length))].sort(
      (a, b) => b - a,
    );
  }
  return {
    prices,
    find({ provider: id, model }, atMs) {
      const provider = providers.get(id);
      if (!provider) return undefined;
      const exact = inForce(provider.exact.get(model), atMs);
      if (exact) return exact;
      for (const length of provider.lengths) {
        if (length > model.length) continue;
        const price = inForce(provider.patterns.get(model.slice(0, length)), atMs);
        if (price) return price;
      }
      return undefined;
    },
    get: (id) => byId.get(id),
  };
}

/** Of one provider; versions of a price stand newest first. */
interface ProviderPrices {
  readonly exact: Map<string, Price[]>;
  /** By what stands before the star. */
  readonly patterns: Map<string, Price[]>;
  /** Lengths of the patterns, the longest first. */
  lengths: number[];
}

function inForce(versions: readonly Price[] | undefined, atMs: number): Price | undefined {
  return versions?.find((price) => price.effectiveTime === undefined || price.effectiveTime <= atMs);
}

function check(price: Price): void {
  for (const rates of [price.nanoUsdPerMillion, price.longContext?.nanoUsdPerMillion]) {
    if (rates && Object.values(rates).some((rate: bigint | undefined) => rate !== undefined && rate < 0n)) {
      throw new RangeError(`the price ${price.id} has a negative rate`);
    }
  }
}

/** The id of a price: `openai/gpt-4o@2024-10-02`. A moment that is no UTC midnight is written out in full. */
export function priceId(price: Pick<Price, "provider" | "model" | "effectiveTime">): string {
  const text = price.effectiveTime === undefined ? "always" : new Date(price.effectiveTime).toISOString();
  return `${price.provider}/${price.model}@${text.replace("T00:00:00.000Z", "")}`;
}

/** Tokens of one attempt by the rate that they cost; the classes do not overlap. */
export interface BillableTokens {
  /** All of the input; decides whether long-context rates hold. */
  readonly inputTotal: number;
  /** Neither read from nor written to a cache. */
  readonly input: number;
  readonly cachedInput: number;
  /** Written to a cache for the vendor's short default. */
  readonly cacheWrite: number;
  readonly cacheWriteLong: number;
  readonly output: number;
  /** A part was reported larger than its total and was cut to it. */
  readonly inconsistent: boolean;
}

/**
 * Splits reported totals into classes. Parts that do not fit into their total are cut to it, cached input first. A total
 * that was not reported is taken as the sum of its parts, and as zero only when there are none.
 */
export function billableTokens(usage: Usage): BillableTokens {
  const reportedCached = usage.cachedInputTokens ?? 0;
  const reportedLong = usage.cacheWriteLongTokens ?? 0;
  const reportedWrite = usage.cacheWriteTokens ?? reportedLong;
  const inputTotal = usage.inputTokens ?? reportedCached + reportedWrite;
  const output = usage.outputTokens ?? usage.reasoningTokens ?? 0;
  const cachedInput = Math.min(reportedCached, inputTotal);
  const writes = Math.min(reportedWrite, inputTotal - cachedInput);
  const cacheWriteLong = Math.min(reportedLong, writes);
  return {
    inputTotal,
    input: inputTotal - cachedInput - writes,
    cachedInput,
    cacheWrite: writes - cacheWriteLong,
    cacheWriteLong,
    output,
    inconsistent:
      cachedInput < reportedCached ||
      writes < reportedWrite ||
      cacheWriteLong < reportedLong ||
      output < (usage.reasoningTokens ?? 0),
  };
}

/**
 * What an attempt cost, in nano-USD: exact, rounded once at the end, half to even. Never negative; grows with every
 * total and every rate. Counts that were not reported cost nothing: who calls decides what that means.
 */
export function costNanoUsd(usage: Usage, price: Price): bigint {
  const tokens = billableTokens(usage);
  const long = price.longContext;
  const rates = long && tokens.inputTotal > long.inputTokensAbove ? long.nanoUsdPerMillion : price.nanoUsdPerMillion;
  return dividedByMillion(
    BigInt(tokens.input) * rates.input +
      BigInt(tokens.cachedInput) * rates.cachedInput +
      BigInt(tokens.cacheWrite) * rates.cacheWrite +
      BigInt(tokens.cacheWriteLong) * (rates.cacheWriteLong ?? rates.cacheWrite) +
      BigInt(tokens.output) * rates.output,
  );
}

const million = 1_000_000n;

/** Rounds half to even. @param amount not negative */
function dividedByMillion(amount: bigint): bigint {
  const quotient = amount / million;
  const twiceRest = (amount % million) * 2n;
  const up = twiceRest > million || (twiceRest === million && (quotient & 1n) === 1n);
  return up ? quotient + 1n : quotient;
}
