import { expect, test } from "vitest";
import { type Alarm, createAlarms } from "./alarms.ts";
import { createManualClock } from "./testing/manual-clock.ts";

function alarmAt(dueMs: number, rung: string[], name: string): Alarm {
  return { dueMs, ring: () => void rung.push(name) };
}

test("rings once, soon after the time, and not for what was moved or taken away", () => {
  const clock = createManualClock(0);
  const alarms = createAlarms(clock);
  const rung: string[] = [];
  const moved = alarmAt(500, rung, "moved");
  const gone = alarmAt(500, rung, "gone");
  const kept = alarmAt(500, rung, "kept");
  for (const alarm of [moved, gone, kept]) alarms.add(alarm);
  moved.dueMs = 2_000;
  alarms.delete(gone);
  clock.advance(400);
  expect(rung).toEqual([]);
  clock.advance(200);
  expect(rung).toEqual(["kept"]);
  clock.advance(2_000);
  expect(rung).toEqual(["kept", "moved"]);
  expect(kept.dueMs).toBe(Number.POSITIVE_INFINITY);
});

test("an alarm may set itself again", () => {
  const clock = createManualClock(0);
  const alarms = createAlarms(clock);
  let count = 0;
  const beat: Alarm = {
    dueMs: 1_000,
    ring() {
      count += 1;
      beat.dueMs = alarms.nowMs + 1_000;
    },
  };
  alarms.add(beat);
  clock.advance(5_000);
  expect(count).toBe(5);
});

test("no timer runs while no alarm is kept, and time is right when one comes", () => {
  const clock = createManualClock(0);
  const alarms = createAlarms(clock);
  const alarm = alarmAt(Number.POSITIVE_INFINITY, [], "");
  alarms.add(alarm);
  alarms.delete(alarm);
  clock.advance(1_000);
  expect(clock.waiting).toBe(0);
  clock.advance(60_000);
  alarms.add(alarm);
  expect(alarms.nowMs).toBe(61_000);
  clock.advance(1_000);
  expect(alarms.lagMs).toBe(0);
  alarms.close();
  expect(clock.waiting).toBe(0);
});

test("lateness shows when it lasts", () => {
  let nowMs = 0;
  let look = (): void => undefined;
  const alarms = createAlarms({
    now: () => nowMs,
    monotonic: () => nowMs,
    after(_delayMs, call) {
      look = call;
      return () => undefined;
    },
  });
  alarms.add({ dueMs: Number.POSITIVE_INFINITY, ring: () => undefined });
  const late = (ms: number) => {
    nowMs += 100 + ms;
    look();
  };
  late(1_000);
  expect(alarms.lagMs).toBe(250);
  for (let index = 0; index < 5; index++) late(1_000);
  expect(alarms.lagMs).toBeGreaterThan(750);
  for (let index = 0; index < 10; index++) late(0);
  expect(alarms.lagMs).toBeLessThan(60);
});
