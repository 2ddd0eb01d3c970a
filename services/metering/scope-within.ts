import { BlockList, isIP, isIPv4 } from "node:net";
import type { KeyScope } from "@weir/gen/weir/account/v1/account_service_pb";
import { namedEndpoints } from "@weir/kit/named-endpoints";

/** What a scope confines, and an absence of it does not. */
export type Scope = Pick<
  KeyScope,
  | "models"
  | "endpoints"
  | "collections"
  | "networks"
  | "requestsPerMinute"
  | "tokensPerMinute"
  | "requestsPerDay"
  | "tokensPerDay"
  | "concurrentRequests"
>;

const limits = [
  "requestsPerMinute",
  "tokensPerMinute",
  "requestsPerDay",
  "tokensPerDay",
  "concurrentRequests",
] as const;

/**
 * The first field in which a scope allows what another does not; undefined: none. Pure. An absent limit of the other's is no
 * limit here: what an edge allows by default is the edge's to say.
 */
export function widerField(inner: Scope, outer: Scope): keyof Scope | undefined {
  if (!isListWithin(inner.models, outer.models, covers)) return "models";
  if (!isListWithin(inner.endpoints, outer.endpoints, (one, other) => one === other)) return "endpoints";
  const lacksNamed = outer.models.length > 0 && outer.endpoints.length === 0;
  if (lacksNamed && inner.endpoints.some((endpoint) => namedEndpoints.has(endpoint))) return "endpoints";
  if (!isListWithin(inner.collections, outer.collections, covers)) return "collections";
  if (!isListWithin(inner.networks, outer.networks, holds)) return "networks";
  return limits.find((limit) => {
    const most = outer[limit];
    return most !== undefined && (inner[limit] === undefined || inner[limit] > most);
  });
}

/** An empty list stands for everything. */
function isListWithin(
  inner: readonly string[],
  outer: readonly string[],
  within: (outer: string, inner: string) => boolean,
): boolean {
  if (outer.length === 0) return true;
  return inner.length > 0 && inner.every((one) => outer.some((other) => within(other, one)));
}

/** Whether every name that a pattern stands for is one of another's: names, or prefixes ended by `*`. */
function covers(outer: string, inner: string): boolean {
  return outer === inner || (outer.endsWith("*") && inner.startsWith(outer.slice(0, -1)));
}

interface Network {
  readonly address: string;
  readonly bits: number;
  readonly family: "ipv4" | "ipv6";
}

/** `10.0.0.0/8`, `2001:db8::/32`, or a single address; undefined: it is none, or IPv4 in the form of IPv6. */
function parseNetwork(text: string): Network | undefined {
  const [address = "", bitsText, ...rest] = text.split("/");
  if (isIP(address) === 0 || rest.length > 0 || address.includes("%") || /^[:0]+:ffff:/i.test(address))
    return undefined;
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  const bitsMax = family === "ipv4" ? 32 : 128;
  if (bitsText !== undefined && !/^\d{1,3}$/.test(bitsText)) return undefined;
  const bits = bitsText === undefined ? bitsMax : Number(bitsText);
  return bits > bitsMax ? undefined : { address, bits, family };
}

/** Whether a text is a network that keys can be confined to. */
export function isNetwork(text: string): boolean {
  return parseNetwork(text) !== undefined;
}

function holds(outerText: string, innerText: string): boolean {
  const [outer, inner] = [parseNetwork(outerText), parseNetwork(innerText)];
  if (outer === undefined || inner === undefined) return false;
  if (outer.family !== inner.family || inner.bits < outer.bits) return false;
  const list = new BlockList();
  list.addSubnet(outer.address, outer.bits, outer.family);
  return list.check(inner.address, inner.family);
}
