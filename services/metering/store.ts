import { createHash } from "node:crypto";
import type { ClientBase } from "pg";
import { eq } from "./drizzle.ts";
import { type ArrayColumn, arrayParameters, unnested } from "./arrays.ts";
import { type BudgetNews, settleBudgets } from "./budgets/settlement.ts";
import { type Database, sqlState } from "./database.ts";
import type { AttemptRow, BudgetCharge } from "./ledger.ts";
import { recordAdopted } from "./ledger-deeds.ts";
import { journals } from "./schema.ts";
import { postingOf } from "./transfers.ts";

/** An event that is kept aside, and why. */
export interface Conflict {
  readonly attemptId: string;
  /** `content`, or the field at fault. */
  readonly reason: string;
  readonly journalId: string;
  readonly sequence: bigint;
  readonly payload: Uint8Array;
}

/** A row to write, and how to keep its event aside if it turns out to be a conflict. */
export interface Recordable {
  readonly row: AttemptRow;
  readonly aside: (reason: string) => Conflict;
}

/** Numbers first..last of one journal, all of them handled by the transaction. */
export interface Run {
  readonly journalId: string;
  readonly first: bigint;
  readonly last: bigint;
}

/** What one transaction wrote. */
export interface Applied {
  /** Rows that are new. */
  readonly insertedCount: number;
  /** Conflicts that are new. */
  readonly conflictCount: number;
  /** By journal: every event up to this number is committed. */
  readonly committed: ReadonlyMap<string, bigint>;
  /** What became of the budgets that the new rows were charged to. */
  readonly budgets: BudgetNews;
}

/** The ledger's tables. Failures are WeirError STORE_UNAVAILABLE. */
export interface LedgerStore {
  /**
   * Writes rows, transfers, conflicts and watermarks in one transaction. Idempotent.
   * @param isAdopted whether the command line brought them, which the audit log tells
   */
  apply(
    rows: readonly Recordable[],
    conflicts: readonly Conflict[],
    runs: readonly Run[],
    isAdopted?: boolean,
  ): Promise<Applied>;
  /** How far a journal is committed; 0n when nothing of it is. @param journalId a UUID */
  watermark(journalId: string): Promise<bigint>;
}

export function createLedgerStore(database: Database): LedgerStore {
  return {
    async apply(rows, conflicts, runs, isAdopted = false) {
      const write = (isSuspect: boolean) =>
        database.transaction(async (client) => {
          const { committed, areNew } = await advanceAll(client, runs);
          const aside = [...conflicts];
          const insert = isSuspect ? insertApart : areNew ? insertNew : insertMissing;
          const inserted = await insert(client, firstOfEach(rows, aside), aside);
          const conflictCount = await insertConflicts(client, aside);
          // Last, since its locks are those for which other writers and the pools' questions wait.
          const budgets = await settleBudgets(client, inserted.flatMap(chargeOf));
          for (const { journalId } of isAdopted ? runs : []) await recordAdopted(client, journalId, inserted.length);
          return { insertedCount: inserted.length, conflictCount, committed, budgets };
        });
      try {
        return await write(false);
      } catch (thrown) {
        if (!isValueAtFault(thrown)) throw thrown;
        return write(true);
      }
    },
    async watermark(journalId) {
      const rows = await database.read((queries) =>
        queries
          .select({ committed: journals.committedSequence })
          .from(journals)
          .where(eq(journals.journalId, journalId)),
      );
      return rows[0]?.committed ?? 0n;
    },
  };
}

/**
 * Moves watermarks. The journals' rows stay locked until the end: batches of one journal go one after another.
 * @returns where they are now, and whether all runs begin right behind where they were, as the first delivery of a
 *   batch nearly always does
 */
async function advanceAll(
  client: ClientBase,
  runs: readonly Run[],
): Promise<{ readonly committed: ReadonlyMap<string, bigint>; readonly areNew: boolean }> {
  const committed = new Map<string, bigint>();
  let areNew = runs.length > 0;
  for (const run of runs) {
    const follows = await follow(client, run);
    committed.set(run.journalId, follows ? run.last : await advance(client, run));
    areNew &&= follows;
  }
  return { committed, areNew };
}

/** Moves a journal's watermark if the run begins right behind it: `advance` for most runs, for less. */
async function follow(client: ClientBase, run: Run): Promise<boolean> {
  const { rowCount } = await client.query({
    name: "follow",
    text: `update journals set committed_sequence = $3::int8, update_time = now()
           where journal_id = $1 and committed_sequence = $2::int8 - 1`,
    values: [run.journalId, String(run.first), String(run.last)],
  });
  return rowCount === 1;
}

/** Moves a journal's watermark over a run that joins it; a run beyond a gap moves nothing. */
async function advance(client: ClientBase, run: Run): Promise<bigint> {
  const { rows } = await client.query<{ committed_sequence: string }>({
    name: "advance",
    text: `insert into journals as j (journal_id, committed_sequence)
           values ($1, case when $2::int8 <= 1 then $3::int8 else 0 end)
           on conflict (journal_id) do update set
             committed_sequence = case when $2::int8 <= j.committed_sequence + 1
               then greatest(j.committed_sequence, $3::int8) else j.committed_sequence end,
             update_time = now()
           returning committed_sequence`,
    values: [run.journalId, String(run.first), String(run.last)],
  });
  return BigInt(rows[0]?.committed_sequence ?? 0);
}

/**
 * The same attempt may come twice in one batch: the first stands, another content is a conflict. Ordered by id: two
 * consumers that insert the same rows wait for each other instead of dying of a deadlock.
 */
function firstOfEach(rows: readonly Recordable[], aside: Conflict[]): Recordable[] {
  const firsts = new Map<string, Recordable>();
  for (const recordable of rows) {
    const first = firsts.get(recordable.row.attemptId);
    if (!first) firsts.set(recordable.row.attemptId, recordable);
    else if (first.row.contentDigest !== recordable.row.contentDigest) aside.push(recordable.aside("content"));
  }
  return [...firsts.values()].sort((a, b) => (a.row.attemptId < b.row.attemptId ? -1 : 1));
}

/** Data exceptions and violated constraints: no other try would end otherwise. */
function isValueAtFault(thrown: unknown): boolean {
  const state = sqlState(thrown);
  return state !== undefined && (state.startsWith("22") || state.startsWith("23"));
}

/** Inserts rows none of which is expected to stand already; if one does, that is a violated constraint. */
async function insertNew(client: ClientBase, rows: readonly Recordable[]): Promise<readonly Recordable[]> {
  if (rows.length === 0) return rows;
  await client.query({
    name: "insert-new",
    text: `with inserted as (${insertAttempts("")}) ${postingOf("inserted")}`,
    values: arrayParameters(attemptColumns, rows),
  });
  return rows;
}

/** Inserts rows that do not stand yet, and adds to `aside` what stands with other content. @returns the inserted ones */
async function insertMissing(
  client: ClientBase,
  rows: readonly Recordable[],
  aside: Conflict[],
): Promise<readonly Recordable[]> {
  if (rows.length === 0) return rows;
  const { rows: inserted } = await client.query<{ attempt_id: string }>({
    name: "insert-missing",
    text: `with inserted as (${insertAttempts("on conflict (attempt_id) do nothing")}),
             posted as (${postingOf("inserted")})
           select attempt_id from inserted`,
    values: arrayParameters(attemptColumns, rows),
  });
  if (inserted.length === rows.length) return rows;
  aside.push(...(await conflictsAmong(client, rows)));
  const ids = new Set(inserted.map((row) => row.attempt_id));
  return rows.filter(({ row }) => ids.has(row.attemptId));
}

function chargeOf({ row: { budgetCharge } }: Recordable): BudgetCharge[] {
  return budgetCharge === undefined ? [] : [budgetCharge];
}

/**
 * For a batch of which the server refuses a value that the checks before it let through: its halves are tried apart,
 * until only the row at fault is kept aside.
 */
async function insertApart(
  client: ClientBase,
  rows: readonly Recordable[],
  aside: Conflict[],
): Promise<readonly Recordable[]> {
  const apart: Conflict[] = [];
  await client.query("savepoint rows");
  try {
    const inserted = await insertMissing(client, rows, apart);
    await client.query("release savepoint rows");
    aside.push(...apart);
    return inserted;
  } catch (thrown) {
    if (!isValueAtFault(thrown)) throw thrown;
    await client.query("rollback to savepoint rows");
    const [only] = rows;
    if (rows.length === 1 && only) {
      aside.push(only.aside(`sqlstate ${sqlState(thrown)}`));
      return [];
    }
    const middle = rows.length >> 1;
    const before = await insertApart(client, rows.slice(0, middle), aside);
    return [...before, ...(await insertApart(client, rows.slice(middle), aside))];
  }
}

async function conflictsAmong(client: ClientBase, rows: readonly Recordable[]): Promise<Conflict[]> {
  const { rows: standing } = await client.query<{ attempt_id: string; digest: string }>({
    name: "read-digests",
    text: `select attempt_id, encode(content_digest, 'hex') as digest from attempts where attempt_id = any($1::uuid[])`,
    values: arrayParameters([attemptIds], rows),
  });
  const digests = new Map(standing.map((row) => [row.attempt_id, row.digest]));
  return rows
    .filter(({ row }) => digests.get(row.attemptId) !== row.contentDigest)
    .map((recordable) => recordable.aside("content"));
}

async function insertConflicts(client: ClientBase, conflicts: readonly Conflict[]): Promise<number> {
  if (conflicts.length === 0) return 0;
  const { rowCount } = await client.query(
    `insert into conflicts (conflict_id, attempt_id, reason, journal_id, sequence, payload)
     select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::numeric[], $6::bytea[])
     on conflict (conflict_id) do nothing`,
    [
      conflicts.map(({ reason, payload }) => createHash("sha256").update(`${reason}\n`).update(payload).digest()),
      conflicts.map(({ attemptId }) => attemptId),
      conflicts.map(({ reason }) => reason),
      conflicts.map(({ journalId }) => journalId),
      conflicts.map(({ sequence }) => String(sequence)),
      conflicts.map(({ payload }) => Buffer.from(payload)),
    ],
  );
  return rowCount ?? 0;
}

const attemptIds: ArrayColumn<Recordable> = { name: "attempt_id", type: "uuid", value: ({ row }) => row.attemptId };

const attemptColumns: readonly ArrayColumn<Recordable>[] = [
  attemptIds,
  { name: "request_id", type: "text", value: ({ row }) => row.requestId },
  { name: "tenant", type: "text", value: ({ row }) => row.tenant },
  { name: "key", type: "text", value: ({ row }) => row.key },
  { name: "end_user", type: "text", value: ({ row }) => row.endUser },
  { name: "alias", type: "text", value: ({ row }) => row.alias },
  { name: "provider", type: "text", value: ({ row }) => row.provider },
  { name: "model", type: "text", value: ({ row }) => row.model },
  { name: "stream", type: "bool", value: ({ row }) => row.stream },
  { name: "outcome", type: "text", value: ({ row }) => row.outcome },
  { name: "usage_source", type: "text", value: ({ row }) => row.usageSource },
  { name: "input_tokens", type: "int8", value: ({ row }) => row.usage.inputTokens },
  { name: "cached_input_tokens", type: "int8", value: ({ row }) => row.usage.cachedInputTokens },
  { name: "cache_write_tokens", type: "int8", value: ({ row }) => row.usage.cacheWriteTokens },
  { name: "cache_write_long_tokens", type: "int8", value: ({ row }) => row.usage.cacheWriteLongTokens },
  { name: "audio_input_tokens", type: "int8", value: ({ row }) => row.usage.audioInputTokens },
  { name: "image_input_tokens", type: "int8", value: ({ row }) => row.usage.imageInputTokens },
  { name: "output_tokens", type: "int8", value: ({ row }) => row.usage.outputTokens },
  { name: "reasoning_tokens", type: "int8", value: ({ row }) => row.usage.reasoningTokens },
  { name: "audio_output_tokens", type: "int8", value: ({ row }) => row.usage.audioOutputTokens },
  { name: "image_output_tokens", type: "int8", value: ({ row }) => row.usage.imageOutputTokens },
  { name: "accepted_prediction_tokens", type: "int8", value: ({ row }) => row.usage.acceptedPredictionTokens },
  { name: "rejected_prediction_tokens", type: "int8", value: ({ row }) => row.usage.rejectedPredictionTokens },
  { name: "server_tool_uses", type: "jsonb", value: ({ row }) => row.serverToolUses },
  { name: "usage_inconsistent", type: "bool", value: ({ row }) => row.usageInconsistent },
  { name: "price_id", type: "text", value: ({ row }) => row.priceId },
  { name: "pricing", type: "text", value: ({ row }) => row.pricing },
  { name: "cost_nano_usd", type: "int8", value: ({ row }) => row.costNanoUsd },
  { name: "charge_nano_usd", type: "int8", value: ({ row }) => row.chargeNanoUsd },
  { name: "start_time", type: "timestamptz", value: ({ row }) => row.startTimeUs },
  { name: "end_time", type: "timestamptz", value: ({ row }) => row.endTimeUs },
  { name: "first_token_us", type: "int8", value: ({ row }) => row.firstTokenUs },
  { name: "provider_status", type: "int4", value: ({ row }) => row.providerStatus },
  { name: "provider_reply_id", type: "text", value: ({ row }) => row.providerReplyId },
  { name: "content_digest", type: "bytea", value: ({ row }) => row.contentDigest },
  { name: "tags", type: "jsonb", value: ({ row }) => row.tags },
  { name: "service_tier", type: "text", value: ({ row }) => row.serviceTier },
  { name: "charge_max_nano_usd", type: "int8", value: ({ row }) => row.chargeMaxNanoUsd },
];

/** To be posted in the same statement, so that a transfer exists exactly when its attempt's row was inserted with it. */
function insertAttempts(onConflict: string): string {
  return `
    insert into attempts (${attemptColumns.map((column) => column.name).join(", ")})
    select * from ${unnested(attemptColumns, "t")}
    ${onConflict}
    returning attempt_id, tenant, provider, cost_nano_usd, charge_nano_usd`;
}
