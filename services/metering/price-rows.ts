import { allRates, type Price, type Rates } from "@weir/price/price";
import type { ClientBase } from "pg";
import type { ArrayColumn } from "./arrays.ts";

// Prices as rows of the ledger.

/** Column and name of each rate: those that every price has had from the beginning, and others. */
export const baseRates = [
  ["input_nano_usd_per_million", "input"],
  ["cached_input_nano_usd_per_million", "cachedInput"],
  ["cache_write_nano_usd_per_million", "cacheWrite"],
  ["cache_write_long_nano_usd_per_million", "cacheWriteLong"],
  ["output_nano_usd_per_million", "output"],
] as const;
const otherRates = [
  ["audio_input_nano_usd_per_million", "audioInput"],
  ["image_input_nano_usd_per_million", "imageInput"],
  ["audio_output_nano_usd_per_million", "audioOutput"],
  ["image_output_nano_usd_per_million", "imageOutput"],
] as const;

type BaseRatesRow = Readonly<Record<(typeof baseRates)[number][0], string>>;
type OtherRatesRow = Readonly<Partial<Record<(typeof otherRates)[number][0], string>>>;
/** Rates under the names of the columns; text, since JSON numbers are read as floats by many. */
type RatesRow = BaseRatesRow & OtherRatesRow;

interface TierRow extends RatesRow {
  readonly service_tier: string;
  readonly input_tokens_above: number;
}

/** What a price has beside its base rates and tiers. */
interface OtherRow extends OtherRatesRow {
  readonly tool_nano_usd_per_thousand?: Readonly<Record<string, string>>;
}

/** Rates travel as text: numeric has no form that is as simple. */
export const priceColumns: readonly ArrayColumn<Price>[] = [
  { name: "price_id", type: "text", value: (price) => price.id },
  { name: "provider", type: "text", value: (price) => price.provider },
  { name: "model", type: "text", value: (price) => price.model },
  {
    name: "effective_time",
    type: "timestamptz",
    value: (price) => (price.effectiveTime === undefined ? null : Math.round(price.effectiveTime * 1000)),
  },
  ...baseRates.map(
    ([name]): ArrayColumn<Price> => ({
      name,
      type: "text",
      value: (price) => toBaseRow(price.nanoUsdPerMillion)[name],
    }),
  ),
  { name: "long_context", type: "jsonb", value: (price) => longContextText(price) },
  { name: "other_rates", type: "jsonb", value: (price) => otherRatesText(price) },
  { name: "tiers", type: "jsonb", value: (price) => tiersText(price) },
  { name: "source", type: "text", value: (price) => price.source },
];

interface PriceRow extends BaseRatesRow {
  readonly price_id: string;
  readonly provider: string;
  readonly model: string;
  readonly effective_time: Date | null;
  readonly long_context: (BaseRatesRow & { readonly input_tokens_above: number }) | null;
  readonly other_rates: OtherRow | null;
  readonly tiers: readonly TierRow[] | null;
  readonly source: string;
}

/** Prices by id, as they stand in the ledger; those that are not there are left out. */
export async function selectPrices(client: ClientBase, ids: readonly string[]): Promise<Price[]> {
  const { rows } = await client.query<PriceRow>("select * from prices where price_id = any($1::text[])", [ids]);
  return rows.map(toPrice);
}

function toPrice(row: PriceRow): Price {
  const { tool_nano_usd_per_thousand: fees, ...others } = row.other_rates ?? {};
  const tiers = row.long_context ? [{ service_tier: "", ...row.long_context }] : row.tiers;
  return {
    id: row.price_id,
    provider: row.provider,
    model: row.model,
    effectiveTime: row.effective_time?.getTime(),
    nanoUsdPerMillion: fromRatesRow({ ...row, ...others }),
    ...(tiers
      ? {
          tiers: tiers.map((tier) => ({
            serviceTier: tier.service_tier,
            inputTokensAbove: tier.input_tokens_above,
            nanoUsdPerMillion: fromRatesRow(tier),
          })),
        }
      : {}),
    ...(fees
      ? {
          nanoUsdPerThousandUses: Object.fromEntries(Object.entries(fees).map(([tool, fee]) => [tool, BigInt(fee)])),
        }
      : {}),
    source: row.source,
  };
}

function fromRatesRow(row: RatesRow): Rates {
  const others = otherRates.flatMap(([column, name]) => {
    const rate = row[column];
    return rate === undefined ? [] : [[name, BigInt(rate)] as const];
  });
  return {
    input: BigInt(row.input_nano_usd_per_million),
    cachedInput: BigInt(row.cached_input_nano_usd_per_million),
    cacheWrite: BigInt(row.cache_write_nano_usd_per_million),
    cacheWriteLong: BigInt(row.cache_write_long_nano_usd_per_million),
    output: BigInt(row.output_nano_usd_per_million),
    ...Object.fromEntries(others),
  };
}

function toBaseRow(rates: Rates): BaseRatesRow {
  const all = allRates(rates);
  return Object.fromEntries(baseRates.map(([column, name]) => [column, String(all[name])])) as BaseRatesRow;
}

/** Only those that differ from what they are by default. */
function toOtherRow(rates: Rates): OtherRatesRow {
  const all = allRates({ ...rates });
  return Object.fromEntries(
    otherRates.flatMap(([column, name]) => {
      const usual = name.endsWith("Input") ? rates.input : rates.output;
      return all[name] === usual ? [] : [[column, String(all[name])]];
    }),
  );
}

function otherRatesText({ nanoUsdPerMillion, nanoUsdPerThousandUses = {} }: Price): string | null {
  const fees = Object.entries(nanoUsdPerThousandUses).sort(byName);
  const row: OtherRow = {
    ...toOtherRow(nanoUsdPerMillion),
    ...(fees.length === 0
      ? {}
      : { tool_nano_usd_per_thousand: Object.fromEntries(fees.map(([tool, fee]) => [tool, String(fee)])) }),
  };
  return Object.keys(row).length === 0 ? null : JSON.stringify(row);
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

/** The one tier of a price that has no other, in the form that versions before there were tiers know. */
function longContextText({ tiers = [] }: Price): string | null {
  const [tier] = tiers;
  if (tiers.length !== 1 || !tier || tier.serviceTier !== "") return null;
  if (Object.keys(toOtherRow(tier.nanoUsdPerMillion)).length > 0) return null;
  return JSON.stringify({ input_tokens_above: tier.inputTokensAbove, ...toBaseRow(tier.nanoUsdPerMillion) });
}

function tiersText(price: Price): string | null {
  const { tiers = [] } = price;
  if (tiers.length === 0 || longContextText(price) !== null) return null;
  const rows = tiers.map(({ serviceTier, inputTokensAbove, nanoUsdPerMillion: rates }): TierRow => {
    return {
      service_tier: serviceTier,
      input_tokens_above: inputTokensAbove,
      ...toBaseRow(rates),
      ...toOtherRow(rates),
    };
  });
  const place = (row: TierRow) => `${row.service_tier} ${String(row.input_tokens_above).padStart(10, "0")}`;
  return JSON.stringify(rows.sort((a, b) => (place(a) < place(b) ? -1 : 1)));
}

/** Everything that decides an amount. The source is a note and may be reworded. */
export function contentOf(price: Price): string {
  const effectiveTime = price.effectiveTime === undefined ? null : Math.round(price.effectiveTime);
  return JSON.stringify([
    price.provider,
    price.model,
    effectiveTime,
    toBaseRow(price.nanoUsdPerMillion),
    longContextText(price),
    otherRatesText(price),
    tiersText(price),
  ]);
}
