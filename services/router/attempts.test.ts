import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CircuitState } from "@weir/gen/weir/routing/v1/route_service_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { backoffMs, createRetryBudget, judge, mostUseful, spreadMs } from "./attempts.ts";
import { failure, outage, setup } from "./testing/harness.ts";

const timeouts = { connectMs: 5_000, firstTokenMs: 120_000, idleMs: 60_000, totalMs: 600_000 };
const error = (reason: Reason, metadata: Record<string, string> = {}, retryAfterMs?: number) =>
  new WeirError(reason, { metadata, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });

test.each([
  [error(ErrorReason.PROVIDER_UNAVAILABLE, { cause: "connect" }), "anywhere", "failure"],
  [error(ErrorReason.PROVIDER_UNAVAILABLE, { cause: "server" }), "anywhere", "failure"],
  [error(ErrorReason.PROVIDER_UNAVAILABLE, { cause: "credential" }), "elsewhere", "credential"],
  [error(ErrorReason.PROVIDER_UNAVAILABLE, { cause: "key" }), "anywhere", "nothing"],
  [error(ErrorReason.TARGET_UNSUPPORTED), "elsewhere", "nothing"],
  [error(ErrorReason.PROVIDER_TIMEOUT, { timer: "connect" }), "anywhere", "failure"],
  [error(ErrorReason.PROVIDER_RATE_LIMITED), "anywhere", "rate-limit"],
  [error(ErrorReason.PROVIDER_RATE_LIMITED, { limit: "tokens" }), "anywhere", "nothing"],
  [error(ErrorReason.OVERLOADED), "anywhere", "nothing"],
  [error(ErrorReason.STREAM_TRUNCATED), "anywhere", "failure"],
  [error(ErrorReason.PROVIDER_REJECTED), "nowhere", "refused"],
  [error(ErrorReason.CONTEXT_TOO_LONG), "elsewhere", "refused"],
  [error(ErrorReason.CONTEXT_TOO_LONG, { context_tokens: "8192" }), "elsewhere", "nothing"],
])("%o goes %s and tells of %s", (failed, next, health) => {
  expect(judge(failed, timeouts, undefined)).toEqual({ next, health });
});

test("every other reason ends the request and says nothing about the target", () => {
  const judged = new Set<number>([11, 13, 14, 15, 17, 24, 25, 2]);
  for (const reason of Object.keys(errorTable).map(Number) as Reason[]) {
    if (judged.has(reason)) continue;
    expect(judge(error(reason), timeouts, undefined)).toEqual({ next: "nowhere", health: "nothing" });
  }
});

test("a timeout counts only when the target had the route's time, not the caller's shorter one", () => {
  const late = (timer: string) => error(ErrorReason.PROVIDER_TIMEOUT, { timer });
  expect(judge(late("first_token"), timeouts, 30_000)).toEqual({ next: "anywhere", health: "nothing" });
  expect(judge(late("connect"), timeouts, 30_000).health).toBe("failure");
  expect(judge(late("first_token"), timeouts, 120_000).health).toBe("failure");
  expect(judge(late("total"), timeouts, 599_999).health).toBe("nothing");
  expect(judge(late("a later word"), timeouts, 30_000).health).toBe("nothing");
});

test("the most useful failure: a rate limit, the shortest first, before limits of ours, timeouts and outages", () => {
  const down = error(ErrorReason.PROVIDER_UNAVAILABLE, { provider: "a" });
  const timeout = error(ErrorReason.PROVIDER_TIMEOUT, { provider: "b" });
  const long = error(ErrorReason.PROVIDER_RATE_LIMITED, { provider: "c" }, 9_000);
  const short = error(ErrorReason.PROVIDER_RATE_LIMITED, { provider: "d" }, 3_000);
  const unknown = error(ErrorReason.PROVIDER_RATE_LIMITED, { provider: "e" });
  expect(mostUseful([down, unknown, long, timeout, short])).toMatchObject({
    reason: ErrorReason.PROVIDER_RATE_LIMITED,
    retryAfterMs: 3_000,
    metadata: { provider: "d" },
  });
  expect(mostUseful([down, timeout]).reason).toBe(ErrorReason.PROVIDER_TIMEOUT);
  expect(mostUseful([timeout, error(ErrorReason.OVERLOADED)]).reason).toBe(ErrorReason.OVERLOADED);
  const small = error(ErrorReason.CONTEXT_TOO_LONG, { context_tokens: "8192" });
  expect(mostUseful([small, down]).reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  expect(mostUseful([small, small]).reason).toBe(ErrorReason.CONTEXT_TOO_LONG);
  const telling = new WeirError(ErrorReason.PROVIDER_UNAVAILABLE, { text: "CANARY of a provider" });
  expect(mostUseful([telling]).message).toBe(errorTable[ErrorReason.PROVIDER_UNAVAILABLE].text);
});

test("law: waits stay within their bounds", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.double({ min: 0, max: 1, noNaN: true }), (tries, random) => {
      const wait = backoffMs(tries, random);
      expect(wait).toBeGreaterThanOrEqual(0);
      expect(wait).toBeLessThanOrEqual(Math.min(2_000, 100 * 2 ** (tries - 1)));
      const spread = spreadMs(tries * 10, random);
      expect(spread).toBeGreaterThanOrEqual(tries * 10);
      expect(spread).toBeLessThanOrEqual(tries * 10 + 250);
    }),
  );
});

test("the budget: a share of the requests of ten seconds, plus some for each second", () => {
  const time = { now: 5_000 };
  const budget = createRetryBudget(
    () => ({ percent: 20, perSecondMin: 1, retryAfterMaxMs: 0 }),
    () => time.now,
  );
  const drain = () => {
    let taken = 0;
    while (budget.takeRetry()) taken += 1;
    return taken;
  };
  expect(drain()).toBe(10);
  for (let n = 0; n < 100; n += 1) budget.request();
  expect(drain()).toBe(20);
  time.now += 9_000;
  expect(drain()).toBe(0);
  time.now += 1_000;
  expect(drain()).toBe(10);
  time.now += 60_000;
  for (let n = 0; n < 100; n += 1) budget.request();
  expect(drain()).toBe(30);
});

test("law: over any traffic, retries stay within the share and the minimum", () => {
  const settings = { percent: 20, perSecondMin: 2, retryAfterMaxMs: 0 };
  const step = fc.record({ ms: fc.integer({ min: 0, max: 4_000 }), requests: fc.nat(50), retries: fc.nat(80) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
      const time = { now: 0 };
      const budget = createRetryBudget(
        () => settings,
        () => time.now,
      );
      let requests = 0;
      let retries = 0;
      for (const { ms, requests: arriving, retries: wanted } of steps) {
        time.now += ms;
        for (let n = 0; n < arriving; n += 1) budget.request();
        requests += arriving;
        for (let n = 0; n < wanted; n += 1) if (budget.takeRetry()) retries += 1;
      }
      // Windows are whole seconds, so ten of them may span a little less than ten seconds.
      const windows = Math.floor(time.now / 9_000) + 1;
      expect(retries).toBeLessThanOrEqual(0.2 * requests + 20 * windows);
    }),
  );
});

const tooLong = error(ErrorReason.CONTEXT_TOO_LONG);

/** What of each target's context the configuration says, in tokens. */
const contexts = (tokens: Readonly<Record<string, number>>) => ({
  providers: Object.fromEntries(
    Object.entries(tokens).map(([id, contextTokens]) => [id, { capabilities: { m: { contextTokens } } }]),
  ),
});

test.each([
  ["the next target whose context is larger", contexts({ a: 8_000, b: 8_000, c: 128_000 }), "a c"],
  ["the next target whose context is not known", contexts({ a: 8_000, b: 4_000 }), "a c"],
  ["the next target where its own context is not known", contexts({ b: 4_000 }), "a b"],
])("what is too long for a target by its provider's word goes to %s", async (_, config, expected) => {
  const { ask, tried, calls, health } = setup({ a: [tooLong], b: ["answer"], c: ["answer"] }, config);
  for (let n = 0; n < 6; n += 1) await ask();
  expect(tried()).toBe(Array.from({ length: 6 }, () => expected).join(" "));
  // Whether it has somewhere to go is what the pool is told: else the client gets the provider's own answer.
  expect(calls.slice(0, 2).map(({ request }) => request.hasLargerTarget)).toEqual([true, expected === "a b"]);
  expect((await health())["a"]).toBe(CircuitState.CLOSED);
});

test.each([
  ["smaller", contexts({ a: 8_000, b: 8_000 }), {}],
  ["not allowed any more", {}, { attemptsMax: 1 }],
])("what is too long ends the request where every other target is %s", async (_, config, router) => {
  const { ask, tried, calls } = setup({ a: [tooLong], b: ["answer"] }, { ...config, router });
  expect((await failure(ask())).reason).toBe(ErrorReason.CONTEXT_TOO_LONG);
  expect(tried()).toBe("a");
  expect(calls[0]?.request.hasLargerTarget).toBe(false);
});

test("what is too long for the one target that is up goes to a larger one that was down", async () => {
  const { ask, tried, clock } = setup({ a: [outage(), "answer"], b: [tooLong] });
  const asked = ask();
  await vi.waitFor(() => expect(clock.timers).toBe(1));
  clock.advance(50);
  await asked;
  expect(tried()).toBe("a b a");
});

const tooSmall = error(ErrorReason.CONTEXT_TOO_LONG, { context_tokens: "8192" });

test("a target whose context is known to be too small is passed over, and its circuit learns nothing of it", async () => {
  const { ask, tried, health } = setup({ a: [tooSmall], b: ["answer"] });
  for (let n = 0; n < 6; n += 1) await ask();
  expect(tried()).toBe("a b a b a b a b a b a b");
  expect(await health()).toEqual({ a: CircuitState.CLOSED, b: CircuitState.CLOSED });
});

test("when every target's context is too small, each is asked once and the caller is told so", async () => {
  const { ask, tried, clock } = setup({ a: [tooSmall], b: [tooSmall] });
  expect((await failure(ask())).reason).toBe(ErrorReason.CONTEXT_TOO_LONG);
  expect(tried()).toBe("a b");
  expect(clock.timers).toBe(0);
});

test("an outage of the one target that could take it is what the caller is told", async () => {
  const { ask, tried } = setup({ a: [tooSmall], b: [outage()] }, { router: { attemptsMax: 2 } });
  expect((await failure(ask())).reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  expect(tried()).toBe("a b");
});
