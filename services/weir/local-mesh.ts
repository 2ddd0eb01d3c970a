import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { bearing } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createMesh } from "@weir/kit/mesh";
import { operatorMetadata } from "@weir/kit/operator";
import { calledServices, isOurs, type LocalService, planLocally } from "./mesh-plan.ts";
import { type ComposeService, readComposeFile } from "./compose-file.ts";
import {
  createDataFolder,
  type DataFolder,
  readOrCreatePepper,
  readTextFile,
  writePrivateFile,
} from "./data-folder.ts";
import { refuseFolderInUse } from "./folder-in-use.ts";
import { ensureFirstKey, type FirstKey } from "./first-key.ts";
import { findProgram, freePorts, isFree, preparePostgres, waitForPort } from "./local-servers.ts";
import type { Environment } from "./settings.ts";
import { type ProcessPlan, supervise, type Supervised } from "./supervisor.ts";
import { waitUntilKnown, waitUntilReady } from "./readiness.ts";
import { pickModel } from "./welcome.ts";
import { OperatorError } from "./operator-error.ts";

export interface LocalMeshOptions {
  /** The compose file whose services are started. */
  readonly composePath: string;
  /** Folder for volumes and generated secrets. */
  readonly dataDir: string;
  /** Variables that the compose file may refer to. WEIR_NATS_URL, WEIR_DATABASE_URL and WEIR_REDIS_URL name servers to use instead. */
  readonly env: Environment;
  /** The edge's port of this machine; 0: any free one. */
  readonly port: number;
  /** In the place of the file's weir.yaml. */
  readonly configPath?: string | undefined;
  /** Gets each line of output of each process. */
  readonly onLine: (name: string, line: string) => void;
  /** Told of steps and of processes that end, for people. */
  readonly onProgress: (text: string) => void;
  readonly signal: AbortSignal;
}

/** The services of a compose file as processes of this machine. */
export interface LocalMesh {
  /** Base URL of the edge, without `/v1`. */
  readonly url: string;
  readonly key: FirstKey;
  readonly folder: DataFolder;
  readonly model: string | undefined;
  readonly databaseUrl: string;
  /** Id of a service's process; undefined while it starts again. */
  pid(service: string): number | undefined;
  /** What a service's process has of the compose file, with addresses and folders of this machine. Secrets among it. */
  environment(service: string): Readonly<Record<string, string>>;
  /** Drains the services, then stops the servers under them. Safe to call twice. */
  stop(): Promise<void>;
}

const main = join(import.meta.dirname, "main.ts");
const tether = join(import.meta.dirname, "tether.ts");
const serverTimeoutMs = 60_000;
const serviceStopMs = 60_000;
const serverStopMs = 15_000;
/** A process that ends so often before the mesh is ready will not get there. */
const endsMax = 4;

/** What a process needs of the machine; everything else comes from the compose file, as it would in a container. */
const inherited = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "SYSTEMROOT"];

/**
 * Starts the services of a compose file as local processes, with the same commands and environment, and keeps them running.
 * NATS, Postgres and Redis are the installed ones, with data of their own, unless the environment names servers. Without
 * Redis, which nothing but limits needs, each process counts its limits for itself.
 * @throws Error that names the fix; nothing is left running then
 */
export async function startLocalMesh(options: LocalMeshOptions): Promise<LocalMesh> {
  const { onProgress, signal } = options;
  const folder = createDataFolder(options.dataDir);
  await refuseFolderInUse(folder);
  if (!(await isFree(options.port))) {
    throw new OperatorError(`port ${options.port} is taken; choose another with --port or WEIR_PORT`);
  }
  const meshFolder = join(folder.path, "mesh");
  mkdirSync(meshFolder, { recursive: true, mode: 0o700 });
  const password = secretOf(join(meshFolder, "postgres-password"));
  const env: Environment = {
    WEIR_KEY_PEPPER: readOrCreatePepper(folder).toString(),
    POSTGRES_PASSWORD: password,
    ...options.env,
  };
  const file = readComposeFile(readFileSync(options.composePath, "utf8"), env);
  const plan = withoutMissing(await place(file.services, options, meshFolder, file), options);
  const called = calledServices(file);
  const servers: Supervised[] = [];
  const ends = new Map<string, number>();
  const services = new Map<string, Supervised>();
  const base = Object.fromEntries(inherited.map((name) => [name, options.env[name]]));

  const run = (local: Omit<ProcessPlan, "tethered" | "cwd">): Supervised =>
    supervise(
      { ...local, cwd: meshFolder, tethered: true },
      {
        clock: systemClock,
        onLine: options.onLine,
        onExit(name, how, restartMs) {
          onProgress(`${name} ended (${how}); it starts again in ${restartMs ?? 0} ms`);
          ends.set(name, (ends.get(name) ?? 0) + 1);
        },
      },
    );
  let ended: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    ended ??= (async () => {
      // Those that take requests first, so that those behind them can finish the work.
      for (const name of ["edge", "router", "pool", "metering"]) await services.get(name)?.stop(serviceStopMs);
      await Promise.all([...services.values()].map((service) => service.stop(serviceStopMs)));
      await Promise.all(servers.map((server) => server.stop(serverStopMs)));
      rmSync(folder.meteringAddress, { force: true });
    })();
    return ended;
  };

  try {
    for (const local of plan) {
      const { service } = local;
      if (isOurs(service) || !called.has(service.name)) continue;
      if (isRedis(service) && !hasRedis(options.env)) continue;
      const elsewhere = externalUrl(service, options.env);
      if (elsewhere !== undefined) {
        onProgress(`${service.name}: a server of yours, as the environment says`);
        continue;
      }
      onProgress(`${service.name}: starting a local one`);
      servers.push(run({ name: service.name, env: base, ...(await serverPlan(local, meshFolder)) }));
      const [port = 0] = local.ports.values();
      await waitForPort(port, serverTimeoutMs, signal);
    }
    for (const { service, args, environment } of plan) {
      if (!isOurs(service)) continue;
      services.set(
        service.name,
        run({ name: service.name, command: process.execPath, args: [main, ...args], env: { ...base, ...environment } }),
      );
    }
    const environmentOf = (name: string) => plan.find(({ service }) => service.name === name)?.environment ?? {};
    const url = `http://127.0.0.1:${environmentOf("edge")["WEIR_PORT"]}`;
    const metering = environmentOf("metering")["WEIR_LISTEN"] ?? "";
    const router = environmentOf("router")["WEIR_LISTEN"] ?? "";
    await waitUntilReady(url, signal, () => {
      const name = [...ends].find(([, count]) => count >= endsMax)?.[0];
      return name && `${name} does not start; its own lines above say why`;
    });
    writePrivateFile(folder.meteringAddress, `${metering}\n`);

    const client = createMesh({ name: "weir-mesh", peers: { metering: [metering], router: [router] } });
    const accounts = bearing(client.client(AccountService, "metering"), operatorMetadata);
    const routing = client.client(RouteService, "router");
    try {
      await client.start();
      const key = await ensureFirstKey(accounts, folder);
      await waitUntilKnown(url, key, signal);
      const { routes } = await routing.listRoutes({}, { timeoutMs: 10_000 });
      return {
        url,
        key,
        folder,
        model: pickModel(routes),
        databaseUrl: environmentOf("metering")["WEIR_DATABASE_URL"] ?? "",
        pid: (name) => services.get(name)?.pid(),
        environment: environmentOf,
        stop,
      };
    } finally {
      await client.close();
    }
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Gives every service ports and folders of this machine. */
async function place(
  all: readonly ComposeService[],
  options: LocalMeshOptions,
  meshFolder: string,
  file: Parameters<typeof planLocally>[0],
): Promise<LocalService[]> {
  // Asked twice: first to learn which ports there are, then with free ones.
  const wanted = new Map<string, number>();
  const folders = { composeFolder: dirname(options.composePath), volumeFolder: join(meshFolder, "volumes") };
  planLocally(file, { ...folders, portFor: (service, port) => wanted.set(`${service}:${port}`, 0) && port });
  const free = await freePorts(wanted.size);
  for (const [index, name] of [...wanted.keys()].entries()) wanted.set(name, free[index] ?? 0);
  const edge = all.find((service) => service.name === "edge");
  if (edge !== undefined && options.port !== 0) wanted.set(`edge:${edge.environment["WEIR_PORT"]}`, options.port);
  const plan = planLocally(file, { ...folders, portFor: (service, port) => wanted.get(`${service}:${port}`) ?? 0 });
  return plan.map((local) => {
    const environment = { ...local.environment };
    for (const name of ["WEIR_NATS_URL", "WEIR_DATABASE_URL", "WEIR_REDIS_URL", "WEIR_LOG_LEVEL"]) {
      const given = options.env[name];
      if (given && (name in environment || name === "WEIR_LOG_LEVEL")) environment[name] = given;
    }
    if (options.configPath !== undefined && "WEIR_CONFIG" in environment)
      environment["WEIR_CONFIG"] = options.configPath;
    for (const { source, named } of local.service.mounts) {
      if (named) mkdirSync(join(folders.volumeFolder, source), { recursive: true, mode: 0o700 });
    }
    return { ...local, environment };
  });
}

function isRedis({ image }: ComposeService): boolean {
  return image.startsWith("redis:");
}

function hasRedis(env: Environment): boolean {
  return Boolean(env["WEIR_REDIS_URL"]) || findProgram("redis-server") !== undefined;
}

/** Where there is no Redis, nobody is told of one. */
function withoutMissing(plan: readonly LocalService[], { env, onProgress }: LocalMeshOptions): readonly LocalService[] {
  if (hasRedis(env)) return plan;
  onProgress("redis: not installed, so each process counts its limits for itself");
  return plan.map((local) => {
    const { WEIR_REDIS_URL: _, ...environment } = local.environment;
    return { ...local, environment };
  });
}

function secretOf(path: string): string {
  const kept = readTextFile(path);
  if (kept) return kept;
  const made = randomBytes(16).toString("hex");
  writePrivateFile(path, `${made}\n`);
  return made;
}

/** The server of the environment that stands for a service of another project. */
function externalUrl(service: ComposeService, env: Environment): string | undefined {
  if (service.image.startsWith("nats:")) return env["WEIR_NATS_URL"];
  if (service.image.includes("pgvector")) return env["WEIR_DATABASE_URL"];
  if (isRedis(service)) return env["WEIR_REDIS_URL"];
  return undefined;
}

/** How to run a service of another project with the program that is installed here. */
async function serverPlan(
  local: LocalService,
  meshFolder: string,
): Promise<{ command: string; args: readonly string[] }> {
  const { service, ports } = local;
  const command = process.execPath;
  if (service.image.startsWith("nats:")) {
    const program = findProgram("nats-server");
    if (program === undefined) {
      throw new OperatorError(
        "NATS is not installed: run `apt-get install nats-server`, or set WEIR_NATS_URL to a server of yours",
      );
    }
    const config = service.mounts.find(({ target }) => target.endsWith(".conf"));
    const text = readFileSync(local.localise(config?.target ?? ""), "utf8");
    const path = join(meshFolder, "nats.conf");
    writeFileSync(path, local.localise(text));
    return { command, args: [tether, "SIGTERM", "-", program, "--config", path] };
  }
  if (isRedis(service)) {
    const [, ...options] = service.command;
    const place = ["--port", String(ports.get(6379) ?? 0), "--bind", "127.0.0.1", "--dir", meshFolder];
    return { command, args: [tether, "SIGTERM", "-", findProgram("redis-server") ?? "", ...options, ...place] };
  }
  if (service.image.includes("pgvector")) {
    const { POSTGRES_USER = "", POSTGRES_DB = "", POSTGRES_PASSWORD = "" } = service.environment;
    const target = service.mounts[0]?.target ?? "";
    const login = { user: POSTGRES_USER, password: POSTGRES_PASSWORD, database: POSTGRES_DB };
    const { folder, program, user } = await preparePostgres(join(local.localise(target), "cluster"), login);
    const owner = user === undefined ? "-" : `${user.uid}:${user.gid}`;
    const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories="].flatMap((text) => ["-c", text]);
    const port = String(ports.get(5432) ?? 0);
    return { command, args: [tether, "SIGINT", owner, program, "-D", folder, "-p", port, ...settings] };
  }
  throw new Error(`${service.name}: no program of this machine stands for the image ${service.image}`);
}
