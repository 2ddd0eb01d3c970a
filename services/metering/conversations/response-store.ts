import type { SQL } from "drizzle-orm";
import type { PoolClient } from "pg";
import { and, drizzle, eq, gt, inArray, lt, lte, sql } from "../drizzle.ts";
import type { Database } from "../database.ts";
import { responseItems, responses } from "../schema.ts";
import { itemIdsOf } from "./item-ids.ts";

/** How far a response has come. */
export type ResponseState = typeof responses.$inferSelect.state;

/** Whose responses are meant. */
export interface Owner {
  readonly tenant: string;
  /** The key that asks. */
  readonly key: string;
}

/** A response as clients get it. */
export interface ResponseRow {
  readonly responseId: string;
  readonly previousResponseId: string | null;
  readonly background: boolean;
  /** By the clock of the database. */
  readonly state: ResponseState;
  readonly response: Buffer;
  readonly createTime: Date;
  readonly expireTime: Date;
}

/** Where the output stands in the bytes of a response; undefined: it has none. */
export type OutputSpan = { readonly start: number; readonly end: number } | undefined;

/** What a response and one that will be have in common. */
interface NewRow {
  readonly responseId: string;
  readonly previousResponseId: string | undefined;
  readonly input: Uint8Array;
  readonly response: Uint8Array;
  readonly timeToLiveMs: number;
}

export interface EndedResponse extends NewRow {
  readonly state: ResponseState;
  readonly output: OutputSpan;
}

export interface BackgroundResponse extends NewRow {
  readonly leaseId: string;
  readonly leaseMs: number;
}

/** One turn that leads to a response. */
export interface TurnRow {
  readonly responseId: string;
  readonly input: Buffer;
  readonly output: Buffer;
}

export interface HistoryBounds {
  readonly turnsMax: number;
  /** Of inputs and outputs together. */
  readonly bytesMax: number;
  /** Whether what stands before a missing turn is left out; else the history is missing. */
  readonly partial: boolean;
}

export type History =
  /** The oldest turn first. */
  | { readonly kind: "turns"; readonly turns: readonly TurnRow[]; readonly state: ResponseState }
  /** The response, or one before it, is not there. */
  | { readonly kind: "missing" }
  | { readonly kind: "too-long" };

/** Stored responses. All times are those of the database's clock. Failures are WeirError STORE_UNAVAILABLE. */
export interface ResponseStore {
  /** @returns false when another response of this id is there; the same one again is no other */
  insert(owner: Owner, row: EndedResponse | BackgroundResponse): Promise<boolean>;
  find(tenant: string, responseId: string): Promise<ResponseRow | undefined>;
  /** @returns false when there is none */
  remove(tenant: string, responseId: string): Promise<boolean>;
  history(tenant: string, responseId: string, bounds: HistoryBounds): Promise<History>;
  /**
   * The outputs in which items stand, those of the newest response first.
   * @returns undefined when they are more bytes than asked for
   */
  outputsWith(tenant: string, itemIds: readonly string[], bytesMax: number): Promise<readonly Buffer[] | undefined>;
  /** Prolongs what is still being made, also what ran out without anybody looking. @returns the leases of those */
  renew(leaseIds: readonly string[], leaseMs: number): Promise<readonly string[]>;
  /** @returns false when it had ended before in another way */
  finish(leaseId: string, end: Pick<EndedResponse, "state" | "response" | "output">): Promise<boolean>;
  /** Cancels a response in the background that is being made. @returns the response as it is then */
  cancel(tenant: string, responseId: string): Promise<ResponseRow | undefined>;
  /** Deletes expired responses that no other continues. @returns how many */
  sweep(countMax: number): Promise<number>;
}

const isLive = gt(responses.expireTime, sql`now()`);
/** Whoever makes it may still prolong and end it, though its lease ran out while this store was away. */
const isUnended = eq(responses.state, "in_progress");
/** It has failed for whoever looks, and for good once somebody did. */
const hasRunOut = and(isUnended, lte(responses.leaseExpireTime, sql`now()`));
const isBeingMade = and(isUnended, gt(responses.leaseExpireTime, sql`now()`));
const stateNow = sql<ResponseState>`case
  when ${responses.state} = 'in_progress' and ${responses.leaseExpireTime} <= now() then 'failed'
  else ${responses.state}
end`;

const clientColumns = {
  responseId: responses.responseId,
  previousResponseId: responses.previousResponseId,
  background: responses.background,
  state: stateNow,
  response: responses.response,
  createTime: responses.createTime,
  expireTime: responses.expireTime,
};

export function createResponseStore(database: Database): ResponseStore {
  return {
    insert: (owner, row) =>
      database.of(owner.tenant).transaction(async (client) => {
        const queries = drizzle(client);
        const values = { ...valuesOf(row), tenant: owner.tenant, key: owner.key };
        const inserted = await queries
          .insert(responses)
          .values(values)
          .onConflictDoUpdate({
            target: [responses.tenant, responses.responseId],
            set: { ...values, createTime: sql`now()` },
            // What has expired is not there.
            setWhere: sql`${responses.expireTime} <= now()`,
          })
          .returning({ responseId: responses.responseId });
        if (inserted.length > 0) {
          if ("output" in row) await noteItems(client, owner.tenant, row.responseId, row);
          return true;
        }
        const same = await queries
          .select({ responseId: responses.responseId })
          .from(responses)
          .where(
            and(
              isOf(owner.tenant, row.responseId),
              eq(responses.response, values.response),
              eq(responses.input, values.input),
            ),
          );
        return same.length > 0;
      }),
    async find(tenant, responseId) {
      const [row] = await database.of(tenant).read((queries) =>
        queries
          .select({ ...clientColumns, hasRunOut: sql<boolean>`coalesce(${hasRunOut}, false)` })
          .from(responses)
          .where(and(isOf(tenant, responseId), isLive)),
      );
      if (row === undefined) return undefined;
      const { hasRunOut: mustFail, ...found } = row;
      return mustFail ? database.of(tenant).transaction((client) => failed(client, tenant, responseId)) : found;
    },
    remove: (tenant, responseId) =>
      database.of(tenant).transaction(async (client) => {
        const rows = await drizzle(client)
          .delete(responses)
          .where(isOf(tenant, responseId))
          .returning({ isLive: sql<boolean>`${isLive}` });
        return rows[0]?.isLive ?? false;
      }),
    async history(tenant, responseId, bounds) {
      const chain = chainOf(tenant, responseId, bounds);
      const { rows } = await database.of(tenant).read((queries) => queries.execute<ChainRow>(chain));
      return historyOf(rows, bounds);
    },
    async outputsWith(tenant, itemIds, bytesMax) {
      const { rows } = await database
        .of(tenant)
        .read((queries) => queries.execute<OutputRow>(outputsOf(tenant, itemIds, bytesMax)));
      return rows.some(({ output }) => output === null) ? undefined : rows.map(({ output }) => output ?? nothing);
    },
    renew: (leaseIds, leaseMs) =>
      database.transaction(async (client) => {
        const queries = drizzle(client);
        const asked = inArray(responses.leaseId, [...leaseIds]);
        // Not every time: a lease that is almost new needs no new version of its row.
        const isWorn = lt(responses.leaseExpireTime, after(leaseMs * (2 / 3)));
        await queries
          .update(responses)
          .set({ leaseExpireTime: after(leaseMs) })
          .where(and(asked, isLive, isUnended, isWorn));
        const alive = await queries
          .select({ leaseId: responses.leaseId })
          .from(responses)
          .where(and(asked, isLive, isUnended));
        return alive.flatMap(({ leaseId }) => (leaseId === null ? [] : [leaseId]));
      }),
    finish: (leaseId, { state, response, output }) =>
      database.transaction(async (client) => {
        const queries = drizzle(client);
        const bytes = Buffer.from(response);
        const finished = await queries
          .update(responses)
          .set({ state, response: bytes, outputStart: output?.start ?? null, outputEnd: output?.end ?? null })
          .where(and(eq(responses.leaseId, leaseId), isLive, isUnended))
          .returning({ tenant: responses.tenant, responseId: responses.responseId });
        const [own] = finished;
        if (own !== undefined) {
          await noteItems(client, own.tenant, own.responseId, { response, output });
          return true;
        }
        const same = await queries
          .select({ responseId: responses.responseId })
          .from(responses)
          .where(and(eq(responses.leaseId, leaseId), eq(responses.state, state), eq(responses.response, bytes)));
        return same.length > 0;
      }),
    cancel: (tenant, responseId) =>
      database.of(tenant).transaction(async (client) => {
        const queries = drizzle(client);
        await queries
          .update(responses)
          .set({ state: "cancelled" })
          .where(and(isOf(tenant, responseId), isLive, isBeingMade));
        return failed(client, tenant, responseId);
      }),
    sweep: (countMax) =>
      database.transaction(async (client) => {
        const { rowCount } = await client.query(
          `delete from responses where (tenant, response_id) in (
             select r.tenant, r.response_id from responses r
             where r.expire_time <= now() and not exists (
               select from responses c where c.tenant = r.tenant and c.previous_response_id = r.response_id
             )
             order by r.expire_time limit $1
             for update skip locked
           )`,
          [countMax],
        );
        return rowCount ?? 0;
      }),
  };
}

/** The response as it is from now on, failed for good when its lease has run out. */
async function failed(client: PoolClient, tenant: string, responseId: string): Promise<ResponseRow | undefined> {
  const queries = drizzle(client);
  await queries
    .update(responses)
    .set({ state: "failed" })
    .where(and(isOf(tenant, responseId), hasRunOut));
  const rows = await queries
    .select(clientColumns)
    .from(responses)
    .where(and(isOf(tenant, responseId), isLive));
  return rows[0];
}

function isOf(tenant: string, responseId: string): SQL | undefined {
  return and(eq(responses.tenant, tenant), eq(responses.responseId, responseId));
}

/** An instant from now, by the clock of the database. */
function after(delayMs: number): SQL<Date> {
  return sql`now() + ${delayMs}::float8 * interval '1 millisecond'`;
}

function valuesOf(row: EndedResponse | BackgroundResponse) {
  const { responseId, previousResponseId, input, response, timeToLiveMs } = row;
  const common = {
    responseId,
    previousResponseId: previousResponseId ?? null,
    input: Buffer.from(input),
    response: Buffer.from(response),
    expireTime: after(timeToLiveMs),
  };
  if ("leaseId" in row) {
    const lease = { leaseId: row.leaseId, leaseExpireTime: after(row.leaseMs) };
    return { ...common, ...lease, background: true, state: "in_progress" as const, outputStart: null, outputEnd: null };
  }
  const { state, output } = row;
  const span = { outputStart: output?.start ?? null, outputEnd: output?.end ?? null };
  return { ...common, ...span, background: false, state, leaseId: null, leaseExpireTime: null };
}

/** A response of a chain; 1 is the last. `bytes` sums up to here. */
interface ChainRow extends Record<string, unknown> {
  readonly response_id: string;
  readonly previous_response_id: string | null;
  readonly state: ResponseState;
  readonly depth: number;
  readonly bytes: string;
  readonly input: Buffer | null;
  readonly output: Buffer | null;
}

/**
 * The response and those that it continues, each as long as a later one is there. Goes no further than one turn beyond what is
 * asked for, and reads no content when that is too much.
 */
function chainOf(tenant: string, responseId: string, { turnsMax, bytesMax }: HistoryBounds): SQL {
  return sql`
    with recursive chain as (
      select response_id, previous_response_id, ${stateNow} as state, 1 as depth,
        octet_length(input)::bigint + coalesce(output_end - output_start, 0) as bytes
      from ${responses}
      where ${isOf(tenant, responseId)} and ${isLive}
      union all
      select p.response_id, p.previous_response_id, p.state, c.depth + 1,
        c.bytes + octet_length(p.input) + coalesce(p.output_end - p.output_start, 0)
      from chain c join responses p on p.tenant = ${tenant} and p.response_id = c.previous_response_id
      where c.depth <= ${turnsMax} and c.bytes <= ${bytesMax}
    ), size as (select max(depth) <= ${turnsMax} and max(bytes) <= ${bytesMax} as fits from chain)
    select chain.*,
      case when fits then r.input end as input,
      case when fits then substring(r.response from r.output_start + 1 for r.output_end - r.output_start) end as output
    from size, chain join responses r on r.tenant = ${tenant} and r.response_id = chain.response_id
    order by depth desc`;
}

/** An output in which some of the items stand; null: all of them are too large. */
interface OutputRow extends Record<string, unknown> {
  readonly output: Buffer | null;
}

function outputsOf(tenant: string, itemIds: readonly string[], bytesMax: number): SQL {
  return sql`
    with found as (
      select response_id, create_time, output_start, output_end from ${responses}
      where tenant = ${tenant} and ${isLive} and output_start is not null and response_id in (
        select response_id from ${responseItems} where tenant = ${tenant} and item_id = any(${sql.param([...itemIds])}::text[])
      )
    ), size as (select coalesce(sum(output_end - output_start), 0) <= ${bytesMax} as fits from found)
    select case when fits then substring(r.response from r.output_start + 1 for r.output_end - r.output_start) end as output
    from size, found join responses r on r.tenant = ${tenant} and r.response_id = found.response_id
    order by found.create_time desc, found.response_id`;
}

/** From now on the items of a response that has ended are found. */
async function noteItems(
  client: PoolClient,
  tenant: string,
  responseId: string,
  { response, output }: Pick<EndedResponse, "response" | "output">,
): Promise<void> {
  const itemIds = output === undefined ? [] : itemIdsOf(response.subarray(output.start, output.end));
  if (itemIds.length === 0) return;
  await client.query(
    `insert into response_items (tenant, item_id, response_id)
     select $1, item_id, $2 from unnest($3::text[]) as ids (item_id) on conflict do nothing`,
    [tenant, responseId, itemIds],
  );
}

function historyOf(rows: readonly ChainRow[], { turnsMax, bytesMax, partial }: HistoryBounds): History {
  const [oldest] = rows;
  const last = rows.at(-1);
  if (oldest === undefined || last === undefined) return { kind: "missing" };
  if (oldest.depth > turnsMax || Number(oldest.bytes) > bytesMax) return { kind: "too-long" };
  if (oldest.previous_response_id !== null && !partial) return { kind: "missing" };
  const turns = rows.map(({ response_id: responseId, input, output }) => ({
    responseId,
    input: input ?? nothing,
    output: output ?? nothing,
  }));
  return { kind: "turns", turns, state: last.state };
}

const nothing = Buffer.alloc(0);
