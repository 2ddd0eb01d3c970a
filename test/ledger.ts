import { join } from "node:path";
import { openDatabase } from "@weir/metering/database";
import type { AttemptRecord } from "@weir/simulator/simulator";
import pg from "pg";

/** A row of the ledger, as tests read it. */
export interface LedgerRow {
  readonly attemptId: string;
  readonly requestId: string;
  readonly tenant: string;
  readonly key: string;
  readonly endUser: string;
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly stream: boolean;
  readonly outcome: string;
  /** Where the counts come from: `reported`, `counted`, `estimated`. */
  readonly usageSource: string;
  readonly inputTokens: number | undefined;
  readonly cachedInputTokens: number | undefined;
  readonly outputTokens: number | undefined;
  readonly reasoningTokens: number | undefined;
  readonly priceId: string;
  readonly costNanoUsd: bigint | undefined;
}

interface RawRow {
  attempt_id: string;
  request_id: string;
  tenant: string;
  key: string;
  end_user: string;
  alias: string;
  provider: string;
  model: string;
  stream: boolean;
  outcome: string;
  usage_source: string;
  input_tokens: string | null;
  cached_input_tokens: string | null;
  output_tokens: string | null;
  reasoning_tokens: string | null;
  price_id: string;
  cost_nano_usd: string | null;
}

/** Reads the ledger as an analyst does: over SQL. */
export interface LedgerReader {
  rows(where?: { readonly requestId?: string; readonly endUser?: string }): Promise<LedgerRow[]>;
  query<T extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<T[]>;
  close(): Promise<void>;
}

export function createLedgerReader(databaseUrl: string): LedgerReader {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 2, connectionTimeoutMillis: 10_000 });
  // The server may be gone before the pool is.
  pool.on("error", () => {});
  return readerOver(pool, () => pool.end());
}

/** The ledger of a gateway that has ended, in its data folder: the embedded database serves one process at a time. */
export async function openEmbeddedLedger(dataDir: string): Promise<LedgerReader> {
  const database = await openDatabase({ embeddedDirectory: join(dataDir, "database") });
  const query = (text: string, values?: unknown[]) => database.transaction((client) => client.query(text, values));
  return readerOver({ query } as Pick<pg.Pool, "query">, () => database.close());
}

function readerOver(source: Pick<pg.Pool, "query">, close: () => Promise<void>): LedgerReader {
  return {
    async rows(where = {}) {
      const result = await source.query<RawRow>(
        `SELECT attempt_id, request_id, tenant, key, end_user, alias, provider, model, stream, outcome, usage_source,
           input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, price_id, cost_nano_usd
         FROM attempts WHERE ($1::text IS NULL OR request_id = $1) AND ($2::text IS NULL OR end_user = $2)
         ORDER BY start_time, attempt_id`,
        [where.requestId ?? null, where.endUser ?? null],
      );
      return result.rows.map(fromRow);
    },
    async query<T extends pg.QueryResultRow>(sql: string, values?: unknown[]) {
      return (await source.query<T>(sql, values)).rows;
    },
    close,
  };
}

function fromRow(row: RawRow): LedgerRow {
  const count = (text: string | null) => (text === null ? undefined : Number(text));
  return {
    attemptId: row.attempt_id,
    requestId: row.request_id,
    tenant: row.tenant,
    key: row.key,
    endUser: row.end_user,
    alias: row.alias,
    provider: row.provider,
    model: row.model,
    stream: row.stream,
    outcome: row.outcome,
    usageSource: row.usage_source,
    inputTokens: count(row.input_tokens),
    cachedInputTokens: count(row.cached_input_tokens),
    outputTokens: count(row.output_tokens),
    reasoningTokens: count(row.reasoning_tokens),
    priceId: row.price_id,
    costNanoUsd: row.cost_nano_usd === null ? undefined : BigInt(row.cost_nano_usd),
  };
}

/** Nano-USD for a million tokens. */
export interface TestPrice {
  readonly input: bigint;
  readonly cachedInput: bigint;
  readonly output: bigint;
}

/** What tokens cost: the arithmetic of the price list, written down a second time. Half a nano-USD goes to even. */
export function expectedCost(
  price: TestPrice,
  inputTokens: number,
  cachedTokens: number,
  outputTokens: number,
): bigint {
  const millionths =
    BigInt(inputTokens - cachedTokens) * price.input +
    BigInt(cachedTokens) * price.cachedInput +
    BigInt(outputTokens) * price.output;
  const whole = millionths / 1_000_000n;
  const rest = millionths % 1_000_000n;
  if (rest > 500_000n || (rest === 500_000n && whole % 2n === 1n)) return whole + 1n;
  return whole;
}

/** What a provider billed for one attempt. */
export type Billed = Pick<AttemptRecord, "id" | "end" | "inputTokens" | "outputTokens">;

/**
 * Compares the ledger with the simulator's own count and says everything that differs:
 * each attempt that the simulator served has exactly one row; a row whose counts were reported equals the count to the
 * token and to the nano-USD; a row that says anything was used has an attempt, unless it is marked estimated.
 */
export function differences(
  rows: readonly LedgerRow[],
  served: readonly Billed[],
  priceOf: (row: LedgerRow) => TestPrice,
): string[] {
  const found: string[] = [];
  const rowsById = new Map<string, LedgerRow>();
  for (const row of rows) {
    if (rowsById.has(row.attemptId)) found.push(`two rows for attempt ${row.attemptId}`);
    rowsById.set(row.attemptId, row);
  }
  const servedById = new Map<string, Billed>();
  for (const record of served) {
    if (record.id === "") found.push("the simulator served an attempt without an id");
    if (servedById.has(record.id)) found.push(`attempt ${record.id} reached the simulator twice`);
    servedById.set(record.id, record);
    if (!rowsById.has(record.id)) found.push(`attempt ${record.id} (${record.end}) has no row`);
  }
  for (const row of rows) {
    const record = servedById.get(row.attemptId);
    const cached = row.cachedInputTokens ?? 0;
    const cost = expectedCost(priceOf(row), row.inputTokens ?? 0, cached, row.outputTokens ?? 0);
    if (row.costNanoUsd !== cost) found.push(`attempt ${row.attemptId} costs ${row.costNanoUsd}, not ${cost} nano-USD`);
    if (row.usageSource === "reported") {
      const used = `${row.inputTokens ?? 0} in, ${row.outputTokens ?? 0} out`;
      const billed = record === undefined ? "0 in, 0 out" : `${record.inputTokens} in, ${record.outputTokens} out`;
      if (used !== billed)
        found.push(`attempt ${row.attemptId} (${row.outcome}): ${used}; the simulator billed ${billed}`);
    } else if (row.usageSource === "counted" && record === undefined && cost > 0n) {
      found.push(`attempt ${row.attemptId} (${row.outcome}) is charged and never reached the simulator`);
    }
  }
  return found;
}

/**
 * What the ledger must not show of a user's attempts, whatever happened, read from its own tables and views: an attempt
 * kept aside as a conflict, entries that do not sum to zero, balances that are not the sum of the rows, an end before
 * its beginning.
 */
export async function brokenLaws(ledger: Pick<LedgerReader, "query">, endUser: string): Promise<string[]> {
  const found: string[] = [];
  const [counts] = await ledger.query<Record<string, string>>(
    `WITH own AS (SELECT * FROM attempts WHERE end_user = $1),
       moved AS (SELECT e.* FROM entries e JOIN own USING (attempt_id))
     SELECT
       (SELECT count(*) FROM conflicts WHERE attempt_id IN (SELECT attempt_id::text FROM own)) AS conflicts,
       (SELECT count(*) FROM (SELECT FROM moved GROUP BY attempt_id, book HAVING sum(amount_nano_usd) <> 0) t) AS unbalanced,
       (SELECT coalesce(sum(amount_nano_usd), 0) FROM moved WHERE account LIKE 'provider/%')
         - (SELECT coalesce(sum(cost_nano_usd), 0) FROM own) AS cost_beside,
       (SELECT coalesce(sum(amount_nano_usd), 0) FROM moved WHERE account = 'revenue')
         - (SELECT coalesce(sum(charge_nano_usd), 0) FROM own) AS charge_beside,
       (SELECT count(*) FROM own WHERE end_time < start_time) AS backwards`,
    [endUser],
  );
  for (const [name, count] of Object.entries(counts ?? {})) if (Number(count) !== 0) found.push(`${name}: ${count}`);
  return found;
}

/**
 * The ledger after a true-up: what it would hold if every row that does not claim to be exact took the provider's own
 * figures. Its sums must be the provider's.
 */
export function sumsAfterTrueUp(rows: readonly LedgerRow[], served: readonly Billed[]): string[] {
  const records = new Map(served.map((record) => [record.id, record]));
  const sum = (of: (row: LedgerRow) => number) => rows.reduce((total, row) => total + of(row), 0);
  const trued = (row: LedgerRow, field: "inputTokens" | "outputTokens") =>
    (row.usageSource === "reported" ? row[field] : records.get(row.attemptId)?.[field]) ?? 0;
  return (["inputTokens", "outputTokens"] as const).flatMap((field) => {
    const own = sum((row) => trued(row, field));
    const theirs = served.reduce((total, record) => total + record[field], 0);
    return own === theirs ? [] : [`${field} after true-up: ${own}; the simulator billed ${theirs}`];
  });
}
