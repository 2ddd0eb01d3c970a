import type { IncomingHttpHeaders } from "node:http";
import { type Networks, plainAddress } from "./networks.ts";

/** Entries of X-Forwarded-For that are looked at, from the right. */
const hopsMax = 32;

/**
 * Where a request comes from: the peer of its connection or, when that is a trusted proxy, the right-most address of
 * `X-Forwarded-For` that is none. Addresses further to the left are whatever the client wrote there.
 * @param trusted proxies whose word on the next address holds; undefined: none
 * @returns undefined when that cannot be known: an entry that is no address, or more proxies than anybody has
 */
export function clientAddress(
  headers: IncomingHttpHeaders,
  peer: string | undefined,
  trusted: Networks | undefined,
): string | undefined {
  if (trusted === undefined || !trusted.has(peer)) return peer;
  const forwarded = headers["x-forwarded-for"];
  if (forwarded === undefined) return peer;
  const hops = String(forwarded).split(",").slice(-hopsMax);
  let address = peer;
  while (hops.length > 0) {
    address = plainAddress(withoutPort(hops.pop() ?? ""));
    if (address === undefined || !trusted.has(address)) return address;
  }
  return address;
}

/** Some proxies add the port: `192.0.2.1:443`, `[2001:db8::1]:443`. */
function withoutPort(text: string): string {
  const entry = text.trim();
  const match = /^(?:\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+)$/.exec(entry);
  return match?.[1] ?? match?.[2] ?? entry;
}
