import type { ClientBase } from "pg";
import { and, desc, drizzle, eq, inArray, isNotNull, lt, ne, or, sql } from "../drizzle.ts";
import type { Database } from "../database.ts";
import { type BatchInputColumn, resources } from "../schema.ts";
import { type HeldPart, toHoldColumn } from "./batch-hold.ts";

/** Something that a provider keeps for a tenant. */
export interface ResourceRow {
  readonly resourceId: string;
  readonly kind: string;
  readonly provider: string;
  readonly account: string;
  readonly alias: string;
  readonly createTime: Date;
  /** What the lines of a batch's input name; null: it was not checked as such. */
  readonly batchInput: BatchInputColumn | null;
}

/** What is set aside for a batch. */
export interface BatchMoney {
  /** A UUID. */
  readonly holder: string;
  readonly parts: readonly HeldPart[];
}

/** Whose call made a resource. */
export interface ResourceMaker {
  readonly tenant: string;
  readonly key: string;
  /** Empty: none. */
  readonly endUser: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** What to list. */
export interface ResourcePage {
  readonly kind: string;
  readonly countMax: number;
  /** An id; empty: none. */
  readonly after: string;
  /** Only what these name: ids, or prefixes ended by `*`; none: everything. */
  readonly matching: readonly string[];
}

/** Failures are WeirError STORE_UNAVAILABLE. */
export interface ResourceStore {
  /**
   * @param money what is set aside for it is kept from then on until it is settled
   * @returns false when the id is another tenant's; the same again changes nothing
   */
  record(maker: ResourceMaker, row: Omit<ResourceRow, "createTime">, money: BatchMoney | undefined): Promise<boolean>;
  /** Those of the ids that are there, in no order. */
  find(tenant: string, resourceIds: readonly string[]): Promise<readonly ResourceRow[]>;
  /** The newest first. @returns undefined when `after` is not there */
  list(tenant: string, page: ResourcePage): Promise<readonly ResourceRow[] | undefined>;
  /** Has batches that are not settled looked at within seconds: somebody is interested in how they stand. */
  hasten(tenant: string, resourceIds: readonly string[]): Promise<void>;
  /** A batch stays until what it used is in the ledger. */
  forget(tenant: string, resourceId: string): Promise<void>;
}

const columns = {
  resourceId: resources.resourceId,
  kind: resources.kind,
  provider: resources.provider,
  account: resources.account,
  alias: resources.alias,
  createTime: resources.createTime,
  batchInput: resources.batchInput,
};

export function createResourceStore(database: Database): ResourceStore {
  return {
    record: ({ tenant, key, endUser, tags }, row, money) =>
      // Leases are no tenant's rows.
      (money === undefined ? database.of(tenant) : database).transaction(async (client) => {
        const queries = drizzle(client);
        const hold = money === undefined ? null : toHoldColumn(money.parts);
        const added = await queries
          .insert(resources)
          .values({ ...row, tenant, key, endUser, tags: Object.keys(tags).length === 0 ? null : tags, hold })
          .onConflictDoNothing()
          .returning({ resourceId: resources.resourceId });
        if (added.length > 0) {
          if (money !== undefined) await keepLeases(client, money);
          return true;
        }
        const own = await queries
          .select({ resourceId: resources.resourceId })
          .from(resources)
          .where(and(eq(resources.provider, row.provider), isOf(tenant, [row.resourceId])));
        return own.length > 0;
      }),
    find: (tenant, resourceIds) =>
      database.of(tenant).read((queries) => queries.select(columns).from(resources).where(isOf(tenant, resourceIds))),
    list: (tenant, { kind, countMax, after, matching }) =>
      database.of(tenant).read(async (queries) => {
        const [last] =
          after === ""
            ? []
            : await queries
                .select({ number: resources.resourceNumber })
                .from(resources)
                .where(and(isOf(tenant, [after]), eq(resources.kind, kind), isNamed(matching)));
        if (after !== "" && last === undefined) return undefined;
        return queries
          .select(columns)
          .from(resources)
          .where(
            and(
              eq(resources.tenant, tenant),
              eq(resources.kind, kind),
              isNamed(matching),
              last === undefined ? undefined : lt(resources.resourceNumber, last.number),
            ),
          )
          .orderBy(desc(resources.resourceNumber))
          .limit(countMax);
      }),
    hasten: (tenant, resourceIds) =>
      database.of(tenant).transaction(async (client) => {
        await client.query(
          `update resources set look_time = now() + interval '5 seconds'
           where tenant = $1 and resource_id = any($2) and kind = 'batch' and settle_time is null
             and look_time > now() + interval '5 seconds'`,
          [tenant, [...resourceIds]],
        );
      }),
    forget: (tenant, resourceId) =>
      database.of(tenant).transaction(async (client) => {
        await drizzle(client)
          .delete(resources)
          .where(and(isOf(tenant, [resourceId]), or(ne(resources.kind, "batch"), isNotNull(resources.settleTime))));
      }),
  };
}

/** From now on the leases live until the batch is settled. */
async function keepLeases(client: ClientBase, { holder, parts }: BatchMoney): Promise<void> {
  await client.query(
    `with own as (
       select lease_id from budget_leases
       where lease_id = any($1::int8[]) and holder = $2 and not ended order by lease_id for update)
     update budget_leases l set expire_time = 'infinity', kept = true from own where l.lease_id = own.lease_id`,
    [parts.flatMap(({ leaseIds }) => leaseIds.map(String)), holder],
  );
}

function isOf(tenant: string, resourceIds: readonly string[]) {
  return and(eq(resources.tenant, tenant), inArray(resources.resourceId, [...resourceIds]));
}

/** @param matching ids, or prefixes ended by `*`; none: everything */
function isNamed(matching: readonly string[]) {
  if (matching.length === 0) return undefined;
  const prefixes = matching.filter((name) => name.endsWith("*")).map((name) => name.slice(0, -1));
  const begins = sql`exists (select from unnest(${sql.param(prefixes)}::text[]) p where starts_with(${resources.resourceId}, p))`;
  return or(inArray(resources.resourceId, [...matching]), begins);
}
