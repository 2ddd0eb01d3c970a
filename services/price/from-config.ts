import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { PriceConfig, PriceTierConfig } from "@weir/gen/weir/config/v1/price_pb";
import { nanoUsdFromText } from "./decimal.ts";
import { createPriceList, type Price, type PriceList, priceId, type Rates } from "./price.ts";

/**
 * Reads the prices of `weir.yaml` and its `price_files`. The id of a price that stands in the place of a built-in one with other rates ends in
 * `+config`, so that two contents never share an id.
 * @param builtIn the list that the prices stand beside
 * @throws RangeError when an amount is not decimal USD, or two entries name the same provider, model and moment; it names which
 */
export function pricesFromConfig(configured: readonly PriceConfig[], builtIn: readonly Price[]): readonly Price[] {
  const builtInIds = new Set(builtIn.map((price) => price.id));
  return configured.map((entry) => {
    try {
      return priceFromConfig(entry, builtInIds);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RangeError(`${entry.provider}/${entry.model}: ${error.message}`, { cause: error });
    }
  });
}

function priceFromConfig(entry: PriceConfig, builtInIds: ReadonlySet<string>): Price {
  const named = {
    provider: entry.provider,
    model: entry.model,
    effectiveTime: entry.effectiveTime && timestampMs(entry.effectiveTime),
  };
  const id = priceId(named);
  const tiers = entry.tiers.map((tier) => ({
    serviceTier: tier.serviceTier,
    inputTokensAbove: tier.inputTokensAbove,
    nanoUsdPerMillion: ratesFromConfig(tier, entry),
  }));
  const fees = Object.entries(entry.toolUsdPerThousand).map(([tool, usd]) => [tool, nanoUsdFromText(usd)] as const);
  return {
    id: builtInIds.has(id) ? `${id}+config` : id,
    ...named,
    nanoUsdPerMillion: ratesFromConfig(entry),
    ...(tiers.length === 0 ? {} : { tiers }),
    ...(fees.length === 0 ? {} : { nanoUsdPerThousandUses: Object.fromEntries(fees) }),
    source: entry.source === "" ? "weir.yaml" : entry.source,
  };
}

/** @param price what a tier leaves out is as it says */
function ratesFromConfig(entry: PriceConfig | PriceTierConfig, price: PriceConfig | PriceTierConfig = entry): Rates {
  const input = nanoUsdFromText(entry.inputUsdPerMillion);
  const some = (name: Exclude<RateText, "inputUsdPerMillion" | "outputUsdPerMillion">): bigint | undefined => {
    const text = entry[name] === "" ? price[name] : entry[name];
    return text === "" ? undefined : nanoUsdFromText(text);
  };
  const others = {
    cacheWriteLong: some("cacheWriteLongUsdPerMillion"),
    audioInput: some("audioInputUsdPerMillion"),
    imageInput: some("imageInputUsdPerMillion"),
    audioOutput: some("audioOutputUsdPerMillion"),
    imageOutput: some("imageOutputUsdPerMillion"),
  };
  return {
    input,
    cachedInput: some("cachedInputUsdPerMillion") ?? input,
    cacheWrite: some("cacheWriteUsdPerMillion") ?? input,
    output: nanoUsdFromText(entry.outputUsdPerMillion),
    ...Object.fromEntries(Object.entries(others).filter(([, rate]) => rate !== undefined)),
  };
}

type RateText = Extract<keyof PriceConfig & keyof PriceTierConfig, `${string}UsdPerMillion`>;

/**
 * The whole price list. What an operator writes goes before what is built in: of a model that a configured price is about,
 * also by a pattern, built-in prices count only before the first of these holds.
 * @throws as `pricesFromConfig`
 */
export function priceListFromConfig(configured: readonly PriceConfig[], builtIn: readonly Price[]): PriceList {
  const own = pricesFromConfig(configured, builtIn);
  const all = [...own];
  for (const versions of Map.groupBy(builtIn, nameOf).values()) {
    const [named] = versions as [Price, ...Price[]];
    const about = own.filter((price) => isAbout(price, named));
    const beginMs = Math.min(Infinity, ...about.map(timeOf));
    const kept = versions.filter((price) => timeOf(price) < beginMs);
    all.push(...kept);
    if (kept.length > 0) all.push(...about.flatMap((price) => inPlaceOf(named, price, about)));
  }
  return createPriceList(all);
}

/**
 * A pattern under the longer name of a built-in price that stays for the time before it: of that name the newest counts.
 * Nothing when another configured price goes before the pattern then.
 */
function inPlaceOf({ model }: Price, pattern: Price, about: readonly Price[]): Price[] {
  if (pattern.model === model || pattern.effectiveTime === undefined) return [];
  const closeness = (price: Price) => (price.model === model ? Infinity : price.model.length);
  const inForce = about.filter((price) => timeOf(price) <= timeOf(pattern));
  if (inForce.some((price) => closeness(price) > closeness(pattern))) return [];
  return [{ ...pattern, id: `${priceId({ ...pattern, model })}+${pattern.model}`, model }];
}

/** Whether a price is about every model that another one is about. */
function isAbout(price: Price, other: Price): boolean {
  if (price.provider !== other.provider) return false;
  return price.model === other.model || (price.model.endsWith("*") && other.model.startsWith(price.model.slice(0, -1)));
}

function nameOf({ provider, model }: Price): string {
  return JSON.stringify([provider, model]);
}

function timeOf({ effectiveTime = -Infinity }: Price): number {
  return effectiveTime;
}
