import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJetStreamSink } from "@weir/pool/journal/sink-jetstream";
import { createRandom } from "@weir/simulator/script";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { brokenLaws, createLedgerReader, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { type Broker, createBroker } from "./broker.ts";
import { meteringEnvironment } from "./metering.ts";
import { runService, type ServiceProcess } from "./service-process.ts";
import { createSource } from "./usage-source.ts";

// What gathers while NATS is away, and how fast it drains when NATS is back and traffic goes on. Real: journal and drain as
// the pool has them (in the test's process), NATS, metering as a process, Postgres.

/** Attempts a second, for as long as NATS is away and after it. */
const liveRate = 200;
/** How long NATS is away, as far as the backlog goes: it is written at once. 3600 with WEIR_FAULT_BACKLOG_SECONDS=3600. */
const awaySeconds = Number(process.env["WEIR_FAULT_BACKLOG_SECONDS"] ?? 60);
/** What the backlog has to drain at, in live rates. */
const timesLiveMin = 5;
const liveIntervalMs = 25;
const tag = "backlog";

const folder = mkdtempSync(join(tmpdir(), "weir-backlog-"));
let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let ledger: LedgerReader;
let broker: Broker;
let metering: ServiceProcess;
let connection: NatsConnection;

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  broker = await createBroker();
  const home = join(folder, "metering");
  mkdirSync(home);
  metering = runService("metering", ["metering"], meteringEnvironment(home, database.url, broker.url), home);
  await metering.ready();
  connection = await connect({ servers: broker.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
}, 60_000);
afterAll(async () => {
  await connection?.close();
  await metering?.stop();
  await broker?.close();
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  "F4 what gathered while NATS was away drains at five times the live rate or more, while live traffic goes on",
  async () => {
    const source = await createSource({
      directory: join(folder, "journal"),
      tag,
      random: createRandom(awaySeconds),
      sink: (journalId) => createJetStreamSink(connection, journalId),
      journal: { bytesMax: 4 * 1024 ** 3 },
      drain: {},
    });
    const { journal } = source;
    source.run(1);
    await vi.waitFor(() => expect(source.drained()).toBe(true), { timeout: 20_000, interval: 20 });
    await broker.kill();
    for (let written = 0; written < awaySeconds * liveRate; written += liveRate) {
      source.run(liveRate);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const backlog = journal.lastSequence;

    await broker.start();
    const backMs = performance.now();
    let produced = 0;
    const live = setInterval(() => {
      // As many as are due, however late the timer is.
      const due = Math.floor(((performance.now() - backMs) * liveRate) / 1000) - produced;
      source.run(due);
      produced += due;
    }, liveIntervalMs);
    let tookMs: number;
    try {
      await vi.waitFor(() => expect(journal.committedSequence).toBeGreaterThanOrEqual(backlog), {
        timeout: (awaySeconds * 1000) / timesLiveMin + 60_000,
        interval: 5,
      });
      tookMs = performance.now() - backMs;
      await vi.waitFor(() => expect(journal.lastSequence - journal.committedSequence).toBeLessThan(5 * liveRate), {
        timeout: 20_000,
      });
    } finally {
      clearInterval(live);
    }
    const rate = ((backlog - 1) * 1000) / tookMs;
    process.stdout.write(
      `faults F4: ${backlog - 1} events, ${awaySeconds} s of ${liveRate}/s, drained in ${(tookMs / 1000).toFixed(1)} s beside ${liveRate}/s: ${Math.round(rate)}/s, ${(rate / liveRate).toFixed(1)} times the live rate\n`,
    );
    expect(rate).toBeGreaterThanOrEqual(timesLiveMin * liveRate);

    await vi.waitFor(() => expect(source.drained()).toBe(true), { timeout: 30_000, interval: 20 });
    const bills = [...source.billed.values()];
    const sum = (field: "inputTokens" | "outputTokens") => bills.reduce((total, bill) => total + bill[field], 0);
    const [sums] = await ledger.query(
      `SELECT count(*)::int AS rows, sum(input_tokens)::int8 AS input, sum(output_tokens)::int8 AS output
       FROM attempts WHERE end_user = $1`,
      [tag],
    );
    expect(sums).toEqual({
      rows: bills.length,
      input: String(sum("inputTokens")),
      output: String(sum("outputTokens")),
    });
    expect(await brokenLaws(ledger, tag)).toEqual([]);
    await source.close();
  },
  120_000 + awaySeconds * 1000,
);
