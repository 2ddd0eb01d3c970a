import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import { isRoleWithin } from "@weir/kit/roles";
import { and, asc, drizzle, eq, gt, isNull } from "./drizzle.ts";
import { nextRevision } from "./account-revision.ts";
import { changesBetween, type Deed, recordDeed } from "./audit-store.ts";
import { type Confinement, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { changeKeys, type KeyRow, lockKeysOf } from "./key-store.ts";
import { roleOf } from "./role-words.ts";
import { teams, tenants, users } from "./schema.ts";

export type UserRow = typeof users.$inferSelect;
export type NewUser = Pick<UserRow, "userId" | "tenantId" | "displayName" | "email" | "role" | "teamId" | "limits">;
export type UserChange = Partial<Pick<UserRow, "displayName" | "email" | "role" | "teamId" | "limits" | "disabled">>;

/**
 * Users; a deleted one is not there, and its id stays taken. What judges a row may throw, and then nothing changes. Failures
 * are WeirError STORE_UNAVAILABLE.
 */
export interface UserStore {
  /** @returns what is in the way */
  create(by: Confinement, user: NewUser): Promise<UserRow | "no tenant" | "no team" | "taken">;
  get(by: Confinement, userId: string): Promise<UserRow | undefined>;
  /** By id. Empty filters: of any. */
  list(
    by: Confinement,
    filter: { readonly tenantId: string; readonly teamId: string },
    afterUserId: string,
    countMax: number,
  ): Promise<readonly UserRow[]>;
  /**
   * Live keys of the user go with its role and its team.
   * @returns undefined when there is no such user; what is in the way
   */
  update(
    by: Confinement,
    userId: string,
    change: UserChange,
    judge: (row: UserRow) => void,
  ): Promise<UserRow | "no team" | undefined>;
  /** Revokes the user's keys with it. @returns whether there was one */
  remove(by: Confinement, userId: string, judge: (row: UserRow) => void): Promise<boolean>;
}

export function createUserStore(database: Database): UserStore {
  return {
    create: (by, user) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const tenant = await queries.select().from(tenants).where(eq(tenants.tenantId, user.tenantId)).for("key share");
        if (tenant.length === 0) return "no tenant";
        if (user.teamId !== null && !(await hasTeam(queries, user.tenantId, user.teamId))) return "no team";
        const revision = await nextRevision(queries);
        const [row] = await queries
          .insert(users)
          .values({ ...user, revision })
          .onConflictDoNothing()
          .returning();
        if (row === undefined) return "taken";
        await recordDeed(client, by, deedOf("create", undefined, row));
        return row;
      }),
    async get(by, userId) {
      const rows = await rowsFor(database, by).read((queries) => queries.select().from(users).where(isThere(userId)));
      return rows[0];
    },
    list: (by, { tenantId, teamId }, afterUserId, countMax) =>
      rowsFor(database, by).read((queries) =>
        queries
          .select()
          .from(users)
          .where(
            and(
              isNull(users.deleteTime),
              gt(users.userId, afterUserId),
              tenantId === "" ? undefined : eq(users.tenantId, tenantId),
              teamId === "" ? undefined : eq(users.teamId, teamId),
            ),
          )
          .orderBy(asc(users.userId))
          .limit(countMax),
      ),
    update: (by, userId, change, judge) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const before = await lock(queries, userId);
        if (before === undefined) return undefined;
        judge(before);
        const { teamId } = change;
        if (typeof teamId === "string" && !(await hasTeam(queries, before.tenantId, teamId))) return "no team";
        const keys = await lockKeysOf(queries, userId);
        const after = await write(queries, userId, change);
        await recordDeed(client, by, deedOf("update", before, after));
        await changeKeys(client, queries, by, "update", keys, (key) => alignment(key, before, after));
        return after;
      }),
    remove: (by, userId, judge) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const before = await lock(queries, userId);
        if (before === undefined) return false;
        judge(before);
        const keys = await lockKeysOf(queries, userId);
        await write(queries, userId, { displayName: "", email: "", deleteTime: new Date() });
        await recordDeed(client, by, deedOf("delete", before, undefined));
        await changeKeys(client, queries, by, "revoke", keys, () => ({ revokeTime: new Date() }));
        return true;
      }),
  };
}

/** What changes of a user's key: it is never more than its user, and moves with the user from team to team. Pure. */
function alignment(key: KeyRow, before: UserRow, after: UserRow): Partial<Pick<KeyRow, "role" | "teamId">> | undefined {
  const isMore = !isRoleWithin(roleOf(key.role), roleOf(after.role));
  const moves = key.teamId === before.teamId && before.teamId !== after.teamId;
  if (!isMore && !moves) return undefined;
  return { ...(isMore && { role: after.role }), ...(moves && { teamId: after.teamId }) };
}

function isThere(userId: string) {
  return and(eq(users.userId, userId), isNull(users.deleteTime));
}

/** Locks it, so that it is not deleted before the user stands. */
async function hasTeam(queries: NodePgDatabase, tenantId: string, teamId: string): Promise<boolean> {
  const rows = await queries
    .select({ teamId: teams.teamId })
    .from(teams)
    .where(and(eq(teams.teamId, teamId), eq(teams.tenantId, tenantId), isNull(teams.deleteTime)))
    .for("share");
  return rows.length > 0;
}

async function lock(queries: NodePgDatabase, userId: string): Promise<UserRow | undefined> {
  return (await queries.select().from(users).where(isThere(userId)).for("update"))[0];
}

async function write(queries: NodePgDatabase, userId: string, change: Partial<UserRow>): Promise<UserRow> {
  const revision = await nextRevision(queries);
  const [row] = await queries
    .update(users)
    .set({ ...change, revision })
    .where(eq(users.userId, userId))
    .returning();
  if (row === undefined) throw new Error("the user that was locked is gone");
  return row;
}

function deedOf(verb: string, before: UserRow | undefined, after: UserRow | undefined): Deed {
  const { userId, tenantId } = (after ?? before) as UserRow;
  return {
    action: `users.${verb}`,
    tenantId,
    resource: `users/${userId}`,
    changes: changesBetween(before && fieldsOf(before), after && fieldsOf(after)),
  };
}

function fieldsOf({ displayName, email, role, teamId, limits, disabled }: UserRow) {
  return { display_name: displayName, email, role, team: teamId, limits, disabled };
}
