import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { Client } from "@weir/kit/call";
import { bearing } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLog } from "@weir/kit/log";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import { createSimulator, type SimulatorOptions } from "@weir/simulator/simulator";
import { type RunningServices, startServices } from "weir/compose";
import { freePorts } from "weir/local-servers";
import { readSettings, type ServiceName, serviceNames } from "weir/settings";
import { type Supervised, supervise } from "weir/supervisor";
import { stringify } from "yaml";
import type { KeyScope, Weir } from "./e2e/weir.ts";
import { createLedgerReader } from "./ledger.ts";
import { createDatabase, startNats, startPostgres } from "./servers.ts";

export interface RunOptions {
  /** The object that weir.yaml holds, given where the simulator is. */
  readonly config: (simulatorUrl: string) => object;
  readonly simulator?: SimulatorOptions;
}

/** A way to run a whole gateway. The same cases hold on each. */
export interface Runner {
  readonly name: string;
  start(options: RunOptions): Promise<Weir>;
}

/** All services in one process, through local doors; usage goes to metering directly. */
export const oneProcess: Runner = {
  name: "one process",
  start: (options) => startProcesses({ weir: serviceNames }, false, options),
};

/** Each service a process of its own, over links, with NATS: what `npm run mesh` and deploy/compose.yaml run. */
export const processes: Runner = {
  name: "processes",
  start: (options) =>
    startProcesses({ metering: ["metering"], pool: ["pool"], router: ["router"], edge: ["edge"] }, true, options),
};

/** Services in the test's own process that meet over links on loopback sockets. */
export const loopback: Runner = { name: "loopback", start: startLoopback };

const root = dirname(import.meta.dirname);
const readyMs = 60_000;

/** What every runner needs beside the services themselves. */
async function createStage(options: RunOptions, withNats: boolean) {
  const undo: (() => unknown)[] = [];
  const close = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const folder = mkdtempSync(join(tmpdir(), "weir-run-"));
    undo.push(() => rmSync(folder, { recursive: true, force: true }));
    const postgres = await startPostgres();
    undo.push(() => postgres.stop());
    const database = await createDatabase(postgres.url);
    undo.push(() => database.drop());
    // A server of its own: the stream of usage has one name, and other runs must not read from it.
    const nats = withNats ? await startNats({ shared: false }) : undefined;
    undo.push(() => nats?.stop());
    const simulator = createSimulator({ receivedMax: 2000, ...options.simulator });
    const { url: simulatorUrl } = await simulator.listen();
    undo.push(() => simulator.close());
    const ledger = createLedgerReader(database.url);
    undo.push(() => ledger.close());
    const configPath = join(folder, "weir.yaml");
    writeFileSync(configPath, stringify(options.config(simulatorUrl)));
    const environment = (name: string) => {
      const dataDir = join(folder, name);
      mkdirSync(dataDir, { recursive: true });
      return {
        WEIR_CONFIG: configPath,
        WEIR_DATA_DIR: dataDir,
        WEIR_KEY_PEPPER: "test-pepper-".repeat(4),
        WEIR_HOST: "127.0.0.1",
        WEIR_TRACE_RATIO: "0",
      };
    };
    return {
      folder,
      databaseUrl: database.url,
      natsUrl: nats?.url,
      simulator,
      simulatorUrl,
      ledger,
      environment,
      undo,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

type Stage = Awaited<ReturnType<typeof createStage>>;

async function startProcesses(
  plan: Readonly<Record<string, readonly ServiceName[]>>,
  withNats: boolean,
  options: RunOptions,
): Promise<Weir> {
  const stage = await createStage(options, withNats);
  try {
    const names = Object.keys(plan);
    const [edgePort = 0, ...ports] = await freePorts(names.length + 1);
    const address = (service: ServiceName) => {
      const index = names.findIndex((name) => plan[name]?.includes(service));
      return `127.0.0.1:${ports[index]}`;
    };
    let output = "";
    const supervised = new Map<string, Supervised>();
    const compileCache = process.env["NODE_COMPILE_CACHE"];
    const onLine = (from: string, line: string) => {
      output += `${from} ${line}\n`;
    };
    for (const name of names) {
      const services = plan[name] ?? [];
      const has = (service: ServiceName) => services.includes(service);
      const env: Record<string, string> = {
        ...stage.environment(name),
        PATH: process.env["PATH"] ?? "",
        HOME: process.env["HOME"] ?? "/tmp",
        ...(compileCache === undefined ? {} : { NODE_COMPILE_CACHE: compileCache }),
        // For whoever wants to look into the processes: --inspect, --cpu-prof.
        NODE_OPTIONS: process.env["WEIR_TEST_NODE_OPTIONS"] ?? "",
        WEIR_LOG_LEVEL: "debug",
        WEIR_LISTEN: address(services[0] as ServiceName),
      };
      if (has("edge")) env["WEIR_PORT"] = String(edgePort);
      if (has("edge") && !has("router")) env["WEIR_PEER_ROUTER"] = address("router");
      if ((has("edge") || has("pool")) && !has("metering")) env["WEIR_PEER_METERING"] = address("metering");
      if (has("router") && !has("pool")) env["WEIR_PEER_POOL"] = address("pool");
      if (has("metering")) env["WEIR_DATABASE_URL"] = stage.databaseUrl;
      if (stage.natsUrl !== undefined && (has("pool") || has("metering"))) env["WEIR_NATS_URL"] = stage.natsUrl;
      const launch = () => {
        const plan = {
          name,
          command: process.execPath,
          args: [join(root, "services/weir/main.ts"), "serve", services.join(",")],
          env,
          cwd: stage.folder,
          tethered: true,
        };
        // Started again at once, without the supervisor's growing pauses: trials kill the same process often.
        const child = supervise(plan, { clock: systemClock, restart: false, onLine, onExit: launch });
        supervised.set(name, child);
      };
      launch();
      stage.undo.push(() => supervised.get(name)?.stop(10_000));
    }
    const pids = () => [...supervised.values()].map((child) => child.pid() ?? 0);
    const control = {
      output: () => output,
      processes: names,
      pids,
      kill(name: string) {
        const pid = supervised.get(name)?.pid();
        if (pid !== undefined) process.kill(pid, "SIGKILL");
      },
    };
    return await createWeir(stage, `http://127.0.0.1:${edgePort}`, address("metering"), control).catch(
      (error: unknown) => {
        throw new Error(`the gateway did not start:\n${output.slice(-8000)}`, { cause: error });
      },
    );
  } catch (error) {
    await stage.close();
    throw error;
  }
}

async function startLoopback(options: RunOptions): Promise<Weir> {
  const stage = await createStage(options, false);
  try {
    const peers: Partial<Record<ServiceName, string>> = {};
    let edge: RunningServices | undefined;
    let output = "";
    const destination = {
      write(line: string) {
        output += line;
      },
    };
    for (const service of ["metering", "pool", "router", "edge"] as const) {
      const env = {
        ...stage.environment(service),
        WEIR_PORT: "0",
        WEIR_LISTEN: "127.0.0.1:0",
        WEIR_PEER_ROUTER: peers.router,
        WEIR_PEER_POOL: peers.pool,
        WEIR_PEER_METERING: peers.metering,
        WEIR_DATABASE_URL: service === "metering" ? stage.databaseUrl : undefined,
      };
      const log = createLog({ service, level: "debug", destination });
      const running = await startServices([service], readSettings(env), { env: {}, log });
      stage.undo.push(() => running.drain(5000));
      if (running.address !== undefined) peers[service] = running.address;
      edge = running;
    }
    const control = { output: () => output, processes: [], pids: () => [process.pid], kill: () => {} };
    return await createWeir(stage, edge?.url ?? "", peers.metering ?? "", control);
  } catch (error) {
    await stage.close();
    throw error;
  }
}

async function createWeir(
  stage: Stage,
  url: string,
  meteringAddress: string,
  control: Pick<Weir, "output" | "processes" | "pids" | "kill">,
): Promise<Weir> {
  const mesh = createMesh({ name: "test", peers: { metering: [meteringAddress] } });
  const accounts: Client<typeof AccountService> = bearing(mesh.client(AccountService, "metering"), operatorMetadata);
  await mesh.start();
  stage.undo.push(() => mesh.close());
  const timeoutMs = 5000;
  await untilReady(async () => {
    await accounts.listTenants({}, { timeoutMs });
  });
  await accounts.createTenant({ tenantId: "tests", displayName: "Tests" }, { timeoutMs });
  const createKey = async (scope: KeyScope = {}, role?: Role) => {
    const answer = await accounts.createKey(
      {
        tenant: "tenants/tests",
        displayName: "test",
        scope: { ...scope, models: [...(scope.models ?? [])] },
        ...(role === undefined ? {} : { role }),
      },
      { timeoutMs },
    );
    return { id: answer.key?.name.replace("keys/", "") ?? "", secret: answer.secret };
  };
  const ready = () =>
    untilReady(async () => {
      const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2000) });
      const health = (await response.json()) as { status?: string };
      if (health.status !== "ok") throw new Error(`health: ${JSON.stringify(health)}`);
    });
  await ready();
  const { secret: key } = await createKey();
  await untilReady(async () => {
    const headers = { authorization: `Bearer ${key}` };
    const { status } = await fetch(`${url}/v1/models`, { headers, signal: AbortSignal.timeout(2000) });
    if (status === 401) throw new Error("the edge does not know the key");
  }, 200);
  return {
    url,
    key,
    simulator: stage.simulator,
    simulatorUrl: stage.simulatorUrl,
    ledger: stage.ledger,
    createKey,
    async revokeKey(id) {
      await accounts.revokeKey({ name: `keys/${id}` }, { timeoutMs });
    },
    ...control,
    startPids: control.pids(),
    ready,
    stop: stage.close,
  };
}

/** Tries until it goes well. @throws the last failure, after a minute */
async function untilReady(check: () => Promise<void>, pauseMs = 50): Promise<void> {
  const deadline = performance.now() + readyMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}
