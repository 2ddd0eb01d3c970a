import { expect, test } from "vitest";
import { createDepartures } from "./departures.ts";

/** Departures in turns that pass when they are told to. */
function departures(urgentCount = () => 0) {
  const ended: number[] = [];
  let due: (() => void) | undefined;
  const leaving = createDepartures<number>({
    clock: {
      now: () => 0,
      monotonic: () => 0,
      after(_, call) {
        due = call;
        return () => undefined;
      },
    },
    end: (leaver) => ended.push(leaver),
    urgentCount,
  });
  const turn = (): void => {
    const call = due;
    due = undefined;
    call?.();
  };
  return { leaving, ended, turn, isArmed: () => due !== undefined };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

test("those that are out of time together go a few at a time, the first to come first, until none is left", () => {
  const { leaving, ended, turn, isArmed } = departures();
  const all = numbers(10);
  for (const leaver of all) leaving.add(leaver);
  expect(ended).toEqual([]);
  turn();
  expect(ended).toEqual(all.slice(0, 4));
  turn();
  turn();
  expect(ended).toEqual(all);
  expect(isArmed()).toBe(false);
});

test("one that has ended by itself is left alone", () => {
  const { leaving, ended, turn } = departures();
  leaving.add(1);
  leaving.add(2);
  leaving.delete(1);
  turn();
  expect(ended).toEqual([2]);
});

test("when room runs short, more go at a time, and never all of thousands", () => {
  let urgent = 7;
  const { leaving, ended, turn } = departures(() => urgent);
  for (const leaver of numbers(5_000)) leaving.add(leaver);
  turn();
  expect(ended.length).toBe(7);
  urgent = 5_000;
  turn();
  expect(ended.length).toBe(47);
  urgent = -1_000;
  turn();
  expect(ended.length).toBe(51);
});
