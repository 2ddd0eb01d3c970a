import type { SQL } from "drizzle-orm";
import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type { ClientBase } from "pg";
import { and, asc, desc, drizzle, eq, gt, isNull, or, sql } from "./drizzle.ts";
import { nextRevision } from "./account-revision.ts";
import { changesBetween, type Deed, recordDeed } from "./audit-store.ts";
import { type Confinement, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { keys, teams, tenants, users } from "./schema.ts";

export type KeyRow = typeof keys.$inferSelect;
export type NewKey = Pick<
  KeyRow,
  | "keyId"
  | "tenantId"
  | "digest"
  | "displayName"
  | "scope"
  | "expireTime"
  | "role"
  | "everyTenant"
  | "teamId"
  | "userId"
>;

/** What may change of a key; what is undefined stays. */
export interface KeyChange {
  readonly displayName?: string | undefined;
  /** weir.account.v1.KeyScope as proto JSON. */
  readonly scope?: unknown;
  readonly expireTime?: Date | null | undefined;
}

/** Who a key is to belong to, as far as it is told. */
export interface KeyOwners {
  readonly tenantId: string;
  /** Empty: none, or the user's. */
  readonly teamId: string;
  /** Empty: none. */
  readonly userId: string;
}

/** The rows of those owners, locked until the key stands. */
export interface FoundOwners {
  readonly team: typeof teams.$inferSelect | undefined;
  readonly user: typeof users.$inferSelect | undefined;
}

export interface KeyFilter {
  /** Empty: of any. */
  readonly tenantId: string;
  readonly teamId: string;
  readonly userId: string;
}

/** A key, and by what lists are ordered: its time, to the microsecond, and its id. */
export type ListedKey = KeyRow & { readonly place: readonly [string, string] };

/** Keys. Failures are WeirError STORE_UNAVAILABLE. What judges a row may throw, and then nothing changes. */
export interface KeyStore {
  /**
   * @param make the key, for owners that are there
   * @returns what is missing: `tenants/`, `teams/` or `users/` and its id
   */
  create(by: Confinement, owners: KeyOwners, make: (found: FoundOwners) => NewKey): Promise<KeyRow | string>;
  get(by: Confinement, keyId: string): Promise<KeyRow | undefined>;
  /** Newest first. @param after the place of the last key of the page before; empty: this is the first page */
  list(by: Confinement, filter: KeyFilter, after: readonly string[], countMax: number): Promise<readonly ListedKey[]>;
  /** @returns undefined when there is no such key */
  update(by: Confinement, keyId: string, judge: (row: KeyRow) => KeyChange): Promise<KeyRow | undefined>;
  /**
   * Puts a key into the place of another, which ends after a time of grace.
   * @param graceMs 0: at once
   * @returns undefined when there is no such key
   */
  rotate(
    by: Confinement,
    keyId: string,
    graceMs: number,
    succeed: (row: KeyRow) => NewKey,
  ): Promise<{ readonly key: KeyRow; readonly replaced: KeyRow } | undefined>;
  /** A key that was revoked before keeps its time. @returns undefined when there is no such key */
  revoke(by: Confinement, keyId: string, judge: (row: KeyRow) => void): Promise<KeyRow | undefined>;
}

export function createKeyStore(database: Database): KeyStore {
  const changing = <T>(
    by: Confinement,
    keyId: string,
    change: (row: KeyRow, client: ClientBase, queries: NodePgDatabase) => Promise<T>,
  ): Promise<T | undefined> =>
    rowsFor(database, by).transaction(async (client) => {
      const queries = drizzle(client);
      const [row] = await queries.select().from(keys).where(eq(keys.keyId, keyId)).for("update");
      return row === undefined ? undefined : change(row, client, queries);
    });

  return {
    create: (by, owners, make) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const found = await findOwners(queries, owners);
        if (typeof found === "string") return found;
        const row = await insertKey(queries, make(found));
        await recordDeed(client, by, deedOf("create", undefined, row));
        return row;
      }),
    async get(by, keyId) {
      const rows = await rowsFor(database, by).read((queries) =>
        queries.select().from(keys).where(eq(keys.keyId, keyId)),
      );
      return rows[0];
    },
    async list(by, { tenantId, teamId, userId }, after, countMax) {
      const [time, keyId] = after;
      const conditions: (SQL | undefined)[] = [
        tenantId === "" ? undefined : eq(keys.tenantId, tenantId),
        teamId === "" ? undefined : eq(keys.teamId, teamId),
        userId === "" ? undefined : eq(keys.userId, userId),
        time === undefined || keyId === undefined
          ? undefined
          : sql`(${keys.createTime}, ${keys.keyId}) < (${time}::timestamptz, ${keyId})`,
      ];
      const rows = await rowsFor(database, by).read((queries) =>
        queries
          .select({ row: keys, time: microseconds })
          .from(keys)
          .where(and(...conditions))
          .orderBy(desc(keys.createTime), desc(keys.keyId))
          .limit(countMax),
      );
      return rows.map(({ row, time: at }) => ({ ...row, place: [at, row.keyId] }));
    },
    update: (by, keyId, judge) =>
      changing(by, keyId, async (row, client, queries) => {
        const change = judge(row);
        const after = await updateKey(queries, row, change);
        await recordDeed(client, by, deedOf("update", row, after));
        return after;
      }),
    rotate: (by, keyId, graceMs, succeed) =>
      changing(by, keyId, async (row, client, queries) => {
        const key = await insertKey(queries, succeed(row));
        const end = sql<Date>`now() + ${graceMs}::float8 * interval '1 millisecond'`;
        const replaced = await updateKey(queries, row, {
          successorId: key.keyId,
          ...(graceMs === 0 ? { revokeTime: sql`now()` } : { expireTime: sql`least(${keys.expireTime}, ${end})` }),
        });
        await recordDeed(client, by, deedOf("rotate", row, replaced));
        await recordDeed(client, by, deedOf("create", undefined, key));
        return { key, replaced };
      }),
    revoke: (by, keyId, judge) =>
      changing(by, keyId, async (row, client, queries) => {
        judge(row);
        if (row.revokeTime !== null) return row;
        const after = await updateKey(queries, row, { revokeTime: sql`now()` });
        await recordDeed(client, by, deedOf("revoke", row, after));
        return after;
      }),
  };
}

const microseconds = sql<string>`to_char(${keys.createTime} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** A deleted team or user is not there. */
async function findOwners(queries: NodePgDatabase, owners: KeyOwners): Promise<FoundOwners | string> {
  const { tenantId, userId } = owners;
  const tenant = await queries.select().from(tenants).where(eq(tenants.tenantId, tenantId)).for("key share");
  if (tenant.length === 0) return `tenants/${tenantId}`;
  const [user] =
    userId === ""
      ? []
      : await queries
          .select()
          .from(users)
          .where(and(eq(users.userId, userId), eq(users.tenantId, tenantId), isNull(users.deleteTime)))
          .for("share");
  if (userId !== "" && user === undefined) return `users/${userId}`;
  const teamId = owners.teamId === "" ? (user?.teamId ?? "") : owners.teamId;
  const [team] =
    teamId === ""
      ? []
      : await queries
          .select()
          .from(teams)
          .where(and(eq(teams.teamId, teamId), eq(teams.tenantId, tenantId), isNull(teams.deleteTime)))
          .for("share");
  if (teamId !== "" && team === undefined) return `teams/${teamId}`;
  return { team, user };
}

async function insertKey(queries: NodePgDatabase, key: NewKey): Promise<KeyRow> {
  const revision = await nextRevision(queries);
  const [row] = await queries
    .insert(keys)
    .values({ ...key, revision })
    .returning();
  if (row === undefined) throw new Error("no key was made");
  return row;
}

async function updateKey(
  queries: NodePgDatabase,
  { keyId }: KeyRow,
  change: PgUpdateSetSource<typeof keys>,
): Promise<KeyRow> {
  const revision = await nextRevision(queries);
  const [row] = await queries
    .update(keys)
    .set({ ...change, revision })
    .where(eq(keys.keyId, keyId))
    .returning();
  if (row === undefined) throw new Error("the key that was locked is gone");
  return row;
}

/** The live keys of a user, locked: before anything that takes a revision, as every change of a key does it. */
export function lockKeysOf(queries: NodePgDatabase, userId: string): Promise<KeyRow[]> {
  return queries
    .select()
    .from(keys)
    .where(and(eq(keys.userId, userId), isLive))
    .orderBy(asc(keys.keyId))
    .for("update");
}

/** Changes keys that are locked, in the transaction that changes their user. @param changeOf undefined: nothing */
export async function changeKeys(
  client: ClientBase,
  queries: NodePgDatabase,
  by: Confinement,
  verb: "update" | "revoke",
  rows: readonly KeyRow[],
  changeOf: (row: KeyRow) => Partial<Pick<KeyRow, "role" | "teamId" | "revokeTime">> | undefined,
): Promise<void> {
  for (const row of rows) {
    const change = changeOf(row);
    if (change !== undefined) await recordDeed(client, by, deedOf(verb, row, await updateKey(queries, row, change)));
  }
}

/** Whether a team has a key that is not over. */
export async function hasLiveKeys(queries: NodePgDatabase, teamId: string): Promise<boolean> {
  const rows = await queries
    .select({ keyId: keys.keyId })
    .from(keys)
    .where(and(eq(keys.teamId, teamId), isLive))
    .limit(1);
  return rows.length > 0;
}

/** Neither revoked nor expired. */
export const isLive = and(isNull(keys.revokeTime), or(isNull(keys.expireTime), gt(keys.expireTime, sql`now()`)));

function deedOf(verb: string, before: KeyRow | undefined, after: KeyRow): Deed {
  return {
    action: `keys.${verb}`,
    tenantId: after.tenantId,
    resource: `keys/${after.keyId}`,
    changes: changesBetween(before && fieldsOf(before), fieldsOf(after)),
  };
}

/** Not the digest. */
function fieldsOf(row: KeyRow) {
  return {
    display_name: row.displayName,
    scope: row.scope,
    expire_time: row.expireTime,
    revoke_time: row.revokeTime,
    role: row.role,
    every_tenant: row.everyTenant,
    team: row.teamId,
    user: row.userId,
    successor: row.successorId,
  };
}
