import fc from "fast-check";
import { expect, test } from "vitest";
import { dayShape, minuteShape, RateWindow, type WindowShape } from "./rate-window.ts";

const windowMs = 60_000;

/** Takes as counters do: when there is room, and no more than the limit. */
function take(window: RateWindow, nowMs: number, amount: number, limit: number): number {
  const wanted = Math.min(amount, limit);
  const waitMs = window.waitMs(nowMs, wanted, limit);
  if (waitMs === 0) window.add(nowMs, wanted);
  return waitMs;
}

const openWindow = (shape: WindowShape = minuteShape) => new RateWindow(shape);

const step = fc.record({
  pauseMs: fc.oneof(fc.integer({ min: 0, max: 2_000 }), fc.integer({ min: 0, max: 90_000 })),
  amount: fc.integer({ min: 1, max: 120 }),
  /** Of a call before this one, to settle first: how many calls ago, and what part of its amount was used. */
  settles: fc.option(
    fc.record({ ago: fc.integer({ min: 0, max: 5 }), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  ),
});

interface Taken {
  readonly atMs: number;
  readonly taken: number;
  used: number;
  settled: boolean;
}

test("in no minute is more taken than the limit, whatever is given back", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 0, max: 1e9 }),
      fc.array(step),
      (limit, start, steps) => {
        const window = openWindow();
        const log: Taken[] = [];
        let nowMs = start;
        for (const { pauseMs, amount, settles } of steps) {
          nowMs += pauseMs;
          const earlier = settles === null ? undefined : log.at(-1 - settles.ago);
          if (earlier !== undefined && !earlier.settled && settles !== null) {
            earlier.settled = true;
            earlier.used = Math.floor(earlier.taken * settles.part);
            window.settle(nowMs, earlier.atMs, earlier.taken, earlier.used);
          }
          const taken = Math.min(amount, limit);
          if (take(window, nowMs, amount, limit) === 0) log.push({ atMs: nowMs, taken, used: taken, settled: false });
          const lastMinute = log.filter((entry) => entry.atMs > nowMs - windowMs);
          expect(lastMinute.reduce((sum, entry) => sum + entry.used, 0)).toBeLessThanOrEqual(limit);
          const remaining = window.remaining(nowMs, limit);
          expect(remaining).toBeGreaterThanOrEqual(0);
          expect(remaining).toBeLessThanOrEqual(limit);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test("behaves as a list of what was taken by second", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.array(step), (limit, steps) => {
      const window = openWindow();
      let list: { second: number; amount: number }[] = [];
      let nowMs = 0;
      for (const { pauseMs, amount } of steps) {
        nowMs += pauseMs;
        const second = Math.floor(nowMs / 1_000);
        list = list.filter((entry) => entry.second >= second - 60);
        const wanted = Math.min(amount, limit);
        const fits = list.reduce((sum, entry) => sum + entry.amount, 0) + wanted <= limit;
        expect(take(window, nowMs, amount, limit) === 0).toBe(fits);
        if (fits) list.push({ second, amount: wanted });
      }
    }),
    { numRuns: 2_000 },
  );
});

test("tells a wait after which the same amount fits, and not a slot sooner", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.array(step), (limit, steps) => {
      const window = openWindow();
      const other = openWindow();
      let nowMs = 0;
      for (const { pauseMs, amount } of steps) {
        nowMs += pauseMs;
        const waitMs = take(window, nowMs, amount, limit);
        if (waitMs === 0) {
          expect(take(other, nowMs, amount, limit)).toBe(0);
          continue;
        }
        const wanted = Math.min(amount, limit);
        if (waitMs > 1_000)
          expect(limit - other.remaining(nowMs + waitMs - 1_000, limit) + wanted).toBeGreaterThan(limit);
        expect(take(window, nowMs + waitMs, amount, limit)).toBe(0);
        return;
      }
    }),
  );
});

test("what was used beyond the reservation counts from now on, also past the limit", () => {
  const window = openWindow();
  expect(take(window, 0, 10, 100)).toBe(0);
  window.settle(30_000, 0, 10, 250);
  expect(window.remaining(30_000, 100)).toBe(0);
  expect(take(window, 61_000, 1, 100)).toBeGreaterThan(0);
  expect(take(window, 91_000, 100, 100)).toBe(0);
});

test("what comes back after its minute changes nothing", () => {
  const window = openWindow();
  take(window, 0, 100, 100);
  expect(take(window, 61_000, 100, 100)).toBe(0);
  window.settle(61_000, 0, 100, 0);
  expect(window.remaining(61_000, 100)).toBe(0);
});

test("is idle and at its full again when all has left", () => {
  const window = openWindow();
  take(window, 5_500, 3, 10);
  expect(window.resetMs(5_500)).toBe(60_500);
  expect(window.idle(65_999)).toBe(false);
  expect(window.idle(66_000)).toBe(true);
  expect(window.resetMs(66_000)).toBe(0);
});

test("a day counts over 24 hours, to within a quarter of an hour", () => {
  const hour = 3_600_000;
  const window = openWindow(dayShape);
  expect(take(window, 0, 60, 100)).toBe(0);
  expect(take(window, 12 * hour, 40, 100)).toBe(0);
  expect(take(window, 23 * hour, 60, 100)).toBe(hour + hour / 4);
  expect(take(window, 24 * hour, 1, 100)).toBe(hour / 4);
  expect(take(window, 24.25 * hour, 60, 100)).toBe(0);
});

test("parts are all that the window holds, and none of it older than it is", () => {
  const taking = fc.record({ pauseMs: fc.integer({ min: 0, max: 20_000 }), amount: fc.integer({ min: 1, max: 100 }) });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e9 }), fc.array(taking), (start, takings) => {
      const window = openWindow();
      const log: { readonly atMs: number; readonly amount: number }[] = [];
      let nowMs = start;
      for (const { pauseMs, amount } of takings) {
        window.add(nowMs, amount);
        log.push({ atMs: nowMs, amount });
        nowMs += pauseMs;
      }
      const parts = window.parts(nowMs);
      const sum = (list: readonly number[]) => list.reduce((total, amount) => total + amount, 0);
      expect(sum(parts.map(([, amount]) => amount))).toBe(1e9 - window.remaining(nowMs, 1e9));
      for (const withinMs of [0, 500, 1_000, 10_000, windowMs]) {
        const young = sum(parts.flatMap(([ageMs, amount]) => (ageMs <= withinMs ? [amount] : [])));
        const truly = sum(log.flatMap(({ atMs, amount }) => (nowMs - atMs <= withinMs ? [amount] : [])));
        expect(young).toBeGreaterThanOrEqual(truly);
      }
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
  );
});
