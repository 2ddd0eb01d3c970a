import fc from "fast-check";
import { expect, test } from "vitest";
import { divide } from "./batch-share.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);
const total = fc.oneof(fc.nat({ max: 1_000 }), fc.nat({ max: 0xffff_ffff }));
const weights = fc
  .array(fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 16_777_216 })), { minLength: 1, maxLength: 128 })
  .filter((list) => list.some((weight) => weight > 0));
const sum = (numbers: readonly number[]) => numbers.reduce((all, number) => all + number, 0);

test("shares are whole, add up to the total, and none is off its due by a whole one", () => {
  fc.assert(
    fc.property(total, weights, (whole, list) => {
      const shares = divide(whole, list);
      expect(sum(shares)).toBe(whole);
      const all = BigInt(sum(list));
      for (const [index, share] of shares.entries()) {
        expect(Number.isInteger(share) && share >= 0).toBe(true);
        const off = BigInt(share) * all - BigInt(whole) * BigInt(list[index] ?? 0);
        expect(off > -all && off < all).toBe(true);
      }
    }),
    { numRuns },
  );
});

test("equal weights get the same, but for one; no weight gets nothing", () => {
  fc.assert(
    fc.property(total, fc.integer({ min: 1, max: 50 }), (whole, count) => {
      const shares = divide(whole, [...Array.from({ length: count }, () => 7), 0]);
      expect(shares.pop()).toBe(0);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
    }),
    { numRuns },
  );
});

test("what is left goes to those who were cut most, the first ones first", () => {
  expect(divide(10, [1, 1, 1])).toEqual([4, 3, 3]);
  expect(divide(10, [3, 3, 1])).toEqual([4, 4, 2]);
  expect(divide(1, [1, 2])).toEqual([0, 1]);
  expect(divide(0, [1, 2])).toEqual([0, 0]);
});
