import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readingIn } from "../service-tier.ts";

const tokensMax = 0xffff_ffff;

/**
 * Reads the `usage` of an answer or of a stream. A count that is not a whole number from 0 to 2^32-1, or a part that is
 * larger than its total, is left out and the reading is not sound; nor is one whose classes do not add up to `total_tokens`.
 * @param tier `service_tier` of the answer, which stands beside its usage
 * @returns undefined when there is neither a total of the input nor one of the output
 */
export function readUsage(json: unknown, tier?: unknown): UsageReading | undefined {
  if (!isObject(json)) return undefined;
  let sound = true;

  const count = (value: unknown, total?: number): number | undefined => {
    if (value == null) return undefined;
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= (total ?? tokensMax)) {
      return value as number;
    }
    sound = false;
    return undefined;
  };

  const inputTokens = count(json["prompt_tokens"]);
  let outputTokens = count(json["completion_tokens"]);
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  const inputDetails = asObject(json["prompt_tokens_details"]);
  const outputDetails = asObject(json["completion_tokens_details"]);
  // Some vendors (xAI) leave reasoning out of the completion; their total says so.
  const reasoning = count(outputDetails["reasoning_tokens"]) ?? 0;
  if (
    inputTokens !== undefined &&
    outputTokens !== undefined &&
    reasoning > 0 &&
    json["total_tokens"] === inputTokens + outputTokens + reasoning
  ) {
    outputTokens = count(outputTokens + reasoning);
  }

  const total = count(json["total_tokens"]);
  if (total !== undefined && total !== (inputTokens ?? 0) + (outputTokens ?? 0)) sound = false;

  const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };
  const set = (key: UsageCount, value: number | undefined) => {
    if (value !== undefined) usage[key] = value;
    return value ?? 0;
  };
  set("inputTokens", inputTokens);
  set("outputTokens", outputTokens);
  // DeepSeek names the cached part beside the totals.
  const cached = set(
    "cachedInputTokens",
    count(inputDetails["cached_tokens"] ?? json["prompt_cache_hit_tokens"], inputTokens),
  );
  set("cacheWriteTokens", count(inputDetails["cache_write_tokens"], rest(inputTokens, cached)));
  set("audioInputTokens", count(inputDetails["audio_tokens"], inputTokens));
  set("imageInputTokens", count(inputDetails["image_tokens"], inputTokens));
  set("reasoningTokens", count(outputDetails["reasoning_tokens"], outputTokens));
  set("audioOutputTokens", count(outputDetails["audio_tokens"], outputTokens));
  set("imageOutputTokens", count(outputDetails["image_tokens"], outputTokens));
  set("acceptedPredictionTokens", count(outputDetails["accepted_prediction_tokens"], outputTokens));
  set("rejectedPredictionTokens", count(outputDetails["rejected_prediction_tokens"], outputTokens));
  return readingIn(tier, usage, sound);
}

/**
 * Writes counts for a client. One that is not known is left out, as is the total without both of its classes. This dialect
 * has no place for `cache_write_long_tokens` and the uses of server tools.
 */
export function writeUsage(usage: Usage): JsonObject {
  const { inputTokens, outputTokens } = usage;
  const known = inputTokens !== undefined && outputTokens !== undefined;
  return counts({
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: known ? inputTokens + outputTokens : undefined,
    prompt_tokens_details: details({
      cached_tokens: usage.cachedInputTokens,
      cache_write_tokens: usage.cacheWriteTokens,
      audio_tokens: usage.audioInputTokens,
      image_tokens: usage.imageInputTokens,
    }),
    completion_tokens_details: details({
      reasoning_tokens: usage.reasoningTokens,
      audio_tokens: usage.audioOutputTokens,
      image_tokens: usage.imageOutputTokens,
      accepted_prediction_tokens: usage.acceptedPredictionTokens,
      rejected_prediction_tokens: usage.rejectedPredictionTokens,
    }),
  });
}

function counts(members: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(members).filter(([, count]) => count !== undefined));
}

function details(members: JsonObject): JsonObject | undefined {
  const known = counts(members);
  return Object.keys(known).length === 0 ? undefined : known;
}

type UsageCount = Exclude<keyof Usage, "$typeName" | "$unknown" | "serverToolUses" | "serviceTier">;

function rest(total: number | undefined, part: number): number | undefined {
  return total === undefined ? undefined : total - part;
}

const nothing: JsonObject = {};

function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : nothing;
}
