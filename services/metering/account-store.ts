import { and, asc, desc, eq, gt, isNull, or, sql } from "drizzle-orm";
import { drizzle, type NodePgDatabase } from "drizzle-orm/node-postgres";
import type { Database } from "./database.ts";
import { accountRevision, keys, tenants } from "./schema.ts";

export type TenantRow = typeof tenants.$inferSelect;
export type KeyRow = typeof keys.$inferSelect;
export type NewKey = Pick<KeyRow, "keyId" | "tenantId" | "digest" | "displayName" | "scope" | "expireTime">;

/** Tenants and keys. Failures are WeirError STORE_UNAVAILABLE. */
export interface AccountStore {
  /** @returns undefined when the id is taken */
  createTenant(tenantId: string, displayName: string): Promise<TenantRow | undefined>;
  /** By id. */
  listTenants(): Promise<readonly TenantRow[]>;
  /** @returns undefined when there is no such tenant */
  createKey(key: NewKey): Promise<KeyRow | undefined>;
  /** Newest first. @param tenantId undefined: of all tenants */
  listKeys(tenantId: string | undefined, countMax: number): Promise<readonly KeyRow[]>;
  /** A key that was revoked before keeps its time. @returns undefined when there is no such key */
  revokeKey(keyId: string): Promise<KeyRow | undefined>;
  /** The newest change that is visible. */
  revision(): Promise<bigint>;
  /** Keys that are neither revoked nor expired, by id. */
  listLiveKeys(afterKeyId: string, countMax: number): Promise<readonly KeyRow[]>;
  /** Keys that changed after a revision, in the order of their changes. */
  listChangedKeys(afterRevision: bigint, countMax: number): Promise<readonly KeyRow[]>;
}

export function createAccountStore(database: Database): AccountStore {
  return {
    async createTenant(tenantId, displayName) {
      const rows = await database.read((queries) =>
        queries.insert(tenants).values({ tenantId, displayName }).onConflictDoNothing().returning(),
      );
      return rows[0];
    },
    listTenants: () => database.read((queries) => queries.select().from(tenants).orderBy(asc(tenants.tenantId))),
    createKey: (key) =>
      database.transaction(async (client) => {
        const queries = drizzle(client);
        // Locked until the key stands, so that the tenant cannot go in between.
        const tenant = await queries.select().from(tenants).where(eq(tenants.tenantId, key.tenantId)).for("key share");
        if (tenant.length === 0) return undefined;
        const revision = await nextRevision(queries);
        const rows = await queries
          .insert(keys)
          .values({ ...key, revision })
          .returning();
        return rows[0];
      }),
    listKeys: (tenantId, countMax) =>
      database.read((queries) =>
        queries
          .select()
          .from(keys)
          .where(tenantId === undefined ? undefined : eq(keys.tenantId, tenantId))
          .orderBy(desc(keys.createTime), desc(keys.keyId))
          .limit(countMax),
      ),
    revokeKey: (keyId) =>
      database.transaction(async (client) => {
        const queries = drizzle(client);
        const revision = await nextRevision(queries);
        const revoked = await queries
          .update(keys)
          .set({ revokeTime: sql`now()`, revision })
          .where(and(eq(keys.keyId, keyId), isNull(keys.revokeTime)))
          .returning();
        return revoked[0] ?? (await queries.select().from(keys).where(eq(keys.keyId, keyId)))[0];
      }),
    async revision() {
      const rows = await database.read((queries) => queries.select().from(accountRevision));
      return rows[0]?.revision ?? 0n;
    },
    listLiveKeys: (afterKeyId, countMax) =>
      database.read((queries) =>
        queries
          .select()
          .from(keys)
          .where(
            and(
              gt(keys.keyId, afterKeyId),
              isNull(keys.revokeTime),
              or(isNull(keys.expireTime), gt(keys.expireTime, sql`now()`)),
            ),
          )
          .orderBy(asc(keys.keyId))
          .limit(countMax),
      ),
    listChangedKeys: (afterRevision, countMax) =>
      database.read((queries) =>
        queries.select().from(keys).where(gt(keys.revision, afterRevision)).orderBy(asc(keys.revision)).limit(countMax),
      ),
  };
}

/** Takes the next revision; others who want one wait until this transaction ends. */
async function nextRevision(queries: NodePgDatabase): Promise<bigint> {
  const rows = await queries
    .update(accountRevision)
    .set({ revision: sql`${accountRevision.revision} + 1` })
    .returning();
  const revision = rows[0]?.revision;
  if (revision === undefined) throw new Error("account_revision is empty");
  return revision;
}
