import { and, eq, inArray } from "drizzle-orm";
import type { Database } from "../database.ts";
import { attempts, resources } from "../schema.ts";
import type { ResourceMaker } from "./resource-store.ts";

/** A batch that may have ended without its usage being in the ledger. */
export interface DueBatch {
  readonly provider: string;
  readonly batchId: string;
  readonly account: string;
  readonly createTime: Date;
}

/** A batch, and who pays for it. */
export interface OwnedBatch extends ResourceMaker {
  readonly createTime: Date;
  readonly isSettled: boolean;
}

/** Batches of every tenant. Failures are WeirError STORE_UNAVAILABLE. */
export interface BatchStore {
  /** Gives batches that are due, those first that wait longest, and puts each off by an eighth of its age: 30 s to an hour. */
  claim(countMax: number): Promise<readonly DueBatch[]>;
  /** @returns undefined: there is none */
  read(provider: string, batchId: string): Promise<OwnedBatch | undefined>;
  /** Those of the ids that stand in the ledger. */
  recorded(attemptIds: readonly string[]): Promise<ReadonlySet<string>>;
  /** Says that what a batch used is in the ledger. Idempotent. */
  markSettled(provider: string, batchId: string): Promise<void>;
}

export function createBatchStore(database: Database): BatchStore {
  return {
    claim: (countMax) =>
      database.transaction(async (client) => {
        const { rows } = await client.query<{
          provider: string;
          resource_id: string;
          account: string;
          create_time: Date;
        }>(
          `with due as (
             select provider, resource_id from resources
             where kind = 'batch' and settle_time is null and look_time <= now()
             order by look_time limit $1 for update skip locked)
           update resources r set look_time =
             now() + least(greatest((now() - r.create_time) / 8, interval '30 seconds'), interval '1 hour')
           from due where r.provider = due.provider and r.resource_id = due.resource_id
           returning r.provider, r.resource_id, r.account, r.create_time`,
          [countMax],
        );
        return rows.map((row) => ({
          provider: row.provider,
          batchId: row.resource_id,
          account: row.account,
          createTime: new Date(row.create_time),
        }));
      }),
    read: (provider, batchId) =>
      database.read(async (queries) => {
        const [row] = await queries.select().from(resources).where(isBatch(provider, batchId));
        if (row === undefined) return undefined;
        const { tenant, key, endUser, tags, createTime, settleTime } = row;
        return { tenant, key, endUser, tags: tags ?? {}, createTime, isSettled: settleTime !== null };
      }),
    recorded: (attemptIds) =>
      database.read(async (queries) => {
        const rows = await queries
          .select({ attemptId: attempts.attemptId })
          .from(attempts)
          .where(inArray(attempts.attemptId, [...attemptIds]));
        return new Set(rows.map(({ attemptId }) => attemptId));
      }),
    markSettled: (provider, batchId) =>
      database.transaction(async (client) => {
        await client.query(
          `update resources set settle_time = now()
           where provider = $1 and resource_id = $2 and kind = 'batch' and settle_time is null`,
          [provider, batchId],
        );
      }),
  };
}

function isBatch(provider: string, batchId: string) {
  return and(eq(resources.provider, provider), eq(resources.resourceId, batchId), eq(resources.kind, "batch"));
}
