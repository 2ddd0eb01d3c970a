import fc from "fast-check";
import { expect, test } from "vitest";
import { clientAddress } from "./client-address.ts";
import { createNetworks, isNetwork, plainAddress } from "./networks.ts";

const none = () => undefined;

test.each([
  ["10.0.0.0/8", "10.255.0.1", true],
  ["10.0.0.0/8", "11.0.0.1", false],
  ["10.0.0.0/8", "::ffff:10.0.0.1", true],
  ["10.0.0.0/8", "::ffff:a00:1", true],
  ["10.0.0.0/8", "0:0:0:0:0:ffff:0a00:0001", true],
  ["10.0.0.0/8", "::10.0.0.1", false],
  ["::ffff:10.0.0.0/104", "10.1.2.3", true],
  ["192.0.2.7", "192.0.2.7", true],
  ["192.0.2.7", "192.0.2.8", false],
  ["2001:db8::/32", "2001:DB8:1::1", true],
  ["2001:db8::/32", "2001:db9::1", false],
  ["fe80::/10", "fe80::1%eth0", true],
  ["0.0.0.0/0", "203.0.113.9", true],
  ["0.0.0.0/0", "2001:db8::1", false],
  ["::/0", "2001:db8::1", true],
])("%s has %s: %s", (network, address, has) => {
  const networks = createNetworks([network], none);
  expect([networks.has(address), networks.has(address)]).toEqual([has, has]);
});

test("an address that nobody knows is in no network", () => {
  const networks = createNetworks(["0.0.0.0/0", "::/0"], none);
  expect([undefined, "", "unknown", "10.0.0.1:80"].map((address) => networks.has(address))).toEqual(
    Array(4).fill(false),
  );
});

test.each([
  "",
  "x",
  "10.0.0.0/33",
  "10.0.0/8",
  "10.0.0.0/8/8",
  "10.0.0.0/-1",
  "10.0.0.0/",
  "fe80::%eth0/10",
  "::/129",
  "::ffff:1.2.3.4/90",
])("%j is no network, and nobody is in it", (text) => {
  expect(isNetwork(text)).toBe(false);
  const faults: string[] = [];
  const networks = createNetworks([text], (fault) => faults.push(fault));
  expect(faults).toEqual([text]);
  expect(networks.has("10.0.0.1")).toBe(false);
});

test("an IPv4 address is the same in every form that IPv6 has for it", () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
      const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
      expect([`::ffff:${address}`, `::FFFF:${hex}`, `0:0:0:0:0:ffff:${hex}`].map(plainAddress)).toEqual(
        Array(3).fill(address),
      );
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

const trusted = createNetworks(["10.0.0.0/8", "2001:db8::/32"], none);
const from = (forwarded: string | undefined, peer = "10.0.0.1") =>
  clientAddress(forwarded === undefined ? {} : { "x-forwarded-for": forwarded }, peer, trusted);

test.each([
  ["203.0.113.9", "203.0.113.9"],
  ["1.1.1.1, 203.0.113.9", "203.0.113.9"],
  ["1.1.1.1, 203.0.113.9, 10.2.2.2", "203.0.113.9"],
  ["127.0.0.1,203.0.113.9 , 2001:db8::7", "203.0.113.9"],
  ["203.0.113.9:4711", "203.0.113.9"],
  ["[2001:db9::1]:443", "2001:db9::1"],
  ["::ffff:203.0.113.9", "203.0.113.9"],
  ["10.9.9.9, 10.2.2.2", "10.9.9.9"],
  ["1.1.1.1, unknown", undefined],
  ["1.1.1.1, ", undefined],
  ["1.1.1.1, _hidden, 10.2.2.2", undefined],
])("behind proxies %j comes from %s", (forwarded, address) => {
  expect(from(forwarded)).toBe(address);
});

test("nobody who is no proxy says where it comes from", () => {
  expect(from("10.9.9.9", "203.0.113.9")).toBe("203.0.113.9");
  expect(from(undefined)).toBe("10.0.0.1");
  expect(clientAddress({ "x-forwarded-for": "1.1.1.1" }, "10.0.0.1", undefined)).toBe("10.0.0.1");
  expect(clientAddress({ "x-forwarded-for": "1.1.1.1" }, undefined, trusted)).toBeUndefined();
});

test("whatever stands left of the last hop that is no proxy changes nothing", () => {
  fc.assert(
    fc.property(fc.string(), (claimed) => {
      expect(from(`${claimed}, 203.0.113.9, 10.2.2.2`)).toBe("203.0.113.9");
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});
