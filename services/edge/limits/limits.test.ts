import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { LimitAmounts } from "@weir/kit/limits/limit";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createManualClock } from "../testing/manual-clock.ts";
import { aliasLimits } from "./alias-limits.ts";
import { type Admission, createLimits, type Limited } from "./limits.ts";

const defaults = { requestsPerMinute: 3, tokensPerMinute: 100 };
const key: Limited = { id: "a", subjects: [] };

interface Setting {
  readonly subjects?: Readonly<Record<string, LimitAmounts>>;
  readonly aliases?: Readonly<Record<string, { readonly limits?: LimitAmounts }>>;
}

function setUp({ subjects = {}, aliases = {} }: Setting = {}) {
  const clock = createManualClock();
  const refused: string[] = [];
  const records = new Map(Object.entries(subjects).map(([name, limits]) => [name, { limits }]));
  const ofAliases = aliasLimits(aliases);
  const limits = createLimits({
    clock,
    defaults: () => defaults,
    subject: (name) => records.get(name),
    aliases: () => ofAliases,
    onRefused: ({ scope, kind, window = "open" }) => refused.push(`${scope} ${kind} ${window}`),
  });
  const admit = (caller: Limited = key) => limits.admit(caller) as Admission;
  return { clock, limits, admit, refused, records };
}

function errorOf(call: () => unknown): WeirError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown;
  }
  throw new Error("it was not refused");
}

test("keys are limited apart, by their own limit or the default", () => {
  const { admit, refused } = setUp();
  for (let index = 0; index < 3; index++) admit().end();
  const error = errorOf(() => admit());
  expect(error.reason).toBe(ErrorReason.RATE_LIMITED);
  expect(error.metadata).toEqual({ limit: "requests", scope: "key", window: "minute" });
  for (let index = 0; index < 5; index++) admit({ ...key, id: "b", requestsPerMinute: 5 }).end();
  expect(refused).toEqual(["key requests minute"]);
});

test("a minute's delay is never longer than clients obey, and a day's is as long as it is", () => {
  const { admit } = setUp();
  void admit().reserve("m", 100);
  expect(errorOf(() => admit().reserve("m", 100)).retryAfterMs).toBe(60_000);
  const daily: Limited = { id: "daily", subjects: [], requestsPerDay: 1n };
  admit(daily);
  const { metadata, retryAfterMs, message } = errorOf(() => admit(daily));
  expect(metadata).toEqual({ limit: "requests", scope: "key", window: "day" });
  expect(retryAfterMs).toBeGreaterThan(24 * 3_600_000 - 1);
  expect(retryAfterMs).toBeLessThanOrEqual(24.25 * 3_600_000);
  expect(message).toContain("1 requests a day for this API key");
});

test("a reservation settles once, and not after its end", () => {
  const { limits, admit } = setUp();
  const remaining = () => limits.standings(key).tokens.remaining;
  const admission = admit();
  void admission.reserve("m", 60);
  expect(remaining()).toBe(40);
  admission.settle(10);
  expect(remaining()).toBe(90);
  admission.settle(0);
  expect(remaining()).toBe(90);
  const left = admit();
  void left.reserve("m", 50);
  left.end();
  left.settle(0);
  expect(remaining()).toBe(40);
});

test("a call larger than the limit is let through when the key has used none", () => {
  const { admit, clock } = setUp();
  const admission = admit();
  void admission.reserve("m", 5_000);
  admission.settle(5_000);
  expect(errorOf(() => admit().reserve("m", 1)).metadata).toEqual({ limit: "tokens", scope: "key", window: "minute" });
  clock.advance(61_000);
  void admit().reserve("m", 5_000);
});

test("what a long call used beyond its estimate counts when it is known, however late", () => {
  const { admit, clock, limits } = setUp();
  const admission = admit();
  void admission.reserve("m", 10);
  clock.advance(600_000);
  admission.settle(100);
  admission.end();
  expect(limits.standings(key).tokens.remaining).toBe(10);
});

test("key, user, team and tenant hold at once, and the one that takes longest is named", () => {
  const caller: Limited = { ...key, subjects: ["tenants/acme", "teams/search", "users/ann"], requestsPerMinute: 100 };
  const { admit, clock, records } = setUp({
    subjects: {
      "tenants/acme": { requestsPerMinute: 4 },
      "teams/search": { requestsPerDay: 3n },
      "users/ann": { requestsPerMinute: 2 },
    },
  });
  const same: Limited = { ...caller, id: "b" };
  admit(caller);
  admit(same);
  expect(errorOf(() => admit(caller)).metadata.scope).toBe("user");
  admit({ ...caller, id: "c", subjects: ["tenants/acme", "teams/search"] });
  expect(errorOf(() => admit(caller)).metadata).toEqual({ limit: "requests", scope: "team", window: "day" });
  clock.advance(61_000);
  records.set("teams/search", { limits: { requestsPerDay: 4n } });
  admit(caller);
  records.delete("teams/search");
  admit(caller);
  expect(errorOf(() => admit(caller)).metadata.scope).toBe("user");
});

test("a refusal by one takes nothing from the others", () => {
  const { admit, limits } = setUp({
    subjects: { "tenants/acme": { requestsPerMinute: 1 } },
    aliases: { small: { limits: { tokensPerMinute: 10 } }, "big*": { limits: { requestsPerMinute: 1 } } },
  });
  const caller: Limited = { ...key, id: "c", subjects: ["tenants/acme"] };
  admit(caller);
  errorOf(() => admit(caller));
  expect(limits.standings(caller).requests.remaining).toBe(0);
  expect(limits.standings({ ...caller, subjects: [] }).requests.remaining).toBe(2);

  const first = admit();
  void first.reserve("small", 10);
  const { metadata } = errorOf(() => admit().reserve("small", 5));
  expect(metadata).toEqual({ limit: "tokens", scope: "alias", window: "minute" });
  expect(limits.standings(key)).toMatchObject({ requests: { remaining: 2 }, tokens: { remaining: 90 } });

  void admit().reserve("big-1", 1);
  expect(errorOf(() => admit().reserve("big-2", 1)).metadata.scope).toBe("alias");
  expect(limits.standings(key)).toMatchObject({ requests: { remaining: 1 }, tokens: { remaining: 89 } });
});

test("a place is free when its call ends, exactly once, whoever holds it", () => {
  const { admit, refused } = setUp({ aliases: { m: { limits: { concurrentRequests: 1 } } } });
  const caller: Limited = { ...key, requestsPerMinute: 100, concurrentRequests: 2 };
  const first = admit(caller);
  const second = admit(caller);
  const error = errorOf(() => admit(caller));
  expect(error).toMatchObject({ metadata: { limit: "concurrent", scope: "key" }, retryAfterMs: 1_000 });
  first.end();
  first.end();
  const third = admit(caller);
  errorOf(() => admit(caller));
  void second.reserve("m", 1);
  const moved = second.handOver();
  second.settle(0);
  second.end();
  // Its own two places are given back when the alias has none.
  third.end();
  errorOf(() => admit(caller).reserve("m", 1));
  moved.end();
  void admit(caller).reserve("m", 1);
  expect(refused).toEqual(["key concurrent open", "key concurrent open", "alias concurrent open"]);
});

test("whatever happens, no limit is exceeded, and when all calls are over every place is free", () => {
  const step = fc.record({
    pauseMs: fc.integer({ min: 0, max: 20_000 }),
    caller: fc.integer({ min: 0, max: 2 }),
    tokens: fc.integer({ min: 1, max: 40 }),
    ends: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
    used: fc.option(fc.integer({ min: 0, max: 40 })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const tenant = { requestsPerMinute: 4, tokensPerMinute: 60, concurrentRequests: 3 };
      const { admit, clock, limits } = setUp({ subjects: { "tenants/acme": tenant } });
      const open: Admission[] = [];
      const taken: { atMs: number; tokens: number }[] = [];
      for (const { pauseMs, caller, tokens, ends, used } of steps) {
        clock.advance(pauseMs);
        for (const index of ends) {
          const [ended] = open.splice(index, 1);
          if (used !== null) ended?.settle(Math.min(used, tokens));
          ended?.end();
        }
        try {
          const admission = admit({ id: String(caller), subjects: ["tenants/acme"] });
          void admission.reserve("m", tokens);
          open.push(admission);
          taken.push({ atMs: clock.monotonic(), tokens });
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(WeirError);
        }
        const lastMinute = taken.filter(({ atMs }) => atMs > clock.monotonic() - 60_000);
        expect(lastMinute.length).toBeLessThanOrEqual(4);
        expect(open.length).toBeLessThanOrEqual(3);
      }
      for (const admission of open) admission.end();
      clock.advance(122_000);
      expect(limits.counterCount).toBe(0);
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});

test("counters that nothing is taken of are forgotten, and those of open calls are not", () => {
  const { limits, clock, admit } = setUp();
  const admission = admit();
  void admission.reserve("m", 10);
  expect(limits.counterCount).toBe(2);
  clock.advance(125_000);
  expect(limits.counterCount).toBe(2);
  admission.end();
  clock.advance(60_000);
  expect(limits.counterCount).toBe(0);
  limits.close();
  expect(clock.waiting).toBe(0);
});
