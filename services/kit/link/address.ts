import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** One place to connect to. */
export interface Endpoint {
  /** `127.0.0.1:7000`, `[::1]:7000` or `unix:/run/weir/pool.sock`. */
  readonly address: string;
  /** What was asked for: a DNS name or an IP address; `localhost` for a socket. A certificate must have it. */
  readonly host: string;
  /** The `:authority` of calls: what was asked for, with the port. */
  readonly authority: string;
}

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** Splits `host:port` or `[v6]:port`. @throws Error that names the address */
export function splitAddress(address: string): HostAndPort {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new Error(`"${address}" is no address; write host:port, [v6]:port or unix:/path`);
  }
  return { host, port };
}

/** Whether what an address stands for may change. */
export function isNamed(address: string): boolean {
  return !address.startsWith("unix:") && isIP(splitAddress(address).host) === 0;
}

/** The places that an address stands for now: for a DNS name, one for each of its records. */
export async function resolveAddress(address: string): Promise<readonly Endpoint[]> {
  if (address.startsWith("unix:")) return [{ address, host: "localhost", authority: "localhost" }];
  const { host, port } = splitAddress(address);
  if (isIP(host) !== 0) return [{ address, host, authority: address }];
  const records = await lookup(host, { all: true });
  return records.map((record) => ({ address: joinAddress(record.address, port), host, authority: address }));
}

/** The opposite of `splitAddress`. */
export function joinAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What node:net connects to or listens on. */
export function socketOptions(address: string): { readonly path: string } | HostAndPort {
  return address.startsWith("unix:") ? { path: address.slice("unix:".length) } : splitAddress(address);
}
