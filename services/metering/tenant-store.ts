import { asc, drizzle, eq, gt } from "./drizzle.ts";
import { nextRevision } from "./account-revision.ts";
import { changesBetween, recordDeed } from "./audit-store.ts";
import { type Confinement, rowsFor } from "./confinement.ts";
import type { Database } from "./database.ts";
import { tenants } from "./schema.ts";

export type TenantRow = typeof tenants.$inferSelect;

/** What may change of a tenant or a team; what is undefined stays. */
export interface SubjectChange {
  readonly displayName?: string | undefined;
  /** weir.account.v1.RateLimits as proto JSON; null: none. */
  readonly limits?: unknown;
  readonly disabled?: boolean | undefined;
}

/** Tenants. Failures are WeirError STORE_UNAVAILABLE. */
export interface TenantStore {
  /** @returns undefined when the id is taken */
  create(by: Confinement, tenantId: string, displayName: string): Promise<TenantRow | undefined>;
  get(by: Confinement, tenantId: string): Promise<TenantRow | undefined>;
  /** By id. */
  list(by: Confinement, afterTenantId: string, countMax: number): Promise<readonly TenantRow[]>;
  /** @returns undefined when there is no such tenant */
  update(by: Confinement, tenantId: string, change: SubjectChange): Promise<TenantRow | undefined>;
}

export function createTenantStore(database: Database): TenantStore {
  return {
    create: (by, tenantId, displayName) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const revision = await nextRevision(queries);
        const [row] = await queries
          .insert(tenants)
          .values({ tenantId, displayName, revision })
          .onConflictDoNothing()
          .returning();
        if (row === undefined) return undefined;
        await recordDeed(client, by, deedOf("create", undefined, row));
        return row;
      }),
    async get(by, tenantId) {
      const rows = await rowsFor(database, by).read((queries) =>
        queries.select().from(tenants).where(eq(tenants.tenantId, tenantId)),
      );
      return rows[0];
    },
    list: (by, afterTenantId, countMax) =>
      rowsFor(database, by).read((queries) =>
        queries
          .select()
          .from(tenants)
          .where(gt(tenants.tenantId, afterTenantId))
          .orderBy(asc(tenants.tenantId))
          .limit(countMax),
      ),
    update: (by, tenantId, change) =>
      rowsFor(database, by).transaction(async (client) => {
        const queries = drizzle(client);
        const is = eq(tenants.tenantId, tenantId);
        const [before] = await queries.select().from(tenants).where(is).for("update");
        if (before === undefined) return undefined;
        const revision = await nextRevision(queries);
        const [after] = await queries
          .update(tenants)
          .set({ ...change, revision })
          .where(is)
          .returning();
        if (after !== undefined) await recordDeed(client, by, deedOf("update", before, after));
        return after;
      }),
  };
}

function deedOf(verb: string, before: TenantRow | undefined, after: TenantRow) {
  const fields = ({ displayName, limits, disabled }: TenantRow) => ({ display_name: displayName, limits, disabled });
  return {
    action: `tenants.${verb}`,
    tenantId: after.tenantId,
    resource: `tenants/${after.tenantId}`,
    changes: changesBetween(before && fields(before), fields(after)),
  };
}
