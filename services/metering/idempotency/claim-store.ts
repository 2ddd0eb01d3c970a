import { and, drizzle, eq, gt, inArray, isNull, lt, sql } from "../drizzle.ts";
import type { Database } from "../database.ts";
import { idempotencyKeys } from "../schema.ts";

export interface NewClaim {
  readonly keyId: Uint8Array;
  readonly requestDigest: Uint8Array;
  readonly claimId: string;
  readonly leaseMs: number;
  readonly timeToLiveMs: number;
}

export type Claimed =
  | { readonly kind: "claimed" | "in-use" | "other-request" }
  | { readonly kind: "answered"; readonly outcome: Buffer };

/** Claims on idempotency keys. All times are those of the database's clock. Failures are WeirError STORE_UNAVAILABLE. */
export interface ClaimStore {
  claim(tenant: string, claim: NewClaim): Promise<Claimed>;
  renew(claimIds: readonly string[], leaseMs: number): Promise<void>;
  /** @returns false when the claim is no longer there; an outcome that is there stays, and is a success */
  finish(tenant: string, claimId: string, outcome: Uint8Array): Promise<boolean>;
  release(tenant: string, claimId: string): Promise<void>;
  /** Deletes what has expired. @returns how many */
  sweep(countMax: number): Promise<number>;
}

const hasLapsed = sql`${idempotencyKeys.expireTime} < now()
  or (${idempotencyKeys.outcome} is null and ${idempotencyKeys.leaseExpireTime} < now())`;

export function createClaimStore(database: Database): ClaimStore {
  return {
    claim: (tenant, { keyId, requestDigest, claimId, leaseMs, timeToLiveMs }) =>
      database.of(tenant).transaction(async (client) => {
        const queries = drizzle(client);
        const values = {
          requestDigest: Buffer.from(requestDigest),
          claimId,
          leaseExpireTime: after(leaseMs),
          outcome: null,
          expireTime: after(timeToLiveMs),
        };
        const taken = await queries
          .insert(idempotencyKeys)
          .values({ ...values, tenant, keyId: Buffer.from(keyId) })
          .onConflictDoUpdate({
            target: [idempotencyKeys.tenant, idempotencyKeys.keyId],
            set: { ...values, createTime: sql`now()` },
            setWhere: hasLapsed,
          })
          .returning({ claimId: idempotencyKeys.claimId });
        if (taken.length > 0) return { kind: "claimed" };
        const [row] = await queries
          .select()
          .from(idempotencyKeys)
          .where(and(eq(idempotencyKeys.tenant, tenant), eq(idempotencyKeys.keyId, Buffer.from(keyId))));
        // It was given up between the two queries: whoever comes next gets it.
        if (row === undefined) return { kind: "in-use" };
        if (!row.requestDigest.equals(Buffer.from(requestDigest))) return { kind: "other-request" };
        if (row.outcome !== null) return { kind: "answered", outcome: row.outcome };
        return { kind: row.claimId === claimId ? "claimed" : "in-use" };
      }),

    renew: (claimIds, leaseMs) =>
      database.transaction(async (client) => {
        await drizzle(client)
          .update(idempotencyKeys)
          .set({ leaseExpireTime: after(leaseMs) })
          .where(and(inArray(idempotencyKeys.claimId, [...claimIds]), isNull(idempotencyKeys.outcome)));
      }),

    finish: (tenant, claimId, outcome) =>
      database.of(tenant).transaction(async (client) => {
        const rows = await drizzle(client)
          .update(idempotencyKeys)
          .set({ outcome: sql`coalesce(${idempotencyKeys.outcome}, ${Buffer.from(outcome)})` })
          .where(and(eq(idempotencyKeys.claimId, claimId), gt(idempotencyKeys.expireTime, sql`now()`)))
          .returning({ claimId: idempotencyKeys.claimId });
        return rows.length > 0;
      }),

    release: (tenant, claimId) =>
      database.of(tenant).transaction(async (client) => {
        await drizzle(client)
          .delete(idempotencyKeys)
          .where(and(eq(idempotencyKeys.claimId, claimId), isNull(idempotencyKeys.outcome)));
      }),

    sweep: (countMax) =>
      database.transaction(async (client) => {
        const expired = drizzle(client)
          .select({ claimId: idempotencyKeys.claimId })
          .from(idempotencyKeys)
          .where(lt(idempotencyKeys.expireTime, sql`now()`))
          .orderBy(idempotencyKeys.expireTime)
          .limit(countMax)
          .for("update", { skipLocked: true });
        const deleted = await drizzle(client)
          .delete(idempotencyKeys)
          .where(inArray(idempotencyKeys.claimId, expired))
          .returning({ claimId: idempotencyKeys.claimId });
        return deleted.length;
      }),
  };
}

function after(ms: number) {
  return sql`now() + ${ms} * interval '1 millisecond'`;
}
