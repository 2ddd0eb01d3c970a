import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { nearestName } from "@weir/kit/config/nearest";
import type { LogLevel } from "@weir/kit/log";
import { type EnvironmentValues, environmentValues } from "./environment-values.ts";

const logLevels: readonly LogLevel[] = ["debug", "info", "warn", "error", "silent"];

/** The services that one process can hold. */
export const serviceNames = ["edge", "router", "pool", "metering"] as const;
export type ServiceName = (typeof serviceNames)[number];

/** Mutual TLS between processes: PEM files, all three or none. */
export interface TlsFiles {
  /** Certificate of this process, for both listening and calling. */
  readonly certificatePath: string;
  readonly keyPath: string;
  /** Who signs the certificates of peers. */
  readonly authorityPath: string;
  /** Names of which a caller's certificate must have one; undefined: every certificate of the authority is welcome. */
  readonly callers: readonly string[] | undefined;
  /** The name that certificates of called processes must have; undefined: the host of their address. */
  readonly serverName: string | undefined;
  /** Where processes have identities: `spiffe://<trust domain>/<service>`. Undefined: they have names alone. */
  readonly trustDomain: string | undefined;
}

/** What differs from process to process and so comes from the environment; the rest is in weir.yaml. */
export interface Settings {
  /** The file weir.yaml; undefined: every default. */
  readonly configPath: string | undefined;
  /** Folder of the journal, of the embedded database and of generated secrets. Absolute. */
  readonly dataDir: string;
  /** Where the edge listens. Port 0: any free one. */
  readonly host: string;
  readonly port: number;
  /** Where the edge answers plain gRPC of internal services: `host:port`. Undefined: nowhere. */
  readonly grpc: string | undefined;
  /** Certificate of that port, PEM files. Undefined: it is without TLS. */
  readonly grpcTls:
    | {
        readonly certificatePath: string;
        readonly keyPath: string;
        /** Authorities of the certificates that callers must show. Undefined: none is asked for. */
        readonly authorityPath: string | undefined;
      }
    | undefined;
  /** Where calls from other processes come in: `host:port` or `unix:/path`. Undefined: none do. */
  readonly listen: string | undefined;
  /** Where services of other processes are, several addresses for several instances. */
  readonly peers: Readonly<Partial<Record<ServiceName, readonly string[]>>>;
  /** NATS servers with JetStream, which carry usage. Undefined: the pool hands usage to metering directly. */
  readonly natsUrl: string | undefined;
  /** Redis, in which edges and pools share their limits. Undefined: each process counts for itself. A secret. */
  readonly redisUrl: string | undefined;
  /** Postgres. Undefined: the embedded one, in `dataDir`. A secret. */
  readonly databaseUrl: string | undefined;
  /** Secret under which API keys are hashed, at least 32 bytes. Undefined: the one in `dataDir`, made when absent. */
  readonly pepper: Buffer | undefined;
  readonly tls: TlsFiles | undefined;
  /** The least that is logged. */
  readonly logLevel: LogLevel;
  /** Where traces go, over OTLP. Undefined: nowhere. */
  readonly otlpEndpoint: string | undefined;
  /** Share of requests that are traced, 0 to 1. */
  readonly traceRatio: number;
}

/** The environment cannot be used; says everything that is wrong with it. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(`the environment cannot be used:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
    this.faults = faults;
  }
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** One variable: for help texts and documentation. */
export interface Variable {
  readonly name: string;
  readonly text: string;
  /** Whether `NAME_FILE` may name a file that holds the value. */
  readonly file?: boolean;
}

/** Every variable that Weir reads, in the order of the documentation. */
export const variables: readonly Variable[] = [
  { name: "WEIR_CONFIG", text: "the file weir.yaml; default: weir.yaml in the working folder, when it exists" },
  { name: "WEIR_DATA_DIR", text: "folder of the journal, the embedded database and generated secrets; default .weir" },
  { name: "WEIR_HOST", text: "address on which the edge listens; default 127.0.0.1" },
  { name: "WEIR_PORT", text: "port on which the edge listens, 0 for any free one; default 8787" },
  {
    name: "WEIR_GRPC",
    text: "where the edge answers gRPC, host:port, or off; default off, for `weir start` 127.0.0.1:8788, or any free port beside another WEIR_PORT",
  },
  { name: "WEIR_GRPC_TLS_CERT_FILE", text: "certificate of that port, PEM; default: it is without TLS" },
  { name: "WEIR_GRPC_TLS_KEY_FILE", text: "its key" },
  {
    name: "WEIR_GRPC_TLS_CA_FILE",
    text: "authorities of the certificates that its callers must show, PEM; default: none is asked for",
  },
  { name: "WEIR_LISTEN", text: "where other processes call in: host:port or unix:/path; default: nowhere" },
  { name: "WEIR_PEER_ROUTER", text: "addresses of routers, separated by commas" },
  { name: "WEIR_PEER_POOL", text: "addresses of pools" },
  { name: "WEIR_PEER_METERING", text: "addresses of metering" },
  {
    name: "WEIR_NATS_URL",
    text: "NATS with JetStream, which carries usage; default: usage goes to metering directly",
    file: true,
  },
  {
    name: "WEIR_REDIS_URL",
    text: "Redis, in which edges and pools share their limits; default: each process counts for itself",
    file: true,
  },
  { name: "WEIR_DATABASE_URL", text: "Postgres; default: the embedded one, in the data folder", file: true },
  {
    name: "WEIR_KEY_PEPPER",
    text: "secret under which API keys are hashed, 32 characters or more; default: one made in the data folder",
    file: true,
  },
  {
    name: "WEIR_TLS_CERT_FILE",
    text: "certificate of this process, PEM; with it, calls between processes need mutual TLS",
  },
  { name: "WEIR_TLS_KEY_FILE", text: "its key" },
  { name: "WEIR_TLS_CA_FILE", text: "who signs the certificates of other processes" },
  {
    name: "WEIR_TLS_CALLERS",
    text: "names of processes that may call, separated by commas; default: all that it signs",
  },
  {
    name: "WEIR_TLS_SERVER_NAME",
    text: "the name in certificates of called processes; default: the host of their address",
  },
  {
    name: "WEIR_TLS_TRUST_DOMAIN",
    text: "where certificates have identities, `spiffe://<trust domain>/<service>`: then each method is for some services alone",
  },
  { name: "WEIR_LOG_LEVEL", text: `${logLevels.join(", ")}; default info, for \`weir start\` warn` },
  { name: "WEIR_OTLP_ENDPOINT", text: "where traces go, over OTLP; default: nowhere" },
  { name: "WEIR_TRACE_RATIO", text: "share of requests that are traced, 0 to 1; default 0.01" },
];

/**
 * Reads the settings of a process.
 * @param defaults what a command puts in the place of absent variables
 * @throws SettingsError with all faults at once; never shows the value of a secret
 */
export function readSettings(env: Environment, defaults: Partial<Settings> = {}): Settings {
  const faults: string[] = [];
  const values = environmentValues(env, faults);
  const { text, secret, url, number, address, tcpAddress, file } = values;
  const peers = readPeers(values);
  const grpc = text("WEIR_GRPC");
  const grpcTls = readGrpcTls(values, faults);
  const listen = text("WEIR_LISTEN");
  const pepper = secret("WEIR_KEY_PEPPER");
  if (pepper !== undefined && Buffer.byteLength(pepper) < 32) {
    faults.push("WEIR_KEY_PEPPER: expected 32 characters or more; `openssl rand -hex 32` makes one");
  }
  const tls = readTls(values, faults);
  const level = text("WEIR_LOG_LEVEL");
  const logLevel = logLevels.find((known) => known === level);
  if (level !== undefined && logLevel === undefined) {
    faults.push(`WEIR_LOG_LEVEL: expected ${logLevels.join(", ")}, not "${level}"`);
  }
  const configPath = file("WEIR_CONFIG") ?? (existsSync("weir.yaml") ? "weir.yaml" : undefined);
  const settings: Settings = {
    configPath: configPath === undefined ? defaults.configPath : resolve(configPath),
    dataDir: resolve(text("WEIR_DATA_DIR") ?? defaults.dataDir ?? ".weir"),
    host: text("WEIR_HOST") ?? defaults.host ?? "127.0.0.1",
    port: number("WEIR_PORT", 0, 65_535, true) ?? defaults.port ?? 8787,
    grpc: grpc === undefined ? defaults.grpc : grpc === "off" ? undefined : tcpAddress("WEIR_GRPC", grpc),
    grpcTls: grpcTls ?? defaults.grpcTls,
    listen: listen === undefined ? defaults.listen : address("WEIR_LISTEN", listen),
    peers: { ...defaults.peers, ...peers },
    natsUrl: url("WEIR_NATS_URL", secret("WEIR_NATS_URL"), ["nats:", "tls:"]) ?? defaults.natsUrl,
    redisUrl: url("WEIR_REDIS_URL", secret("WEIR_REDIS_URL"), ["redis:", "rediss:"]) ?? defaults.redisUrl,
    databaseUrl:
      url("WEIR_DATABASE_URL", secret("WEIR_DATABASE_URL"), ["postgres:", "postgresql:"]) ?? defaults.databaseUrl,
    pepper: pepper === undefined ? defaults.pepper : Buffer.from(pepper),
    tls: tls ?? defaults.tls,
    logLevel: logLevel ?? defaults.logLevel ?? "info",
    otlpEndpoint: url("WEIR_OTLP_ENDPOINT", text("WEIR_OTLP_ENDPOINT"), ["http:", "https:"]) ?? defaults.otlpEndpoint,
    traceRatio: number("WEIR_TRACE_RATIO", 0, 1, false) ?? defaults.traceRatio ?? 0.01,
  };
  faults.push(...misspeltVariables(env));
  if (faults.length > 0) throw new SettingsError(faults);
  return settings;
}

function readPeers({ text, address }: EnvironmentValues): Settings["peers"] {
  const peers: Partial<Record<ServiceName, readonly string[]>> = {};
  for (const service of serviceNames) {
    const name = `WEIR_PEER_${service.toUpperCase()}`;
    const value = text(name);
    if (value === undefined) continue;
    peers[service] = value.split(",").map((part) => address(name, part.trim()));
  }
  return peers;
}

function readGrpcTls({ file }: EnvironmentValues, faults: string[]): Settings["grpcTls"] {
  const [certificatePath, keyPath] = [file("WEIR_GRPC_TLS_CERT_FILE"), file("WEIR_GRPC_TLS_KEY_FILE")];
  if ((certificatePath === undefined) !== (keyPath === undefined)) {
    faults.push("WEIR_GRPC_TLS_CERT_FILE and WEIR_GRPC_TLS_KEY_FILE go together: set both or none");
  }
  const authorityPath = file("WEIR_GRPC_TLS_CA_FILE");
  if (authorityPath !== undefined && certificatePath === undefined) {
    faults.push(
      "WEIR_GRPC_TLS_CA_FILE is for a port with a certificate: set WEIR_GRPC_TLS_CERT_FILE and _KEY_FILE, too",
    );
  }
  if (certificatePath === undefined || keyPath === undefined) return undefined;
  return { certificatePath, keyPath, authorityPath };
}

function readTls({ text, file }: EnvironmentValues, faults: string[]): TlsFiles | undefined {
  const paths = [file("WEIR_TLS_CERT_FILE"), file("WEIR_TLS_KEY_FILE"), file("WEIR_TLS_CA_FILE")] as const;
  if (paths.some((path) => path === undefined) && paths.some((path) => path !== undefined)) {
    faults.push("WEIR_TLS_CERT_FILE, WEIR_TLS_KEY_FILE and WEIR_TLS_CA_FILE go together: set all three or none");
  }
  const [certificatePath, keyPath, authorityPath] = paths;
  if (certificatePath === undefined || keyPath === undefined || authorityPath === undefined) return undefined;
  return {
    certificatePath,
    keyPath,
    authorityPath,
    callers: text("WEIR_TLS_CALLERS")
      ?.split(",")
      .map((name) => name.trim()),
    serverName: text("WEIR_TLS_SERVER_NAME"),
    trustDomain: text("WEIR_TLS_TRUST_DOMAIN"),
  };
}

/** Names that are nearly those of a setting: slips that would otherwise go unseen. */
function misspeltVariables(env: Environment): string[] {
  const known = variables.flatMap(({ name, file }) => (file === true ? [name, `${name}_FILE`] : [name]));
  return Object.keys(env).flatMap((name) => {
    if (!name.startsWith("WEIR_") || known.includes(name)) return [];
    const near = nearestName(name, known);
    return near === undefined ? [] : [`${name}: there is no such setting; did you mean ${near}?`];
  });
}

/** The variables that say these settings to another process. Secrets among them. */
export function environmentOf(settings: Settings): Record<string, string> {
  const { tls } = settings;
  const all: Record<string, string | undefined> = {
    WEIR_CONFIG: settings.configPath,
    WEIR_DATA_DIR: settings.dataDir,
    WEIR_HOST: settings.host,
    WEIR_PORT: String(settings.port),
    WEIR_GRPC: settings.grpc,
    WEIR_GRPC_TLS_CERT_FILE: settings.grpcTls?.certificatePath,
    WEIR_GRPC_TLS_KEY_FILE: settings.grpcTls?.keyPath,
    WEIR_GRPC_TLS_CA_FILE: settings.grpcTls?.authorityPath,
    WEIR_LISTEN: settings.listen,
    ...Object.fromEntries(
      serviceNames.map((name) => [`WEIR_PEER_${name.toUpperCase()}`, settings.peers[name]?.join(",")]),
    ),
    WEIR_NATS_URL: settings.natsUrl,
    WEIR_REDIS_URL: settings.redisUrl,
    WEIR_DATABASE_URL: settings.databaseUrl,
    WEIR_KEY_PEPPER: settings.pepper?.toString(),
    WEIR_TLS_CERT_FILE: tls?.certificatePath,
    WEIR_TLS_KEY_FILE: tls?.keyPath,
    WEIR_TLS_CA_FILE: tls?.authorityPath,
    WEIR_TLS_CALLERS: tls?.callers?.join(","),
    WEIR_TLS_SERVER_NAME: tls?.serverName,
    WEIR_TLS_TRUST_DOMAIN: tls?.trustDomain,
    WEIR_LOG_LEVEL: settings.logLevel,
    WEIR_OTLP_ENDPOINT: settings.otlpEndpoint,
    WEIR_TRACE_RATIO: String(settings.traceRatio),
  };
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** An environment without any setting of Weir's. */
export function withoutSettings(env: Environment): Record<string, string | undefined> {
  const ours = new Set(variables.flatMap(({ name }) => [name, `${name}_FILE`]));
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.has(name)));
}
