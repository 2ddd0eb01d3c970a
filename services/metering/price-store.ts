import { create } from "@bufbuild/protobuf";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { priceUsage } from "@weir/price/charge";
import type { Price, Rates } from "@weir/price/price";
import type { ClientBase } from "pg";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import type { Database } from "./database.ts";
import type { Outcome } from "./ledger.ts";
import { postingOf } from "./transfers.ts";

/** The prices that the ledger goes by. Failures are WeirError STORE_UNAVAILABLE. */
export interface PriceStore {
  /** Writes prices that are new. @returns ids of those that stand in the ledger with other content, and stay so */
  add(prices: readonly Price[]): Promise<readonly string[]>;
  /** Prices by id; those that are not there are left out. */
  read(ids: readonly string[]): Promise<readonly Price[]>;
  /** Gives rows that wait for one of these prices their amounts and transfers. @returns how many */
  settle(prices: readonly Price[]): Promise<number>;
}

export function createPriceStore(database: Database): PriceStore {
  return {
    add: (prices) =>
      database.transaction(async (client) => {
        await client.query(
          `insert into prices (${priceColumns.map((column) => column.name).join(", ")})
           select price_id, provider, model, effective_time, ${rateNames.map((name) => `${name}::numeric`).join(", ")},
             long_context, source
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
  };
}

const rowsAtOnce = 1000;

const rateNames = [
  "input_nano_usd_per_million",
  "cached_input_nano_usd_per_million",
  "cache_write_nano_usd_per_million",
  "cache_write_long_nano_usd_per_million",
  "output_nano_usd_per_million",
] as const;

/** Rates under the names of the columns; text, since JSON numbers are read as floats by many. */
type RatesRow = Readonly<Record<(typeof rateNames)[number], string>>;

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
  ...rateNames.map(
    (name): ArrayColumn<Price> => ({
      name,
      type: "text",
      value: (price) => toRatesRow(price.nanoUsdPerMillion)[name],
    }),
  ),
  { name: "long_context", type: "jsonb", value: (price) => longContextText(price) },
  { name: "source", type: "text", value: (price) => price.source },
];

interface PriceRow extends RatesRow {
  readonly price_id: string;
  readonly provider: string;
  readonly model: string;
  readonly effective_time: Date | null;
  readonly long_context: (RatesRow & { readonly input_tokens_above: number }) | null;
  readonly source: string;
}

async function selectPrices(client: ClientBase, ids: readonly string[]): Promise<Price[]> {
  const { rows } = await client.query<PriceRow>("select * from prices where price_id = any($1::text[])", [ids]);
  return rows.map((row) => ({
    id: row.price_id,
    provider: row.provider,
    model: row.model,
    effectiveTime: row.effective_time?.getTime(),
    nanoUsdPerMillion: fromRatesRow(row),
    longContext: row.long_context
      ? { inputTokensAbove: row.long_context.input_tokens_above, nanoUsdPerMillion: fromRatesRow(row.long_context) }
      : undefined,
    source: row.source,
  }));
}

function fromRatesRow(row: RatesRow): Rates {
  return {
    input: BigInt(row.input_nano_usd_per_million),
    cachedInput: BigInt(row.cached_input_nano_usd_per_million),
    cacheWrite: BigInt(row.cache_write_nano_usd_per_million),
    cacheWriteLong: BigInt(row.cache_write_long_nano_usd_per_million),
    output: BigInt(row.output_nano_usd_per_million),
  };
}

function toRatesRow(rates: Rates): RatesRow {
  return {
    input_nano_usd_per_million: String(rates.input),
    cached_input_nano_usd_per_million: String(rates.cachedInput),
    cache_write_nano_usd_per_million: String(rates.cacheWrite),
    cache_write_long_nano_usd_per_million: String(rates.cacheWriteLong ?? rates.cacheWrite),
    output_nano_usd_per_million: String(rates.output),
  };
}

function longContextText({ longContext }: Price): string | null {
  if (!longContext) return null;
  return JSON.stringify({
    input_tokens_above: longContext.inputTokensAbove,
    ...toRatesRow(longContext.nanoUsdPerMillion),
  });
}

/** Everything that decides an amount. The source is a note and may be reworded. */
function contentOf(price: Price): string {
  const effectiveTime = price.effectiveTime === undefined ? null : Math.round(price.effectiveTime);
  return JSON.stringify([
    price.provider,
    price.model,
    effectiveTime,
    toRatesRow(price.nanoUsdPerMillion),
    longContextText(price),
  ]);
}

async function settleSome(client: ClientBase, prices: ReadonlyMap<string, Price>): Promise<number> {
  const { rows: waiting } = await client.query<WaitingRow>(
    `select attempt_id, outcome, price_id, input_tokens, cached_input_tokens, cache_write_tokens,
       cache_write_long_tokens, output_tokens, reasoning_tokens
     from attempts where pricing = 'price_unknown' and price_id = any($1::text[])
     order by attempt_id limit ${rowsAtOnce} for update`,
    [[...prices.keys()]],
  );
  const settled = waiting.map((row) => ({
    attemptId: row.attempt_id,
    ...priceUsage(row.outcome, toUsage(row), prices.get(row.price_id)),
  }));
  const columns: readonly ArrayColumn<(typeof settled)[number]>[] = [
    { name: "id", type: "uuid", value: (row) => row.attemptId },
    { name: "pricing", type: "text", value: (row) => row.pricing },
    { name: "cost", type: "int8", value: (row) => row.costNanoUsd },
    { name: "charge", type: "int8", value: (row) => row.chargeNanoUsd },
  ];
  await client.query(
    `with settled as (
       update attempts set pricing = t.pricing, cost_nano_usd = t.cost, charge_nano_usd = t.charge
       from ${unnested(columns, "t")} where attempt_id = t.id
       returning attempt_id, tenant, provider, cost_nano_usd, charge_nano_usd
     ) ${postingOf("settled")}`,
    arrayParameters(columns, settled),
  );
  return waiting.length;
}

type WaitingCount =
  | "input_tokens"
  | "cached_input_tokens"
  | "cache_write_tokens"
  | "cache_write_long_tokens"
  | "output_tokens"
  | "reasoning_tokens";

interface WaitingRow extends Readonly<Record<WaitingCount, string | null>> {
  readonly attempt_id: string;
  readonly outcome: Outcome;
  readonly price_id: string;
}

/** The counts that amounts depend on. */
function toUsage(row: WaitingRow): Usage {
  const usage = create(UsageSchema);
  if (row.input_tokens !== null) usage.inputTokens = Number(row.input_tokens);
  if (row.cached_input_tokens !== null) usage.cachedInputTokens = Number(row.cached_input_tokens);
  if (row.cache_write_tokens !== null) usage.cacheWriteTokens = Number(row.cache_write_tokens);
  if (row.cache_write_long_tokens !== null) usage.cacheWriteLongTokens = Number(row.cache_write_long_tokens);
  if (row.output_tokens !== null) usage.outputTokens = Number(row.output_tokens);
  if (row.reasoning_tokens !== null) usage.reasoningTokens = Number(row.reasoning_tokens);
  return usage;
}
