import { expect, test } from "vitest";
import { AttemptTimer } from "./attempt-timer.ts";

/** Time that moves when told to. */
function createHandClock() {
  let nowMs = 0;
  const timers = new Map<object, { atMs: number; call: () => void }>();
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs: number, call: () => void) {
      const key = {};
      timers.set(key, { atMs: nowMs + delayMs, call });
      return () => void timers.delete(key);
    },
    timers,
    moveTo(toMs: number) {
      for (;;) {
        const [next] = [...timers].sort(([, a], [, b]) => a.atMs - b.atMs);
        if (next === undefined || next[1].atMs > toMs) break;
        nowMs = Math.max(nowMs, next[1].atMs);
        timers.delete(next[0]);
        next[1].call();
      }
      nowMs = toMs;
    },
  };
}

function start(stream: boolean, timeouts = {}) {
  const clock = createHandClock();
  const fired: [string, number][] = [];
  const timer = new AttemptTimer(
    clock,
    { connectMs: 5_000, firstTokenMs: 120_000, idleMs: 60_000, totalMs: 600_000, ...timeouts },
    0,
    stream,
    (name) => {
      fired.push([name, clock.now()]);
      timer.stop();
    },
  );
  timer.start(0);
  return { clock, timer, fired };
}

test("connect", () => {
  const { clock, fired } = start(true);
  clock.moveTo(1_000_000);
  expect(fired).toEqual([["connect", 5_000]]);
  expect(clock.timers.size).toBe(0);
});

test("first_token counts from sending, for streams alone", () => {
  const stream = start(true);
  stream.clock.moveTo(3_000);
  stream.timer.enter("waiting", 3_000);
  stream.clock.moveTo(1_000_000);
  expect(stream.fired).toEqual([["first_token", 123_000]]);

  const whole = start(false);
  whole.timer.enter("waiting", 0);
  whole.clock.moveTo(1_000_000);
  expect(whole.fired).toEqual([["total", 600_000]]);
});

test.each([1, 4_999, 5_001, 66_000, 119_999])("idle counts from content at %i ms, to the millisecond", (contentMs) => {
  const { clock, timer, fired } = start(true);
  timer.enter("waiting", 0);
  clock.moveTo(contentMs);
  timer.enter("answering", contentMs);
  clock.moveTo(1_000_000);
  expect(fired).toEqual([["idle", contentMs + 60_000]]);
});

test("each piece of content moves idle away, until total ends it", () => {
  const { clock, timer, fired } = start(true);
  timer.enter("waiting", 0);
  timer.enter("answering", 0);
  for (let at = 0; at < 700_000 && fired.length === 0; at += 1_000) {
    clock.moveTo(at);
    timer.touch(at);
  }
  expect(fired).toEqual([["total", 600_000]]);
});

test("a first_token shorter than connect is kept", () => {
  const { clock, timer, fired } = start(true, { firstTokenMs: 100 });
  timer.enter("waiting", 0);
  clock.moveTo(10_000);
  expect(fired).toEqual([["first_token", 100]]);
});

test("at most one timer of the machine, and none after stop", () => {
  const { clock, timer, fired } = start(true);
  expect(clock.timers.size).toBe(1);
  timer.enter("answering", 0);
  timer.endWithin(50);
  expect(clock.timers.size).toBe(1);
  clock.moveTo(100);
  expect(fired).toEqual([["total", 50]]);
  expect(clock.timers.size).toBe(0);
});
