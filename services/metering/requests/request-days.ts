import type { ClientBase } from "pg";
import type { Database } from "../database.ts";
import { lockSchema, unhurried } from "../migrate.ts";

/** What keeping the days changed: names of partitions. */
export interface KeptDays {
  readonly made: readonly string[];
  readonly dropped: readonly string[];
}

/** Whole days that are kept beside the present one. */
const keptDays = 90;
/** Days before and after the present one that have partitions of their own. */
const daysBefore = 1;
const daysAhead = 2;
const dayMs = 86_400_000;

/**
 * Makes the partitions of the days around now, and drops those that are older than 90 days. What edges tell of other days
 * stands in the default partition, for as long. Idempotent; several processes may do it at once.
 * @param time in Unix milliseconds; default: by the clock of the database, since this process's may be wrong
 * @throws WeirError STORE_UNAVAILABLE, also when a long query of somebody else's is in the way
 */
export async function keepRequestDays(database: Database, time?: number): Promise<KeptDays> {
  const nowMs = time ?? (await databaseTimeMs(database));
  const made = await database.asOwner((client) => makeDays(client, nowMs));
  const horizon = dayAt(nowMs - keptDays * dayMs);
  const dropped: string[] = [];
  // One at a time: each waits for whoever reads, and is worth keeping when the next one fails.
  for (;;) {
    const name = await database.asOwner((client) => dropOldest(client, horizon));
    if (name === undefined) break;
    dropped.push(name);
  }
  await database.asOwner((client) =>
    client.query(`delete from request_records_default where ${dayOf} < $1`, [horizon]),
  );
  return { made, dropped };
}

async function databaseTimeMs(database: Database): Promise<number> {
  const { rows } = await database.asOwner((client) => client.query<{ now: Date }>("select now()"));
  return (rows[0] as { now: Date }).now.getTime();
}

/** As the partitions are bounded. */
const dayOf = "(start_time at time zone 'UTC')::date";

/** `2026-11-21`. */
function dayAt(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

interface Partition {
  readonly name: string;
  /** The day that it ends before. */
  readonly end: string;
}

/** Those of days, oldest first. */
async function readPartitions(client: ClientBase): Promise<Partition[]> {
  const { rows } = await client.query<{ name: string }>(
    "select relname as name from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'request_records'::regclass",
  );
  return rows
    .flatMap(({ name }) => {
      const [, until, ...day] = /^request_records_(until_)?(\d{4})_(\d{2})_(\d{2})$/.exec(name) ?? [];
      if (day.length === 0) return [];
      const first = day.join("-");
      return [{ name, end: until === undefined ? dayAt(Date.parse(first) + dayMs) : first }];
    })
    .sort((a, b) => (a.end < b.end ? -1 : 1));
}

async function makeDays(client: ClientBase, nowMs: number): Promise<string[]> {
  await lockSchema(client);
  const partitions = await readPartitions(client);
  const names = new Set(partitions.map(({ name }) => name));
  const until = partitions.find(({ name }) => name.includes("_until_"))?.end ?? "";
  const made: string[] = [];
  for (let ahead = -daysBefore; ahead <= daysAhead; ahead++) {
    const first = dayAt(nowMs + ahead * dayMs);
    const name = `request_records_${first.replaceAll("-", "_")}`;
    if (names.has(name) || first < until) continue;
    await makePartition(client, name, first, dayAt(nowMs + (ahead + 1) * dayMs));
    made.push(name);
  }
  return made;
}

/** Attached rather than made in place: then only the partition of strangers is locked, never the table. */
async function makePartition(client: ClientBase, name: string, first: string, end: string): Promise<void> {
  await client.query(`create table ${name} (like request_records including defaults including constraints)`);
  await client.query(`create unique index ${name}_request on ${name} (request_id)`);
  // Nobody made this partition in time, or a clock was ahead. A row that came to the default partition between moving these
  // and attaching would be in the way: whoever writes there waits.
  await client.query("lock table request_records_default in share row exclusive mode");
  await client.query(
    unhurried(
      `with odd as (delete from request_records_default where ${dayOf} >= '${first}' and ${dayOf} < '${end}' returning *)
       insert into ${name} select * from odd`,
    ),
  );
  await client.query(`alter table request_records attach partition ${name} for values from ('${first}') to ('${end}')`);
}

/** Edges that tell of requests wait behind it while it waits, and they hold only so much: it does not wait for long. */
const dropTimeout = "2s";

/** @returns undefined when no day ends at the horizon or before */
async function dropOldest(client: ClientBase, horizon: string): Promise<string | undefined> {
  await lockSchema(client);
  const [oldest] = await readPartitions(client);
  if (oldest === undefined || oldest.end > horizon) return undefined;
  await client.query(`set local lock_timeout = '${dropTimeout}'`);
  await client.query(`drop table ${oldest.name}`);
  return oldest.name;
}
