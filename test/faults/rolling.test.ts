import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSimulator, type Simulator } from "@weir/simulator/simulator";
import { afterAll, beforeAll, test, vi } from "vitest";
import { freePorts } from "weir/local-servers";
import { stringify } from "yaml";
import { ask, chat } from "../e2e/client.ts";
import { createLedgerReader, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { type Balancer, createBalancer } from "./balancer.ts";
import { type Broker, createBroker } from "./broker.ts";
import { type Checker, startChecker } from "./checker.ts";
import { foundBy, type Part, parts } from "./mesh.ts";
import { connectOperator, type Operator, poolsWithBudget } from "./operator.ts";
import { runScenario, scenarioTimeoutMs, type Trial } from "./scenario.ts";
import { runService, type ServiceProcess } from "./service-process.ts";
import { faultConfig } from "./setting.ts";
import { type Door, planStorm, runStorm } from "./storm.ts";
import { trialFaults } from "./verdict.ts";

// A rolling restart under load: two of each service, as a deployment has them, and a balancer before the edges. One process
// after another is asked to end with SIGTERM, and comes back; the next one ends as soon as it has said that it is ready.
const folder = mkdtempSync(join(tmpdir(), "weir-rolling-"));

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let ledger: LedgerReader;
let broker: Broker;
let simulator: Simulator;
let checker: Checker;
let operator: Operator;
let balancer: Balancer;
let door: Door;
const running: ServiceProcess[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  broker = await createBroker();
  const countFile = join(folder, "count.jsonl");
  simulator = createSimulator({ countFile });
  const { url: simulatorUrl } = await simulator.listen();
  const config = join(folder, "weir.yaml");
  writeFileSync(config, stringify(faultConfig(simulatorUrl, { drain_notice: "1s" })));
  const [first = 0, second = 0, ...ports] = await freePorts(2 + 2 * parts.length);
  const edgePorts = [first, second];
  const addresses = (part: Part) => [0, 1].map((copy) => `127.0.0.1:${ports[2 * parts.indexOf(part) + copy]}`);
  const peers = (...called: Part[]) =>
    Object.fromEntries(called.map((part) => [`WEIR_PEER_${part.toUpperCase()}`, addresses(part).join(",")]));
  const nats = { WEIR_NATS_URL: broker.url };
  const more: Record<Part, Record<string, string>> = {
    edge: peers("router", "metering"),
    router: peers("pool"),
    pool: { ...nats, ...peers("metering") },
    metering: { ...nats, WEIR_DATABASE_URL: database.url },
  };
  for (const part of parts.toReversed()) {
    for (const [copy, listen] of addresses(part).entries()) {
      const home = join(folder, `${part}-${copy}`);
      mkdirSync(home);
      const env = {
        WEIR_CONFIG: config,
        WEIR_DATA_DIR: home,
        WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
        WEIR_HOST: "127.0.0.1",
        WEIR_LISTEN: listen,
        ...more[part],
        ...(part === "edge" ? { WEIR_PORT: String(edgePorts[copy]) } : {}),
      };
      running.push(runService(`${part}-${copy}`, [part], env, home));
      // The first to come makes the schema.
      if (part === "metering") await running.at(-1)?.ready();
    }
  }
  for (const process of running) await process.ready();
  balancer = await createBalancer(edgePorts);
  operator = await connectOperator(addresses("metering")[0] ?? "");
  door = { url: `http://127.0.0.1:${balancer.port}`, key: await operator.createTenant() };
  checker = await startChecker(countFile, database.url);
  // Until each edge knows the key, and each pool the budget.
  await vi.waitFor(
    async () => {
      for (const port of edgePorts) {
        const edge = { ...door, url: `http://127.0.0.1:${port}` };
        const { status } = await ask(edge, chat({}, { model: "chat/probe", user: "probe" }));
        if (status !== 200) throw new Error(`status ${status}`);
      }
      const pools = await poolsWithBudget(ledger);
      if (pools < 2) throw new Error(`${pools} of two pools have leased of the budget`);
    },
    { timeout: 40_000, interval: 100 },
  );
}, 90_000);
afterAll(async () => {
  await balancer?.close();
  await checker?.stop();
  await operator?.close();
  await Promise.all(running.map((process) => process.stop()));
  await simulator?.close();
  await broker?.close();
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  "F12 a rolling restart under load: no client sees an error, no row is lost",
  async () => {
    let turn = 0;
    const trial: Trial = async ({ random, tag }) => {
      const process = running[turn++ % running.length] as ServiceProcess;
      const starts = process.starts();
      let over = false;
      // Load until the process is back.
      const load = async () => {
        let complete = 0;
        const failures: string[] = [];
        const lies: string[] = [];
        for (let round = 0; !over || round === 0; round++) {
          const outcome = await runStorm(door, planStorm(random, { requestCount: 24, atOnce: 8, spanMs: 400 }), tag);
          complete += outcome.complete;
          lies.push(...outcome.lies);
          if (outcome.failed > 0) failures.push(JSON.stringify(outcome.failures));
          if (Object.keys(outcome.refusals).length > 0) failures.push(`refusals: ${JSON.stringify(outcome.refusals)}`);
        }
        return { complete, lies, failures };
      };
      const loaded = load();
      try {
        await new Promise((resolve) => setTimeout(resolve, random() * 200));
        process.signal("SIGTERM");
        await vi.waitFor(
          () => {
            if (process.starts() === starts) throw new Error(`${process.name} does not end`);
          },
          { timeout: 30_000, interval: 10 },
        );
        await process.ready();
      } finally {
        over = true;
      }
      const outcome = await loaded;
      return async () => {
        const served = simulator.attempts().filter(({ model }) => model === tag);
        const rows = await ledger.rows({ endUser: tag });
        const faults = [...trialFaults({ outcome, rows, served }), ...(await foundBy(checker, tag))];
        const seen = outcome.failures.map((failure) => `clients saw ${failure}`);
        return [...seen, ...faults].map((fault) => `${process.name}: ${fault}`);
      };
    };
    await runScenario("F12", trial);
  },
  scenarioTimeoutMs(),
);
