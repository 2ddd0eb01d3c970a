import type { ClientBase } from "pg";
import type { Database } from "../database.ts";
import { lockWindows, writeWindows } from "./windows.ts";

/** Windows stay at least so long after their end, or their budget's. */
const keptDays = 400;
/** The longest calendar window. */
const windowDaysMax = 31;
/** Small, so that nobody waits for long behind one; PGlite does one thing at a time. */
const batchCount = 200;
/** Of each kind; the next round takes what this one leaves. */
const batchesMax = 10_000;

/** What a sweep did. */
export interface SweptBudgets {
  /** Leases whose time was over: deleted, or kept as ended when a charge of theirs may still come. */
  readonly leases: number;
  /** Windows that were deleted. */
  readonly windows: number;
}

/**
 * Lets go of leases whose time is over in windows that nobody touches any more, and deletes windows that ended more than
 * 400 days ago and have no live lease. Each batch is a transaction; several processes may sweep at once.
 *
 * A lease that was given back or recorded to its last nano-USD, and never charged beyond, can receive no charge: calls
 * cost no more than was set aside of it. Any other stays until its window goes, so that a late charge still finds its window.
 * @param isStopped asked before each batch
 * @throws WeirError STORE_UNAVAILABLE; what was swept until then is swept
 */
export async function sweepBudgets(database: Database, isStopped: () => boolean): Promise<SweptBudgets> {
  let leases = 0;
  let lastLeaseId = "0";
  for (let batches = 0; batches < batchesMax && !isStopped(); batches++) {
    const due = await database.transaction((client) => endDueLeases(client, lastLeaseId));
    leases += due.length;
    lastLeaseId = due.at(-1) ?? lastLeaseId;
    if (due.length < batchCount) break;
  }
  let windows = 0;
  for (let batches = 0; batches < batchesMax && !isStopped(); batches++) {
    const count = await database.transaction(deleteOldWindows);
    windows += count;
    if (count < batchCount) break;
  }
  return { leases, windows };
}

/** @returns ids of leases whose time is over, in their order, the first after `lastLeaseId` */
async function endDueLeases(client: ClientBase, lastLeaseId: string): Promise<string[]> {
  const { rows } = await client.query<{ lease_id: string; window_id: string }>(
    `select lease_id, window_id from budget_leases
     where lease_id > $1 and not ended and expire_time + keep < now() order by lease_id limit $2`,
    [lastLeaseId, batchCount],
  );
  if (rows.length === 0) return [];
  const windows = await lockWindows(
    client,
    rows.map((row) => row.window_id),
  );
  await writeWindows(client, windows.values());
  return rows.map((row) => row.lease_id);
}

/** Whoever grants or charges locks the window first: one that is locked is in use, and one locked here gets no new lease. */
async function deleteOldWindows(client: ClientBase): Promise<number> {
  const { rows } = await client.query<{ window_id: string }>(
    `select window_id from budget_windows where window_id in (
       (select w.window_id from budget_windows w
        where w.start_time > '-infinity' and w.start_time < now() - make_interval(days => ${keptDays + windowDaysMax})
          and not exists (select from budget_leases l where l.window_id = w.window_id and not l.ended)
        order by w.start_time limit $1)
       union all
       (select w.window_id from budgets b join budget_windows w using (budget_key)
        where b.delete_time < now() - make_interval(days => ${keptDays})
          and not exists (select from budget_leases l where l.window_id = w.window_id and not l.ended)
        limit $1))
     order by window_id limit $1 for update skip locked`,
    [batchCount],
  );
  const ids = rows.map((row) => row.window_id);
  // Statements of their own: they see a lease that was granted while the windows were looked for.
  await client.query("delete from budget_leases where window_id = any($1::int8[]) and ended", [ids]);
  const { rowCount } = await client.query(
    `delete from budget_windows w where w.window_id = any($1::int8[])
       and not exists (select from budget_leases l where l.window_id = w.window_id)`,
    [ids],
  );
  return rowCount ?? 0;
}
