import fc from "fast-check";
import { expect, test } from "vitest";
import { shareOut, type TokenCounts, trueUpCounts } from "./true-up-shares.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const count = fc.bigInt({ min: 0n, max: 10_000n });
const weights = fc.array(fc.oneof(fc.constant(0n), count), { minLength: 1, maxLength: 20 });
const sum = (numbers: readonly bigint[]) => numbers.reduce((total, number) => total + number, 0n);
const sumOf = (attempts: readonly TokenCounts[], name: keyof TokenCounts) =>
  sum(attempts.map((counts) => counts[name]));

/** Counts whose parts are within their totals. */
const attempt: fc.Arbitrary<TokenCounts> = fc
  .record({ plain: count, cached: count, write: count, long: count, visible: count, reasoning: count })
  .map(({ plain, cached, write, long, visible, reasoning }) => ({
    inputTokens: plain + cached + write + long,
    cachedInputTokens: cached,
    cacheWriteTokens: write + long,
    cacheWriteLongTokens: long,
    outputTokens: visible + reasoning,
    reasoningTokens: reasoning,
  }));
const attempts = fc.array(attempt, { minLength: 1, maxLength: 8 });
const names = [
  "inputTokens",
  "cachedInputTokens",
  "cacheWriteTokens",
  "cacheWriteLongTokens",
  "outputTokens",
  "reasoningTokens",
] as const;
/** Sums that some other attempts could have, any of them left out. */
const told = fc
  .tuple(attempt, fc.subarray([...names]))
  .map(([sums, kept]) => Object.fromEntries(kept.map((name) => [name, sums[name]])) as Partial<TokenCounts>);

test("shares add up to the total, each within one of its exact part", () => {
  fc.assert(
    fc.property(count, weights, (total, given) => {
      const shares = shareOut(total, given);
      expect(sum(shares)).toBe(total);
      const even = sum(given) === 0n;
      const whole = even ? BigInt(given.length) : sum(given);
      for (const [index, share] of shares.entries()) {
        const exact = total * (even ? 1n : (given[index] ?? 0n));
        expect(share * whole).toBeGreaterThan(exact - whole);
        expect(share * whole).toBeLessThan(exact + whole);
      }
    }),
    { numRuns },
  );
});

test("a total that the weights add up to gives them back", () => {
  fc.assert(
    fc.property(weights, (given) => {
      fc.pre(sum(given) > 0n);
      expect(shareOut(sum(given), given)).toEqual(given);
    }),
    { numRuns },
  );
});

test("what is left over goes to the largest remainders, of equal ones to the first", () => {
  expect(shareOut(10n, [1n, 1n, 1n])).toEqual([4n, 3n, 3n]);
  expect(shareOut(11n, [1n, 1n, 1n])).toEqual([4n, 4n, 3n]);
  expect(shareOut(10n, [5n, 3n, 1n])).toEqual([6n, 3n, 1n]);
  expect(shareOut(2n, [0n, 0n, 0n])).toEqual([1n, 1n, 0n]);
});

test("every sum that is told comes out to the token, and parts stay within their totals", () => {
  fc.assert(
    fc.property(attempts, told, (before, sums) => {
      const after = trueUpCounts(before, sums);
      for (const [name, total] of Object.entries(sums)) {
        expect(sumOf(after, name as keyof TokenCounts), name).toBe(total);
      }
      for (const counts of after) {
        expect(counts.cachedInputTokens + counts.cacheWriteTokens).toBeLessThanOrEqual(counts.inputTokens);
        expect(counts.cacheWriteLongTokens).toBeLessThanOrEqual(counts.cacheWriteTokens);
        expect(counts.reasoningTokens).toBeLessThanOrEqual(counts.outputTokens);
        expect(names.every((name) => counts[name] >= 0n)).toBe(true);
      }
    }),
    { numRuns },
  );
});

test("counts that were trued up stay as they are the next time, also when parts do not fit into their total", () => {
  const anything = fc.record(Object.fromEntries(names.map((name) => [name, count])), { requiredKeys: [] });
  fc.assert(
    fc.property(attempts, anything, (before, sums) => {
      const after = trueUpCounts(before, sums);
      expect(trueUpCounts(after, sums)).toEqual(after);
    }),
    { numRuns },
  );
});

test("a count that is not told stays where the others leave room for it", () => {
  const counts = {
    inputTokens: 100n,
    cachedInputTokens: 40n,
    cacheWriteTokens: 30n,
    cacheWriteLongTokens: 10n,
    outputTokens: 20n,
    reasoningTokens: 5n,
  };
  expect(trueUpCounts([counts], { inputTokens: 80n })).toEqual([{ ...counts, inputTokens: 80n }]);
  expect(trueUpCounts([counts], { inputTokens: 50n, outputTokens: 3n })).toEqual([
    {
      inputTokens: 50n,
      cachedInputTokens: 40n,
      cacheWriteTokens: 10n,
      cacheWriteLongTokens: 10n,
      outputTokens: 3n,
      reasoningTokens: 3n,
    },
  ]);
  expect(trueUpCounts([counts], { cachedInputTokens: 90n })).toEqual([
    { ...counts, cachedInputTokens: 90n, cacheWriteTokens: 10n },
  ]);
  expect(trueUpCounts([counts], { cachedInputTokens: 120n })).toEqual([
    { ...counts, inputTokens: 120n, cachedInputTokens: 120n, cacheWriteTokens: 0n, cacheWriteLongTokens: 0n },
  ]);
});
