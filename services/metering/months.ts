import type { ClientBase } from "pg";
import { lockAdjustments } from "./adjustments.ts";
import type { Database } from "./database.ts";
import { recordRetired } from "./ledger-deeds.ts";
import { lockSchema, unhurried } from "./migrate.ts";

/** What keeping the months changed: names of partitions. */
export interface KeptMonths {
  readonly made: readonly string[];
  readonly retired: readonly string[];
}

/** Months before and after the present one that have partitions of their own. */
const monthsBefore = 1;
const monthsAhead = 2;

/**
 * Makes the partitions of the months around now, and retires months that are older than what is to be kept: their sums,
 * as adjusted, go to `retired_costs` and `retired_transfers`, their rows go for good. Idempotent; several processes may do it at once.
 * @param keptMonths whole months to keep beside the present one, at least 1; undefined: all
 * @throws WeirError STORE_UNAVAILABLE, also when a long query of somebody else's is in the way
 */
export async function keepMonths(
  database: Database,
  nowMs: number,
  keptMonths: number | undefined,
): Promise<KeptMonths> {
  const present = monthOf(nowMs);
  const made = await database.asOwner((client) => makeMonths(client, present));
  const retired: string[] = [];
  if (keptMonths !== undefined) {
    const horizon = present - Math.max(1, keptMonths);
    // One at a time: each waits for whoever reads, and is worth keeping when the next one fails.
    for (;;) {
      const name = await database.asOwner((client) => retireOldest(client, horizon));
      if (name === undefined) break;
      retired.push(name);
    }
  }
  return { made, retired };
}

/** Months since the year 0, so that they can be counted with. */
type Month = number;

function monthOf(timeMs: number): Month {
  const date = new Date(timeMs);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** `2026_11`: as partitions are named. */
function nameOf(month: Month): string {
  return `${Math.floor(month / 12)}_${String((month % 12) + 1).padStart(2, "0")}`;
}

/** The least attempt id of a month, as a literal of SQL: bounds of partitions take no parameters. */
async function firstIdOf(client: ClientBase, month: Month): Promise<string> {
  const day = `${nameOf(month).replace("_", "-")}-01 00:00Z`;
  const { rows } = await client.query<{ id: string }>("select first_attempt_id($1) as id", [day]);
  return `'${String(rows[0]?.id)}'`;
}

/** A partition of `attempts`; `transfers` has one of the same bounds. */
interface Partition {
  /** What follows `attempts_` in its name. */
  readonly name: string;
  /** The month that it ends before. */
  readonly end: Month;
}

/** Those of months, oldest first. */
async function readPartitions(client: ClientBase): Promise<Partition[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'attempts'::regclass`,
  );
  return rows
    .flatMap(({ name }) => {
      const [, until, year, month] = /^attempts_(until_)?(\d{4})_(\d{2})$/.exec(name) ?? [];
      const first = Number(year) * 12 + Number(month) - 1;
      return year === undefined ? [] : [{ name: name.slice("attempts_".length), end: until ? first : first + 1 }];
    })
    .sort((a, b) => a.end - b.end);
}

async function makeMonths(client: ClientBase, present: Month): Promise<string[]> {
  await lockSchema(client);
  const partitions = await readPartitions(client);
  const names = new Set(partitions.map((partition) => partition.name));
  // The rows from before there were partitions reach to the end of a month.
  const begin = Math.max(
    present - monthsBefore,
    ...partitions.filter(({ name }) => name.startsWith("until_")).map(({ end }) => end),
  );
  const made: string[] = [];
  for (let month = begin; month <= present + monthsAhead; month++) {
    if (names.has(nameOf(month))) continue;
    for (const parent of ["attempts", "transfers"]) await makePartition(client, parent, month);
    made.push(`attempts_${nameOf(month)}`);
  }
  return made;
}

/** Attached rather than made in place: then only the partition of strangers is locked, never the table. */
async function makePartition(client: ClientBase, parent: string, month: Month): Promise<void> {
  const name = `${parent}_${nameOf(month)}`;
  const first = await firstIdOf(client, month);
  const end = await firstIdOf(client, month + 1);
  await client.query(`create table ${name} (like ${parent} including defaults including constraints)`);
  // Nobody made this partition in time, so that rows of its month are elsewhere.
  await client.query(
    unhurried(
      `with late as (delete from ${parent}_default where attempt_id >= ${first} and attempt_id < ${end} returning *)
       insert into ${name} select * from late`,
    ),
  );
  await client.query(`alter table ${parent} attach partition ${name} for values from (${first}) to (${end})`);
}

/**
 * Retires the oldest month that ends before the horizon. What comes again of it later, from the copy of a journal, is
 * refused by the table that takes its place, so that nothing is counted twice.
 * @returns undefined when there is none
 */
async function retireOldest(client: ClientBase, horizon: Month): Promise<string | undefined> {
  await client.query("set local statement_timeout = 0");
  await lockSchema(client);
  const [oldest] = await readPartitions(client);
  if (oldest === undefined || oldest.end > horizon) return undefined;
  const attempts = `attempts_${oldest.name}`;
  const transfers = `transfers_${oldest.name}`;
  const first = await firstRetiredId(client, attempts);
  const end = await firstIdOf(client, oldest.end);
  const range = `attempt_id >= ${first} and attempt_id < ${end}`;
  // Who adjusts attempts takes this one first, too.
  await lockAdjustments(client);
  // Nobody writes to them from here on; readers go on until the tables go.
  await client.query(
    `lock table ${attempts}, ${transfers}, attempts_default, transfers_default in share row exclusive mode`,
  );
  await client.query(unhurried(retiredCosts(range)));
  await client.query(unhurried(retiredTransfers(range)));
  await client.query(`drop table ${attempts}, ${transfers}; drop table if exists attempts_retired`);
  // Of months between partitions, when nobody made any for a while; and what is in no partition.
  const others = ["attempts_default", "transfers_default", "adjustments", "attempt_standings"];
  await client.query(unhurried(others.map((table) => `delete from ${table} where ${range}`).join("; ")));
  await client.query("create table attempts_retired (like attempts including defaults including constraints)");
  await client.query("alter table attempts_retired add constraint month_was_retired check (false)");
  await client.query(
    "comment on table attempts_retired is 'Empty: attempts of months that were retired are refused, and go to conflicts.'",
  );
  await client.query(`alter table attempts attach partition attempts_retired for values from (${first}) to (${end})`);
  await recordRetired(client, oldest.name);
  return attempts;
}

/** Where the months begin that are retired now or were before, as a literal of SQL. */
async function firstRetiredId(client: ClientBase, attempts: string): Promise<string> {
  const { rows } = await client.query<{ first: string }>(
    `select min(substring(pg_get_expr(relpartbound, oid) from 'FROM \\((''[0-9a-f-]{36}'')\\)')) as first
     from pg_class where oid in ('${attempts}'::regclass, to_regclass('attempts_retired'))`,
  );
  const first = rows[0]?.first;
  if (!first) throw new Error(`${attempts} has no bounds`);
  return first;
}

/** @param range which attempts: a condition on attempt_id, so that only their partitions are read */
function retiredCosts(range: string): string {
  const sums = [
    "attempts",
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "charge_nano_usd",
    "estimated_attempts",
    "unpriced_attempts",
  ];
  // A day may stand there already: ids and times of attempts need not agree to the second.
  return `
    insert into retired_costs as r
    select (start_time at time zone 'UTC')::date, tenant, key, alias, provider, model,
      count(*), count(distinct request_id collate "C"),
      coalesce(sum(input_tokens), 0), coalesce(sum(cached_input_tokens), 0), coalesce(sum(output_tokens), 0),
      coalesce(sum(reasoning_tokens), 0), coalesce(sum(cost_nano_usd), 0), coalesce(sum(charge_nano_usd), 0),
      count(*) filter (where usage_source = 'estimated'), count(*) filter (where pricing <> 'priced')
    from attempts_as_adjusted where ${range} group by 1, 2, 3, 4, 5, 6
    on conflict (day, tenant, key, alias, provider, model)
    do update set ${sums.map((sum) => `${sum} = r.${sum} + excluded.${sum}`).join(", ")}`;
}

function retiredTransfers(range: string): string {
  return `
    insert into retired_transfers as r
    select book, debit_account, credit_account, sum(amount_nano_usd) from (
      select book, debit_account, credit_account, amount_nano_usd from transfers where ${range}
      union all
      select book, debit_account, credit_account, amount_nano_usd from adjustment_transfers where ${range}
    ) as moved group by 1, 2, 3
    on conflict (book, debit_account, credit_account)
    do update set amount_nano_usd = r.amount_nano_usd + excluded.amount_nano_usd`;
}
