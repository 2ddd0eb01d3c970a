import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { NodePgDatabase } from "drizzle-orm/node-postgres";
import pg from "pg";
import { drizzle } from "./drizzle.ts";
import { lockDirectory } from "./directory-lock.ts";
import { type EmbeddedPostgres, openEmbedded } from "./embedded.ts";

/** Where the ledger lives: a Postgres server (15 or later), or a directory that an embedded one keeps its files in. */
export type DatabasePlace =
  | {
      /** `postgres://...`; every option of libpq's connection URLs that node-postgres knows. */
      readonly url: string;
      /** Connections at most. Default 8. */
      readonly connectionsMax?: number | undefined;
    }
  | {
      /** Created when missing. One process at a time may open it. */
      readonly embeddedDirectory: string;
    };

/**
 * An open database. Whatever its methods throw is a WeirError without a word of the driver's: STORE_UNAVAILABLE,
 * INVALID_REQUEST for values that Postgres cannot hold, such as text with NUL. A fault of the program, such as a TypeError, is an
 * Error that says no more than its kind and place.
 */
export interface Database extends Rows {
  readonly engine: "postgres" | "embedded";
  /**
   * One tenant's rows: whatever a query leaves out of its conditions, the others' are not there.
   * @throws RangeError for `*` and an empty name
   */
  of(tenant: string): Rows;
  /**
   * A transaction of whoever owns the tables, and not of the role `weir_runtime`: for the schema, partitions and roles.
   * @throws as `transaction`
   */
  asOwner<T>(run: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  /** Waits for what is running, then lets go of connections and directory. */
  close(): Promise<void>;
}

/** Rows of every tenant, for work of the gateway itself, or of one; see migrations/0015_row_security.sql. */
export interface Rows {
  /**
   * Runs in one transaction (read committed, commits reach the disk). When the server cancels it for a deadlock or a
   * serialisation failure it runs again, at most five times in all: `run` must have no other effect.
   * @throws WeirError STORE_UNAVAILABLE, or what `run` throws
   */
  transaction<T>(run: (client: pg.PoolClient) => Promise<T>): Promise<T>;
  /** Runs queries that write nothing. @throws as `transaction` */
  read<T>(run: (queries: NodePgDatabase) => Promise<T>): Promise<T>;
}

const statementTimeoutMs = 30_000;
const attemptsMax = 5;

/** @throws Error when the directory is open elsewhere; a server that is away shows only in the first query */
export async function openDatabase(place: DatabasePlace): Promise<Database> {
  if ("url" in place) {
    const pool = new pg.Pool({
      connectionString: place.url,
      max: place.connectionsMax ?? 8,
      // Also bounds the wait for a free connection.
      connectionTimeoutMillis: 5_000,
      idleTimeoutMillis: 60_000,
      keepAlive: true,
      statement_timeout: statementTimeoutMs,
      lock_timeout: 10_000,
      idle_in_transaction_session_timeout: statementTimeoutMs,
      // Above the server's own, for the case that the server is out of reach.
      query_timeout: statementTimeoutMs + 5_000,
      application_name: "weir-metering",
    });
    return createDatabase("postgres", pool, { committed: async () => undefined, close: () => pool.end() });
  }
  await mkdir(place.embeddedDirectory, { recursive: true, mode: 0o700 });
  const unlock = lockDirectory(place.embeddedDirectory);
  let embedded: EmbeddedPostgres;
  try {
    embedded = await openEmbedded(join(place.embeddedDirectory, "pgdata"), statementTimeoutMs);
  } catch (thrown) {
    unlock();
    throw new Error(`the embedded database in ${place.embeddedDirectory} does not open`, { cause: thrown });
  }
  return createDatabase("embedded", embedded.pool, {
    committed: embedded.committed,
    async close() {
      await embedded.close();
      unlock();
    },
  });
}

function createDatabase(
  engine: Database["engine"],
  pool: pg.Pool,
  { committed, close }: Pick<EmbeddedPostgres, "committed" | "close">,
): Database {
  // A connection that dies while idle; the pool has dropped it already.
  pool.on("error", () => undefined);
  /** Whether transactions are those of weir_runtime; undefined: to be found out. */
  let hasRuntimeRole: boolean | undefined;

  /** @param tenant whose rows are there; `*`: everybody's */
  async function begin(client: pg.PoolClient, as: "runtime" | "owner", tenant: string): Promise<void> {
    if (as === "owner") hasRuntimeRole = undefined;
    else hasRuntimeRole ??= (await client.query(runtimeRoleQuery)).rowCount === 1;
    await client.query(
      `begin; set local synchronous_commit = on; set local weir.tenant = ${pg.escapeLiteral(tenant)}` +
        (as === "runtime" && hasRuntimeRole === true ? "; set local role weir_runtime" : ""),
    );
  }

  async function attempt<T>(
    as: "runtime" | "owner",
    tenant: string,
    run: (client: pg.PoolClient) => Promise<T>,
  ): Promise<T> {
    const client = await pool.connect();
    let broken = false;
    // A connection that dies between two queries tells only this event, and unheard it would end the process. The next
    // query fails.
    const died = () => {
      broken = true;
    };
    client.on("error", died);
    try {
      await begin(client, as, tenant);
      const result = await run(client);
      const { command } = await client.query("commit");
      // The answer to the commit of a transaction in which a query failed.
      if (command !== "COMMIT") throw new Error("the transaction was rolled back");
      return result;
    } catch (thrown) {
      // A connection that failed or went silent would not answer a rollback either; the server rolls back when it ends.
      broken ||= engine === "postgres" && sqlState(thrown) === undefined && !(thrown instanceof WeirError);
      if (!broken) {
        await client.query("rollback").catch(() => {
          broken = true;
        });
      }
      throw thrown;
    } finally {
      client.off("error", died);
      client.release(broken);
    }
  }

  async function transact<T>(
    as: "runtime" | "owner",
    tenant: string,
    run: (client: pg.PoolClient) => Promise<T>,
  ): Promise<T> {
    for (let count = 1; ; count++) {
      try {
        const result = await attempt(as, tenant, run);
        await committed();
        return result;
      } catch (thrown) {
        if (count === attemptsMax || !isWorthRepeating(thrown)) throw storeError(thrown);
        await new Promise((resolve) => setTimeout(resolve, count * (10 + Math.random() * 20)));
      }
    }
  }

  const rowsOf = (tenant: string): Rows => ({
    transaction: (run) => transact("runtime", tenant, run),
    async read(run) {
      try {
        return await attempt("runtime", tenant, (client) => run(drizzle(client)));
      } catch (thrown) {
        throw storeError(thrown);
      }
    },
  });

  return {
    engine,
    ...rowsOf(everyTenant),
    of(tenant) {
      if (tenant === "" || tenant === everyTenant) throw new RangeError("no name of a tenant");
      return rowsOf(tenant);
    },
    asOwner: (run) => transact("owner", everyTenant, run),
    close,
  };
}

/** In the place of a tenant: all of them. No tenant is called so. */
const everyTenant = "*";

/** One row if this login may act as weir_runtime, and that role has been let into this database. */
const runtimeRoleQuery = `select from pg_roles where rolname = 'weir_runtime' and pg_has_role(oid, 'member')
  and has_table_privilege(oid, to_regclass('audit_records'), 'select')`;

/**
 * The SQLSTATE of what a driver or a Database threw: five characters.
 * See https://www.postgresql.org/docs/15/errcodes-appendix.html
 */
export function sqlState(thrown: unknown): string | undefined {
  // drizzle wraps the driver's error.
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const code: unknown = "code" in error ? error.code : undefined;
    if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code)) return code;
  }
  return undefined;
}

function isWorthRepeating(thrown: unknown): boolean {
  const state = sqlState(thrown);
  return state === "40001" || state === "40P01";
}

const faults = [TypeError, RangeError, ReferenceError, SyntaxError];

/** Drivers put parameters into their messages: what leaves here says no more than the SQLSTATE. */
function storeError(thrown: unknown): Error {
  if (thrown instanceof WeirError) return thrown;
  const state = sqlState(thrown);
  const cause = Object.assign(
    new Error(`database: ${state ?? (thrown instanceof Error ? thrown.name : "unknown")}`),
    state === undefined ? {} : { code: state },
  );
  if (thrown instanceof Error && thrown.stack) {
    cause.stack = thrown.stack
      .split("\n")
      .filter((line) => line.startsWith("    at "))
      .join("\n");
  }
  if (state?.startsWith("22")) {
    return new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "The request holds a value that cannot be stored.",
      cause,
    });
  }
  // Doors log what is no WeirError, and tell it as INTERNAL: trying again does not mend it.
  if (state === undefined && faults.some((fault) => thrown instanceof fault)) return cause;
  return new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: 1_000, cause });
}
