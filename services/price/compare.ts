import { allRates, type Price, type PriceList, rateNames, type Rates } from "./price.ts";

/** What taking a price into the list would change. */
export interface PriceChange {
  /**
   * `same`: it is in force already; `new`: nothing is known of its model at that time; `later`: it follows another price from its own time on;
   * `refused`: the list says other rates from the same time on, and prices are never edited.
   */
  readonly kind: "same" | "new" | "later" | "refused";
  readonly price: Price;
  /** What holds, or held until then. */
  readonly standing: Price | undefined;
}

/** Compares prices with a list. Only prices of the very same model name are compared, patterns among themselves. */
export function comparePrices(list: PriceList, incoming: readonly Price[]): PriceChange[] {
  return incoming.map((price): PriceChange => {
    const versions = list.prices
      .filter(({ provider, model }) => provider === price.provider && model === price.model)
      .sort((a, b) => timeOf(b) - timeOf(a));
    const standing = versions.find((version) => timeOf(version) <= timeOf(price));
    if (standing !== undefined && rateText(standing) === rateText(price)) return { kind: "same", price, standing };
    if (standing !== undefined && timeOf(standing) === timeOf(price)) return { kind: "refused", price, standing };
    // A price that always holds would take the place of every other one.
    if (price.effectiveTime === undefined && versions[0]) return { kind: "refused", price, standing: versions[0] };
    return { kind: standing === undefined ? "new" : "later", price, standing };
  });
}

function timeOf({ effectiveTime = -Infinity }: Price): number {
  return effectiveTime;
}

/** Everything that decides an amount, for people: `input 2.5, cachedInput 0.25, output 10; flex: input 1.25, ...`. */
export function rateText({ nanoUsdPerMillion, tiers = [], nanoUsdPerThousandUses = {} }: Price): string {
  const steps = [...tiers]
    .sort((a, b) => a.serviceTier.localeCompare(b.serviceTier, "en") || a.inputTokensAbove - b.inputTokensAbove)
    .map(({ serviceTier, inputTokensAbove, nanoUsdPerMillion: rates }) => {
      const length = inputTokensAbove === 0 ? "" : `above ${inputTokensAbove}`;
      return `; ${[serviceTier, length].filter((word) => word !== "").join(" ")}: ${ratesText(rates)}`;
    });
  const fees = Object.entries(nanoUsdPerThousandUses)
    .sort(([a], [b]) => a.localeCompare(b, "en"))
    .map(([tool, fee]) => `; ${tool} ${usdText(fee)} for a thousand`);
  return [ratesText(nanoUsdPerMillion), ...steps, ...fees].join("");
}

/** Rates that are as their default says are left out. */
function ratesText(rates: Rates): string {
  const all = allRates(rates);
  const usual = allRates({
    input: rates.input,
    cachedInput: rates.input,
    cacheWrite: rates.input,
    cacheWriteLong: all.cacheWrite,
    output: rates.output,
  });
  return rateNames
    .filter((name) => name === "input" || name === "output" || all[name] !== usual[name])
    .map((name) => `${name} ${usdText(all[name])}`)
    .join(", ");
}

function usdText(nanoUsd: bigint): string {
  const decimals = String(nanoUsd % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${nanoUsd / 1_000_000_000n}${decimals === "" ? "" : `.${decimals}`}`;
}
