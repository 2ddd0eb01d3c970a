import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReasoningOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readText, readWhole, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";

/** What `thinking` and `output_config.effort` say, and what of them only this vendor understands. */
export interface ThinkingReading {
  readonly reasoning: MessageInitShape<typeof ReasoningOptionsSchema> | undefined;
  /** Members of `thinking` to keep as they are. */
  readonly thinking: JsonObject;
  /** Members of `output_config` to keep as they are. */
  readonly outputConfig: JsonObject;
}

const budgetTokensMax = 0xffff_ffff;

/**
 * Reads how much to think. An effort alone reads as one with adaptive thinking, since other vendors make no difference;
 * adaptive thinking of no stated effort, which is no more than the model's own choice, is kept for this vendor.
 */
export function readThinkingOptions(thinking: JsonObject = {}, outputConfig: JsonObject = {}): ThinkingReading {
  const { type, display, budget_tokens: budget, ...others } = thinking;
  const { effort: effortValue, ...config } = outputConfig;
  const effort = readText(effortValue, "output_config.effort") ?? "";
  const keptEffort = effort === "" ? config : { ...config, effort };
  const shown = readText(display, "thinking.display");
  const summary = shown === undefined ? "" : shown === "omitted" ? "none" : shown === "summarized" ? "auto" : undefined;
  const shownElsewhere = summary === undefined ? { display } : {};
  switch (readText(type, "thinking.type")) {
    case undefined:
      return { reasoning: effort === "" ? undefined : { effort }, thinking, outputConfig: config };
    case "disabled":
      return { reasoning: { effort: "none" }, thinking: { ...others, ...shownElsewhere }, outputConfig: keptEffort };
    case "enabled": {
      const path = "thinking.budget_tokens";
      const budgetTokens = required(readWhole(budget, path, 1, budgetTokensMax), path);
      const reasoning = { effort, budgetTokens, summary: summary ?? "" };
      return { reasoning, thinking: { ...others, ...shownElsewhere }, outputConfig: config };
    }
    case "adaptive": {
      if (effort === "" && (summary ?? "") === "") return { reasoning: undefined, thinking, outputConfig: config };
      const reasoning = { effort, summary: summary ?? "" };
      return { reasoning, thinking: { ...others, ...shownElsewhere }, outputConfig: config };
    }
    default:
      return { reasoning: effort === "" ? undefined : { effort }, thinking, outputConfig: keptEffort };
  }
}
