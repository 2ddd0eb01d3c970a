import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readingIn } from "../service-tier.ts";

const tokensMax = 0xffff_ffff;

/** What is known of a stream's usage after one more report: counts are of the whole so far, and never added up. */
export function mergeUsage(earlier: JsonObject, later: JsonObject): JsonObject {
  return { ...earlier, ...Object.fromEntries(Object.entries(later).filter(([, value]) => value !== null)) };
}

/**
 * Reads the `usage` of an answer or of a stream. The vendor counts input that it read from its cache, or wrote to it, beside
 * `input_tokens`; here all are parts of one total. A count that is not a whole number from 0 to 2^32-1, or a part that is
 * larger than its total, is left out and the reading is not sound.
 * https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
 * @returns undefined when there is neither a total of the input nor one of the output
 */
export function readUsage(json: unknown): UsageReading | undefined {
  if (!isObject(json)) return undefined;
  let sound = true;
  const count = (value: unknown, total = tokensMax): number | undefined => {
    if (value == null) return undefined;
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= total) return value as number;
    sound = false;
    return undefined;
  };

  const rounds = readRounds(json);
  if (rounds === undefined) sound = false;
  const sum = (read: (round: JsonObject) => unknown): number | undefined => {
    const counts = (rounds ?? [json]).map((round) => count(read(round))).filter((value) => value !== undefined);
    return counts.length === 0 ? undefined : count(counts.reduce((total, value) => total + value));
  };
  const plain = sum((round) => round["input_tokens"]);
  const cached = sum((round) => round["cache_read_input_tokens"]);
  const short = sum((round) => asObject(round["cache_creation"])["ephemeral_5m_input_tokens"]);
  const long = sum((round) => asObject(round["cache_creation"])["ephemeral_1h_input_tokens"]);
  const split = short === undefined && long === undefined ? undefined : count((short ?? 0) + (long ?? 0));
  const written = sum((round) => round["cache_creation_input_tokens"]) ?? split;
  const input = plain === undefined ? undefined : count(plain + (cached ?? 0) + (written ?? 0));
  const output = sum((round) => round["output_tokens"]);
  if (input === undefined && output === undefined) return undefined;
  if (split !== undefined && split !== written) sound = false;

  const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };
  if (input !== undefined) usage.inputTokens = input;
  if (cached !== undefined) usage.cachedInputTokens = cached;
  if (written !== undefined) usage.cacheWriteTokens = written;
  if (long !== undefined && split === written) usage.cacheWriteLongTokens = long;
  if (output !== undefined) usage.outputTokens = output;
  const thinking = count(asObject(json["output_tokens_details"])["thinking_tokens"], output);
  if (thinking !== undefined) usage.reasoningTokens = thinking;
  for (const [name, value] of Object.entries(asObject(json["server_tool_use"]))) {
    const uses = name.endsWith(usesSuffix) ? count(value) : undefined;
    if (uses !== undefined && uses > 0) usage.serverToolUses[name.slice(0, -usesSuffix.length)] = uses;
  }
  return readingIn(json["service_tier"], usage, sound);
}

const usesSuffix = "_requests";

/**
 * What to add up: the report itself, or the rounds of the answer where its totals leave some out, namely those that shortened
 * the conversation. Undefined where another model was asked on the way, whose tokens have a price of their own.
 * See `iterations` of the SDK's `BetaUsage`.
 */
function readRounds(json: JsonObject): readonly JsonObject[] | undefined {
  const iterations = Array.isArray(json["iterations"]) ? json["iterations"].filter(isObject) : [];
  const types = new Set(iterations.map((round) => round["type"]));
  if (types.has("advisor_message")) return undefined;
  return types.has("compaction") && !types.has("fallback_message") ? iterations : [json];
}

/** Writes usage as an answer has it. What the vendor does not count, such as sound, has no place. */
export function writeUsage(usage: Usage | undefined, serviceTier: string): JsonObject {
  const { cacheWriteTokens: written, cacheWriteLongTokens: long } = usage ?? {};
  return {
    ...writeDeltaUsage(usage),
    cache_creation:
      written === undefined || long === undefined
        ? null
        : { ephemeral_1h_input_tokens: long, ephemeral_5m_input_tokens: Math.max(written - long, 0) },
    inference_geo: null,
    service_tier: serviceTiers.has(serviceTier) ? serviceTier : null,
    speed: null,
  };
}

const serviceTiers: ReadonlySet<string> = new Set(["standard", "priority", "batch"]);

/** Writes usage as `message_delta` has it. Totals that were not reported are 0, since clients demand a number. */
export function writeDeltaUsage(usage: Usage | undefined): JsonObject {
  const { inputTokens = 0, cachedInputTokens: cached, cacheWriteTokens: written, outputTokens = 0 } = usage ?? {};
  const { web_search: searches = 0, web_fetch: fetches = 0 } = usage?.serverToolUses ?? {};
  const thinking = usage?.reasoningTokens;
  return {
    cache_creation_input_tokens: written ?? null,
    cache_read_input_tokens: cached ?? null,
    input_tokens: Math.max(inputTokens - (cached ?? 0) - (written ?? 0), 0),
    output_tokens: outputTokens,
    output_tokens_details: thinking === undefined ? null : { thinking_tokens: thinking },
    server_tool_use: searches + fetches === 0 ? null : { web_fetch_requests: fetches, web_search_requests: searches },
  };
}

const nothing: JsonObject = {};

function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : nothing;
}
