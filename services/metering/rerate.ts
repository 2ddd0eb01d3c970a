import { priceUsage } from "@weir/price/charge";
import type { Adjustment, Standing } from "./adjustments.ts";
import { type PriceBookAsOf, priceAsOf } from "./price-lists.ts";

/** What a price book says of an attempt that stands in the ledger. */
export type Rerating =
  | { readonly kind: "same" }
  /** The book has no price for it. */
  | { readonly kind: "no_price" }
  /** The book has a price, and what it comes to cannot be known: no counts, or an amount beyond 64 bits. */
  | { readonly kind: "no_amount" }
  | { readonly kind: "changed"; readonly adjustment: Adjustment };

/**
 * Prices an attempt anew: what it used, as it stands, at the price of the book. What is known stays known: an attempt without
 * a price or an amount by the book keeps what it has. The tenant pays what the provider bills, as far as budgets had set
 * aside for it. Pure; what it returned, written, makes the next answer `same`.
 */
export function rerate(standing: Standing, book: PriceBookAsOf): Rerating {
  const price = priceAsOf(book, standing, standing.startTimeMs);
  if (price === undefined) return { kind: "no_price" };
  const { outcome, usage, chargeMaxNanoUsd } = standing;
  const priced = priceUsage(outcome, usage, price, chargeMaxNanoUsd);
  if (priced.pricing !== "priced") return { kind: "no_amount" };
  const { costNanoUsd, chargeNanoUsd } = standing.priced;
  if (priced.costNanoUsd === costNanoUsd && priced.chargeNanoUsd === chargeNanoUsd) return { kind: "same" };
  return { kind: "changed", adjustment: { standing, usage, priceId: price.id, priced } };
}
