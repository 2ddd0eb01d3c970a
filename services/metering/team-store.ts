import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import { and, asc, drizzle, eq, gt, isNull } from "./drizzle.ts";
import { nextRevision } from "./account-revision.ts";
import { changesBetween, type Deed, recordDeed } from "./audit-store.ts";
import { type Confinement, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { hasLiveKeys } from "./key-store.ts";
import { teams, tenants, users } from "./schema.ts";
import type { SubjectChange } from "./tenant-store.ts";

export type TeamRow = typeof teams.$inferSelect;
export type NewTeam = Pick<TeamRow, "teamId" | "tenantId" | "displayName" | "limits">;

/** Teams; a deleted one is not there, and its id stays taken. Failures are WeirError STORE_UNAVAILABLE. */
export interface TeamStore {
  /** @returns what is in the way */
  create(by: Confinement, team: NewTeam): Promise<TeamRow | "no tenant" | "taken">;
  get(by: Confinement, teamId: string): Promise<TeamRow | undefined>;
  /** By id. @param tenantId empty: of any */
  list(by: Confinement, tenantId: string, afterTeamId: string, countMax: number): Promise<readonly TeamRow[]>;
  /** @returns undefined when there is no such team */
  update(by: Confinement, teamId: string, change: SubjectChange): Promise<TeamRow | undefined>;
  /** @returns what is in the way; undefined when there is no such team */
  remove(by: Confinement, teamId: string): Promise<"done" | "in use" | undefined>;
}

export function createTeamStore(database: Database): TeamStore {
  return {
    create: (by, team) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const tenant = await queries.select().from(tenants).where(eq(tenants.tenantId, team.tenantId)).for("key share");
        if (tenant.length === 0) return "no tenant";
        const revision = await nextRevision(queries);
        const [row] = await queries
          .insert(teams)
          .values({ ...team, revision })
          .onConflictDoNothing()
          .returning();
        if (row === undefined) return "taken";
        await recordDeed(client, by, deedOf("create", undefined, row));
        return row;
      }),
    async get(by, teamId) {
      const rows = await rowsFor(database, by).read((queries) => queries.select().from(teams).where(isThere(teamId)));
      return rows[0];
    },
    list: (by, tenantId, afterTeamId, countMax) =>
      rowsFor(database, by).read((queries) =>
        queries
          .select()
          .from(teams)
          .where(
            and(
              isNull(teams.deleteTime),
              gt(teams.teamId, afterTeamId),
              tenantId === "" ? undefined : eq(teams.tenantId, tenantId),
            ),
          )
          .orderBy(asc(teams.teamId))
          .limit(countMax),
      ),
    update: (by, teamId, change) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const before = await lock(queries, teamId);
        if (before === undefined) return undefined;
        const after = await write(queries, teamId, change);
        await recordDeed(client, by, deedOf("update", before, after));
        return after;
      }),
    remove: (by, teamId) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        // Whoever gives the team a key or a user holds a lock on it until that stands.
        const before = await lock(queries, teamId);
        if (before === undefined) return undefined;
        const member = await queries
          .select({ userId: users.userId })
          .from(users)
          .where(and(eq(users.teamId, teamId), isNull(users.deleteTime)))
          .limit(1);
        if (member.length > 0 || (await hasLiveKeys(queries, teamId))) return "in use";
        await write(queries, teamId, { displayName: "", deleteTime: new Date() });
        await recordDeed(client, by, deedOf("delete", before, undefined));
        return "done";
      }),
  };
}

function isThere(teamId: string) {
  return and(eq(teams.teamId, teamId), isNull(teams.deleteTime));
}

async function lock(queries: NodePgDatabase, teamId: string): Promise<TeamRow | undefined> {
  return (await queries.select().from(teams).where(isThere(teamId)).for("update"))[0];
}

async function write(
  queries: NodePgDatabase,
  teamId: string,
  change: Partial<TeamRow> | SubjectChange,
): Promise<TeamRow> {
  const revision = await nextRevision(queries);
  const [row] = await queries
    .update(teams)
    .set({ ...change, revision })
    .where(eq(teams.teamId, teamId))
    .returning();
  if (row === undefined) throw new Error("the team that was locked is gone");
  return row;
}

function deedOf(verb: string, before: TeamRow | undefined, after: TeamRow | undefined): Deed {
  const fields = ({ displayName, limits, disabled }: TeamRow) => ({ display_name: displayName, limits, disabled });
  const { teamId, tenantId } = (after ?? before) as TeamRow;
  return {
    action: `teams.${verb}`,
    tenantId,
    resource: `teams/${teamId}`,
    changes: changesBetween(before && fields(before), after && fields(after)),
  };
}
