/** Counts of one attempt, or sums of them. Totals are input and output; the others are parts, as in weir.common.v1.Usage. */
export interface TokenCounts {
  readonly inputTokens: bigint;
  readonly cachedInputTokens: bigint;
  readonly cacheWriteTokens: bigint;
  readonly cacheWriteLongTokens: bigint;
  readonly outputTokens: bigint;
  readonly reasoningTokens: bigint;
}

/**
 * Shares a total out by weights: each gets the whole part of its share, and what is left over goes, one each, to the largest
 * remainders, of equal ones to the first. Without any weight all weigh the same.
 * @param total not negative
 * @param weights not negative, at least one
 * @returns in the order of the weights; their sum is the total
 */
export function shareOut(total: bigint, weights: readonly bigint[]): bigint[] {
  const given = sum(weights);
  const shares = given === 0n ? weights.map(() => 1n) : weights;
  const whole = given === 0n ? BigInt(weights.length) : given;
  const parts = shares.map((weight) => (total * weight) / whole);
  const left = Number(total - sum(parts));
  const remainders = shares.map((weight, index) => ({ index, remainder: (total * weight) % whole }));
  // Sorting keeps the order of equal ones.
  const first = remainders.toSorted((a, b) => compare(b.remainder, a.remainder)).slice(0, left);
  for (const { index } of first) parts[index] = (parts[index] ?? 0n) + 1n;
  return parts;
}

/**
 * What attempts counted, changed so that each sum is what it should be. A sum is shared out by what each counts now: parts
 * first, then what is left of their total. A part whose sum is not told stays, but is cut to what its total leaves; a total
 * whose sum is not told grows to hold the parts that are. Pure; the counts it returned it leaves as they are.
 * @param attempts at least one; in each, parts are within their totals
 * @param sums of all attempts together, not negative; undefined: not told. Parts beyond their total make it larger than told.
 */
export function trueUpCounts(attempts: readonly TokenCounts[], sums: Partial<TokenCounts>): TokenCounts[] {
  const of = (name: keyof TokenCounts) => attempts.map((counts) => counts[name]);
  const partOf = (name: keyof TokenCounts): ToldPart | undefined => {
    const total = sums[name];
    return total === undefined ? undefined : { before: of(name), after: shareOut(total, of(name)) };
  };
  const totalOf = (name: keyof TokenCounts, parts: readonly (ToldPart | undefined)[]) =>
    totalWithParts(
      of(name),
      sums[name],
      parts.filter((part) => part !== undefined),
    );

  const long = partOf("cacheWriteLongTokens");
  const writes = sums.cacheWriteTokens === undefined ? undefined : totalOf("cacheWriteTokens", [long]);
  const cached = partOf("cachedInputTokens");
  const input = totalOf("inputTokens", [
    cached,
    writes === undefined ? long : { before: of("cacheWriteTokens"), after: writes },
  ]);
  const reasoning = partOf("reasoningTokens");
  const output = totalOf("outputTokens", [reasoning]);

  return attempts.map((counts, index) => {
    const at = (list: readonly bigint[] | undefined) => list?.[index];
    const inputTokens = at(input) ?? 0n;
    const outputTokens = at(output) ?? 0n;
    const toldLong = at(long?.after) ?? 0n;
    const cachedInputTokens =
      at(cached?.after) ?? least(counts.cachedInputTokens, inputTokens - (at(writes) ?? toldLong));
    const shortTokens = counts.cacheWriteTokens - (long === undefined ? 0n : counts.cacheWriteLongTokens);
    const cacheWriteTokens = at(writes) ?? toldLong + least(shortTokens, inputTokens - cachedInputTokens - toldLong);
    return {
      inputTokens,
      cachedInputTokens,
      cacheWriteTokens,
      cacheWriteLongTokens: at(long?.after) ?? least(counts.cacheWriteLongTokens, cacheWriteTokens),
      outputTokens,
      reasoningTokens: at(reasoning?.after) ?? least(counts.reasoningTokens, outputTokens),
    };
  });
}

/** A part whose sum is told: what each attempt counted of it, and what it gets. */
interface ToldPart {
  readonly before: readonly bigint[];
  readonly after: readonly bigint[];
}

/** What attempts get of a total, of which they have their told parts already. */
function totalWithParts(
  before: readonly bigint[],
  total: bigint | undefined,
  parts: readonly ToldPart[],
): readonly bigint[] {
  const partsOf = (which: keyof ToldPart, index: number) => sum(parts.map((part) => part[which][index] ?? 0n));
  const after = before.map((_, index) => partsOf("after", index));
  if (total === undefined) return before.map((count, index) => most(count, after[index] ?? 0n));
  const rest = before.map((count, index) => most(0n, count - partsOf("before", index)));
  return shareOut(most(0n, total - sum(after)), rest).map((share, index) => share + (after[index] ?? 0n));
}

function sum(counts: readonly bigint[]): bigint {
  return counts.reduce((total, count) => total + count, 0n);
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
