import type { ReasoningOptions } from "@weir/gen/weir/chat/v1/conversation_pb";
import { readFlag, readText, readWhole, requiredObject } from "../fields.ts";
import type { JsonObject } from "../json.ts";
import type { Omissions } from "../omissions.ts";
import { memberNames, sortMembers } from "./members.ts";
import type { ModelTraits } from "./traits.ts";

/** What was read of `thinkingConfig`. */
export interface ThinkingReading {
  readonly reasoning?: Pick<ReasoningOptions, "effort" | "summary"> & { readonly budgetTokens?: number };
  /** What no canonical field holds. */
  readonly rest: JsonObject;
}

const names = memberNames("includeThoughts thinkingBudget thinkingLevel");
const levels: ReadonlySet<string> = new Set(["minimal", "low", "medium", "high"]);
const tokensMax = 0x7fff_ffff;

/**
 * Reads `thinkingConfig`. A budget of 0 is the effort `none`; -1, by which the model decides, stays in the rest.
 * https://ai.google.dev/gemini-api/docs/thinking
 */
export function readThinking(value: unknown, param: string): ThinkingReading {
  const { known, rest } = sortMembers(requiredObject(value, param), names, param);
  const budget = readWhole(known["thinkingBudget"], `${param}.thinkingBudget`, -1, tokensMax);
  const level = (readText(known["thinkingLevel"], `${param}.thinkingLevel`) ?? "").toLowerCase();
  const shown = readFlag(known["includeThoughts"], `${param}.includeThoughts`);
  const effort = level === "" || level === "thinking_level_unspecified" ? (budget === 0 ? "none" : "") : level;
  const summary = shown === undefined ? "" : shown ? "auto" : "none";
  const budgetTokens = budget !== undefined && budget > 0 ? budget : undefined;
  const isEmpty = effort === "" && summary === "" && budgetTokens === undefined;
  return {
    ...(isEmpty ? {} : { reasoning: { effort, summary, ...(budgetTokens === undefined ? {} : { budgetTokens }) } }),
    rest: budget === -1 ? { ...rest, thinkingBudget: -1 } : rest,
  };
}

// Google's own translation of efforts: https://ai.google.dev/gemini-api/docs/openai#thinking
const budgets: Readonly<Record<string, number>> = { none: 0, minimal: 1_024, low: 1_024, medium: 8_192, high: 24_576 };

/** Writes `thinkingConfig`; undefined when there is nothing to say. */
export function writeThinking(
  reasoning: ReasoningOptions | undefined,
  traits: ModelTraits,
  omissions: Omissions,
): JsonObject | undefined {
  if (reasoning === undefined) return undefined;
  const thinking = {
    ...(traits.isModern ? writeLevel(reasoning, omissions) : writeBudget(reasoning, omissions)),
    ...writeSummary(reasoning.summary, omissions),
  };
  return Object.keys(thinking).length === 0 ? undefined : thinking;
}

/** Level and budget exclude each other. */
function writeLevel({ effort, budgetTokens }: ReasoningOptions, omissions: Omissions): JsonObject {
  const known = knownEffort(effort, omissions);
  if (known === "") return budgetTokens === undefined ? {} : { thinkingBudget: budgetTokens };
  if (budgetTokens !== undefined) omissions.drop("reasoning.budget_tokens");
  return known === "none" ? { thinkingBudget: 0 } : { thinkingLevel: known.toUpperCase() };
}

function writeBudget({ effort, budgetTokens }: ReasoningOptions, omissions: Omissions): JsonObject {
  if (budgetTokens !== undefined) {
    if (effort !== "") omissions.drop("reasoning.effort");
    return { thinkingBudget: budgetTokens };
  }
  const known = knownEffort(effort, omissions);
  if (known === "") return {};
  if (known !== "none")
    omissions.approximate("reasoning.effort", "The model knows budgets only; it got one that suits.");
  return { thinkingBudget: budgets[known] };
}

/** An effort of Gemini's, or `none`; empty when there is none. */
function knownEffort(effort: string, omissions: Omissions): string {
  if (effort === "" || effort === "none" || levels.has(effort)) return effort;
  if (effort === "xhigh" || effort === "max") {
    omissions.approximate("reasoning.effort", "Gemini's highest effort is `high`.");
    return "high";
  }
  omissions.drop("reasoning.effort");
  return "";
}

function writeSummary(summary: string, omissions: Omissions): JsonObject {
  if (summary === "") return {};
  if (summary !== "auto" && summary !== "none") {
    omissions.approximate("reasoning.summary", "Gemini shows its thoughts or does not; the length is its own choice.");
  }
  return { includeThoughts: summary !== "none" };
}
