import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { JsonObject } from "../json.ts";

/** Counts as OpenAI writes them; undefined unless both totals are known, since its clients take them for numbers. */
export function writeUsage(usage: Usage | undefined): JsonObject | undefined {
  if (usage?.inputTokens === undefined || usage.outputTokens === undefined) return undefined;
  return {
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.inputTokens + usage.outputTokens,
    ...details("prompt_tokens_details", {
      cached_tokens: usage.cachedInputTokens,
      cache_write_tokens: usage.cacheWriteTokens,
      audio_tokens: usage.audioInputTokens,
      image_tokens: usage.imageInputTokens,
    }),
    ...details("completion_tokens_details", {
      reasoning_tokens: usage.reasoningTokens,
      audio_tokens: usage.audioOutputTokens,
      accepted_prediction_tokens: usage.acceptedPredictionTokens,
      rejected_prediction_tokens: usage.rejectedPredictionTokens,
    }),
  };
}

function details(name: string, counts: Readonly<Record<string, number | undefined>>): JsonObject {
  const known = Object.entries(counts).filter(([, count]) => count !== undefined);
  return known.length === 0 ? {} : { [name]: Object.fromEntries(known) };
}

/** Later counts replace earlier ones, field by field. */
export function mergeUsage(earlier: Usage | undefined, later: Usage): Usage {
  return earlier === undefined ? later : { ...earlier, ...later };
}
