import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { UsageReading } from "../codec.ts";
import { isObject, type JsonObject } from "../json.ts";
import { readingIn } from "../service-tier.ts";

const tokensMax = 0xffff_ffff;

/**
 * Reads `usageMetadata`. The input is prompt and results of the provider's tools; the cached part is inside the prompt.
 * Thoughts stand beside the candidates and are added to them. A count that is not a whole number from 0 to 2^32-1, or a part
 * larger than its total, is left out and the reading is not sound; nor is it when `totalTokenCount` is not the sum.
 * https://ai.google.dev/api/generate-content#UsageMetadata
 * @returns undefined when there is neither a total of the input nor one of the output
 */
export function readUsage(json: unknown): UsageReading | undefined {
  if (!isObject(json)) return undefined;
  let sound = true;

  const count = (value: unknown, most = tokensMax): number | undefined => {
    if (value == null) return undefined;
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most) return value as number;
    sound = false;
    return undefined;
  };

  const prompt = count(json["promptTokenCount"]);
  const toolUse = count(json["toolUsePromptTokenCount"]);
  const candidates = count(json["candidatesTokenCount"]);
  const thoughts = count(json["thoughtsTokenCount"]);
  const total = count(json["totalTokenCount"]);
  const inputTokens = prompt === undefined ? undefined : count(prompt + (toolUse ?? 0));
  const said = candidates === undefined && thoughts === undefined ? undefined : (candidates ?? 0) + (thoughts ?? 0);
  // A count of zero may be left out; the total tells whether it was.
  const outputTokens = said === undefined && total !== undefined && total === inputTokens ? 0 : count(said);
  if (inputTokens === undefined && outputTokens === undefined) return undefined;
  if (total !== undefined && total !== (inputTokens ?? toolUse ?? 0) + (outputTokens ?? 0)) sound = false;

  const usage: Usage = { $typeName: "weir.common.v1.Usage", serverToolUses: {} };
  const set = (key: UsageCount, value: number | undefined) => {
    if (value !== undefined) usage[key] = value;
  };
  set("inputTokens", inputTokens);
  set("cachedInputTokens", count(json["cachedContentTokenCount"], inputTokens));
  const inputDetails = [json["promptTokensDetails"], json["toolUsePromptTokensDetails"]];
  set("audioInputTokens", count(modalityTokens(inputDetails, "AUDIO"), inputTokens));
  set("imageInputTokens", count(modalityTokens(inputDetails, "IMAGE"), inputTokens));
  set("outputTokens", outputTokens);
  set("reasoningTokens", outputTokens === undefined ? undefined : thoughts);
  const outputDetails = [json["candidatesTokensDetails"]];
  set("audioOutputTokens", count(modalityTokens(outputDetails, "AUDIO"), outputTokens));
  set("imageOutputTokens", count(modalityTokens(outputDetails, "IMAGE"), outputTokens));
  return readingIn(servedTier(json), usage, sound);
}

/**
 * The Gemini API says `flex`, `standard` or `priority` as `serviceTier`; Vertex AI says it as `trafficType`.
 * https://googleapis.github.io/js-genai/release_docs/interfaces/types.UsageMetadata.html
 */
function servedTier({ serviceTier, trafficType }: JsonObject): unknown {
  return typeof serviceTier === "string" && serviceTier !== "unspecified"
    ? serviceTier
    : tierByTrafficType.get(trafficType);
}

const tierByTrafficType: ReadonlyMap<unknown, string> = new Map([
  ["ON_DEMAND", "standard"],
  ["ON_DEMAND_FLEX", "flex"],
  ["ON_DEMAND_PRIORITY", "priority"],
  ["ON_DEMAND_OFFPEAK", "offpeak"],
  ["PROVISIONED_THROUGHPUT", "provisioned_throughput"],
]);

type UsageCount = Exclude<keyof Usage, "$typeName" | "$unknown" | "serverToolUses" | "serviceTier">;

/** The tokens of one modality in lists of ModalityTokenCount; undefined when none speaks of it, NaN when one is no number. */
function modalityTokens(lists: readonly unknown[], modality: string): number | undefined {
  let tokens: number | undefined;
  for (const list of lists) {
    for (const entry of Array.isArray(list) ? (list as unknown[]) : []) {
      if (!isObject(entry) || entry["modality"] !== modality) continue;
      const { tokenCount = 0 } = entry;
      tokens = (tokens ?? 0) + (typeof tokenCount === "number" ? tokenCount : Number.NaN);
    }
  }
  return tokens;
}

/** Writes `usageMetadata`. What has no place in it is inside the totals. */
export function writeUsage(usage: Usage): JsonObject {
  const { inputTokens, outputTokens, cachedInputTokens, reasoningTokens } = usage;
  return {
    ...(inputTokens === undefined ? {} : { promptTokenCount: inputTokens }),
    ...(cachedInputTokens === undefined ? {} : { cachedContentTokenCount: cachedInputTokens }),
    ...(outputTokens === undefined ? {} : { candidatesTokenCount: outputTokens - (reasoningTokens ?? 0) }),
    ...(reasoningTokens === undefined ? {} : { thoughtsTokenCount: reasoningTokens }),
    ...(inputTokens === undefined || outputTokens === undefined ? {} : { totalTokenCount: inputTokens + outputTokens }),
    ...writeDetails("promptTokensDetails", usage.audioInputTokens, usage.imageInputTokens),
    ...writeDetails("candidatesTokensDetails", usage.audioOutputTokens, usage.imageOutputTokens),
  };
}

function writeDetails(name: string, audio: number | undefined, image: number | undefined): JsonObject {
  const details = [
    ...(audio === undefined ? [] : [{ modality: "AUDIO", tokenCount: audio }]),
    ...(image === undefined ? [] : [{ modality: "IMAGE", tokenCount: image }]),
  ];
  return details.length === 0 ? {} : { [name]: details };
}
