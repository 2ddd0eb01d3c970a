import { BlockList, isIP, isIPv4 } from "node:net";

/** A set of networks. */
export interface Networks {
  /** @param address undefined and what is no address: in none */
  has(address: string | undefined): boolean;
}

/** Addresses that are remembered for a set; beyond it all of them are forgotten. */
const rememberedMax = 1_024;

/**
 * @param networks CIDR (`10.0.0.0/8`, `2001:db8::/32`) or single addresses. What is written as IPv4 also holds for its
 * form in IPv6, `::ffff:10.0.0.1`, and the other way about.
 * @param onFault told of each that cannot be read, which then has no address in it
 */
export function createNetworks(networks: readonly string[], onFault: (network: string) => void): Networks {
  const list = new BlockList();
  for (const network of networks) {
    if (!addNetwork(list, network)) onFault(network);
  }
  const remembered = new Map<string, boolean>();
  return {
    has(address) {
      if (address === undefined) return false;
      const known = remembered.get(address);
      if (known !== undefined) return known;
      const plain = plainAddress(address);
      const found = plain !== undefined && list.check(plain, isIPv4(plain) ? "ipv4" : "ipv6");
      if (remembered.size >= rememberedMax) remembered.clear();
      remembered.set(address, found);
      return found;
    },
  };
}

/** Whether a text is a network that can be read. */
export function isNetwork(text: string): boolean {
  return addNetwork(new BlockList(), text);
}

/**
 * An address in its plain form: without a zone, and an IPv4 address in the form of IPv6 (RFC 4291, 2.5.5.2) as IPv4.
 * Undefined for what is no address.
 */
export function plainAddress(text: string): string | undefined {
  const family = isIP(text);
  if (family === 4) return text;
  if (family === 0) return undefined;
  const [address = ""] = text.split("%");
  if (!/^[:0]+:ffff:/i.test(address)) return address;
  // The URL parser writes every form of an address in one way: `::ffff:a00:1`.
  const mapped = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/.exec(new URL(`http://[${address}]`).hostname);
  if (mapped === null) return address;
  const [high, low] = [Number.parseInt(mapped[1] ?? "", 16), Number.parseInt(mapped[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

const mappedBits = 96;

function addNetwork(list: BlockList, text: string): boolean {
  const [address = "", bits, ...rest] = text.split("/");
  const plain = plainAddress(address);
  if (plain === undefined || rest.length > 0 || address.includes("%")) return false;
  if (bits !== undefined && !/^\d{1,3}$/.test(bits)) return false;
  const isMapped = isIPv4(plain) && !isIPv4(address);
  const bitsMax = isIPv4(plain) ? 32 : 128;
  const prefix = bits === undefined ? bitsMax : Number(bits) - (isMapped ? mappedBits : 0);
  if (prefix < 0 || prefix > bitsMax) return false;
  list.addSubnet(plain, prefix, isIPv4(plain) ? "ipv4" : "ipv6");
  return true;
}
