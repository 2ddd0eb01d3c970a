/**
 * Decimal USD as nano-USD, exactly: `"2.50"` is 2_500_000_000n.
 * @throws RangeError for anything but up to nine digits before and nine after a point
 */
export function nanoUsdFromText(text: string): bigint {
  const match = /^([0-9]{1,9})(?:\.([0-9]{1,9}))?$/.exec(text);
  if (!match?.[1]) throw new RangeError("a price is USD as decimal text, such as 2.50, with at most nine decimals");
  return BigInt(match[1]) * 1_000_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
}
