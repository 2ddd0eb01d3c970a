import { type PricedUsage, priceUsage } from "@weir/price/charge";
import type { Price, PriceList } from "@weir/price/price";
import type { ClientBase } from "pg";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import type { Database } from "./database.ts";
import type { Outcome } from "./ledger.ts";
import { recordBackfilled } from "./ledger-deeds.ts";
import { recordPriceList } from "./price-lists.ts";
import { baseRates, contentOf, priceColumns, selectPrices } from "./price-rows.ts";
import { postingOf } from "./transfers.ts";
import { toUsage, usageColumns, type UsageRow } from "./usage-columns.ts";

/** The prices that the ledger goes by. Failures are WeirError STORE_UNAVAILABLE. */
export interface PriceStore {
  /**
   * Writes prices that are new, and that these are the list from now on.
   * @param prices a whole list
   * @returns ids of those that stand in the ledger with other content, and stay so; then the list does not count
   */
  add(prices: readonly Price[]): Promise<readonly string[]>;
  /** Prices by id; those that are not there are left out. */
  read(ids: readonly string[]): Promise<readonly Price[]>;
  /**
   * Gives rows that wait for one of these prices their amounts and transfers; those that were adjusted before stay as
   * they are. @returns how many
   */
  settle(prices: readonly Price[]): Promise<number>;
  /**
   * Gives rows that had no price the one that the list has for their time, with amounts and transfers. Rows that have
   * amounts, or were adjusted, are never touched.
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
        const changed = prices.filter((price) => contents.get(price.id) !== contentOf(price)).map((price) => price.id);
        if (changed.length === 0) await recordPriceList(client, prices);
        return changed;
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

/** Held to the end of the transaction: an adjustment that is being written counts as one that stands. */
const noneIsAdjusting = "lock table attempt_standings in share mode";
const neverAdjusted = "not exists (select from attempt_standings s where s.attempt_id = attempts.attempt_id)";

function priceOf(row: WaitingRow, price: Price | undefined): PricedUsage {
  const { charge_max_nano_usd: most } = row;
  return priceUsage(row.outcome, toUsage(row), price, most === null ? undefined : BigInt(most));
}

async function settleSome(client: ClientBase, prices: ReadonlyMap<string, Price>): Promise<number> {
  await client.query(noneIsAdjusting);
  const { rows: waiting } = await client.query<WaitingRow>(
    `select attempt_id, outcome, price_id, charge_max_nano_usd, ${usageColumns}
     from attempts where pricing = 'price_unknown' and price_id = any($1::text[]) and ${neverAdjusted}
     order by attempt_id limit ${rowsAtOnce} for update`,
    [[...prices.keys()]],
  );
  await writeAmounts(
    client,
    waiting.map((row) => ({ ...row, priced: priceOf(row, prices.get(row.price_id)) })),
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
  await client.query(noneIsAdjusting);
  const { rows: waiting } = await client.query<WaitingRow & { readonly start_time: Date }>(
    `select attempt_id, outcome, start_time, charge_max_nano_usd, ${usageColumns}
     from attempts
     where pricing = 'unpriced' and provider = $1 and model = $2 and attempt_id > $3 and ${neverAdjusted}
     order by attempt_id limit ${rowsAtOnce} for update`,
    [provider, model, after],
  );
  const found = waiting.flatMap((row) => {
    const price = list.find({ provider, model }, row.start_time.getTime());
    const priced = priceOf(row, price);
    // Of a batch, also one by a price that says nothing of batches.
    if (price === undefined || priced.pricing === "unpriced") return [];
    return [{ attempt_id: row.attempt_id, price_id: price.id, priced }];
  });
  await writeAmounts(client, found);
  await recordBackfilled(client, { provider, model }, found.length);
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
  readonly charge_max_nano_usd: string | null;
}
