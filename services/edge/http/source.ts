import { isIPv6 } from "node:net";

/** One household of addresses: an IPv4 address, or the /64 of an IPv6 address, which one client owns whole. */
export function sourceOf(address: string | undefined): string {
  if (address === undefined) return "unknown";
  if (!isIPv6(address) || address.startsWith("::ffff:")) return address;
  const [head = "", tail] = address.split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  return [...first, ...Array<string>(zeros).fill("0"), ...last].slice(0, 4).join(":");
}
