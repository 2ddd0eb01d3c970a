import type { ReasoningOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import { unsupported } from "../faults.ts";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import type { ModelTraits } from "./traits.ts";

/** How much to think, in this dialect. */
export interface ThinkingWriting {
  readonly thinking?: JsonObject;
  /** `output_config.effort`. */
  readonly effort?: string;
}

// https://platform.claude.com/docs/en/build-with-claude/effort
const efforts: ReadonlySet<string> = new Set(["low", "medium", "high", "xhigh", "max"]);

/** The least the vendor takes. https://platform.claude.com/docs/en/build-with-claude/extended-thinking */
const budgetTokensMin = 1_024;

// The part of the longest reply that an effort may think, for models that know budgets only.
const effortShares: Readonly<Record<string, number>> = { low: 0.2, medium: 0.5, high: 0.8, xhigh: 0.9, max: 0.95 };

/** @param maxTokens the longest reply, of which the budget must leave something */
export function writeThinking(
  options: ReasoningOptions | undefined,
  traits: ModelTraits,
  maxTokens: number,
  omissions: Omissions,
): ThinkingWriting {
  if (options === undefined) return {};
  const effort = writeEffort(options.effort, omissions);
  const budget = writeBudget(options.budgetTokens);
  if (effort === "none" || (budget === 0 && effort === "")) {
    if (budget !== undefined && budget > 0) omissions.drop("reasoning.budget_tokens");
    if (options.summary !== "" && options.summary !== "none") omissions.drop("reasoning.summary");
    return { thinking: { type: "disabled" } };
  }
  const display = writeDisplay(options.summary, omissions);
  if (budget !== undefined && budget > 0 && traits.budgetThinking) {
    const known = traits.adaptiveThinking ? effort : dropEffort(effort, omissions);
    return withEffort({ type: "enabled", budget_tokens: budget, ...display }, known);
  }
  if (effort === "" && budget === undefined && options.summary === "") return {};
  if (traits.adaptiveThinking) {
    if (budget !== undefined) {
      omissions.approximate("reasoning.budget_tokens", "The model takes no budget; it decides how much to think.");
    }
    return withEffort({ type: "adaptive", ...display }, effort);
  }
  return writeShare(effort, display, maxTokens, omissions);
}

function withEffort(thinking: JsonObject, effort: string): ThinkingWriting {
  return { thinking, ...(effort === "" ? {} : { effort }) };
}

function dropEffort(effort: string, omissions: Omissions): string {
  if (effort !== "") omissions.drop("reasoning.effort");
  return "";
}

/** An effort as a budget. */
function writeShare(effort: string, display: JsonObject, maxTokens: number, omissions: Omissions): ThinkingWriting {
  const share = effortShares[effort];
  if (share === undefined) {
    omissions.drop("reasoning.summary");
    return {};
  }
  if (maxTokens <= budgetTokensMin) {
    omissions.drop("reasoning.effort");
    return {};
  }
  omissions.approximate("reasoning.effort", "The model knows no effort; it was given a share of the reply to think.");
  return {
    thinking: { type: "enabled", budget_tokens: Math.max(Math.floor(maxTokens * share), budgetTokensMin), ...display },
  };
}

function writeEffort(effort: string, omissions: Omissions): string {
  if (effort === "" || effort === "none" || efforts.has(effort)) return effort;
  if (effort !== "minimal") {
    throw unsupported("The target knows the efforts none, low, medium, high, xhigh and max.", "reasoning.effort");
  }
  omissions.approximate("reasoning.effort", "The target's least effort is low.");
  return "low";
}

function writeBudget(budget: number | undefined): number | undefined {
  if (budget === undefined || budget === 0 || budget >= budgetTokensMin) return budget;
  throw unsupported(`The target's least budget is ${budgetTokensMin} tokens.`, "reasoning.budget_tokens");
}

function writeDisplay(summary: string, omissions: Omissions): JsonObject {
  switch (summary) {
    case "":
      return {};
    case "none":
      return { display: "omitted" };
    case "auto":
      return { display: "summarized" };
    case "concise":
    case "detailed":
      omissions.approximate("reasoning.summary", "The target shows one kind of summary only.");
      return { display: "summarized" };
    default:
      throw unsupported("The target knows the summaries none, auto, concise and detailed.", "reasoning.summary");
  }
}
