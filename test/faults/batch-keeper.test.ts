import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BudgetService, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { bearing } from "@weir/kit/client";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import { as } from "@weir/metering/conversations/testing";
import { createSimulator } from "@weir/simulator/simulator";
import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePorts } from "weir/local-servers";
import { stringify } from "yaml";
import { createLedgerReader, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres } from "../servers.ts";
import { runService, type ServiceProcess } from "./service-process.ts";

// A batch has ended, and whoever books what it used is killed: before it is booked, and before it is marked. What it waits for when it
// is killed is a lock of the test's own.

const simulator = createSimulator();
const undo: (() => unknown)[] = [];
let ledger: LedgerReader;
let weir: ServiceProcess;
let simulatorUrl: string;
let databaseUrl: string;
let address: string;

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-batch-keeper-"));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  const postgres = await startPostgres();
  const database = await createDatabase(postgres.url);
  databaseUrl = database.url;
  undo.push(
    () => postgres.stop(),
    () => database.drop(),
  );
  ledger = createLedgerReader(databaseUrl);
  undo.push(() => ledger.close());
  simulatorUrl = (await simulator.listen()).url;
  undo.push(() => simulator.close());
  const rates = { input_usd_per_million: "1", output_usd_per_million: "2" };
  const config = {
    discovery: { environment: false, local: false, demo: false },
    providers: { sim: { kind: "openai", base_url: `${simulatorUrl}/v1`, api_key: "sk-test" } },
    prices: [{ provider: "sim", model: "real-model", ...rates, tiers: [{ service_tier: "batch", ...rates }] }],
  };
  writeFileSync(join(folder, "weir.yaml"), stringify(config));
  const [port = 0] = await freePorts(1);
  address = `127.0.0.1:${port}`;
  const env = {
    WEIR_CONFIG: join(folder, "weir.yaml"),
    WEIR_DATA_DIR: join(folder, "data"),
    WEIR_LISTEN: address,
    WEIR_DATABASE_URL: databaseUrl,
    WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
  };
  weir = runService("weir", ["metering", "pool"], env, folder);
  undo.push(() => weir.stop());
  await weir.ready();
});
afterAll(async () => {
  for (const step of undo.toReversed()) await step();
});

const limitNanoUsd = 1_000_000_000n;
/** 400,000 tokens of input and 50,000 of output, as the simulator reports. */
const cost = 500_000_000n;

/** A batch at its provider and on record, for which the whole of a budget is set aside. */
async function makeBatch(): Promise<void> {
  const made = await fetch(`${simulatorUrl}/v1/batches`, {
    method: "POST",
    body: JSON.stringify({ metadata: { usage: "object" } }),
  });
  const { id } = (await made.json()) as { id: string };
  const mesh = createMesh({ name: "test", peers: { metering: [address] } });
  const budgets = bearing(mesh.client(BudgetService, "metering"), operatorMetadata);
  const resources = mesh.client(ResourceService, "metering");
  await mesh.start();
  await budgets.createBudget({ budgetId: "all", limitNanoUsd, window: { kind: WindowKind.TOTAL } });
  const holder = randomUUID();
  const ask = { account: { budget: "all" }, neededNanoUsd: limitNanoUsd, preferredNanoUsd: limitNanoUsd };
  const { leases } = await budgets.acquireLeases({ holder, keep: { seconds: 60n }, groups: [{ asks: [ask] }] });
  const leaseIds = leases.map(({ leaseId }) => leaseId);
  const parts = [{ model: "real-model", leaseIds, chargeMaxNanoUsd: limitNanoUsd }];
  await resources.recordResource(
    { resource: { resourceId: id, kind: "batch", place: { provider: "sim" } }, hold: { holder, parts } },
    as("acme"),
  );
  await mesh.close();
}

/** Takes locks until it is told to let go. */
async function locking(statement: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query("begin");
  await client.query(statement);
  return () => client.end();
}

const waitsFor = (statement: string) =>
  vi.waitFor(
    async () => {
      const waiting = await ledger.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and query ilike $1",
        [statement],
      );
      expect(waiting).not.toHaveLength(0);
    },
    { timeout: 30_000, interval: 20 },
  );

/**
 * @param letGo of what the killed one waited for: its connection holds what it has locked until then
 */
async function kill(letGo = async () => {}): Promise<void> {
  const lives = weir.starts();
  weir.signal("SIGKILL");
  await vi.waitFor(() => expect(weir.starts()).toBe(lives + 1), { timeout: 10_000, interval: 5 });
  await letGo();
  // As when its time has come again; long before the next one is ready to look.
  await ledger.query("update resources set look_time = now()");
}

async function standing() {
  const rows = await ledger.query<{ cost_nano_usd: string }>("select cost_nano_usd from attempts");
  const [window] = await ledger.query<{ spent_nano_usd: string; leased_nano_usd: string }>(
    "select spent_nano_usd, leased_nano_usd from budget_windows",
  );
  return {
    costs: rows.map((row) => BigInt(row.cost_nano_usd)),
    spent: BigInt(window?.spent_nano_usd ?? -1),
    leased: BigInt(window?.leased_nano_usd ?? -1),
  };
}

test("whenever it is killed, what the batch used is booked once, spent once, and nothing stays set aside", async () => {
  await makeBatch();
  const book = await locking("lock table attempts in share mode");
  await kill();
  await waitsFor("%insert into attempts%");
  const looks = simulator.endpointCalls().filter(({ method }) => method === "GET").length;
  expect(looks).toBeGreaterThan(0);

  const mark = await locking("select from budget_windows for update");
  await kill(book);
  await waitsFor("%budget_windows%for update%");
  expect(await standing()).toEqual({ costs: [cost], spent: 0n, leased: limitNanoUsd });

  await kill(mark);
  await vi.waitFor(
    async () => expect(await ledger.query("select from resources where settle_time is null")).toHaveLength(0),
    { timeout: 30_000, interval: 20 },
  );
  expect(await standing()).toEqual({ costs: [cost], spent: cost, leased: 0n });
  expect(await ledger.query("select from budget_leases")).toHaveLength(0);
}, 90_000);
