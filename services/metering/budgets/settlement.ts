import type { ClientBase } from "pg";
import type { BudgetCharge } from "../ledger.ts";
import { decideSettlement, softPercentOf } from "./account.ts";
import { bucketCount, type LockedWindow, lockWindows, standingOf, windowsOfLeases, writeWindows } from "./windows.ts";

/** What settling found that somebody should know. */
export interface BudgetNews {
  /** Soft limits that were crossed now. */
  readonly crossed: readonly {
    readonly budget: string;
    readonly subject: string;
    readonly percent: number;
    readonly spent: bigint;
    readonly limit: bigint;
  }[];
  /** What was recorded after its lease had ended, and so may lie beyond a limit; nano-USD. */
  readonly lateNanoUsd: bigint;
  /** Leases that nobody knows. */
  readonly unknownLeases: number;
}

export const noNews: BudgetNews = { crossed: [], lateNanoUsd: 0n, unknownLeases: 0 };

/**
 * Moves charges from leases to what is spent. To be called in the transaction that inserts the rows of these attempts, with
 * none but inserted ones, so that each counts exactly once.
 */
export async function settleBudgets(client: ClientBase, charges: readonly BudgetCharge[]): Promise<BudgetNews> {
  const byLease = new Map<string, bigint>();
  for (const { leaseIds, nanoUsd } of charges) {
    // Moves nothing, and its lease may be gone: what was set aside for it came back before it was recorded.
    if (nanoUsd === 0n) continue;
    for (const id of leaseIds) byLease.set(String(id), (byLease.get(String(id)) ?? 0n) + nanoUsd);
  }
  if (byLease.size === 0) return noNews;
  const windowOf = await windowsOfLeases(client, [...byLease.keys()], false);
  const windows = await lockWindows(client, windowOf.values());
  const { rows } = await client.query<{ lease_id: string; outstanding_nano_usd: string }>({
    name: "lock-charged-leases",
    text: `select lease_id, outstanding_nano_usd from budget_leases
           where lease_id = any($1::int8[]) order by lease_id for update`,
    values: [[...byLease.keys()]],
  });
  const outstanding = new Map(rows.map((row) => [row.lease_id, BigInt(row.outstanding_nano_usd)]));
  let lateNanoUsd = 0n;
  let unknownLeases = 0;
  const spentNow = new Map<LockedWindow, bigint>();
  const taken: { readonly leaseId: string; readonly fromLease: bigint; readonly beyond: bigint }[] = [];
  for (const [leaseId, charge] of byLease) {
    const window = windows.get(windowOf.get(leaseId) ?? "");
    if (window === undefined) {
      unknownLeases++;
      continue;
    }
    // Locking its window may just have deleted the lease; the charge counts all the same.
    const { fromLease } = decideSettlement(outstanding.get(leaseId) ?? 0n, charge);
    window.leased -= fromLease;
    window.spent += charge;
    lateNanoUsd += charge - fromLease;
    spentNow.set(window, (spentNow.get(window) ?? 0n) + charge);
    taken.push({ leaseId, fromLease, beyond: charge - fromLease });
  }
  await client.query({
    name: "charge-leases",
    text: `update budget_leases l set outstanding_nano_usd = l.outstanding_nano_usd - t.amount,
             overdrawn = l.overdrawn or t.beyond > 0, lost_nano_usd = greatest(0, l.lost_nano_usd - t.beyond)
           from unnest($1::int8[], $2::int8[], $3::int8[]) as t (lease_id, amount, beyond) where l.lease_id = t.lease_id`,
    values: [
      taken.map(({ leaseId }) => leaseId),
      taken.map(({ fromLease }) => String(fromLease)),
      taken.map(({ beyond }) => String(beyond)),
    ],
  });
  const crossed = await writeSpent(client, windows, spentNow);
  return { crossed, lateNanoUsd, unknownLeases };
}

/**
 * Ends leases of which nothing more will be charged: what is left of them is free. To be called behind the last charge, in its
 * transaction.
 */
export async function endLeases(client: ClientBase, leaseIds: readonly bigint[]): Promise<void> {
  const ids = leaseIds.map(String);
  const windows = await lockWindows(client, (await windowsOfLeases(client, ids, false)).values());
  const { rows } = await client.query<{ window_id: string; outstanding_nano_usd: string }>(
    `with due as (select lease_id from budget_leases where lease_id = any($1::int8[]) and not ended order by lease_id for update)
     delete from budget_leases l using due where l.lease_id = due.lease_id returning l.window_id, l.outstanding_nano_usd`,
    [ids],
  );
  for (const row of rows) {
    const window = windows.get(row.window_id);
    if (window !== undefined) window.leased -= BigInt(row.outstanding_nano_usd);
  }
  await writeWindows(client, windows.values());
}

/** Writes what was spent now. @returns the soft limits that were crossed by it */
async function writeSpent(
  client: ClientBase,
  windows: ReadonlyMap<string, LockedWindow>,
  spentNow: ReadonlyMap<LockedWindow, bigint>,
): Promise<BudgetNews["crossed"]> {
  await fillBuckets(client, spentNow);
  const crossed = [...spentNow.keys()].flatMap((window) => {
    const percent = softPercentOf(standingOf(window), window.softPercents);
    if (percent <= window.softPercent) return [];
    window.softPercent = percent;
    const { budgetId: budget, subject, spent, limit } = window;
    return [{ budget, subject, percent, spent, limit }];
  });
  await writeWindows(client, windows.values());
  return crossed;
}

async function fillBuckets(client: ClientBase, spentNow: ReadonlyMap<LockedWindow, bigint>): Promise<void> {
  const rolling = [...spentNow].filter(([window]) => window.spanSeconds !== null);
  if (rolling.length === 0) return;
  await client.query({
    name: "fill-budget-buckets",
    text: `insert into budget_buckets as k (window_id, bucket_time, spent_nano_usd)
           select window_id, date_bin(make_interval(secs => width), now(), '2000-01-01T00:00:00Z'), amount
           from unnest($1::int8[], $2::float8[], $3::int8[]) as t (window_id, width, amount)
           on conflict (window_id, bucket_time) do update set spent_nano_usd = k.spent_nano_usd + excluded.spent_nano_usd`,
    values: [
      rolling.map(([{ windowId }]) => windowId),
      rolling.map(([{ spanSeconds }]) => (spanSeconds ?? 0) / bucketCount),
      rolling.map(([, amount]) => String(amount)),
    ],
  });
}
