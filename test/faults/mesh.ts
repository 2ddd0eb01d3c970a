import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AttemptRecord, createSimulator, type Moment } from "@weir/simulator/simulator";
import { freePorts } from "weir/local-servers";
import { stringify } from "yaml";
import { ask, chat } from "../e2e/client.ts";
import { createLedgerReader, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres } from "../servers.ts";
import { type Broker, createBroker } from "./broker.ts";
import type { Finding } from "./check.ts";
import { type Checker, startChecker } from "./checker.ts";
import { connectOperator, type Operator, poolsWithBudget } from "./operator.ts";
import { createProxy, type Proxy } from "./proxy.ts";
import { runService, type ServiceProcess } from "./service-process.ts";
import { faultConfig } from "./setting.ts";
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts";
import { type Evidence, trialFaults } from "./verdict.ts";

export const parts = ["edge", "router", "pool", "metering"] as const;
export type Part = (typeof parts)[number];

/** Who calls whom; each pair meets through a proxy. */
export const pairs = [
  "edge-router",
  "edge-metering",
  "router-pool",
  "pool-metering",
  "pool-broker",
  "metering-broker",
  "metering-database",
] as const;
export type Pair = (typeof pairs)[number];

/** Each service a process of its own, as deploy/compose.yaml runs them, with NATS, Postgres and the simulator as provider. */
export interface FaultMesh {
  readonly url: string;
  readonly key: string;
  readonly broker: Broker;
  readonly ledger: LedgerReader;
  readonly operator: Operator;
  process(part: Part): ServiceProcess;
  proxy(pair: Pair): Proxy;
  /** Makes a part's wall clock go wrong by so much, soon. */
  skew(part: Part, ms: number): void;
  /** Where the pool keeps its journal. */
  readonly poolFolder: string;
  /** What the pool's folder is, if it could be mounted. */
  readonly poolDisk: SmallDisk | undefined;
  /** Calls once at the next such moment of an attempt at the simulator. Returns what forgets it. */
  onMoment(moment: Moment, tag: string, call: () => void): () => void;
  /** Resolves when a request is answered again. */
  ready(): Promise<void>;
  /** What the checker finds. */
  findingOf(tag: string): Promise<Finding>;
  /** What is wrong with the ledger after a trial, by the checker, and by what the trial knows. */
  verdict(tag: string, outcome: Evidence["outcome"], journalKilledAtMs?: number): Promise<string[]>;
  /** The simulator's records of a trial, read from its file. */
  served(tag: string): AttemptRecord[];
  close(): Promise<void>;
}

const journalDiskBytes = 32 * 1024 * 1024;
/** A process that was killed starts within a second or two on a machine that has nothing else to do. */
const readyMs = 40_000;

export async function startFaultMesh(): Promise<FaultMesh> {
  const undo: (() => unknown)[] = [];
  const close = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const folder = mkdtempSync(join(tmpdir(), "weir-fault-mesh-"));
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    const postgres = await startPostgres();
    undo.push(() => postgres.stop());
    const database = await createDatabase(postgres.url);
    undo.push(() => database.drop());
    const ledger = createLedgerReader(database.url);
    undo.push(() => ledger.close());
    const broker = await createBroker();
    undo.push(() => broker.close());

    const watchers = new Set<(moment: Moment, model: string) => void>();
    const open = new Map<string, number>();
    const countFile = join(folder, "count.jsonl");
    const simulator = createSimulator({
      countFile,
      onMoment: (moment, model) => {
        if (moment !== "answering") open.set(model, (open.get(model) ?? 0) + (moment === "received" ? 1 : -1));
        for (const watcher of watchers) watcher(moment, model);
      },
    });
    const { url: simulatorUrl } = await simulator.listen();
    undo.push(() => simulator.close());
    const config = join(folder, "weir.yaml");
    writeFileSync(config, stringify(faultConfig(simulatorUrl)));

    const [edgePort = 0, ...ports] = await freePorts(parts.length + 1);
    const portOf = (part: Part) => ports[parts.indexOf(part)] ?? 0;
    const targets: Record<Pair, number> = {
      "edge-router": portOf("router"),
      "edge-metering": portOf("metering"),
      "router-pool": portOf("pool"),
      "pool-metering": portOf("metering"),
      "pool-broker": broker.port,
      "metering-broker": broker.port,
      "metering-database": Number(new URL(database.url).port),
    };
    const proxies = new Map<Pair, Proxy>();
    for (const pair of pairs) proxies.set(pair, await createProxy(targets[pair]));
    const proxy = (pair: Pair) => proxies.get(pair) as Proxy;
    undo.push(async () => {
      for (const pair of pairs) await proxy(pair).close();
    });

    const poolFolder = join(folder, "pool");
    mkdirSync(poolFolder);
    const poolDisk = mountSmallDisk(poolFolder, journalDiskBytes);
    undo.push(() => poolDisk?.unmount());
    const skewFile = (part: Part) => join(folder, `${part}.skew`);
    const through = (pair: Pair) => `127.0.0.1:${proxy(pair).port}`;
    const databaseUrl = new URL(database.url);
    databaseUrl.host = through("metering-database");
    const more: Record<Part, Record<string, string>> = {
      edge: {
        WEIR_PORT: String(edgePort),
        WEIR_PEER_ROUTER: through("edge-router"),
        WEIR_PEER_METERING: through("edge-metering"),
      },
      router: { WEIR_PEER_POOL: through("router-pool") },
      pool: { WEIR_NATS_URL: `nats://${through("pool-broker")}`, WEIR_PEER_METERING: through("pool-metering") },
      metering: { WEIR_NATS_URL: `nats://${through("metering-broker")}`, WEIR_DATABASE_URL: databaseUrl.href },
    };
    const processes = new Map<Part, ServiceProcess>();
    for (const part of parts.toReversed()) {
      const home = join(folder, part);
      mkdirSync(home, { recursive: true });
      writeFileSync(skewFile(part), "0");
      const env = {
        WEIR_CONFIG: config,
        WEIR_DATA_DIR: home,
        WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
        WEIR_HOST: "127.0.0.1",
        WEIR_LISTEN: `127.0.0.1:${portOf(part)}`,
        WEIR_TEST_SKEW_FILE: skewFile(part),
        NODE_OPTIONS: `--import ${join(import.meta.dirname, "skew.ts")}`,
        ...more[part],
      };
      const started = runService(part, [part], env, home);
      processes.set(part, started);
      undo.push(() => started.stop());
    }
    for (const started of processes.values()) await started.ready();

    const url = `http://127.0.0.1:${edgePort}`;
    const checker = await startChecker(countFile, database.url);
    undo.push(() => checker.stop());
    const operator = await connectOperator(`127.0.0.1:${portOf("metering")}`);
    undo.push(() => operator.close());
    const key = await operator.createTenant();
    const door = { url, key };
    const ready = async () => {
      const deadline = performance.now() + readyMs;
      for (;;) {
        // Nobody listens yet, or again.
        const answer = await ask(door, chat({}, { model: "chat/probe", user: "probe" })).catch(() => undefined);
        if (answer?.status === 200) return;
        if (performance.now() > deadline) {
          const said = parts.map((part) => processes.get(part)?.output().slice(-1500)).join("\n");
          throw new Error(`no request is answered (${answer?.status} ${answer?.text.slice(0, 200)}):\n${said}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const knownMs = performance.now() + readyMs;
    do {
      if (performance.now() > knownMs) throw new Error("the pool does not hear of the budget that every trial has");
      await ready();
    } while ((await poolsWithBudget(ledger)) === 0);
    const served = (tag: string) =>
      readFileSync(countFile, "utf8")
        .split("\n")
        .filter((line) => line.includes(`"model":"${tag}"`))
        .map((line) => JSON.parse(line) as AttemptRecord);
    return {
      ...door,
      broker,
      ledger,
      operator,
      process: (part) => processes.get(part) as ServiceProcess,
      proxy,
      skew: (part, ms) => writeFileSync(skewFile(part), String(ms)),
      poolFolder,
      poolDisk,
      onMoment(wanted, tag, call) {
        const watcher = (moment: Moment, model: string) => {
          if (moment !== wanted || model !== tag) return;
          watchers.delete(watcher);
          call();
        };
        watchers.add(watcher);
        return () => watchers.delete(watcher);
      },
      ready,
      served,
      findingOf: (tag) => checker.findingOf(tag),
      async verdict(tag, outcome, journalKilledAtMs) {
        // Until then it is on neither side, and both sides agree.
        const openCount = open.get(tag) ?? 0;
        if (openCount > 0) return [`${openCount} attempts are still open at the simulator`];
        const rows = await ledger.rows({ endUser: tag });
        const known = trialFaults({ outcome, rows, served: served(tag), journalKilledAtMs });
        return [...known, ...(await foundBy(checker, tag))];
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Everything that the checker finds of a trial, attempts without a row among it. */
export async function foundBy(checker: Checker, tag: string): Promise<string[]> {
  const { faults, missing } = await checker.findingOf(tag);
  return [...faults, ...missing.map(({ id, end }) => `attempt ${id} (${end}) has no row`)];
}
