import { and, asc, gt } from "./drizzle.ts";
import { isLive, type KeyRow } from "./key-store.ts";
import type { Database } from "./database.ts";
import { accountRevision, keys } from "./schema.ts";

/** A tenant, a team or a user as edges need to know it. */
export interface SubjectRow {
  /** `tenants/`, `teams/` or `users/` and the id. */
  readonly name: string;
  /** weir.account.v1.RateLimits as proto JSON; null: none. */
  readonly limits: unknown;
  /** Or deleted. */
  readonly disabled: boolean;
  readonly revision: bigint;
}

/** What edges follow, of every tenant. Failures are WeirError STORE_UNAVAILABLE. */
export interface KeyWatchStore {
  /** The newest change that is visible. */
  revision(): Promise<bigint>;
  /** Keys that are neither revoked nor expired, by id. */
  liveKeys(afterKeyId: string, countMax: number): Promise<readonly KeyRow[]>;
  /** Keys that changed after a revision, in the order of their changes. */
  changedKeys(afterRevision: bigint, countMax: number): Promise<readonly KeyRow[]>;
  /** Tenants; and teams and users with limits, and those that are disabled: by name. */
  subjects(afterName: string, countMax: number): Promise<readonly SubjectRow[]>;
  /** Subjects that changed after a revision, in the order of their changes. */
  changedSubjects(afterRevision: bigint, countMax: number): Promise<readonly SubjectRow[]>;
}

const subjectsOf = `with subjects as (
  select 'tenants/' || tenant_id as name, limits, disabled, revision from tenants
  union all
  select 'teams/' || team_id, limits, disabled or delete_time is not null, revision from teams
  union all
  select 'users/' || user_id, limits, disabled or delete_time is not null, revision from users
)`;

export function createKeyWatchStore(database: Database): KeyWatchStore {
  const subjects = (text: string, values: unknown[]) =>
    database.transaction(async (client) => {
      const { rows } = await client.query<Omit<SubjectRow, "revision"> & { revision: string }>(text, values);
      return rows.map((row) => ({ ...row, revision: BigInt(row.revision) }));
    });
  return {
    async revision() {
      const rows = await database.read((queries) => queries.select().from(accountRevision));
      return rows[0]?.revision ?? 0n;
    },
    liveKeys: (afterKeyId, countMax) =>
      database.read((queries) =>
        queries
          .select()
          .from(keys)
          .where(and(gt(keys.keyId, afterKeyId), isLive))
          .orderBy(asc(keys.keyId))
          .limit(countMax),
      ),
    changedKeys: (afterRevision, countMax) =>
      database.read((queries) =>
        queries.select().from(keys).where(gt(keys.revision, afterRevision)).orderBy(asc(keys.revision)).limit(countMax),
      ),
    subjects: (afterName, countMax) =>
      subjects(
        `${subjectsOf} select * from subjects
         where (limits is not null or disabled or starts_with(name, 'tenants/')) and name > $1 order by name limit $2`,
        [afterName, countMax],
      ),
    changedSubjects: (afterRevision, countMax) =>
      subjects(`${subjectsOf} select * from subjects where revision > $1 order by revision limit $2`, [
        String(afterRevision),
        countMax,
      ]),
  };
}
