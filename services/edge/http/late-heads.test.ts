import { PassThrough, type Duplex } from "node:stream";
import { expect, test } from "vitest";
import { createLateHeads } from "./late-heads.ts";

/** Late heads in turns that pass when they are told to. */
function lateHeads(urgentCount = () => 0) {
  const ended: Duplex[] = [];
  let due: (() => void) | undefined;
  const heads = createLateHeads({
    clock: {
      now: () => 0,
      monotonic: () => 0,
      after(_, call) {
        due = call;
        return () => undefined;
      },
    },
    end: (socket) => ended.push(socket),
    urgentCount,
  });
  const turn = (): void => {
    const call = due;
    due = undefined;
    call?.();
  };
  return { heads, ended, turn, isArmed: () => due !== undefined };
}

const sockets = (count: number): Duplex[] => Array.from({ length: count }, () => new PassThrough());

test("connections that are late together go a few at a time, the first to come first, until none is left", () => {
  const { heads, ended, turn, isArmed } = lateHeads();
  const all = sockets(10);
  for (const socket of all) heads.add(socket);
  expect(ended).toEqual([]);
  turn();
  expect(ended).toEqual(all.slice(0, 4));
  turn();
  turn();
  expect(ended).toEqual(all);
  expect(isArmed()).toBe(false);
});

test("one whose head has come, or that has closed, is left alone", () => {
  const { heads, ended, turn } = lateHeads();
  const [first, second] = sockets(2) as [Duplex, Duplex];
  heads.add(first);
  heads.add(second);
  heads.delete(first);
  turn();
  expect(ended).toEqual([second]);
});

test("when connections run short, as many go at once as it takes", () => {
  let urgent = 7;
  const { heads, ended, turn } = lateHeads(() => urgent);
  for (const socket of sockets(20)) heads.add(socket);
  turn();
  expect(ended.length).toBe(7);
  urgent = -1_000;
  turn();
  expect(ended.length).toBe(11);
});
