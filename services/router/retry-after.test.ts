import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CircuitState } from "@weir/gen/weir/routing/v1/route_service_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import { expect, test, vi } from "vitest";
import { answer, error, failure, outage, setup } from "./testing/harness.ts";

const limited = (retryAfterMs?: number) =>
  error(ErrorReason.PROVIDER_RATE_LIMITED, retryAfterMs === undefined ? {} : { retryAfterMs });

test("a rate limit moves the request on at once, and keeps others away for its time", async () => {
  const { ask, tried, clock } = setup({ a: [limited(5_000), "answer"], b: ["answer"] });
  expect((await ask()).attempts).toBe(2);
  await ask();
  expect(tried()).toBe("a b b");
  clock.advance(5_000);
  await ask();
  expect(tried()).toBe("a b b a");
});

test("a short Retry-After of the only target is waited for", async () => {
  const { ask, tried, clock } = setup({ a: [limited(1_500), "answer"] });
  const asked = ask();
  await vi.waitFor(() => expect(clock.timers).toBe(1));
  clock.advance(1_499);
  expect(tried()).toBe("a");
  clock.advance(126); // The spread: half of a quarter of a second.
  await vi.waitFor(() => expect(clock.timers).toBe(1)); // And the backoff of a second attempt.
  clock.advance(50);
  expect((await asked).attempts).toBe(2);
});

test("a long one is the caller's: the shortest of several, for this request and for those that follow", async () => {
  const { ask, tried, clock } = setup({ a: [limited(30_000)], b: [limited(20_000)], c: [limited(25_000)] });
  const told = await failure(ask());
  expect(told).toMatchObject({ reason: ErrorReason.PROVIDER_RATE_LIMITED, retryAfterMs: 20_000 });
  clock.advance(1_000);
  expect(await failure(ask())).toMatchObject({
    reason: ErrorReason.PROVIDER_RATE_LIMITED,
    retryAfterMs: 19_000,
  });
  expect(tried()).toBe("a b c");
});

test("a rate limit beats an outage in what the caller is told", async () => {
  const { ask } = setup({ a: [limited(30_000)], b: [outage()] }, undefined);
  const asked = failure(ask({ timeoutMs: 60 }));
  expect((await asked).reason).toBe(ErrorReason.PROVIDER_RATE_LIMITED);
});

test("a pool at its limit: another target at once, else the pause that it asks for, else the caller's", async () => {
  const full = (retryAfterMs: number) => error(ErrorReason.OVERLOADED, { retryAfterMs });
  const two = setup({ a: [full(1_000)], b: ["answer"] });
  expect((await two.ask()).attempts).toBe(2);
  expect(await two.health()).toEqual({ a: CircuitState.CLOSED, b: CircuitState.CLOSED });
  const one = setup({ a: [full(1_000), "answer"] });
  const asked = one.ask();
  await vi.waitFor(() => expect(one.clock.timers).toBe(1));
  one.clock.advance(999);
  expect(one.tried()).toBe("a");
  one.clock.advance(126);
  expect((await asked).attempts).toBe(2);
  const long = setup({ a: [full(5_000)] });
  expect(await failure(long.ask())).toMatchObject({ reason: ErrorReason.OVERLOADED, retryAfterMs: 5_000 });
  expect(long.tried()).toBe("a");
});

test("no more than a thousand requests wait; the others are told, and their places are free again afterwards", async () => {
  let full = true;
  const { ask, clock } = setup({
    a: [
      async function* () {
        if (full) throw limited(1_000);
        yield* answer();
      },
    ],
  });
  const round = async () => {
    full = true;
    const first = ask();
    await vi.waitFor(() => expect(clock.timers).toBe(1));
    const others = Promise.all(Array.from({ length: 999 }, ask));
    expect(await failure(ask())).toMatchObject({ reason: ErrorReason.PROVIDER_RATE_LIMITED, retryAfterMs: 1_000 });
    full = false;
    clock.advance(1_250);
    await others;
    clock.advance(100);
    await first;
  };
  await round();
  await round();
});

test("no attempt begins when there is no time for it, and no wait that would outlast it", async () => {
  const short = setup({ a: ["answer"] });
  expect((await failure(short.ask({ timeoutMs: 5 }))).reason).toBe(ErrorReason.DEADLINE_EXCEEDED);
  expect(short.tried()).toBe("");
  const waiting = setup({ a: [limited(1_500)] });
  expect((await failure(waiting.ask({ timeoutMs: 1_000 }))).reason).toBe(ErrorReason.PROVIDER_RATE_LIMITED);
  expect(waiting.clock.timers).toBe(0);
});

test("leaving during a wait ends it, and nothing more is tried", async () => {
  const { generate, clock, tried } = setup({ a: [limited(1_000), "answer"] });
  const leave = new AbortController();
  const pending = generate({ signal: leave.signal }).next();
  await vi.waitFor(() => expect(clock.timers).toBe(1));
  leave.abort();
  await expect(pending).rejects.toBeInstanceOf(CallCancelled);
  await vi.waitFor(() => expect(clock.timers).toBe(0));
  clock.advance(10_000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(tried()).toBe("a");
});
