import { isAbsolute, join, resolve } from "node:path";
import { type ComposeFile, type ComposeService, listensOn } from "./compose-file.ts";

/** Where a service of a compose file is, when it runs as a local process. */
export interface LocalService {
  readonly service: ComposeService;
  /** Arguments of the command, for services of ours; for other programs, as in the file. */
  readonly args: readonly string[];
  /** Environment as in the file, with addresses and folders of this machine. */
  readonly environment: Readonly<Record<string, string>>;
  /** Replaces addresses and folders of the container in any text, such as a configuration file. */
  readonly localise: (text: string) => string;
  /** Port of this machine, by port of the container. */
  readonly ports: ReadonlyMap<number, number>;
}

export interface PlanOptions {
  /** Folder of the compose file, which its paths are relative to. */
  readonly composeFolder: string;
  /** Folder that holds the named volumes. */
  readonly volumeFolder: string;
  /** A port of this machine for a port of a service. */
  readonly portFor: (service: string, port: number) => number;
}

/** Places every service of a compose file on this machine. Pure; the folders are not made. */
export function planLocally(file: ComposeFile, options: PlanOptions): LocalService[] {
  const ports = new Map(
    file.services.map((service) => [
      service.name,
      new Map(allPorts(service).map((port) => [port, options.portFor(service.name, port)])),
    ]),
  );
  return file.services.map((service) => {
    const own = ports.get(service.name) ?? new Map<number, number>();
    const folders = service.mounts
      .map(({ source, target, named }) => ({
        target,
        local: named ? join(options.volumeFolder, source) : resolveFrom(options.composeFolder, source),
      }))
      .toSorted((a, b) => b.target.length - a.target.length);
    const localise = (text: string): string => {
      let result = text.replaceAll(addresses, (whole: string, host: string, portText: string) => {
        const port = Number(portText);
        const anywhere = host === "0.0.0.0" || host === "127.0.0.1";
        const local = anywhere ? own.get(port) : ports.get(host)?.get(port);
        return local === undefined ? whole : `127.0.0.1:${local}`;
      });
      for (const { target, local } of folders) result = result.replaceAll(pathPattern(target), () => local);
      return result;
    };
    const environment: Record<string, string> = {};
    for (const [name, value] of Object.entries(service.environment)) environment[name] = localise(value);
    if (environment["WEIR_HOST"] !== undefined) environment["WEIR_HOST"] = "127.0.0.1";
    const port = own.get(Number(service.environment["WEIR_PORT"]));
    if (port !== undefined) environment["WEIR_PORT"] = String(port);
    const args = service.command.map((text, index) => {
      const option = service.command[index - 1];
      if (option === "--host") return "127.0.0.1";
      if (option === "--port") return String(own.get(Number(text)) ?? text);
      return localise(text);
    });
    return { service, args, environment, localise, ports: own };
  });
}

const addresses = /(?<![\w.-])([a-zA-Z][\w-]*|0\.0\.0\.0|127\.0\.0\.1):(\d{1,5})(?!\d)/g;

/** Ports that a service listens on, with those that only its own health check uses. */
function allPorts(service: ComposeService): number[] {
  const own = service.healthCheck.flatMap((text) =>
    [...text.matchAll(/127\.0\.0\.1:(\d{1,5})/g)].map(([, port]) => Number(port)),
  );
  return [...new Set([...listensOn(service), ...service.publishedPorts, ...own])];
}

function pathPattern(path: string): RegExp {
  return new RegExp(`(?<![\\w./-])${path.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?![\\w.-])`, "g");
}

function resolveFrom(folder: string, path: string): string {
  return isAbsolute(path) ? path : resolve(folder, path);
}

/** Services that Weir itself runs, in the order of the file; the others are programs of other projects. */
export function isOurs(service: ComposeService): boolean {
  return service.image.startsWith("weir:");
}

/** Names of services of other projects that one of ours calls. */
export function calledServices(file: ComposeFile): Set<string> {
  const text = file.services
    .filter(isOurs)
    .flatMap((service) => Object.values(service.environment))
    .join(" ");
  return new Set(
    file.services
      .filter((service) => !isOurs(service))
      .map((service) => service.name)
      .filter((name) => new RegExp(`(?<![\\w-])${name}:\\d`).test(text)),
  );
}
