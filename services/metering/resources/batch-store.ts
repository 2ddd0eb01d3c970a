import { and, eq, inArray } from "../drizzle.ts";
import { type BudgetNews, endLeases, noNews, settleBudgets } from "../budgets/settlement.ts";
import type { Database } from "../database.ts";
import { attempts, resources } from "../schema.ts";
import { type Allotment, fromHoldColumn, type HeldPart } from "./batch-hold.ts";
import type { ResourceMaker } from "./resource-store.ts";

/** A batch that may have ended without its usage being in the ledger. */
export interface DueBatch extends ResourceMaker {
  readonly provider: string;
  readonly batchId: string;
  readonly account: string;
  readonly createTime: Date;
}

/** A batch, and who pays for it. */
export interface OwnedBatch extends ResourceMaker {
  readonly createTime: Date;
  readonly isSettled: boolean;
  /** What is set aside for it; none: no budget was about it when it was made. */
  readonly parts: readonly HeldPart[];
}

/** A row of the ledger, and what it takes from leases. */
export interface ChargedRow extends Pick<Allotment, "takes"> {
  readonly attemptId: string;
}

/** Batches of every tenant. Failures are WeirError STORE_UNAVAILABLE. */
export interface BatchStore {
  /** Gives batches that are due, those first that wait longest, and puts each off by an eighth of its age: 30 s to an hour. */
  claim(countMax: number): Promise<readonly DueBatch[]>;
  /** @returns undefined: there is none */
  read(provider: string, batchId: string): Promise<OwnedBatch | undefined>;
  /** Those of the ids that stand in the ledger. */
  recorded(attemptIds: readonly string[]): Promise<ReadonlySet<string>>;
  /**
   * Says that what a batch used is in the ledger, moves what its rows cost from what is set aside for it to what is spent, and lets
   * go of the rest: all of it or, when it was said before, nothing.
   * @param charged rows whose charge nobody knows take all that they may
   */
  markSettled(
    provider: string,
    batchId: string,
    parts: readonly HeldPart[],
    charged: readonly ChargedRow[],
  ): Promise<BudgetNews>;
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
          tenant: string;
          key: string;
          end_user: string;
          tags: Record<string, string> | null;
        }>(
          `with due as (
             select provider, resource_id from resources
             where kind = 'batch' and settle_time is null and look_time <= now()
             order by look_time limit $1 for update skip locked)
           update resources r set look_time =
             now() + least(greatest((now() - r.create_time) / 8, interval '30 seconds'), interval '1 hour')
           from due where r.provider = due.provider and r.resource_id = due.resource_id
           returning r.provider, r.resource_id, r.account, r.create_time, r.tenant, r.key, r.end_user, r.tags`,
          [countMax],
        );
        return rows.map((row) => ({
          provider: row.provider,
          batchId: row.resource_id,
          account: row.account,
          createTime: new Date(row.create_time),
          tenant: row.tenant,
          key: row.key,
          endUser: row.end_user,
          tags: row.tags ?? {},
        }));
      }),
    read: (provider, batchId) =>
      database.read(async (queries) => {
        const [row] = await queries.select().from(resources).where(isBatch(provider, batchId));
        if (row === undefined) return undefined;
        const { tenant, key, endUser, tags, createTime, settleTime, hold } = row;
        const isSettled = settleTime !== null;
        return { tenant, key, endUser, tags: tags ?? {}, createTime, isSettled, parts: fromHoldColumn(hold) };
      }),
    recorded: (attemptIds) =>
      database.read(async (queries) => {
        const rows = await queries
          .select({ attemptId: attempts.attemptId })
          .from(attempts)
          .where(inArray(attempts.attemptId, [...attemptIds]));
        return new Set(rows.map(({ attemptId }) => attemptId));
      }),
    markSettled: (provider, batchId, parts, charged) =>
      database.transaction(async (client) => {
        const { rowCount } = await client.query(
          `update resources set settle_time = now()
           where provider = $1 and resource_id = $2 and kind = 'batch' and settle_time is null`,
          [provider, batchId],
        );
        const leaseIds = [...new Set(parts.flatMap((part) => part.leaseIds))];
        if (rowCount !== 1 || leaseIds.length === 0) return noNews;
        const { rows } = await client.query<{ attempt_id: string; charge_nano_usd: string | null }>(
          "select attempt_id, charge_nano_usd from attempts where attempt_id = any($1::uuid[])",
          [charged.map(({ attemptId }) => attemptId)],
        );
        const charges = new Map(rows.map((row) => [row.attempt_id, row.charge_nano_usd]));
        const news = await settleBudgets(
          client,
          charged.flatMap(({ attemptId, takes }) => {
            const known = charges.get(attemptId) ?? null;
            return takes.map(({ leaseId, most }) => {
              const charge = known === null ? most : BigInt(known);
              return { leaseIds: [leaseId], nanoUsd: charge < most ? charge : most };
            });
          }),
        );
        await endLeases(client, leaseIds);
        return news;
      }),
  };
}

function isBatch(provider: string, batchId: string) {
  return and(eq(resources.provider, provider), eq(resources.resourceId, batchId), eq(resources.kind, "batch"));
}
