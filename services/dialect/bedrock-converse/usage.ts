import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readingIn } from "../service-tier.ts";
import { readCount } from "./members.ts";

/**
 * Reads `usage`. What was read from the cache or written to it stands beside `inputTokens`, and `totalTokens` is the sum
 * of all four: https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
 * A count that is not a whole number from 0 to 2^32-1, or a part that is larger than its total, is left out, and the
 * reading is not sound; nor is one that does not add up to the vendor's total.
 * @param tier `serviceTier` of the answer, which stands beside its usage
 * @returns undefined when there is neither a count of the input nor one of the output
 */
export function readUsage(json: unknown, tier?: unknown): UsageReading | undefined {
  if (!isObject(json)) return undefined;
  let sound = true;
  const count = (value: unknown, max = 0xffff_ffff): number | undefined => {
    if (value == null) return undefined;
    const tokens = readCount(value);
    if (tokens !== undefined && tokens <= max) return tokens;
    sound = false;
    return undefined;
  };

  const plain = count(json["inputTokens"]);
  const outputTokens = count(json["outputTokens"]);
  if (plain === undefined && outputTokens === undefined) return undefined;
  // Answers have each of these counts twice; the SDK knows the first name.
  const cached = count(json["cacheReadInputTokens"] ?? json["cacheReadInputTokenCount"]);
  const writes = readCacheDetails(json["cacheDetails"], count);
  const written = count(json["cacheWriteInputTokens"] ?? json["cacheWriteInputTokenCount"]) ?? writes?.all;
  if (writes !== undefined && writes.all !== written) sound = false;
  const inputTokens = plain === undefined ? undefined : count(plain + (cached ?? 0) + (written ?? 0));
  const total = count(json["totalTokens"]);
  if (total !== undefined && inputTokens !== undefined && outputTokens !== undefined) {
    if (total !== inputTokens + outputTokens) sound = false;
  }

  const usage: Usage = {
    $typeName: "weir.common.v1.Usage",
    serverToolUses: readServerTools(json["serverToolUsage"], count),
  };
  if (inputTokens !== undefined) usage.inputTokens = inputTokens;
  if (cached !== undefined) usage.cachedInputTokens = cached;
  if (written !== undefined) usage.cacheWriteTokens = written;
  if (writes !== undefined && writes.long <= (written ?? 0)) usage.cacheWriteLongTokens = writes.long;
  if (outputTokens !== undefined) usage.outputTokens = outputTokens;
  return readingIn(isObject(tier) ? tier["type"] : undefined, usage, sound);
}

type Count = (value: unknown) => number | undefined;

/** Cache writes by their lifetime; undefined when they are not told apart. */
function readCacheDetails(value: unknown, count: Count): { readonly all: number; readonly long: number } | undefined {
  if (!Array.isArray(value)) return undefined;
  let all = 0;
  let long = 0;
  for (const detail of value as unknown[]) {
    if (!isObject(detail)) continue;
    const tokens = count(detail["inputTokens"]) ?? 0;
    all += tokens;
    if (detail["ttl"] === "1h") long += tokens;
  }
  return { all, long };
}

/** Uses of tools that AWS runs. Answers have the member, the SDK does not know it yet. */
function readServerTools(value: unknown, count: Count): Record<string, number> {
  const uses: Record<string, number> = {};
  if (!isObject(value)) return uses;
  for (const name of Object.keys(value)) {
    const times = count(value[name]);
    if (times !== undefined && isWord.test(name)) uses[name] = times;
  }
  return uses;
}

const isWord = /^[A-Za-z]\w{0,63}$/;

/** Writes `usage` for a client; undefined when nothing was reported. Counts that the vendor has no member for stay out. */
export function writeUsage(usage: Usage | undefined): JsonObject | undefined {
  if (usage === undefined) return undefined;
  const { inputTokens, cachedInputTokens, cacheWriteTokens, cacheWriteLongTokens, outputTokens } = usage;
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  const json: Record<string, unknown> = {};
  if (inputTokens !== undefined) {
    json["inputTokens"] = Math.max(inputTokens - (cachedInputTokens ?? 0) - (cacheWriteTokens ?? 0), 0);
  }
  if (outputTokens !== undefined) json["outputTokens"] = outputTokens;
  if (inputTokens !== undefined && outputTokens !== undefined) json["totalTokens"] = inputTokens + outputTokens;
  if (cachedInputTokens !== undefined) json["cacheReadInputTokens"] = cachedInputTokens;
  if (cacheWriteTokens === undefined) return json;
  json["cacheWriteInputTokens"] = cacheWriteTokens;
  if (cacheWriteLongTokens !== undefined) {
    // The longer lifetime comes first.
    json["cacheDetails"] = [
      { ttl: "1h", inputTokens: cacheWriteLongTokens },
      { ttl: "5m", inputTokens: Math.max(cacheWriteTokens - cacheWriteLongTokens, 0) },
    ].filter(({ inputTokens: tokens }) => tokens > 0);
  }
  return json;
}
