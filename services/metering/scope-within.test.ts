import { create } from "@bufbuild/protobuf";
import { KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { isNetwork, type Scope, widerField } from "./scope-within.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);

const scope = (fields: Partial<Scope>): Scope => create(KeyScopeSchema, fields);
const everything = scope({});

const pattern = fc.oneof(fc.stringMatching(/^[ab]{1,3}\*?$/), fc.constant("*"));
const network = fc
  .tuple(fc.constantFrom("10.0.0.0", "10.1.0.0", "10.1.2.3", "192.168.0.1"), fc.constantFrom(0, 8, 16, 24, 32))
  .map(([address, bits]) => `${address}/${bits}`);
const limit = fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined });
const scopes: fc.Arbitrary<Scope> = fc
  .record({
    models: fc.array(pattern, { maxLength: 3 }),
    endpoints: fc.array(fc.constantFrom("chat", "keys", "costs"), { maxLength: 3 }),
    collections: fc.array(pattern, { maxLength: 2 }),
    networks: fc.array(network, { maxLength: 2 }),
    requestsPerMinute: limit,
    concurrentRequests: limit,
  })
  .map(({ requestsPerMinute, concurrentRequests, ...lists }) =>
    scope({
      ...lists,
      ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
      ...(concurrentRequests === undefined ? {} : { concurrentRequests }),
    }),
  );

test("a scope is within itself, and within no scope at all", () => {
  fc.assert(
    fc.property(scopes, (one) => {
      expect(widerField(one, one)).toBeUndefined();
      expect(widerField(one, everything)).toBeUndefined();
    }),
    { numRuns },
  );
});

test("what is within what is within a scope is within that scope: no chain of keys widens anything", () => {
  // One field at a time, so that enough of what is drawn is within each other.
  const models = fc.array(pattern, { maxLength: 2 }).map((list) => scope({ models: list }));
  const networks = fc.array(network, { maxLength: 2 }).map((list) => scope({ networks: list }));
  const rates = limit.map((most) => scope(most === undefined ? {} : { requestsPerMinute: most }));
  const chains = fc.constantFrom(models, networks, rates).chain((one) => fc.tuple(one, one, one));
  fc.assert(
    fc.property(chains, ([inner, middle, outer]) => {
      fc.pre(widerField(inner, middle) === undefined && widerField(middle, outer) === undefined);
      expect(widerField(inner, outer)).toBeUndefined();
    }),
    { numRuns },
  );
});

/** As edges read the lists of a scope. */
const patterns = fc.array(pattern, { maxLength: 2 });
const allows = (list: readonly string[], name: string) =>
  list.length === 0 || list.some((one) => (one.endsWith("*") ? name.startsWith(one.slice(0, -1)) : one === name));

test("a scope within another allows no model that the other refuses", () => {
  fc.assert(
    fc.property(patterns, patterns, fc.stringMatching(/^[ab]{0,4}$/), (inner, outer, name) => {
      fc.pre(widerField(scope({ models: inner }), scope({ models: outer })) === undefined && allows(inner, name));
      expect(allows(outer, name)).toBe(true);
    }),
    { numRuns },
  );
});

test.each<[keyof Scope, Partial<Scope>, Partial<Scope>]>([
  ["models", { models: ["gpt-*"] }, {}],
  ["models", { models: ["gpt-*"] }, { models: ["gpt*"] }],
  ["models", { models: ["gpt-4"] }, { models: ["gpt-4", "claude"] }],
  ["models", { models: ["gpt-4"] }, { models: ["gpt-4*"] }],
  ["endpoints", { endpoints: ["keys"] }, { endpoints: ["keys", "chat"] }],
  ["endpoints", { endpoints: ["keys"] }, {}],
  ["endpoints", { models: ["gpt-4"] }, { models: ["gpt-4"], endpoints: ["chat", "batches"] }],
  ["endpoints", { models: ["gpt-4"] }, { models: ["gpt-4"], endpoints: ["fine_tuning"] }],
  ["collections", { collections: ["docs-*"] }, { collections: ["*"] }],
  ["networks", { networks: ["10.0.0.0/8"] }, { networks: ["0.0.0.0/0"] }],
  ["networks", { networks: ["10.0.0.0/8"] }, { networks: ["11.0.0.0/8"] }],
  ["networks", { networks: ["10.0.0.0/8"] }, { networks: ["10.0.0.1", "::1"] }],
  ["networks", { networks: ["10.0.0.0/8"] }, {}],
  ["requestsPerMinute", { requestsPerMinute: 60 }, { requestsPerMinute: 61 }],
  ["tokensPerDay", { tokensPerDay: 5n }, {}],
  ["concurrentRequests", { concurrentRequests: 1 }, { requestsPerMinute: 1 }],
])("%s that go beyond %o are found in %o", (field, outer, inner) => {
  expect(widerField(scope(inner), scope(outer))).toBe(field);
});

test.each<[Partial<Scope>, Partial<Scope>]>([
  [{ models: ["gpt-*"] }, { models: ["gpt-4o", "gpt-4*"] }],
  [{ networks: ["10.0.0.0/8", "2001:db8::/32"] }, { networks: ["10.2.0.0/16", "10.1.1.1", "2001:db8:1::/48"] }],
  [{ requestsPerMinute: 60 }, { requestsPerMinute: 60, tokensPerDay: 5n }],
  [{ endpoints: ["batches"] }, { models: ["gpt-4"], endpoints: ["batches"] }],
])("%o has room for %o", (outer, inner) => {
  expect(widerField(scope(inner), scope(outer))).toBeUndefined();
});

test("networks are addresses with a length or without, IPv4 only in its own form", () => {
  for (const good of ["10.0.0.0/8", "10.0.0.1", "::/0", "2001:db8::/32"]) expect(isNetwork(good), good).toBe(true);
  for (const bad of [
    "",
    "10.0.0.0/33",
    "10.0.0/8",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "10.0.0.0/8/8",
    "10.0.0.0/-1",
    "a",
  ]) {
    expect(isNetwork(bad), bad).toBe(false);
  }
});
