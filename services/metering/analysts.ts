import type { Database } from "./database.ts";

/** Whether a name can be that of a reader: it needs no quotes, and is none of Postgres' own. */
export function isReaderName(name: string): boolean {
  return /^[a-z_][a-z0-9_]{0,62}$/.test(name) && !name.startsWith("pg_") && name !== "weir_analyst";
}

/** Of the sessions of a role that `grantReader` makes. For a day, compiling costs more than it saves. */
export const readerSettings: Readonly<Record<string, string>> = {
  default_transaction_read_only: "on",
  statement_timeout: "60s",
  jit: "off",
};

/**
 * Lets a role of the server read the views, those that come later among them, and nothing else: it becomes a member of
 * `weir_analyst`. A role that does not exist is made, may log in, has no password yet, and has `readerSettings`; one that
 * exists keeps its settings. Idempotent. The database must have been migrated.
 * @param name one that `isReaderName`
 * @returns whether the role was made
 * @throws WeirError STORE_UNAVAILABLE; its `sqlState` is 42501 when the database's user may not make roles
 */
export function grantReader(database: Database, name: string): Promise<boolean> {
  if (!isReaderName(name)) throw new RangeError("no name of a reader");
  return database.asOwner(async (client) => {
    await client.query(`
      do $$
      begin
        if not exists (select from pg_roles where rolname = 'weir_analyst') then create role weir_analyst nologin; end if;
      exception
        -- Another database of the same server was quicker.
        when duplicate_object or unique_violation then null;
      end $$;
      call let_analysts_read();`);
    const { rowCount } = await client.query("select from pg_roles where rolname = $1", [name]);
    const isNew = rowCount === 0;
    if (isNew) {
      const settings = Object.entries(readerSettings).map(
        ([key, value]) => `alter role ${name} set ${key} = '${value}'`,
      );
      await client.query([`create role ${name} login`, ...settings].join("; "));
    }
    await client.query(`grant weir_analyst to ${name}`);
    return isNew;
  });
}
