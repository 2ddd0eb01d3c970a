import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import type { JsonObject } from "../json.ts";

const tokensMax = 0xffff_ffff;

/**
 * Reads the counts of an answer, or of the last line of a stream. A server leaves out counts that are zero, so that what
 * is absent may be either; it counts as not reported.
 * @returns undefined when there is neither count
 */
export function readUsage(json: JsonObject): UsageReading | undefined {
  const input = json["prompt_eval_count"];
  const output = json["eval_count"];
  if (input == null && output == null) return undefined;
  const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };
  if (isCount(input)) usage.inputTokens = input;
  if (isCount(output)) usage.outputTokens = output;
  return { usage, sound: (input == null || isCount(input)) && (output == null || isCount(output)) };
}

/** The counts of an answer. Parts of the totals have no place here. */
export function writeUsage(usage: Usage | undefined): JsonObject {
  const json: Record<string, number> = {};
  if (usage?.inputTokens !== undefined) json["prompt_eval_count"] = usage.inputTokens;
  if (usage?.outputTokens !== undefined) json["eval_count"] = usage.outputTokens;
  return json;
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= tokensMax;
}
