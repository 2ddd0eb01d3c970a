import { hostname } from "node:os";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { DependencyHealth, Edge } from "@weir/edge/service";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Client } from "@weir/kit/call";
import { bearing } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLog, type ProcessLog } from "@weir/kit/log";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import { startTelemetry } from "@weir/kit/telemetry/setup";
import { startConfiguration } from "./configuration.ts";
import { createDataFolder, type DataFolder, readOrCreatePepper } from "./data-folder.ts";
import { demoModel, findLocalServers } from "./discovery.ts";
import { grpcTls, meshOptions } from "./mesh-options.ts";
import type { Part, Root } from "./parts/part.ts";
import { type Environment, type ServiceName, type Settings, SettingsError } from "./settings.ts";
import { watchTls } from "./tls-files.ts";
import { version } from "./version.ts";

export interface StartOptions {
  /** Where `${NAME}` of weir.yaml and the keys of vendors come from. Default: that of the process. */
  readonly env?: Environment;
  /** Default: JSON lines on standard output, at the level of the settings. Flushed, but not closed, at the end. */
  readonly log?: ProcessLog;
}

/** Services that run in this process. */
export interface RunningServices {
  /** Base URL of the edge without `/v1`: `http://127.0.0.1:8787`; undefined when the edge is not among them. */
  readonly url: string | undefined;
  /** Where the edge answers gRPC, with the port that was really taken; undefined when it does not. */
  readonly grpc: string | undefined;
  /** What the edge answers at its public port, and who may call it; empty when it is not among them. */
  readonly publicRoutes: Edge["routes"];
  /** Where other processes call in, with the port that was really taken; undefined when they cannot. */
  readonly address: string | undefined;
  /** Why each provider is there, by id. */
  providers(): ReadonlyMap<string, string>;
  /** Clients as the services of this process have them. */
  readonly clients: {
    readonly accounts: Client<typeof AccountService>;
    readonly budgets: Client<typeof BudgetService>;
    readonly usage: Client<typeof UsageService>;
    readonly routes: Client<typeof RouteService>;
  };
  /**
   * Takes no new work, finishes what is open, writes what is pending, and closes. Safe to call twice.
   * @param timeoutMs for open requests. Default: from weir.yaml (30 s)
   */
  drain(timeoutMs?: number): Promise<void>;
  /** The longest that `drain` takes without an argument, in milliseconds. */
  drainMsMax(): number;
  /** Closes at once: open calls fail. What a crash would leave behind is in the journal. */
  close(): Promise<void>;
}

/** Code is read only where it runs: an edge by itself needs no driver of a database, and begins in less time. */
const load = {
  edge: () => import("./parts/edge.ts"),
  router: () => import("./parts/router.ts"),
  pool: () => import("./parts/pool.ts"),
  metering: () => import("./parts/metering.ts"),
  sharedLimits: () => import("./parts/shared-limits.ts"),
  demo: () => import("@weir/simulator/simulator"),
};

/** Time for what goes on behind requests: sending usage, closing files and connections. */
const stopTimeoutMs = 10_000;
const localServersTimeoutMs = 400;
const drainMsDefault = 30_000;

/**
 * Starts services in this process. Those that are not in the set are reached as `settings.peers` says; the process starts
 * without waiting for them. A set that holds both router and pool also finds model servers of this machine, and has the
 * demo provider.
 * @throws ConfigError, SettingsError, or an error of the system when a port or a folder cannot be had; nothing is left
 *   running then
 */
export async function startServices(
  set: readonly ServiceName[],
  settings: Settings,
  options: StartOptions = {},
): Promise<RunningServices> {
  const has = (name: ServiceName) => set.includes(name);
  checkPeers(set, settings);
  const env = options.env ?? process.env;
  const clock = systemClock;
  const name = set.join(",");
  const log = options.log ?? createLog({ service: name, level: settings.logLevel });
  const stopping = new AbortController();
  /** What to undo, in the reverse order. */
  const undo: (() => Promise<void> | void)[] = [];
  // Timers of ours keep no process alive; one that only waits for its database must not end.
  const alive = setInterval(() => {}, 0x7fff_ffff);
  const closeAll = async (): Promise<void> => {
    stopping.abort();
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) {
      try {
        await step();
      } catch (error) {
        log.error({ error }, "closing failed");
      }
    }
    clearInterval(alive);
    log.flush();
  };

  try {
    const telemetry = await startTelemetry({
      service: name,
      version,
      otlpEndpoint: settings.otlpEndpoint,
      sampleRatio: settings.traceRatio,
    });
    undo.push(() => telemetry.shutdown());

    const wholePath = has("router") && has("pool");
    const [demoUrl, local] = wholePath
      ? await Promise.all([startDemo(undo), findLocalServers(localServersTimeoutMs)])
      : [undefined, []];
    const configuration = await startConfiguration({ path: settings.configPath, env, clock, log, local, demoUrl });
    undo.push(() => configuration.close());

    const { meter } = telemetry;
    const { redisUrl } = settings;
    // Only edges and pools have limits.
    const limited = { name: `weir-${name.replaceAll(",", "-")}`, clock, meter, log };
    const sharedLimits =
      redisUrl !== undefined && (has("edge") || has("pool"))
        ? (await load.sharedLimits()).startSharedLimits({ url: redisUrl, ...limited })
        : undefined;
    undo.push(async () => sharedLimits?.close());

    let folder: DataFolder | undefined;
    const watchedTls = settings.tls && watchTls(settings.tls, { clock, log });
    undo.push(() => watchedTls?.close());
    const mesh = createMesh({
      ...meshOptions(settings, `${name}@${hostname()}:${process.pid}`, watchedTls?.tls),
      clock,
      onDefect: ({ method, thrown }) => log.error({ method, error: thrown }, "a handler failed"),
      onPeer: ({ kind, peerName, address, why }) => {
        if (kind === "lost") log.warn({ peer: peerName, address, why }, "a link was lost");
        else log.info({ peer: peerName, address }, kind === "ready" ? "a link is ready" : "a peer is leaving");
      },
    });
    undo.push(() => mesh.close());
    const root: Root = {
      settings,
      configuration,
      mesh,
      telemetry,
      log,
      clock,
      sharedLimits,
      folder: () => (folder ??= createDataFolder(settings.dataDir)),
      pepper: () => settings.pepper ?? readOrCreatePepper(root.folder()),
      stopping: stopping.signal,
    };

    const parts: Part[] = [];
    const add = (part: Part): void => {
      let stopped: Promise<void> | undefined;
      const stop = (timeoutMs: number) => (stopped ??= part.stop(timeoutMs));
      parts.push({ ...part, stop });
      undo.push(() => stop(0));
    };
    if (has("metering")) add(await (await load.metering()).startMetering(root));
    if (has("pool")) add(await (await load.pool()).startPool(root));
    if (has("router")) add((await load.router()).startRouter(root));
    const health = (): DependencyHealth[] => [
      ...parts.flatMap((part) => part.health()),
      ...(sharedLimits === undefined ? [] : [sharedLimits.health()]),
      ...peerHealth(mesh.status().peers),
      configHealth(configuration.status().fault !== undefined),
    ];
    const edgePart = has("edge") ? await load.edge() : undefined;
    const edgeClients = edgePart?.clientsOfEdge(mesh, root.clock, () => configuration.current().config.providers);
    await mesh.start();
    for (const part of parts) part.begin?.();
    // The edge follows the keys from its first moment on: the mesh must be there.
    const edge: Edge | undefined = edgeClients && edgePart?.buildEdge(root, edgeClients, health);
    if (edge !== undefined) undo.push(() => edge.close());
    const url = await edge?.listen({ host: settings.host, port: settings.port });
    const grpc = settings.grpc && (await edge?.listenGrpc(settings.grpc, grpcTls(settings)));
    log.info({ version, url: url?.url, grpc, address: mesh.status().address }, "started");

    let ended: Promise<void> | undefined;
    const drainNoticeMs = (): number => {
      const notice = configuration.current().config.edge?.drainNotice;
      return notice === undefined ? 0 : durationMs(notice);
    };
    const drain = async (timeoutMs: number): Promise<void> => {
      stopping.abort();
      const endMs = clock.monotonic() + timeoutMs;
      const leftMs = () => Math.max(0, endMs - clock.monotonic());
      try {
        await edge?.drain(leftMs(), drainNoticeMs());
        await mesh.drain(leftMs());
        // Callers before those that they call: the pool hands its last usage to metering.
        for (const part of parts.toReversed()) await part.stop(stopTimeoutMs);
      } finally {
        await closeAll();
      }
    };
    return {
      url: url?.url,
      grpc,
      publicRoutes: edge?.routes ?? [],
      address: mesh.status().address,
      providers: () => configuration.current().reasons,
      clients: {
        accounts: bearing(mesh.client(AccountService, "metering"), operatorMetadata),
        budgets: bearing(mesh.client(BudgetService, "metering"), operatorMetadata),
        usage: bearing(mesh.client(UsageService, "metering"), operatorMetadata),
        routes: mesh.client(RouteService, "router"),
      },
      drain(timeoutMs) {
        ended ??= drain(timeoutMs ?? drainMs(configuration.current().config.edge?.drain));
        return ended;
      },
      // Each part twice, for parts that take their whole time to stop and again to close.
      drainMsMax: () => drainMs(configuration.current().config.edge?.drain) + 2 * stopTimeoutMs * (parts.length + 1),
      close() {
        ended ??= closeAll();
        return ended;
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** Who calls whom. */
const calls: Readonly<Record<ServiceName, readonly ServiceName[]>> = {
  edge: ["router", "metering"],
  router: ["pool"],
  pool: ["metering"],
  metering: [],
};

/** @throws SettingsError when a service could not reach one that it calls */
function checkPeers(set: readonly ServiceName[], settings: Settings): void {
  const faults = set.flatMap((caller) =>
    calls[caller]
      .filter((name) => !set.includes(name) && (settings.peers[name]?.length ?? 0) === 0)
      .map(
        (name) =>
          `WEIR_PEER_${name.toUpperCase()}: missing; ${caller} calls ${name}: set its address, or serve both here`,
      ),
  );
  if (set.length === 0) faults.push("there is no service to start");
  if (faults.length > 0) throw new SettingsError([...new Set(faults)]);
}

/** Serves the demo provider on a loopback port. @returns its base URL, with `/v1` */
async function startDemo(undo: (() => Promise<void> | void)[]): Promise<string> {
  const { createSimulator } = await load.demo();
  const simulator = createSimulator({ counting: false, scripting: false, models: [demoModel] });
  const { url } = await simulator.listen({ host: "127.0.0.1", port: 0 });
  undo.push(() => simulator.close());
  return `${url}/v1`;
}

function drainMs(duration: Duration | undefined): number {
  return duration === undefined ? drainMsDefault : durationMs(duration);
}

/** What is wrong stands in the log only: health is public, and names of aliases and providers are not. */
function configHealth(faulty: boolean): DependencyHealth {
  if (!faulty) return { name: "config", status: "up" };
  return {
    name: "config",
    status: "degraded",
    detail: "the newest weir.yaml cannot be used; the one before is in force",
  };
}

function peerHealth(peers: Readonly<Record<string, readonly { readonly state: string }[]>>): DependencyHealth[] {
  return Object.entries(peers).map(([name, instances]) => {
    const ready = instances.filter((instance) => instance.state === "ready").length;
    const detail = `${ready} of ${instances.length} instances are linked`;
    return {
      name: `link.${name}`,
      status: ready === 0 ? "down" : ready < instances.length ? "degraded" : "up",
      detail,
    };
  });
}
