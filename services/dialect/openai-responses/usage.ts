import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readingIn } from "../service-tier.ts";

const tokensMax = 0xffff_ffff;

/**
 * Reads the usage of a Response. Cached tokens and cache writes are inside `input_tokens`, reasoning is inside
 * `output_tokens`. A count that is not a whole number from 0 to 2^32-1, or a part that is larger than its total, is left
 * out and the reading is not sound; nor is it when the vendor's own total is not their sum.
 * @returns undefined when there is neither a total of the input nor one of the output
 */
export function readUsage(response: JsonObject): UsageReading | undefined {
  const json = response["usage"];
  if (!isObject(json)) return undefined;
  let sound = true;
  const count = (value: unknown, total: number = tokensMax): number | undefined => {
    if (value == null) return undefined;
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= total) return value as number;
    sound = false;
    return undefined;
  };

  const inputTokens = count(json["input_tokens"]);
  const outputTokens = count(json["output_tokens"]);
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  const total = json["total_tokens"];
  if (total != null && total !== (inputTokens ?? 0) + (outputTokens ?? 0)) sound = false;

  const inputDetails = asObject(json["input_tokens_details"]);
  const outputDetails = asObject(json["output_tokens_details"]);
  const writeDetails = asObject(inputDetails["cache_write_tokens_details"]);
  const cached = count(inputDetails["cached_tokens"], inputTokens);
  const written = count(inputDetails["cache_write_tokens"], (inputTokens ?? tokensMax) - (cached ?? 0));

  const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: readServerToolUses(response) };
  const set = (key: UsageCount, value: number | undefined) => {
    if (value !== undefined) usage[key] = value;
  };
  set("inputTokens", inputTokens);
  set("cachedInputTokens", cached);
  set("cacheWriteTokens", written);
  set("cacheWriteLongTokens", count(writeDetails["ttl_12h_tokens"], written));
  set("audioInputTokens", count(inputDetails["audio_tokens"], inputTokens));
  set("imageInputTokens", count(inputDetails["image_tokens"], inputTokens));
  set("outputTokens", outputTokens);
  set("reasoningTokens", count(outputDetails["reasoning_tokens"], outputTokens));
  set("audioOutputTokens", count(outputDetails["audio_tokens"], outputTokens));
  set("imageOutputTokens", count(outputDetails["image_tokens"], outputTokens));
  return readingIn(response["service_tier"], usage, sound);
}

type UsageCount = Exclude<keyof Usage, "$typeName" | "$unknown" | "serverToolUses" | "serviceTier">;

/** Output items of tools that OpenAI bills by use: https://platform.openai.com/docs/pricing */
const billedItems: ReadonlyMap<unknown, string> = new Map([
  ["web_search_call", "web_search"],
  ["file_search_call", "file_search"],
  ["code_interpreter_call", "code_interpreter"],
  ["image_generation_call", "image_generation"],
]);

function readServerToolUses(response: JsonObject): Record<string, number> {
  const uses: Record<string, number> = {};
  const output = response["output"];
  for (const item of Array.isArray(output) ? (output as readonly unknown[]) : []) {
    const tool = isObject(item) ? billedItems.get(item["type"]) : undefined;
    if (tool !== undefined) uses[tool] = (uses[tool] ?? 0) + 1;
  }
  // The vendor's own count leaves out what it does not bill.
  const searches = asObject(asObject(response["tool_usage"])["web_search"])["num_requests"];
  if (Number.isInteger(searches) && (searches as number) >= 0 && (searches as number) <= tokensMax) {
    if (searches === 0) delete uses["web_search"];
    else uses["web_search"] = searches as number;
  }
  return uses;
}

/**
 * The `usage` of a Response, and its `tool_usage` when it searched the web; undefined when no total is known. The types
 * demand numbers: what was not reported is zero.
 */
export function writeUsage(usage: Usage | undefined): JsonObject | undefined {
  if (usage === undefined || (usage.inputTokens ?? usage.outputTokens) === undefined) return undefined;
  const inputTokens = usage.inputTokens ?? 0;
  const outputTokens = usage.outputTokens ?? 0;
  const written = usage.cacheWriteTokens ?? 0;
  const long = usage.cacheWriteLongTokens;
  const searches = usage.serverToolUses["web_search"] ?? 0;
  return {
    usage: {
      input_tokens: inputTokens,
      input_tokens_details: {
        cached_tokens: usage.cachedInputTokens ?? 0,
        cache_write_tokens: written,
        ...(long === undefined
          ? {}
          : { cache_write_tokens_details: { ttl_12h_tokens: long, ttl_30m_tokens: Math.max(written - long, 0) } }),
      },
      output_tokens: outputTokens,
      output_tokens_details: { reasoning_tokens: usage.reasoningTokens ?? 0 },
      total_tokens: inputTokens + outputTokens,
    },
    ...(searches > 0 ? { tool_usage: { image_gen: noImages, web_search: { num_requests: searches } } } : {}),
  };
}

const noImages: JsonObject = {
  input_tokens: 0,
  input_tokens_details: { image_tokens: 0, text_tokens: 0 },
  output_tokens: 0,
  total_tokens: 0,
};

const nothing: JsonObject = {};

function asObject(value: unknown): JsonObject {
  return isObject(value) ? value : nothing;
}
