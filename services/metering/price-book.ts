import type { Price, PriceList } from "@weir/price/price";
import type { PriceStore } from "./price-store.ts";

/** The prices that stand in the ledger, by id. What a price list says does not count until it stands there. */
export interface PriceBook {
  /**
   * Writes the prices of a list and settles the rows that waited for one of them. Prices written before stay as they
   * are.
   * @returns how many rows were settled
   * @throws Error that names the prices whose rates changed under the same id; WeirError STORE_UNAVAILABLE
   */
  add(prices: readonly Price[]): Promise<number>;
  /** Makes sure that `get` knows these ids if the ledger does: another process may have written them. */
  load(ids: Iterable<string>): Promise<void>;
  /**
   * Settles rows that were written without their price while that price came into the ledger. Prices that the ledger
   * still does not have settle theirs when they are added.
   * @returns how many
   * @throws WeirError STORE_UNAVAILABLE
   */
  settleLate(ids: Iterable<string>): Promise<number>;
  /**
   * Gives rows that had no price the one that a list has for their time.
   * @param list was added before
   * @returns how many
   * @throws WeirError STORE_UNAVAILABLE
   */
  backfill(list: PriceList): Promise<number>;
  get(id: string): Price | undefined;
}

export function createPriceBook(store: PriceStore): PriceBook {
  // As many as there are rows of `prices`, which only operators add.
  const known = new Map<string, Price>();

  async function load(ids: Iterable<string>): Promise<void> {
    const missing = [...new Set(ids)].filter((id) => id !== "" && !known.has(id));
    if (missing.length === 0) return;
    for (const price of await store.read(missing)) known.set(price.id, price);
  }

  return {
    async add(prices) {
      const changed = new Set(await store.add(prices));
      const added = prices.filter((price) => !changed.has(price.id));
      for (const price of added) known.set(price.id, price);
      const settledCount = await store.settle(added);
      if (changed.size > 0) {
        const names = [...changed].slice(0, 5).join(", ") + (changed.size > 5 ? ", ..." : "");
        throw new Error(
          `the ledger has other rates for ${names}: prices are never edited; give the new rates an effective_time of their own`,
        );
      }
      return settledCount;
    },
    load,
    async settleLate(ids) {
      const wanted = [...new Set(ids)];
      await load(wanted);
      const late = wanted.flatMap((id) => known.get(id) ?? []);
      return late.length === 0 ? 0 : store.settle(late);
    },
    backfill: (list) => store.backfill(list),
    get: (id) => known.get(id),
  };
}
