import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { createPriceList, type Price, type PriceList } from "@weir/price/price";
import type { ClientBase } from "pg";
import type { Database } from "./database.ts";
import { recordPrices } from "./ledger-deeds.ts";
import { selectPrices } from "./price-rows.ts";

/**
 * Writes that these prices are the list from now on; nothing when they were already. Lists are written one after another,
 * each with a time behind that of the one before, also when the database's clock went back. Called in a transaction that does nothing slow behind it.
 * @param prices stand in the ledger
 */
export async function recordPriceList(client: ClientBase, prices: readonly Price[]): Promise<void> {
  const ids = prices.map((price) => price.id).toSorted();
  await client.query("lock table price_lists in share row exclusive mode");
  const last = await client.query<{ price_ids: readonly string[] }>(
    "select price_ids from price_lists order by list_number desc limit 1",
  );
  const { rowCount } = await client.query(
    `insert into price_lists (told_time, price_ids)
     select greatest(clock_timestamp(), (select max(told_time) + interval '1 microsecond' from price_lists)), $1::jsonb
     where $1::jsonb is distinct from (select price_ids from price_lists order by list_number desc limit 1)`,
    [JSON.stringify(ids)],
  );
  if (rowCount === 1) await recordPrices(client, last.rows[0]?.price_ids, ids);
}

/** The price book as of a time. Its prices are known to `find` by the times from which they hold. */
export interface PriceBookAsOf {
  readonly asOfMs: number;
  readonly list: PriceList;
}

/**
 * The list that the ledger had been told by a time: always the same one, whenever it is asked for. For times before the
 * first list it is that one, since nothing is known of what was before.
 * @param asOfMs milliseconds since 1970
 * @throws WeirError INVALID_REQUEST for a time to come, of which more may become known; STORE_UNAVAILABLE
 */
export function readPriceBook(database: Database, asOfMs: number): Promise<PriceBookAsOf> {
  return database.transaction(async (client) => {
    // Whoever writes a list under a time that has come has committed it then.
    await client.query("lock table price_lists in share mode");
    const { rows } = await client.query<{ has_come: boolean; price_ids: readonly string[] | null }>(
      `select clock_timestamp() >= $1 as has_come, coalesce(
         (select price_ids from price_lists where told_time <= $1 order by list_number desc limit 1),
         (select price_ids from price_lists order by list_number limit 1)
       ) as price_ids`,
      [new Date(asOfMs)],
    );
    if (rows[0]?.has_come !== true) {
      throw new WeirError(ErrorReason.INVALID_REQUEST, {
        text: "`as_of` must not be a time to come.",
        metadata: { param: "as_of" },
      });
    }
    return { asOfMs, list: createPriceList(await selectPrices(client, rows[0].price_ids ?? [])) };
  });
}

/**
 * The price of an attempt by a book: the one in force when it began, or at the time of the book for an attempt that began
 * later.
 * @param startTimeMs milliseconds since 1970
 */
export function priceAsOf(
  { asOfMs, list }: PriceBookAsOf,
  target: { readonly provider: string; readonly model: string },
  startTimeMs: number,
): Price | undefined {
  return list.find(target, Math.min(startTimeMs, asOfMs));
}
