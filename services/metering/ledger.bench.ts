import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type UsageBatch, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList } from "@weir/price/price";
import { openDatabase } from "./database.ts";
import { embeddedDirectoryForTest, journalA, meteringOn, openTestDatabase, testEvent, testPrice } from "./testing.ts";

// What a row of the ledger costs: `node services/metering/ledger.bench.ts [rows]`. WEIR_TEST_POSTGRES_URL names the
// server; without it a private one is started, which does not sync to disk.

const rowCount = Number(process.argv[2] ?? 100_000);
let sequence = 1n;

/** As the edge and the pool would make them now. @param leases each event is charged to one of these */
function freshBatch(count: number, leases: readonly bigint[]): UsageBatch {
  const nowMs = Date.now();
  const time = nowMs.toString(16).padStart(12, "0");
  const events = Array.from({ length: count }, (_, index) => {
    const random = randomUUID();
    const attemptId = `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(15)}`;
    return testEvent(index, {
      attemptId,
      requestId: `req_${time}${random.slice(-12)}${random.slice(0, 8)}`,
      startTime: timestampFromMs(nowMs),
      endTime: timestampFromMs(nowMs + 800),
      ...(leases.length === 0
        ? {}
        : { hold: { leaseIds: [leases[index % leases.length] ?? 0n], chargeMaxNanoUsd: 10_000_000_000n } }),
    });
  });
  const batch = create(UsageBatchSchema, { journalId: journalA, firstSequence: sequence, events });
  sequence += BigInt(count);
  return batch;
}

async function run(
  name: string,
  batchSize: number,
  record: (batch: UsageBatch) => Promise<unknown>,
  leases: readonly bigint[] = [],
): Promise<void> {
  for (let index = 0; index < 5; index++) await record(freshBatch(batchSize, leases));
  const batches = Array.from({ length: Math.ceil(rowCount / batchSize) }, () => freshBatch(batchSize, leases));
  const serverBefore = await serverCpuUs();
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (const batch of batches) await record(batch);
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const rows = batches.length * batchSize;
  const here = (used.user + used.system) / rows;
  const there = ((await serverCpuUs()) - serverBefore) / rows;
  console.log(
    `${name}, batches of ${batchSize}: ${Math.round(rows / seconds)} rows/s; CPU for a row: ${here.toFixed(1)} us here` +
      `${there > 0 ? `, ${there.toFixed(1)} us of the server` : ""}, so ${Math.round(1e6 / (here + there))} rows/s on one core`,
  );
}

/** What the database's processes have computed, where they are on this machine and it tells; 0 otherwise. */
let serverCpuUs = async (): Promise<number> => 0;

const server = await openTestDatabase("postgres");
const onServer = meteringOn(server.database);
await onServer.prepare(createPriceList([testPrice]));
serverCpuUs = async () => {
  const processes = await server.query(
    "select pid from pg_stat_activity where datname = current_database() or datname is null",
  );
  const ticks = processes.map(({ pid }) => {
    const file = `/proc/${String(pid)}/stat`;
    // Behind the name in brackets: utime and stime are fields 14 and 15 of proc(5), in hundredths of a second.
    const fields = existsSync(file) ? (readFileSync(file, "utf8").split(") ").at(-1) ?? "").split(" ") : [];
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  });
  return ticks.reduce((sum, tick) => sum + tick, 0) * 10_000;
};
const [setting] = await server.query(
  "select current_setting('fsync') as fsync, current_setting('server_version') as version",
);
for (const size of [500, 4_000]) {
  await run(`Postgres ${String(setting?.["version"])}, fsync ${String(setting?.["fsync"])}`, size, (batch) =>
    onServer.recorder.record([batch]),
  );
}
const leases = await server.query(`
  with budget as (
    insert into budgets (budget_id, display_name, scope, limit_nano_usd, window_kind, soft_percents, revision)
    select 'bench-' || n, '', '{}', 9e18::int8, 'month', '[]', n from generate_series(1, 8) as n returning budget_key
  ), span as (
    insert into budget_windows (budget_key, subject, start_time, leased_nano_usd)
    select budget_key, '', date_trunc('month', now()), 1e18::int8 from budget returning window_id
  )
  insert into budget_leases (window_id, holder, outstanding_nano_usd, granted_total_nano_usd, expire_time, keep)
  select window_id, gen_random_uuid(), 1e18::int8, 1e18::int8, now() + interval '1 hour', '1 hour' from span
  returning lease_id`);
await run(
  "the same, each row charged to one of eight budgets",
  4_000,
  (batch) => onServer.recorder.record([batch]),
  leases.map((row) => BigInt(String(row["lease_id"]))),
);
serverCpuUs = async () => 0;
await server.end();

const embeddedDirectory = await embeddedDirectoryForTest();
const embedded = await openDatabase({ embeddedDirectory });
const onEmbedded = meteringOn(embedded);
await onEmbedded.prepare(createPriceList([testPrice]));
for (const size of [50, 200, 500]) await run("embedded", size, (batch) => onEmbedded.recorder.record([batch]));
await embedded.close();
rmSync(embeddedDirectory, { recursive: true });
