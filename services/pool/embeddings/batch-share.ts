/**
 * Divides a whole number in proportion to weights, so that the parts add up to it: each gets its share rounded down, and what
 * is left goes, one by one, to those whose shares were cut most, the first ones first.
 * https://en.wikipedia.org/wiki/Quota_method#Largest_remainders
 * @param weights whole numbers, not all of them zero
 */
export function divide(total: number, weights: readonly number[]): number[] {
  const whole = BigInt(total);
  const sum = weights.reduce((all, weight) => all + BigInt(weight), 0n);
  const shares = weights.map((weight, index) => {
    const product = whole * BigInt(weight);
    return { index, share: Number(product / sum), cut: product % sum };
  });
  const left = total - shares.reduce((given, { share }) => given + share, 0);
  const byCut = shares.toSorted((a, b) => (a.cut === b.cut ? a.index - b.index : a.cut > b.cut ? -1 : 1));
  const favoured = new Set(byCut.slice(0, left).map(({ index }) => index));
  return shares.map(({ index, share }) => (favoured.has(index) ? share + 1 : share));
}
