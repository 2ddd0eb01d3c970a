import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";

/** Nano-USD for a million tokens of each class: 2.50 USD a million is 2_500_000_000n. Never negative. */
export interface Rates {
  readonly input: bigint;
  readonly cachedInput: bigint;
  readonly cacheWrite: bigint;
  /** Cache writes for one hour. Default: as `cacheWrite`. */
  readonly cacheWriteLong?: bigint | undefined;
  /** Default: as `input`. */
  readonly audioInput?: bigint | undefined;
  /** Default: as `input`. */
  readonly imageInput?: bigint | undefined;
  readonly output: bigint;
  /** Default: as `output`. */
  readonly audioOutput?: bigint | undefined;
  /** Default: as `output`. */
  readonly imageOutput?: bigint | undefined;
}

/** Rates for the whole of an attempt that was served in a tier and has more input than so many tokens. */
export interface PriceTier {
  /** As `Usage.serviceTier`; empty: the standard one. */
  readonly serviceTier: string;
  readonly inputTokensAbove: number;
  readonly nanoUsdPerMillion: Rates;
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
  /** Rates that hold in the place of those; in no order. With more input none of them falls. */
  readonly tiers?: readonly PriceTier[] | undefined;
  /** Nano-USD for a thousand uses of a tool that the provider runs, by the names of `Usage.serverToolUses`. */
  readonly nanoUsdPerThousandUses?: Readonly<Record<string, bigint>> | undefined;
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

/**
 * @throws RangeError when two prices share an id or hold for one model from one moment on, and for tiers that are no whole:
 *   a negative rate, one that falls with more input, two for the same attempts
 */
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
  const { id, nanoUsdPerMillion, tiers = [], nanoUsdPerThousandUses = {} } = price;
  const amounts = [nanoUsdPerMillion, ...tiers.map((tier) => tier.nanoUsdPerMillion), nanoUsdPerThousandUses];
  if (
    amounts.some((rates) => Object.values(rates).some((rate: bigint | undefined) => rate !== undefined && rate < 0n))
  ) {
    throw new RangeError(`the price ${id} has a negative rate`);
  }
  const base: PriceTier = { serviceTier: "", inputTokensAbove: 0, nanoUsdPerMillion };
  for (const [name, steps] of Map.groupBy([base, ...tiers], (tier) => tier.serviceTier)) {
    const called = name === "" ? "" : ` of the service tier ${name}`;
    steps.sort((a, b) => a.inputTokensAbove - b.inputTokensAbove);
    if (steps[0]?.inputTokensAbove !== 0) throw new RangeError(`the price ${id} has no rates${called} for short input`);
    for (const [index, step] of steps.entries()) {
      const before = steps[index - 1];
      if (before === undefined) continue;
      if (before.inputTokensAbove === step.inputTokensAbove) {
        throw new RangeError(`the price ${id} has two rates${called} above ${step.inputTokensAbove} input tokens`);
      }
      const lower = allRates(before.nanoUsdPerMillion);
      const higher = allRates(step.nanoUsdPerMillion);
      if (rateNames.some((rate) => higher[rate] < lower[rate])) {
        throw new RangeError(
          `the price ${id} has rates${called} that fall above ${step.inputTokensAbove} input tokens`,
        );
      }
    }
  }
}

/** The classes of tokens, as rates name them. */
export const rateNames = [
  "input",
  "cachedInput",
  "cacheWrite",
  "cacheWriteLong",
  "audioInput",
  "imageInput",
  "output",
  "audioOutput",
  "imageOutput",
] as const satisfies readonly (keyof Rates)[];

/** Rates with what their defaults stand for. */
export type AllRates = Readonly<Record<(typeof rateNames)[number], bigint>>;

export function allRates(rates: Rates): AllRates {
  const { input, cachedInput, cacheWrite, output } = rates;
  return {
    input,
    cachedInput,
    cacheWrite,
    cacheWriteLong: rates.cacheWriteLong ?? cacheWrite,
    audioInput: rates.audioInput ?? input,
    imageInput: rates.imageInput ?? input,
    output,
    audioOutput: rates.audioOutput ?? output,
    imageOutput: rates.imageOutput ?? output,
  };
}

/** The service tier of batches. What one used is the sum of its many requests. */
export const batchTier = "batch";

/**
 * The rates of an attempt: those of its tier, or the standard ones when the price does not know the tier, and of these the
 * ones for the longest input that it reaches. Of a batch nobody tells how long its requests were: they are taken for short.
 * @param total tokens of input
 */
export function ratesFor(price: Price, serviceTier: string, total: number): Rates {
  const { tiers } = price;
  const inputTotal = serviceTier === batchTier ? 0 : total;
  if (tiers === undefined) return price.nanoUsdPerMillion;
  const name = tiers.some((tier) => tier.serviceTier === serviceTier) ? serviceTier : "";
  let found: PriceTier | undefined;
  for (const tier of tiers) {
    const reached = tier.inputTokensAbove === 0 || inputTotal > tier.inputTokensAbove;
    if (tier.serviceTier !== name || !reached) continue;
    if (found === undefined || tier.inputTokensAbove > found.inputTokensAbove) found = tier;
  }
  return found?.nanoUsdPerMillion ?? price.nanoUsdPerMillion;
}

/** Models are called by a name that stands for the newest of them, and answer with that one's own: `gpt-5-2025-08-07`. */
const versionDate = /-\d{4}-\d{2}-\d{2}$/;

/** A model's name without the date at its end. */
export function undatedModel(model: string): string {
  return model.replace(versionDate, "");
}

/** The price of a batch's requests to a model: that of its name, else of its name without a date. */
export function batchPriceOf(
  find: (target: { readonly provider: string; readonly model: string }) => Price | undefined,
  { provider, model }: { readonly provider: string; readonly model: string },
): Price | undefined {
  return find({ provider, model }) ?? find({ provider, model: undatedModel(model) });
}

/**
 * The dearest rate of each class over every service tier, for an attempt of so much input: its tier is only known
 * once it is over.
 */
export function dearestRatesFor(price: Price, inputTotal: number): AllRates {
  const names = new Set(["", ...(price.tiers ?? []).map((tier) => tier.serviceTier)]);
  return [...names]
    .map((name) => allRates(ratesFor(price, name, inputTotal)))
    .reduce((most, rates) => {
      const higher = rateNames.map((name) => [name, rates[name] > most[name] ? rates[name] : most[name]] as const);
      return Object.fromEntries(higher) as AllRates;
    });
}

/** The id of a price: `openai/gpt-4o@2024-10-02`. A moment that is no UTC midnight is written out in full. */
export function priceId(price: Pick<Price, "provider" | "model" | "effectiveTime">): string {
  const text = price.effectiveTime === undefined ? "always" : new Date(price.effectiveTime).toISOString();
  return `${price.provider}/${price.model}@${text.replace("T00:00:00.000Z", "")}`;
}

/** Tokens of one attempt by the rate that they cost; the classes do not overlap. */
export interface BillableTokens extends Readonly<Record<(typeof rateNames)[number], number>> {
  /** All of the input; decides whether rates for long input hold. */
  readonly inputTotal: number;
  /** A part was reported larger than its total and was cut to it. */
  readonly inconsistent: boolean;
}

/**
 * Splits reported totals into classes. Parts that do not fit into their total are cut to it, in the order of cached input,
 * cache writes, audio and images: what was cached costs as cached input, whatever it stood for. A total that was not
 * reported is taken as the sum of its parts, and as zero only when there are none.
 */
export function billableTokens(usage: Usage): BillableTokens {
  const reportedCached = usage.cachedInputTokens ?? 0;
  const reportedLong = usage.cacheWriteLongTokens ?? 0;
  const reportedWrite = usage.cacheWriteTokens ?? reportedLong;
  const { audioInputTokens: audio = 0, imageInputTokens: images = 0 } = usage;
  const { audioOutputTokens: spoken = 0, imageOutputTokens: drawn = 0, reasoningTokens: reasoning = 0 } = usage;
  const inputTotal = usage.inputTokens ?? Math.max(reportedCached + reportedWrite, audio + images);
  const outputTotal = usage.outputTokens ?? Math.max(reasoning, spoken + drawn);
  const cachedInput = Math.min(reportedCached, inputTotal);
  const writes = Math.min(reportedWrite, inputTotal - cachedInput);
  const cacheWriteLong = Math.min(reportedLong, writes);
  const uncached = inputTotal - cachedInput - writes;
  const audioInput = Math.min(audio, uncached);
  const imageInput = Math.min(images, uncached - audioInput);
  const audioOutput = Math.min(spoken, outputTotal);
  const imageOutput = Math.min(drawn, outputTotal - audioOutput);
  return {
    inputTotal,
    input: uncached - audioInput - imageInput,
    cachedInput,
    cacheWrite: writes - cacheWriteLong,
    cacheWriteLong,
    audioInput,
    imageInput,
    output: outputTotal - audioOutput - imageOutput,
    audioOutput,
    imageOutput,
    inconsistent:
      cachedInput < reportedCached ||
      writes < reportedWrite ||
      cacheWriteLong < reportedLong ||
      audio + images > inputTotal ||
      spoken + drawn > outputTotal ||
      reasoning > outputTotal,
  };
}

/**
 * What an attempt cost, in nano-USD: exact, rounded once at the end, half to even. Never negative; grows with every
 * total, every rate and every use of a tool. Counts that were not reported cost nothing: who calls decides what that means.
 */
export function costNanoUsd(usage: Usage, price: Price): bigint {
  const tokens = billableTokens(usage);
  const rates = allRates(ratesFor(price, usage.serviceTier ?? "", tokens.inputTotal));
  let amount = feesTimesMillion(usage.serverToolUses, price);
  for (const name of rateNames) if (tokens[name] !== 0) amount += BigInt(tokens[name]) * rates[name];
  return dividedByMillion(amount);
}

/** What units cost, in nano-USD: uses of tools, seconds of sound, characters, images. Rounded once, half to even. */
export function unitsNanoUsd(units: Readonly<Record<string, number>>, price: Price): bigint {
  return dividedByMillion(feesTimesMillion(units, price));
}

function feesTimesMillion(units: Readonly<Record<string, number>>, { nanoUsdPerThousandUses }: Price): bigint {
  if (nanoUsdPerThousandUses === undefined) return 0n;
  return Object.entries(units).reduce(
    (sum, [unit, count]) => sum + BigInt(count) * (feeOf(nanoUsdPerThousandUses, unit) * 1_000n),
    0n,
  );
}

function feeOf(fees: Readonly<Record<string, bigint>>, tool: string): bigint {
  return Object.hasOwn(fees, tool) ? (fees[tool] ?? 0n) : 0n;
}

const million = 1_000_000n;

/** Rounds half to even. @param amount not negative */
function dividedByMillion(amount: bigint): bigint {
  const quotient = amount / million;
  const twiceRest = (amount % million) * 2n;
  const up = twiceRest > million || (twiceRest === million && (quotient & 1n) === 1n);
  return up ? quotient + 1n : quotient;
}
