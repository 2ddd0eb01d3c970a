import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { PriceConfig, PriceTierConfig } from "@weir/gen/weir/config/v1/config_pb";
import { nanoUsdFromText } from "./decimal.ts";
import { createPriceList, type Price, type PriceList, priceId, type Rates } from "./price.ts";

/**
 * Reads the prices of `weir.yaml` and its `price_files`. The id of a price that stands in the place of a built-in one with other rates ends in
 * `+config`, so that two contents never share an id.
 * @param builtIn the list that the prices stand beside
 * @throws RangeError when an amount is not decimal USD, or two entries name the same provider, model and moment
 */
export function pricesFromConfig(configured: readonly PriceConfig[], builtIn: readonly Price[]): readonly Price[] {
  const builtInIds = new Set(builtIn.map((price) => price.id));
  return configured.map((entry) => {
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
  });
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
 * The whole price list: a configured price replaces the built-in one of the same provider, model and moment; one that
 * holds always replaces every built-in one of its provider and model.
 */
export function priceListFromConfig(configured: readonly PriceConfig[], builtIn: readonly Price[]): PriceList {
  const own = pricesFromConfig(configured, builtIn);
  const replaced = new Set(own.map(nameAndTime));
  const kept = builtIn.filter(
    (price) => !replaced.has(nameAndTime(price)) && !replaced.has(nameAndTime({ ...price, effectiveTime: undefined })),
  );
  return createPriceList([...kept, ...own]);
}

function nameAndTime(price: Pick<Price, "provider" | "model" | "effectiveTime">): string {
  return JSON.stringify([price.provider, price.model, price.effectiveTime ?? null]);
}
