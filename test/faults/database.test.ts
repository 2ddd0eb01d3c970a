import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createDirectSink } from "@weir/pool/journal/sink-direct";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { brokenLaws, createLedgerReader, differences, type LedgerReader } from "../ledger.ts";
import { createDatabaseServer, type DatabaseServer } from "./database-server.ts";
import { type RunningMetering, startMetering } from "./metering.ts";
import { runScenario, scenarioTimeoutMs, type Trial, type TrialContext } from "./scenario.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";
import { createSource, type Source, sourcePriceOf } from "./usage-source.ts";

// Faults of the database under the ledger. Real: journal, drain, metering (in the test's process, called over a link), and
// a Postgres cluster of their own that syncs what it commits.

const folder = mkdtempSync(join(tmpdir(), "weir-database-faults-"));
/** Room for the rows of all trials that a run may have: a thousand rows take one to two MiB. */
const diskBytes = 2 ** 30;

let server: DatabaseServer;
let ledger: LedgerReader;
let metering: RunningMetering;
let url: string;
let disk: SmallDisk | undefined;

beforeAll(async () => {
  server = await createDatabaseServer();
  // Not under the log that Postgres cannot do without.
  disk = mountSmallDisk(server.folder("disk"), diskBytes);
  if (disk === undefined)
    process.stdout.write("faults F6: no tmpfs can be mounted here; a full disk is raised by a trigger\n");
  await ask(server.url, `CREATE TABLESPACE small LOCATION '${server.folder("disk/space")}'`);
  await ask(server.url, "CREATE DATABASE ledger TABLESPACE small");
  url = server.url.replace(/postgres$/, "ledger");
  metering = await startMetering(url);
  ledger = createLedgerReader(url);
  await ask(url, failingTrigger);
});
afterAll(async () => {
  await metering?.close();
  await ledger?.close();
  await server?.crash();
  disk?.unmount();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function ask(address: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: address, connectionTimeoutMillis: 5000 });
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end().catch(() => undefined); // the server may be gone: what was asked has its own outcome
  }
}

/** Makes the next transactions that write attempts fail with a code, as often as the table says. */
const failingTrigger = `
  CREATE SEQUENCE failures;
  CREATE TABLE failing (code text, times bigint);
  -- Metering works in a role that may not read this.
  CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  DECLARE chosen failing;
  BEGIN
    SELECT * INTO chosen FROM failing;
    IF FOUND AND nextval('failures') <= chosen.times THEN
      RAISE EXCEPTION 'raised by a test' USING ERRCODE = chosen.code;
    END IF;
    RETURN NULL;
  END $$;
  CREATE TRIGGER fail AFTER INSERT ON attempts FOR EACH STATEMENT EXECUTE FUNCTION fail();`;

async function failNext(code: string, times: number): Promise<void> {
  await ask(url, `TRUNCATE failing; ALTER SEQUENCE failures RESTART; INSERT INTO failing VALUES ('${code}', ${times})`);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const kinds: Readonly<Record<string, (random: () => number) => Promise<void>>> = {
  async "a session is killed"() {
    await server.killSession();
    await pause(50);
  },
  async "the server crashes and is away"(random) {
    await server.crash();
    await pause(random() * 800);
    await server.start();
  },
  "serialization failures": (random) => failNext("40001", 1 + Math.floor(random() * 4)),
  "deadlocks reported": (random) => failNext("40P01", 1 + Math.floor(random() * 4)),
  async "a real deadlock"(random) {
    // Two sessions, each with what the other wants next: a journal's row, and the whole table of attempts.
    const client = new pg.Client({ connectionString: url });
    client.on("error", () => {});
    await client.connect();
    try {
      // Who has waited longest looks first, and is the one that Postgres ends: now this session, now metering's.
      await client.query(`SET deadlock_timeout = '${random() < 0.5 ? 30 : 5000}ms'`);
      await client.query("BEGIN; LOCK TABLE attempts IN SHARE MODE");
      await pause(50 + random() * 100);
      // Fails where this session is the one that Postgres ends.
      await client.query("SELECT FROM journals FOR UPDATE").catch(() => undefined);
      await client.query("ROLLBACK");
    } finally {
      await client.end();
    }
  },
  async "the disk is full"(random) {
    if (disk === undefined) {
      await failNext("53100", 1 + Math.floor(random() * 4));
      return;
    }
    disk.fill();
    await pause(100 + random() * 400);
    disk.free();
  },
};

async function verdict({ tag }: TrialContext, source: Source): Promise<string[]> {
  if (!source.drained()) return ["the ledger has not confirmed everything"];
  const rows = await ledger.rows({ endUser: tag });
  const faults = [...differences(rows, [...source.billed.values()], sourcePriceOf), ...(await brokenLaws(ledger, tag))];
  if (faults.length === 0) await source.close();
  return faults;
}

test(
  "F6 whatever happens to the database, no usage is lost and none is written twice",
  async () => {
    const trial: Trial = async (context) => {
      const { random, seed, tag } = context;
      // After a killed session the server recovers; on a busy machine that takes its time.
      await vi.waitFor(() => ask(url, "SELECT"), { timeout: 20_000, interval: 10 });
      const source = await createSource({
        directory: join(folder, tag),
        sink: () => createDirectSink(metering.usage),
        tag,
        random,
      });
      // Bounded, since a deadlock may last for seconds, and a slow disk would sync what was made meanwhile for minutes.
      const produce = setInterval(() => {
        if (source.billed.size < 1_000) source.run(1 + Math.floor(random() * 8));
      }, 5);
      try {
        await pause(random() * 60);
        const names = Object.keys(kinds);
        await kinds[names[seed % names.length] as string]?.(random);
        await pause(random() * 60);
      } finally {
        clearInterval(produce);
      }
      return () => verdict(context, source);
    };
    await runScenario("F6", trial, { sharesBroken: true });
    expect(await ledger.query("SELECT count(*)::int AS count FROM attempts")).not.toEqual([{ count: 0 }]);
  },
  scenarioTimeoutMs(),
);
