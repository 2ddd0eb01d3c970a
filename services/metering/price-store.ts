import { type PricedUsage, priceUsage } from "@weir/price/charge";
import { allRates, type Price, type PriceList, type Rates } from "@weir/price/price";
import type { ClientBase } from "pg";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import type { Database } from "./database.ts";
import type { Outcome } from "./ledger.ts";
import { postingOf } from "./transfers.ts";
import { toUsage, usageColumns, type UsageRow } from "./usage-columns.ts";

/** The prices that the ledger goes by. Failures are WeirError STORE_UNAVAILABLE. */
export interface PriceStore {
  /** Writes prices that are new. @returns ids of those that stand in the ledger with other content, and stay so */
  add(prices: readonly Price[]): Promise<readonly string[]>;
  /** Prices by id; those that are not there are left out. */
  read(ids: readonly string[]): Promise<readonly Price[]>;
  /** Gives rows that wait for one of these prices their amounts and transfers. @returns how many */
  settle(prices: readonly Price[]): Promise<number>;
  /**
   * Gives rows that had no price the one that the list has for their time, with amounts and transfers. Rows that have
   * amounts are never touched.
   * @param list its prices stand in the ledger
   * @returns how many
   */
  backfill(list: PriceList): Promise<number>;
}

export function createPriceStore(database: Database): PriceStore {
  return {
    add: (prices) =>
      database.transaction(async (client) => {
        await client.query(
          `insert into prices (${priceColumns.map((column) => column.name).join(", ")})
           select price_id, provider, model, effective_time, ${baseRates.map(([column]) => `${column}::numeric`).join(", ")},
             long_context, other_rates, tiers, source
           from ${unnested(priceColumns, "t")} order by price_id on conflict (price_id) do nothing`,
          arrayParameters(priceColumns, prices),
        );
        const standing = await selectPrices(
          client,
          Array.from(prices, (price) => price.id),
        );
        const contents = new Map(standing.map((price) => [price.id, contentOf(price)]));
        return prices.filter((price) => contents.get(price.id) !== contentOf(price)).map((price) => price.id);
      }),
    read: (ids) => database.transaction((client) => selectPrices(client, ids)),
    async settle(prices) {
      const byId = new Map(prices.map((price) => [price.id, price]));
      let total = 0;
      for (;;) {
        const count = await database.transaction((client) => settleSome(client, byId));
        total += count;
        if (count < rowsAtOnce) return total;
      }
    },
    async backfill(list) {
      const targets = await database.transaction(async (client) => {
        const { rows } = await client.query<Target>(
          "select distinct provider, model from attempts where pricing = 'unpriced'",
        );
        return rows.filter((target) => list.find(target, Infinity) !== undefined);
      });
      let total = 0;
      for (const target of targets) {
        for (let after: string | undefined = firstId; after !== undefined; ) {
          const from: string = after;
          const filled = await database.transaction((client) => backfillSome(client, list, target, from));
          total += filled.count;
          after = filled.last;
        }
      }
      return total;
    },
  };
}

const rowsAtOnce = 1000;
/** Less than any attempt's. */
const firstId = "00000000-0000-0000-0000-000000000000";

interface Target {
  readonly provider: string;
  readonly model: string;
}

/** Column and name of each rate: those that every price has had from the beginning, and others. */
const baseRates = [
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
const priceColumns: readonly ArrayColumn<Price>[] = [
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

async function selectPrices(client: ClientBase, ids: readonly string[]): Promise<Price[]> {
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
function contentOf(price: Price): string {
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

async function settleSome(client: ClientBase, prices: ReadonlyMap<string, Price>): Promise<number> {
  const { rows: waiting } = await client.query<WaitingRow>(
    `select attempt_id, outcome, price_id, ${usageColumns}
     from attempts where pricing = 'price_unknown' and price_id = any($1::text[])
     order by attempt_id limit ${rowsAtOnce} for update`,
    [[...prices.keys()]],
  );
  await writeAmounts(
    client,
    waiting.map((row) => ({ ...row, priced: priceUsage(row.outcome, toUsage(row), prices.get(row.price_id)) })),
  );
  return waiting.length;
}

/** @returns how many got a price, and the last row that was looked at; undefined when there are no more */
async function backfillSome(
  client: ClientBase,
  list: PriceList,
  { provider, model }: Target,
  after: string,
): Promise<{ readonly count: number; readonly last: string | undefined }> {
  const { rows: waiting } = await client.query<WaitingRow & { readonly start_time: Date }>(
    `select attempt_id, outcome, start_time, ${usageColumns}
     from attempts where pricing = 'unpriced' and provider = $1 and model = $2 and attempt_id > $3
     order by attempt_id limit ${rowsAtOnce} for update`,
    [provider, model, after],
  );
  const found = waiting.flatMap((row) => {
    const price = list.find({ provider, model }, row.start_time.getTime());
    if (price === undefined) return [];
    return [{ attempt_id: row.attempt_id, price_id: price.id, priced: priceUsage(row.outcome, toUsage(row), price) }];
  });
  await writeAmounts(client, found);
  return { count: found.length, last: waiting.length < rowsAtOnce ? undefined : waiting.at(-1)?.attempt_id };
}

/** The price of a row that waited for one, and what it comes to. */
interface Amounts {
  readonly attempt_id: string;
  readonly price_id: string;
  readonly priced: PricedUsage;
}

const amountColumns: readonly ArrayColumn<Amounts>[] = [
  { name: "id", type: "uuid", value: (row) => row.attempt_id },
  { name: "price", type: "text", value: (row) => row.price_id },
  { name: "pricing", type: "text", value: (row) => row.priced.pricing },
  { name: "cost", type: "int8", value: (row) => row.priced.costNanoUsd },
  { name: "charge", type: "int8", value: (row) => row.priced.chargeNanoUsd },
];

async function writeAmounts(client: ClientBase, rows: readonly Amounts[]): Promise<void> {
  if (rows.length === 0) return;
  await client.query(
    `with settled as (
       update attempts set price_id = t.price, pricing = t.pricing, cost_nano_usd = t.cost, charge_nano_usd = t.charge
       from ${unnested(amountColumns, "t")} where attempt_id = t.id
       returning attempt_id, tenant, provider, cost_nano_usd, charge_nano_usd
     ) ${postingOf("settled")}`,
    arrayParameters(amountColumns, rows),
  );
}

interface WaitingRow extends UsageRow {
  readonly attempt_id: string;
  readonly outcome: Outcome;
  readonly price_id: string;
}
