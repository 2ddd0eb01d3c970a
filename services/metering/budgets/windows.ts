import type { ClientBase } from "pg";
import type { Standing } from "./account.ts";

/** A budget's window, locked until the transaction ends. */
export interface LockedWindow {
  readonly windowId: string;
  readonly budgetId: string;
  readonly subject: string;
  readonly softPercents: readonly number[];
  readonly limit: bigint;
  spent: bigint;
  leased: bigint;
  /** The highest soft limit that was told. */
  softPercent: number;
  /** Length of a rolling window; null for others. */
  readonly spanSeconds: number | null;
  /** Milliseconds until it ends, by the database's clock; null: it has no end. */
  readonly endsInMs: number | null;
  /** Whether its budget is still enforced. */
  readonly enforced: boolean;
}

export function standingOf({ limit, spent, leased }: LockedWindow): Standing {
  return { limit, spent, leased };
}

/** A rolling window is kept in so many buckets. */
export const bucketCount = 60;

/** SQL: when the present window of the budget `b` began. `now()` is the beginning of the transaction. */
const presentStart = `case when b.window_kind in ('total', 'rolling') then '-infinity'::timestamptz
  else date_trunc(b.window_kind, now() at time zone 'UTC') at time zone 'UTC' end`;

/** The account of an ask: a budget's id, and the subject. */
export interface AccountName {
  readonly budget: string;
  readonly subject: string;
}

/**
 * Finds the present windows of accounts, and makes those that are missing.
 * @returns ids, in the order of the accounts; undefined where the budget is not enforced
 */
export async function presentWindows(
  client: ClientBase,
  accounts: readonly AccountName[],
): Promise<(string | undefined)[]> {
  const names = [accounts.map(({ budget }) => budget), accounts.map(({ subject }) => subject)];
  const find = () =>
    client.query<{ window_id: string | null; enforced: boolean }>({
      name: "find-budget-windows",
      text: `select w.window_id, b.budget_key is not null as enforced
             from unnest($1::text[], $2::text[]) with ordinality as a (budget_id, subject, place)
             left join budgets b on b.budget_id = a.budget_id and b.delete_time is null and not b.disabled
             left join budget_windows w
               on w.budget_key = b.budget_key and w.subject = a.subject and w.start_time = ${presentStart}
             order by a.place`,
      values: names,
    });
  let { rows } = await find();
  if (rows.some((row) => row.enforced && row.window_id === null)) {
    await client.query(
      `insert into budget_windows (budget_key, subject, start_time)
       select b.budget_key, a.subject, ${presentStart}
       from (select distinct * from unnest($1::text[], $2::text[]) as u (budget_id, subject)) a
       join budgets b on b.budget_id = a.budget_id and b.delete_time is null and not b.disabled
       order by b.budget_key, a.subject
       on conflict do nothing`,
      names,
    );
    ({ rows } = await find());
  }
  return rows.map((row) => row.window_id ?? undefined);
}

/**
 * Windows of leases, without locking anything; leases that nobody knows are left out.
 * @param liveOnly leaves out those that have ended, too
 */
export async function windowsOfLeases(
  client: ClientBase,
  leaseIds: readonly string[],
  liveOnly: boolean,
): Promise<ReadonlyMap<string, string>> {
  const { rows } = await client.query<{ lease_id: string; window_id: string }>({
    name: "find-windows-of-leases",
    text: "select lease_id, window_id from budget_leases where lease_id = any($1::int8[]) and not (ended and $2)",
    values: [leaseIds, liveOnly],
  });
  return new Map(rows.map((row) => [row.lease_id, row.window_id]));
}

/**
 * Locks windows, in the order of their ids like every transaction does, and lets go of what does not count any more: buckets
 * that a rolling window has passed, and leases whose time is over.
 */
export async function lockWindows(
  client: ClientBase,
  windowIds: Iterable<string>,
): Promise<ReadonlyMap<string, LockedWindow>> {
  const ids = [...new Set(windowIds)];
  const { rows } = await client.query<{
    window_id: string;
    budget_id: string;
    subject: string;
    soft_percents: number[];
    limit_nano_usd: string;
    spent_nano_usd: string;
    leased_nano_usd: string;
    soft_percent: number;
    span_seconds: string | null;
    ends_in_ms: string | null;
    enforced: boolean;
  }>({
    name: "lock-budget-windows",
    text: `select w.window_id, b.budget_id, w.subject, b.soft_percents, b.limit_nano_usd, w.spent_nano_usd, w.leased_nano_usd,
             w.soft_percent, b.span_seconds, b.delete_time is null and not b.disabled as enforced,
             case when b.window_kind not in ('total', 'rolling') then
               greatest(0, floor(1000 * extract(epoch from
                 ((w.start_time at time zone 'UTC') + ('1 ' || b.window_kind)::interval) at time zone 'UTC' - now())))::int8
             end as ends_in_ms
           from budget_windows w join budgets b using (budget_key)
           where w.window_id = any($1::int8[]) order by w.window_id for update of w`,
    values: [ids],
  });
  const windows = new Map<string, LockedWindow>();
  for (const row of rows) {
    windows.set(row.window_id, {
      windowId: row.window_id,
      budgetId: row.budget_id,
      subject: row.subject,
      softPercents: row.soft_percents,
      limit: BigInt(row.limit_nano_usd),
      spent: BigInt(row.spent_nano_usd),
      leased: BigInt(row.leased_nano_usd),
      softPercent: row.soft_percent,
      spanSeconds: row.span_seconds === null ? null : Number(row.span_seconds),
      endsInMs: row.ends_in_ms === null ? null : Number(row.ends_in_ms),
      enforced: row.enforced,
    });
  }
  await passBuckets(client, windows);
  await endLeases(client, windows);
  return windows;
}

async function passBuckets(client: ClientBase, windows: ReadonlyMap<string, LockedWindow>): Promise<void> {
  const rolling = [...windows.values()].filter(({ spanSeconds }) => spanSeconds !== null);
  if (rolling.length === 0) return;
  const { rows } = await client.query<{ window_id: string; spent_nano_usd: string }>({
    name: "pass-budget-buckets",
    text: `delete from budget_buckets k using unnest($1::int8[], $2::float8[]) as w (window_id, counts_seconds)
           where k.window_id = w.window_id and k.bucket_time <= now() - make_interval(secs => w.counts_seconds)
           returning k.window_id, k.spent_nano_usd`,
    values: [
      rolling.map(({ windowId }) => windowId),
      // A bucket counts until its youngest amount is older than the span.
      rolling.map(({ spanSeconds }) => (spanSeconds ?? 0) * (1 + 1 / bucketCount)),
    ],
  });
  for (const row of rows) {
    const window = windows.get(row.window_id);
    if (window === undefined) continue;
    const gone = BigInt(row.spent_nano_usd);
    window.spent = window.spent > gone ? window.spent - gone : 0n;
    // Told anew when it is crossed anew.
    window.softPercent = 0;
  }
}

/**
 * Those of which nothing is left are deleted: all of it was recorded or given back, so no charge can come. The others stay as
 * ended, for what comes late.
 */
async function endLeases(client: ClientBase, windows: ReadonlyMap<string, LockedWindow>): Promise<void> {
  const { rows } = await client.query<{ window_id: string; outstanding_nano_usd: string }>({
    name: "end-budget-leases",
    text: `with due as (
             select lease_id, window_id, outstanding_nano_usd, outstanding_nano_usd = 0 and not overdrawn as covered
             from budget_leases where window_id = any($1::int8[]) and not ended and not kept and expire_time + keep < now()
             order by lease_id for update),
           covered as (delete from budget_leases l using due where l.lease_id = due.lease_id and due.covered),
           uncovered as (update budget_leases l
             set outstanding_nano_usd = 0, ended = true, lost_nano_usd = due.outstanding_nano_usd, end_time = now()
             from due where l.lease_id = due.lease_id and not due.covered)
           select window_id, outstanding_nano_usd from due`,
    values: [[...windows.keys()]],
  });
  for (const row of rows) {
    const window = windows.get(row.window_id);
    if (window !== undefined) window.leased -= BigInt(row.outstanding_nano_usd);
  }
}

/** Writes back how windows stand. @param tight windows of which somebody was refused what others have in hand */
export async function writeWindows(
  client: ClientBase,
  windows: Iterable<LockedWindow>,
  tight: ReadonlySet<string> = new Set(),
): Promise<void> {
  const all = [...windows];
  await client.query({
    name: "write-budget-windows",
    text: `update budget_windows w set spent_nano_usd = t.spent, leased_nano_usd = t.leased, soft_percent = t.soft,
             tight_time = case when t.tight then clock_timestamp() else w.tight_time end
           from unnest($1::int8[], $2::int8[], $3::int8[], $4::int4[], $5::bool[]) as t (window_id, spent, leased, soft, tight)
           where w.window_id = t.window_id`,
    values: [
      all.map(({ windowId }) => windowId),
      all.map(({ spent }) => String(spent)),
      all.map(({ leased }) => String(leased)),
      all.map(({ softPercent }) => softPercent),
      all.map(({ windowId }) => tight.has(windowId)),
    ],
  });
}
