import fc from "fast-check";
import { expect, test } from "vitest";
import { createKeyRing } from "./key-ring.ts";

test("keys take turns", () => {
  const ring = createKeyRing(3);
  expect([0, 0, 0, 0].map((nowMs) => ring.take(nowMs))).toEqual([0, 1, 2, 0]);
});

test("a refused key is left alone, for longer each time, until it is accepted", () => {
  const ring = createKeyRing(2);
  ring.refused(0, 0, 0);
  expect([1, 2, 3].map((nowMs) => ring.take(nowMs))).toEqual([1, 1, 1]);
  expect(ring.hasOther(1, 59_999)).toBe(false);
  expect(ring.hasOther(1, 60_000)).toBe(true);
  ring.refused(0, 60_000, 60_000);
  expect(ring.hasOther(1, 179_999)).toBe(false);
  expect(ring.hasOther(1, 180_000)).toBe(true);
  ring.accepted(0, 190_000);
  ring.refused(0, 200_000, 195_000);
  expect(ring.hasOther(1, 260_000)).toBe(true);
});

test("many calls that were under way when a key was refused are one refusal, and none of them frees it", () => {
  const ring = createKeyRing(2);
  for (let call = 0; call < 7; call += 1) ring.refused(0, 100 + call, 50);
  expect(ring.hasOther(1, 60_099)).toBe(false);
  expect(ring.hasOther(1, 60_100)).toBe(true);
  ring.limited(1, 200, 5_000);
  ring.accepted(1, 150);
  expect(ring.hasOther(0, 5_199)).toBe(false);
  ring.accepted(1, 250);
  expect(ring.hasOther(0, 300)).toBe(true);
});

test("a limited key returns when its provider said", () => {
  const ring = createKeyRing(2);
  ring.limited(1, 0, 700);
  expect(ring.hasOther(0, 699)).toBe(false);
  expect(ring.hasOther(0, 700)).toBe(true);
});

test("when all are parked, the one that returns first is taken", () => {
  const ring = createKeyRing(3);
  ring.limited(0, 0, 900);
  ring.limited(1, 0, 300);
  ring.refused(2, 0, 0);
  expect(ring.take(10)).toBe(1);
});

test("whatever happens, a key is parked only while a model of it says so, and a free one goes first", () => {
  const step = fc.record({
    kind: fc.constantFrom("limited", "accepted", "pass"),
    key: fc.nat(3),
    waitMs: fc.nat(10_000),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 50 }), (count, steps) => {
      const ring = createKeyRing(count);
      const readyMs = Array.from({ length: count }, () => 0);
      let nowMs = 0;
      for (const { kind, key, waitMs } of steps) {
        const index = key % count;
        if (kind === "limited") {
          ring.limited(index, nowMs, waitMs);
          readyMs[index] = nowMs + waitMs;
        } else if (kind === "accepted") {
          ring.accepted(index, nowMs + 0.5);
          readyMs[index] = 0;
        } else nowMs += waitMs;
        const anyFree = readyMs.some((at) => at <= nowMs);
        const taken = readyMs[ring.take(nowMs)] ?? Number.NaN;
        if (count > 1) expect(anyFree ? taken <= nowMs : taken === Math.min(...readyMs)).toBe(true);
      }
    }),
  );
});
