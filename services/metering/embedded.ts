import { PGlite } from "@electric-sql/pglite";
import { createPgConfig } from "@electric-sql/pglite/node-postgres";
import pg from "pg";

/** Postgres in this process. */
export interface EmbeddedPostgres {
  /** One connection: a second one would share its session. */
  readonly pool: pg.Pool;
  /** To be called after each commit: keeps the write-ahead log short. Never fails. */
  committed(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param directory made when it is missing
 * @param waitMs how long a query waits for the connection at most
 */
export async function openEmbedded(directory: string, waitMs: number): Promise<EmbeddedPostgres> {
  const engine = await PGlite.create({ dataDir: directory });
  // The connection is never dropped for idleness.
  const pool = new pg.Pool({ ...configOf(engine), max: 1, idleTimeoutMillis: 0, connectionTimeoutMillis: waitMs });
  return {
    pool,
    committed: createCheckpoints(pool),
    async close() {
      await pool.end();
      await engine.close();
    },
  };
}

/**
 * drizzle hands its parsers of result types over as `types`; PGlite takes that for a list of parameter types and fails,
 * where node-postgres' own connection ignores it.
 */
function configOf(engine: PGlite): ReturnType<typeof createPgConfig> {
  const config = createPgConfig(engine);
  const { connection } = config;
  const parse = connection.parse.bind(connection);
  connection.parse = (query: { readonly name?: string; readonly text: string }) => {
    parse({ name: query.name, text: query.text });
  };
  return config;
}

/** Commits between two looks at the log's length. */
const commitsBetween = 32;
/** What a start after a kill has to read at most, give or take what comes between two looks. */
const walBytesMax = 67_108_864;

/**
 * Checkpoints are the work of a process that a server has and an embedded Postgres has not: without them the log grows
 * until the database is closed, and its files are never used again.
 */
function createCheckpoints(pool: pg.Pool): () => Promise<void> {
  let count = 0;
  return async () => {
    count += 1;
    if (count % commitsBetween !== 0) return;
    try {
      const { rows } = await pool.query<{ due: boolean }>(
        "select pg_current_wal_insert_lsn() - redo_lsn > $1 as due from pg_control_checkpoint()",
        [walBytesMax],
      );
      if (rows[0]?.due) await pool.query("checkpoint");
    } catch {
      // The commit stands, whatever this was; the next look is not far.
    }
  };
}
