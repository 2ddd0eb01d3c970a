import { LineCounter, parseDocument } from "yaml";
import { nearestName } from "@weir/kit/config/nearest";
import type { Environment } from "./settings.ts";

/** A mount of a service: a named volume, or a path beside the file. */
export interface ComposeMount {
  readonly source: string;
  /** Absolute, inside the container. */
  readonly target: string;
  readonly readOnly: boolean;
  readonly named: boolean;
}

export interface ComposeService {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  /** Values with every `${NAME}` in its place. */
  readonly environment: Readonly<Record<string, string>>;
  /** Values as they are written. */
  readonly environmentText: Readonly<Record<string, string>>;
  /** Ports inside the container that the host passes on. */
  readonly publishedPorts: readonly number[];
  readonly mounts: readonly ComposeMount[];
  readonly networks: readonly string[];
  /** Condition by the name of the service that must come first. */
  readonly dependsOn: Readonly<Record<string, string>>;
  readonly healthCheck: readonly string[];
}

/** What Weir uses of a compose file. */
export interface ComposeFile {
  readonly services: readonly ComposeService[];
  readonly volumes: readonly string[];
  readonly networks: readonly string[];
}

/** The file cannot be used; says everything that is wrong with it. */
export class ComposeError extends Error {
  override readonly name = "ComposeError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(`the compose file cannot be used:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
    this.faults = faults;
  }
}

// What of https://github.com/compose-spec/compose-spec/blob/main/spec.md the file may use.
const topLevelNames = ["name", "services", "networks", "volumes"];
const serviceNames =
  "build cap_drop command depends_on environment healthcheck image init networks ports read_only restart security_opt shm_size stop_grace_period sysctls tmpfs volumes".split(
    " ",
  );
const healthNames = ["test", "interval", "timeout", "retries", "start_period"];

/**
 * Reads a compose file, strictly: a name that it does not know is a fault.
 * @throws ComposeError with all faults at once
 */
export function readComposeFile(text: string, env: Environment): ComposeFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { merge: true, prettyErrors: false, lineCounter: lines, logLevel: "silent" });
  const faults = document.errors.map((error) => `line ${lines.linePos(error.pos[0]).line}: ${error.code}`);
  if (faults.length > 0) throw new ComposeError(faults);
  const root = namedValues(document.toJS({ maxAliasCount: 200 }), "the file", faults);
  checkNames("the file", root, topLevelNames, faults);
  const services = Object.entries(namedValues(root["services"], "services", faults)).map(([name, value]) =>
    readService(name, namedValues(value, `services.${name}`, faults), env, faults),
  );
  if (services.length === 0) faults.push("services: there are none");
  const volumes = Object.keys(namedValues(root["volumes"] ?? {}, "volumes", faults));
  const networks = Object.keys(namedValues(root["networks"] ?? {}, "networks", faults));
  const file = { services, volumes, networks };
  faults.push(...referenceFaults(file));
  if (faults.length > 0) throw new ComposeError(faults);
  return file;
}

function readService(name: string, value: Named, env: Environment, faults: string[]): ComposeService {
  const path = `services.${name}`;
  checkNames(path, value, serviceNames, faults);
  const environmentText: Record<string, string> = {};
  const environment: Record<string, string> = {};
  for (const [key, raw] of Object.entries(namedValues(value["environment"] ?? {}, `${path}.environment`, faults))) {
    if (typeof raw !== "string") faults.push(`${path}.environment.${key}: expected text; put it in quotes`);
    else {
      environmentText[key] = raw;
      environment[key] = replaceVariables(raw, env, `${path}.environment.${key}`, faults);
    }
  }
  const image = typeof value["image"] === "string" ? value["image"] : "";
  if (!/^[a-z0-9./-]+:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?$/.test(image) || image.endsWith(":latest")) {
    faults.push(`${path}.image: expected a name with a version`);
  }
  const health = namedValues(value["healthcheck"] ?? {}, `${path}.healthcheck`, faults);
  checkNames(`${path}.healthcheck`, health, healthNames, faults);
  const healthCheck = texts(health["test"], `${path}.healthcheck.test`, faults);
  if (healthCheck.length < 2 || healthCheck[0] !== "CMD") faults.push(`${path}.healthcheck: there is no test`);
  return {
    name,
    image,
    command: texts(value["command"], `${path}.command`, faults),
    environment,
    environmentText,
    publishedPorts: texts(value["ports"], `${path}.ports`, faults).map((port) => Number(port.split(":").at(-1))),
    mounts: texts(value["volumes"], `${path}.volumes`, faults).map((mount): ComposeMount => {
      const [source = "", target = "", mode, ...rest] = mount.split(":");
      const valid =
        source !== "" && target.startsWith("/") && (mode === undefined || mode === "ro") && rest.length === 0;
      if (!valid) faults.push(`${path}.volumes: expected source:/target or source:/target:ro, not ${mount}`);
      return { source, target, readOnly: mode === "ro", named: !/^[./]/.test(source) };
    }),
    networks: texts(value["networks"], `${path}.networks`, faults),
    dependsOn: Object.fromEntries(
      Object.entries(namedValues(value["depends_on"] ?? {}, `${path}.depends_on`, faults)).map(([other, how]) => {
        const condition = namedValues(how, `${path}.depends_on.${other}`, faults)["condition"];
        if (condition !== "service_started" && condition !== "service_healthy") {
          faults.push(`${path}.depends_on.${other}.condition: expected service_started or service_healthy`);
        }
        return [other, String(condition)];
      }),
    ),
    healthCheck: healthCheck.slice(1),
  };
}

/** `${NAME}`, `${NAME:-default}`, `${NAME:+other}`, `${NAME:?message}` and `$$`, as compose reads them. */
function replaceVariables(text: string, env: Environment, path: string, faults: string[]): string {
  return text.replaceAll(
    /\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-+?])([^}]*))?\}|\$/g,
    (whole: string, name: string | undefined, sign: string | undefined, rest: string | undefined) => {
      if (whole === "$$") return "$";
      if (name === undefined) {
        faults.push(`${path}: a lone $; write $$ for the character`);
        return "";
      }
      const value = env[name] ?? "";
      if (sign === "-") return value === "" ? (rest ?? "") : value;
      if (sign === "+") return value === "" ? "" : (rest ?? "");
      if (sign === "?" && value === "") faults.push(`${path}: ${name} is not set; ${rest ?? ""}`);
      return value;
    },
  );
}

/** Names that lead nowhere: volumes, networks, services and ports. */
function referenceFaults(file: ComposeFile): string[] {
  const faults: string[] = [];
  const byName = new Map(file.services.map((service) => [service.name, service]));
  const usedVolumes = new Set<string>();
  for (const service of file.services) {
    const path = `services.${service.name}`;
    for (const { named, source } of service.mounts) {
      if (!named) continue;
      usedVolumes.add(source);
      if (!file.volumes.includes(source)) faults.push(`${path}.volumes: there is no volume ${source}`);
    }
    for (const network of service.networks) {
      if (!file.networks.includes(network)) faults.push(`${path}.networks: there is no network ${network}`);
    }
    for (const [other, condition] of Object.entries(service.dependsOn)) {
      const target = byName.get(other);
      if (target === undefined) faults.push(`${path}.depends_on: there is no service ${other}`);
      else if (condition === "service_healthy" && target.healthCheck.length === 0) {
        faults.push(`${path}.depends_on: ${other} has no health check`);
      }
    }
    for (const [key, value] of Object.entries(service.environment)) {
      const secret = /(PASSWORD|PEPPER|SECRET|TOKEN|_KEY)$/.test(key);
      if (secret && !(service.environmentText[key] ?? "").startsWith("${")) {
        faults.push(`${path}.environment.${key}: a secret stands in the file; take it from the environment`);
      }
      for (const { host, port } of addressesIn(key, value)) {
        const target = byName.get(host);
        if (target === undefined) faults.push(`${path}.environment.${key}: there is no service ${host}`);
        else if (!listensOn(target).includes(port)) {
          faults.push(`${path}.environment.${key}: ${host} does not listen on port ${port}`);
        } else if (!service.networks.some((network) => target.networks.includes(network))) {
          faults.push(`${path}.environment.${key}: ${service.name} and ${host} share no network`);
        }
      }
    }
  }
  for (const volume of file.volumes) if (!usedVolumes.has(volume)) faults.push(`volumes.${volume}: no service uses it`);
  return faults;
}

/** Other services that a variable names. */
function addressesIn(key: string, value: string): { host: string; port: number }[] {
  if (!key.startsWith("WEIR_") || !/_(URL|ENDPOINT)$|^WEIR_PEER_/.test(key) || value === "") return [];
  const found = key.endsWith("_ENDPOINT")
    ? []
    : [...value.matchAll(/(?:^|[/@,])([a-z][a-z0-9-]*):(\d{1,5})(?=$|[/,?])/g)];
  return found.map(([, host = "", port]) => ({ host, port: Number(port) }));
}

/** Ports of a program that does not say them in our variables. */
const wellKnownPorts: Readonly<Record<string, number>> = { nats: 4222, "pgvector/pgvector": 5432, redis: 6379 };

/** Ports inside the container on which a service listens. */
export function listensOn(service: ComposeService): number[] {
  const wellKnown = wellKnownPorts[service.image.split(":")[0] ?? ""];
  const option = service.command.indexOf("--port");
  const listen = /:(\d+)$/.exec(service.environment["WEIR_LISTEN"] ?? "")?.[1];
  const texts = [service.environment["WEIR_PORT"], listen, option < 0 ? undefined : service.command[option + 1]];
  return [...texts.flatMap((text) => (text === undefined ? [] : [Number(text)])), ...(wellKnown ? [wellKnown] : [])];
}

type Named = Readonly<Record<string, unknown>>;

function namedValues(value: unknown, path: string, faults: string[]): Named {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Named;
  faults.push(`${path}: expected named values`);
  return {};
}

function texts(value: unknown, path: string, faults: string[]): string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  faults.push(`${path}: expected a list of texts`);
  return [];
}

function checkNames(path: string, value: Named, known: readonly string[], faults: string[]): void {
  for (const name of Object.keys(value)) {
    if (known.includes(name) || name.startsWith("x-")) continue;
    const near = nearestName(name, known);
    faults.push(`${path}.${name}: no such name here${near === undefined ? "" : `; did you mean ${near}?`}`);
  }
}
