import { createHash } from "node:crypto";
import { eq } from "drizzle-orm";
import type { ClientBase } from "pg";
import { type ArrayColumn, arrayLiterals, unnested } from "./arrays.ts";
import { type Database, sqlState } from "./database.ts";
import { type AttemptRow, type Entry, entriesOf } from "./ledger.ts";
import { journals } from "./schema.ts";

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
}

/** The ledger's tables. Failures are WeirError STORE_UNAVAILABLE. */
export interface LedgerStore {
  /** Writes rows, entries, conflicts and watermarks in one transaction. Idempotent. */
  apply(rows: readonly Recordable[], conflicts: readonly Conflict[], runs: readonly Run[]): Promise<Applied>;
  /** How far a journal is committed; 0n when nothing of it is. @param journalId a UUID */
  watermark(journalId: string): Promise<bigint>;
}

export function createLedgerStore(database: Database): LedgerStore {
  return {
    apply: (rows, conflicts, runs) =>
      database.transaction(async (client) => {
        // First the journals' rows, which stay locked until the end: batches of one journal go one after another.
        const committed = new Map<string, bigint>();
        for (const run of runs) committed.set(run.journalId, await advance(client, run));
        const aside = [...conflicts];
        const insertedCount = await insertAttempts(client, firstOfEach(rows, aside), aside);
        return { insertedCount, conflictCount: await insertConflicts(client, aside), committed };
      }),
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

/** The same attempt may come twice in one batch: the first stands, another content is a conflict. */
function firstOfEach(rows: readonly Recordable[], aside: Conflict[]): Recordable[] {
  const firsts = new Map<string, Recordable>();
  for (const recordable of rows) {
    const first = firsts.get(recordable.row.attemptId);
    if (!first) firsts.set(recordable.row.attemptId, recordable);
    else if (first.row.contentDigest !== recordable.row.contentDigest) aside.push(recordable.aside("content"));
  }
  return [...firsts.values()];
}

/**
 * Inserts what is new and adds to `aside` what stands with other content. When the server refuses a value that the
 * checks before it let through, halves of the batch are tried apart, until only the row at fault is kept aside.
 */
async function insertAttempts(client: ClientBase, rows: readonly Recordable[], aside: Conflict[]): Promise<number> {
  if (rows.length === 0) return 0;
  await client.query("savepoint rows");
  let insertedCount: number;
  try {
    insertedCount = await insertRows(
      client,
      rows.map(({ row }) => row),
    );
  } catch (thrown) {
    const state = sqlState(thrown);
    // Data exceptions and violated constraints: the value is at fault, not the server.
    if (!state?.startsWith("22") && !state?.startsWith("23")) throw thrown;
    await client.query("rollback to savepoint rows");
    const [only] = rows;
    if (rows.length === 1 && only) {
      aside.push(only.aside(`sqlstate ${state}`));
      return 0;
    }
    const middle = rows.length >> 1;
    return (
      (await insertAttempts(client, rows.slice(0, middle), aside)) +
      (await insertAttempts(client, rows.slice(middle), aside))
    );
  }
  await client.query("release savepoint rows");
  if (insertedCount < rows.length) aside.push(...(await conflictsAmong(client, rows)));
  return insertedCount;
}

async function insertRows(client: ClientBase, rows: readonly AttemptRow[]): Promise<number> {
  const { rows: counts } = await client.query<{ count: string }>({
    name: "insert-attempts",
    text: insertAttemptsText,
    values: [...arrayLiterals(attemptColumns, rows), ...arrayLiterals(entryColumns, rows.flatMap(entriesOf))],
  });
  return Number(counts[0]?.count);
}

async function conflictsAmong(client: ClientBase, rows: readonly Recordable[]): Promise<Conflict[]> {
  const { rows: standing } = await client.query<{ attempt_id: string; digest: string }>({
    name: "read-digests",
    text: `select attempt_id, encode(content_digest, 'hex') as digest from attempts where attempt_id = any($1::uuid[])`,
    values: arrayLiterals(
      [attemptColumns[0] as ArrayColumn<AttemptRow>],
      rows.map(({ row }) => row),
    ),
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

const attemptColumns: readonly ArrayColumn<AttemptRow>[] = [
  { name: "attempt_id", type: "uuid", value: (row) => row.attemptId },
  { name: "request_id", type: "text", value: (row) => row.requestId },
  { name: "tenant", type: "text", value: (row) => row.tenant },
  { name: "key", type: "text", value: (row) => row.key },
  { name: "end_user", type: "text", value: (row) => row.endUser },
  { name: "alias", type: "text", value: (row) => row.alias },
  { name: "provider", type: "text", value: (row) => row.provider },
  { name: "model", type: "text", value: (row) => row.model },
  { name: "stream", type: "bool", value: (row) => row.stream },
  { name: "outcome", type: "text", value: (row) => row.outcome },
  { name: "usage_source", type: "text", value: (row) => row.usageSource },
  { name: "input_tokens", type: "int8", value: (row) => row.usage.inputTokens },
  { name: "cached_input_tokens", type: "int8", value: (row) => row.usage.cachedInputTokens },
  { name: "cache_write_tokens", type: "int8", value: (row) => row.usage.cacheWriteTokens },
  { name: "cache_write_long_tokens", type: "int8", value: (row) => row.usage.cacheWriteLongTokens },
  { name: "audio_input_tokens", type: "int8", value: (row) => row.usage.audioInputTokens },
  { name: "image_input_tokens", type: "int8", value: (row) => row.usage.imageInputTokens },
  { name: "output_tokens", type: "int8", value: (row) => row.usage.outputTokens },
  { name: "reasoning_tokens", type: "int8", value: (row) => row.usage.reasoningTokens },
  { name: "audio_output_tokens", type: "int8", value: (row) => row.usage.audioOutputTokens },
  { name: "image_output_tokens", type: "int8", value: (row) => row.usage.imageOutputTokens },
  { name: "accepted_prediction_tokens", type: "int8", value: (row) => row.usage.acceptedPredictionTokens },
  { name: "rejected_prediction_tokens", type: "int8", value: (row) => row.usage.rejectedPredictionTokens },
  { name: "server_tool_uses", type: "jsonb", value: (row) => row.serverToolUses },
  { name: "usage_inconsistent", type: "bool", value: (row) => row.usageInconsistent },
  { name: "price_id", type: "text", value: (row) => row.priceId },
  { name: "pricing", type: "text", value: (row) => row.pricing },
  { name: "cost_nano_usd", type: "int8", value: (row) => row.costNanoUsd },
  { name: "charge_nano_usd", type: "int8", value: (row) => row.chargeNanoUsd },
  { name: "start_time", type: "int8", value: (row) => row.startTimeUs },
  { name: "end_time", type: "int8", value: (row) => row.endTimeUs },
  { name: "first_token_us", type: "int8", value: (row) => row.firstTokenUs },
  { name: "provider_status", type: "int4", value: (row) => row.providerStatus },
  { name: "provider_reply_id", type: "text", value: (row) => row.providerReplyId },
  { name: "content_digest", type: "text", value: (row) => row.contentDigest },
];

/** Columns of `entries`, for every statement that writes them. */
export const entryColumns: readonly ArrayColumn<Entry>[] = [
  { name: "attempt_id", type: "uuid", value: (entry) => entry.attemptId },
  { name: "book", type: "text", value: (entry) => entry.book },
  { name: "account", type: "text", value: (entry) => entry.account },
  { name: "amount_nano_usd", type: "int8", value: (entry) => entry.amountNanoUsd },
];

/** What an array cannot carry as it is. */
const conversions: Readonly<Record<string, string>> = {
  start_time: "'epoch'::timestamptz + start_time * interval '1 microsecond'",
  end_time: "'epoch'::timestamptz + end_time * interval '1 microsecond'",
  content_digest: "decode(content_digest, 'hex')",
};

// One statement, so that an entry exists exactly when its attempt's row was inserted by the same statement. Ordered by
// id: two consumers that insert the same rows wait for each other instead of dying of a deadlock.
const insertAttemptsText = `
  with inserted as (
    insert into attempts (${attemptColumns.map((column) => column.name).join(", ")})
    select ${attemptColumns.map(({ name }) => conversions[name] ?? name).join(", ")}
    from ${unnested(attemptColumns, 1, "t")} order by attempt_id
    on conflict (attempt_id) do nothing
    returning attempt_id
  ), posted as (
    insert into entries (attempt_id, book, account, amount_nano_usd)
    select attempt_id, book, account, amount_nano_usd
    from ${unnested(entryColumns, attemptColumns.length + 1, "e")} join inserted using (attempt_id)
  )
  select count(*) from inserted`;
