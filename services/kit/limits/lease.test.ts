import { expect, test } from "vitest";
import { unknown } from "./counter.ts";
import { createLeasedCounter, type LeasedCounter } from "./lease.ts";
import { answerUnknown } from "./lease-script.ts";
import type { Limit } from "./limit.ts";

const limit: Limit = { scope: "key", id: "k", kind: "tokens", window: "minute", amount: 100 };
const nowMs = 1_000_000;

/** A counter with a lease of so much. */
function leased(amount: number): { readonly counter: LeasedCounter; readonly around: { isAway: boolean } } {
  const around = {
    isAway: false,
    holders: 2,
    leaseMs: 5_000,
    touched: () => undefined,
    judgedAlone: () => undefined,
  };
  const counter = createLeasedCounter(limit, "one", around);
  counter.report(nowMs, amount, amount);
  counter.answered(nowMs, [amount, 100 - amount, 0, 60_000]);
  return { counter, around };
}

test("what is taken by the share leaves the lease as well: nothing of it is taken twice", () => {
  const { counter, around } = leased(10);
  counter.take(nowMs, 7);
  around.isAway = true;
  expect(counter.waitMs(nowMs, 5)).toBe(0);
  counter.take(nowMs, 5);
  around.isAway = false;
  // Three were left, and the store takes all of them for what it hears of.
  expect(counter.waitMs(nowMs, 1)).toBe(unknown);
});

test("a holder that the store has forgotten has nothing at hand, and tells what it took, and when", () => {
  const { counter } = leased(10);
  counter.take(nowMs, 4);
  const [, , , , , , , known] = counter.report(nowMs + 1_000, 0, 0);
  expect(known).toBe(false);
  counter.answered(nowMs + 1_000, [answerUnknown]);
  expect(counter.waitMs(nowMs + 1_000, 1)).toBe(unknown);
  expect(counter.dueMs(nowMs + 1_000)).toBe(nowMs + 1_000);
  const [, , , , , taken, , past] = counter.report(nowMs + 5_000, 0, 0);
  expect(taken).toBe(4);
  // Within the second that it counts by.
  expect(past).toEqual([[4_000, 4]]);
});

test("a lease may end before a message is read: from then on nothing of it is taken", () => {
  const { counter } = leased(10);
  counter.report(nowMs + 4_000, 10, 1);
  expect(counter.waitMs(nowMs + 4_000, 1)).toBe(unknown);
});
