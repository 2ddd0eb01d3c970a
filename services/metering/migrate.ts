import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClientBase } from "pg";
import type { Database } from "./database.ts";

/** What a migration did. */
export interface Migrated {
  /** Names of the files that were applied now. */
  readonly applied: readonly string[];
  /** The database has migrations of a later version of Weir; views were left as they are. */
  readonly ahead: boolean;
}

/**
 * Brings the schema up to date: `migrations/*.sql` in the order of their numbers, each once, then `views.sql` when it
 * changed; all in one transaction, under a lock that lets one process in at a time. A second run does nothing.
 * @throws Error when a file that was applied before has changed since; WeirError STORE_UNAVAILABLE
 */
export async function migrate(database: Database): Promise<Migrated> {
  const folder = join(import.meta.dirname, "migrations");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  const files = await Promise.all(names.map(async (name) => read(name, join(folder, name))));
  const views = await read("views.sql", join(import.meta.dirname, "views.sql"));
  const outcome = await database.asOwner(async (client): Promise<Migrated | string> => {
    // However long the rows take, and whoever else is at it.
    await client.query("set local statement_timeout = 0; set local lock_timeout = 0");
    await lockSchema(client);
    await client.query(
      `create table if not exists schema_migrations (
         name text primary key, checksum text not null, apply_time timestamptz not null default now())`,
    );
    const { rows } = await client.query<{ name: string; checksum: string }>(
      "select name, checksum from schema_migrations",
    );
    const known = new Map(rows.map((row) => [row.name, row.checksum]));
    const changed = files.find((file) => known.has(file.name) && known.get(file.name) !== file.checksum);
    if (changed) return changed.name;
    const ahead = rows.some((row) => row.name !== views.name && !names.includes(row.name));
    const due = files.filter((file) => !known.has(file.name));
    if (!ahead && known.get(views.name) !== views.checksum) due.push(views);
    for (const file of due) {
      await client.query(unhurried(file.text));
      await client.query(
        `insert into schema_migrations (name, checksum) values ($1, $2)
         on conflict (name) do update set checksum = excluded.checksum, apply_time = now()`,
        [file.name, file.checksum],
      );
    }
    if (due.length > 0) {
      await client.query(`do $$ begin
        call secure_new_tables();
        if exists (select from pg_roles where rolname = 'weir_runtime') then call let_runtime_work(); end if;
      end $$`);
    }
    return { applied: due.map((file) => file.name), ahead };
  });
  if (typeof outcome === "string") {
    throw new Error(
      `the migration ${outcome} was applied with other content; migrations are never edited, add a new one`,
    );
  }
  return outcome;
}

/** Waits until nobody else changes the schema; held to the end of the transaction. */
export async function lockSchema(client: ClientBase): Promise<void> {
  await client.query(unhurried(`select pg_advisory_xact_lock(${advisoryLock})`));
}

/** The driver's own limit cannot be lifted for a single query, only set to the longest that a timer can be. */
export function unhurried(text: string): { readonly text: string; readonly query_timeout: number } {
  return { text, query_timeout: 2 ** 31 - 1 };
}

/** Any number that no one else uses on the same database. */
const advisoryLock = 7_365_169_114;

interface SqlFile {
  readonly name: string;
  readonly text: string;
  readonly checksum: string;
}

async function read(name: string, path: string): Promise<SqlFile> {
  const text = await readFile(path, "utf8");
  return { name, text, checksum: createHash("sha256").update(text).digest("hex") };
}
