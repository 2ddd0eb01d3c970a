import type { UsageReading } from "../codec.ts";

const tokensMax = 0xffff_ffff;

/**
 * What an answer used: its input alone, since a vector is no output that anybody bills.
 * @param count what the vendor reported; null and undefined: nothing
 * @param total the vendor's own total, where it reports one; it stands for a count that is missing
 * @returns undefined when there is no count that can be true
 */
export function inputUsage(count: unknown, total?: unknown): UsageReading | undefined {
  const inputTokens = isCount(count) ? count : isCount(total) ? total : undefined;
  if (inputTokens === undefined) return undefined;
  const sound = (count == null || isCount(count)) && (total == null || total === inputTokens);
  return {
    usage: { $typeName: "weir.common.v1.Usage", serverToolUses: {}, inputTokens, outputTokens: 0 },
    sound,
  };
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= tokensMax;
}
