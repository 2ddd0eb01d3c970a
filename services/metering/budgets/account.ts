/** How one window of a budget stands, in nano-USD. */
export interface Standing {
  readonly limit: bigint;
  /** What the ledger has recorded. */
  readonly spent: bigint;
  /** What all leases together still have: held, in hand, or spent and not recorded. */
  readonly leased: bigint;
}

/** What is asked of one window for one call. */
export interface Ask {
  readonly needed: bigint;
  /** What may be granted ahead of need. */
  readonly preferred: bigint;
  /** Processes that lease of this window, the one that asks included. */
  readonly holders: number;
}

/** Why nothing is granted. */
export type Refusal =
  /** More is needed than is unspent. */
  | "spent"
  /** It would fit if others gave back what they have in hand. */
  | "held";

/** What could be spent if every lease came back unspent. */
export function unspent({ limit, spent }: Standing): bigint {
  return limit > spent ? limit - spent : 0n;
}

/** What is neither spent nor leased. */
export function remaining(standing: Standing): bigint {
  const left = unspent(standing);
  return left > standing.leased ? left - standing.leased : 0n;
}

/**
 * Decides on one window. What is granted beyond need gets smaller as the budget runs out: at most half of what remains, over
 * all holders, so that no holder has in hand what another one needs.
 * @returns the amount; the law `spent + leased <= limit` holds after it if it held before
 */
export function decideGrant(standing: Standing, { needed, preferred, holders }: Ask): bigint | Refusal {
  const left = remaining(standing);
  if (needed > left) return needed > unspent(standing) ? "spent" : "held";
  const share = left / (2n * BigInt(Math.max(1, holders)));
  const ahead = preferred < share ? preferred : share;
  return ahead > needed ? ahead : needed;
}

/** What a charge moves: from the lease, as far as it has it, to what is spent, whole. */
export function decideSettlement(outstanding: bigint, charge: bigint): { readonly fromLease: bigint } {
  return { fromLease: charge < outstanding ? charge : outstanding };
}

/**
 * What a return moves from the lease back to the window.
 * @param before what was given back of the lease before, as a total
 * @param total what the holder says, this time included; a word that came late says less
 */
export function decideReturn(outstanding: bigint, before: bigint, total: bigint): bigint {
  if (total <= before) return 0n;
  const step = total - before;
  return step < outstanding ? step : outstanding;
}

/** The highest soft limit that is reached; 0: none. */
export function softPercentOf({ limit, spent }: Standing, percents: readonly number[]): number {
  let reached = 0;
  for (const percent of percents) {
    if (percent > reached && spent * 100n >= limit * BigInt(percent)) reached = percent;
  }
  return reached;
}
