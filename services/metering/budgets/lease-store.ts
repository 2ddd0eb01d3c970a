import type { ClientBase } from "pg";
import type { Database } from "../database.ts";
import { decideGrant, decideReturn, remaining, softPercentOf, unspent } from "./account.ts";
import {
  type AccountName,
  type LockedWindow,
  lockWindows,
  presentWindows,
  standingOf,
  windowsOfLeases,
  writeWindows,
} from "./windows.ts";

/** Money of one account for one call. Amounts in nano-USD. */
export interface LeaseAsk {
  readonly account: AccountName;
  /** A lease to add to, whatever its window; 0n: that of the present window. */
  readonly leaseId: bigint;
  readonly needed: bigint;
  readonly preferred: bigint;
}

/** What became of a group of asks. */
export type GroupResult =
  | { readonly outcome: "granted" }
  | { readonly outcome: "gone"; readonly account: AccountName }
  | {
      readonly outcome: "spent" | "held";
      readonly account: AccountName;
      readonly unspent: bigint;
      /** Milliseconds; null: the window has no end. */
      readonly windowEndsInMs: number | null;
    };

/** A lease as it stands. */
export interface LeaseState {
  readonly leaseId: bigint;
  readonly account: AccountName;
  readonly grantedTotal: bigint;
  readonly windowEndsInMs: number | null;
  /** Of its window. */
  readonly remaining: bigint;
  readonly softPercent: number;
}

/** The leases of budgets. Each method is one transaction; failures are WeirError STORE_UNAVAILABLE. */
export interface LeaseStore {
  /** Grants groups in their order; of each group all or nothing. @param keepMs how long a lease covers calls after it expired */
  acquire(
    holder: string,
    keepMs: number,
    groups: readonly (readonly LeaseAsk[])[],
  ): Promise<{ readonly results: readonly GroupResult[]; readonly leases: readonly LeaseState[] }>;
  /** Keeps leases alive, and takes what is given back. A forgotten one is nobody's from then on. */
  renew(
    holder: string,
    returns: readonly LeaseReturn[],
  ): Promise<{ readonly leases: readonly LeaseState[]; readonly ended: readonly bigint[] }>;
}

/** What a holder says of one of its leases. Amounts in nano-USD, since the lease began. */
export interface LeaseReturn {
  readonly leaseId: bigint;
  readonly returnedTotal: bigint;
  /** Whether the holder has nothing more to do with it, provided that no more was granted than `grantedTotal`. */
  readonly forgotten: boolean;
  /** Undefined: whatever was granted. */
  readonly grantedTotal: bigint | undefined;
}

/** How long a lease lives without a renewal. */
export const leaseMs = 30_000;

export function createLeaseStore(database: Database): LeaseStore {
  return {
    acquire: (holder, keepMs, groups) =>
      database.transaction(async (client) => {
        const asks = groups.flat();
        const windowOf = await resolve(client, asks);
        const windows = await lockWindows(client, windowOf.values());
        const live = await liveLeases(client, windows);
        const results: GroupResult[] = [];
        const granted = new Map<string, bigint>();
        const tight = new Set<string>();
        const state = { holder, windowOf, windows, live, granted, tight, keptIn: (id: string) => keptIn(client, id) };
        // One after the other: what one is granted the next one lacks.
        for (const group of groups) results.push(await decideGroup(group, state));
        const leases = await writeGrants(client, holder, keepMs, windows, granted);
        await writeWindows(client, windows.values(), tight);
        return { results, leases };
      }),
    renew: (holder, returns) =>
      database.transaction(async (client) => {
        const windowOf = await windowsOfLeases(
          client,
          returns.map(({ leaseId }) => String(leaseId)),
          true,
        );
        const windows = await lockWindows(client, windowOf.values());
        const said = new Map(returns.map((one) => [String(one.leaseId), one]));
        const { rows } = await client.query<LeaseRow>({
          name: "lock-own-leases",
          text: `select lease_id, window_id, holder, outstanding_nano_usd, granted_total_nano_usd, returned_total_nano_usd
                 from budget_leases where lease_id = any($1::int8[]) and holder = $2 and not ended
                 order by lease_id for update`,
          values: [[...said.keys()], holder],
        });
        const kept = rows.map((row) => {
          const outstanding = BigInt(row.outstanding_nano_usd);
          const granted = BigInt(row.granted_total_nano_usd);
          const before = BigInt(row.returned_total_nano_usd);
          const { returnedTotal: total = 0n, forgotten = false, grantedTotal } = said.get(row.lease_id) ?? {};
          const isForgotten = forgotten && (grantedTotal ?? granted) === granted;
          const amount = decideReturn(outstanding, before, total);
          const window = windows.get(row.window_id);
          if (window !== undefined) window.leased -= amount;
          const returnedTotal = total > before ? total : before;
          return { row, granted, outstanding: outstanding - amount, returnedTotal, isForgotten };
        });
        await client.query({
          name: "renew-leases",
          // Of one that was forgotten and came back whole nothing can be charged: it covers nothing, and shares with nobody.
          text: `update budget_leases l set outstanding_nano_usd = t.outstanding, returned_total_nano_usd = t.returned,
                   expire_time = case when t.forgotten and t.outstanding = 0 and t.returned >= l.granted_total_nano_usd
                     then '-infinity' else now() + make_interval(secs => ${leaseMs / 1_000}) end,
                   holder = case when t.forgotten then gen_random_uuid() else l.holder end
                 from unnest($1::int8[], $2::int8[], $3::int8[], $4::bool[]) as t (lease_id, outstanding, returned, forgotten)
                 where l.lease_id = t.lease_id`,
          values: [
            kept.map(({ row }) => row.lease_id),
            kept.map(({ outstanding }) => String(outstanding)),
            kept.map(({ returnedTotal }) => String(returnedTotal)),
            kept.map(({ isForgotten }) => isForgotten),
          ],
        });
        await writeWindows(client, windows.values());
        const alive = new Set(kept.map(({ row }) => row.lease_id));
        return {
          leases: kept.flatMap(({ row, granted }) => stateOf(row.lease_id, granted, windows, row.window_id)),
          ended: returns.map(({ leaseId }) => leaseId).filter((id) => !alive.has(String(id))),
        };
      }),
  };
}

interface LeaseRow {
  readonly lease_id: string;
  readonly window_id: string;
  readonly holder: string;
  readonly outstanding_nano_usd: string;
  readonly granted_total_nano_usd: string;
  readonly returned_total_nano_usd: string;
}

/** The window of each ask; those that are not there belong to a budget that is not enforced, or to a lease that has ended. */
async function resolve(client: ClientBase, asks: readonly LeaseAsk[]): Promise<ReadonlyMap<LeaseAsk, string>> {
  const windowOf = new Map<LeaseAsk, string>();
  const fresh = asks.filter(({ leaseId }) => leaseId === 0n);
  const more = asks.filter(({ leaseId }) => leaseId !== 0n);
  if (fresh.length > 0) {
    const ids = await presentWindows(
      client,
      fresh.map(({ account }) => account),
    );
    fresh.forEach((ask, index) => {
      const id = ids[index];
      if (id !== undefined) windowOf.set(ask, id);
    });
  }
  if (more.length > 0) {
    const ids = await windowsOfLeases(
      client,
      more.map(({ leaseId }) => String(leaseId)),
      true,
    );
    for (const ask of more) {
      const id = ids.get(String(ask.leaseId));
      if (id !== undefined) windowOf.set(ask, id);
    }
  }
  return windowOf;
}

/** Leases that live, by their window, but for those of batches, whose holders ask for nothing more; of windows that are locked. */
async function liveLeases(
  client: ClientBase,
  windows: ReadonlyMap<string, LockedWindow>,
): Promise<ReadonlyMap<string, readonly LeaseRow[]>> {
  const { rows } = await client.query<LeaseRow>({
    name: "live-budget-leases",
    text: `select lease_id, window_id, holder, outstanding_nano_usd, granted_total_nano_usd, returned_total_nano_usd
           from budget_leases where window_id = any($1::int8[]) and not ended and not kept
           order by lease_id for update`,
    values: [[...windows.keys()]],
  });
  return Map.groupBy(rows, (row) => row.window_id);
}

/** What is set aside in a window for batches under way, which does not come back soon. */
async function keptIn(client: ClientBase, windowId: string): Promise<bigint> {
  const { rows } = await client.query<{ kept: string }>(
    `select coalesce(sum(outstanding_nano_usd), 0)::int8 as kept from budget_leases
     where window_id = $1 and not ended and kept`,
    [windowId],
  );
  return BigInt(rows[0]?.kept ?? 0);
}

/** What groups are decided by, and what deciding changes. */
interface Deciding {
  readonly holder: string;
  readonly windowOf: ReadonlyMap<LeaseAsk, string>;
  readonly windows: ReadonlyMap<string, LockedWindow>;
  readonly live: ReadonlyMap<string, readonly LeaseRow[]>;
  readonly granted: Map<string, bigint>;
  readonly tight: Set<string>;
  readonly keptIn: (windowId: string) => Promise<bigint>;
}

async function decideGroup(
  group: readonly LeaseAsk[],
  { holder, windowOf, windows, live, granted, tight, keptIn }: Deciding,
): Promise<GroupResult> {
  const amounts: { readonly window: LockedWindow; readonly amount: bigint }[] = [];
  for (const ask of group) {
    const window = windows.get(windowOf.get(ask) ?? "");
    if (window === undefined && ask.leaseId !== 0n) {
      // The lease has ended, which says nothing of its budget.
      return { outcome: "held", account: ask.account, unspent: 0n, windowEndsInMs: null };
    }
    if (window === undefined || !window.enforced) return { outcome: "gone", account: ask.account };
    const holders = new Set((live.get(window.windowId) ?? []).map((lease) => lease.holder)).add(holder).size;
    const amount = decideGrant(standingOf(window), { needed: ask.needed, preferred: ask.preferred, holders });
    if (typeof amount === "string") {
      // Asked only here: most groups are granted.
      const free = unspent(standingOf(window)) - (await keptIn(window.windowId));
      const isHeld = ask.needed <= free;
      if (isHeld) tight.add(window.windowId);
      return {
        outcome: isHeld ? "held" : "spent",
        account: ask.account,
        unspent: free > 0n ? free : 0n,
        windowEndsInMs: window.endsInMs,
      };
    }
    amounts.push({ window, amount });
  }
  for (const { window, amount } of amounts) {
    window.leased += amount;
    granted.set(window.windowId, (granted.get(window.windowId) ?? 0n) + amount);
  }
  return { outcome: "granted" };
}

/** @returns the leases that were added to */
async function writeGrants(
  client: ClientBase,
  holder: string,
  keepMs: number,
  windows: ReadonlyMap<string, LockedWindow>,
  granted: ReadonlyMap<string, bigint>,
): Promise<LeaseState[]> {
  if (granted.size === 0) return [];
  const { rows } = await client.query<Pick<LeaseRow, "lease_id" | "window_id" | "granted_total_nano_usd">>({
    name: "grant-leases",
    text: `insert into budget_leases as l (window_id, holder, outstanding_nano_usd, granted_total_nano_usd, expire_time, keep)
           select window_id, $3, amount, amount, now() + make_interval(secs => ${leaseMs / 1_000}), make_interval(secs => $4)
           from unnest($1::int8[], $2::int8[]) as t (window_id, amount)
           on conflict (window_id, holder) where not ended do update set
             outstanding_nano_usd = l.outstanding_nano_usd + excluded.outstanding_nano_usd,
             granted_total_nano_usd = l.granted_total_nano_usd + excluded.granted_total_nano_usd,
             expire_time = excluded.expire_time, keep = excluded.keep
           returning lease_id, window_id, granted_total_nano_usd`,
    values: [[...granted.keys()], [...granted.values()].map(String), holder, keepMs / 1_000],
  });
  return rows.flatMap((row) => stateOf(row.lease_id, BigInt(row.granted_total_nano_usd), windows, row.window_id));
}

function stateOf(
  leaseId: string,
  grantedTotal: bigint,
  windows: ReadonlyMap<string, LockedWindow>,
  windowId: string,
): LeaseState[] {
  const window = windows.get(windowId);
  if (window === undefined) return [];
  return [
    {
      leaseId: BigInt(leaseId),
      account: { budget: window.budgetId, subject: window.subject },
      grantedTotal,
      windowEndsInMs: window.endsInMs,
      remaining: remaining(standingOf(window)),
      softPercent: softPercentOf(standingOf(window), window.softPercents),
    },
  ];
}
