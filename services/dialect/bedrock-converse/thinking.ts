import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReasoningOptions, ReasoningOptionsSchema } from "@weir/gen/weir/chat/v1/conversation_pb";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import { type ThinkingWriting, writeThinking as writeAnthropicThinking } from "../claude/thinking-writer.ts";
import { approximated } from "../events.ts";
import { unsupported } from "../faults.ts";
import { isJsonObject, readText } from "../fields.ts";
import { createOmissions } from "../omissions.ts";
import { hasOnly, readCount } from "./members.ts";
import { isAnthropic, type Model } from "./model.ts";
import { dialectName } from "./name.ts";
import type { Remainder } from "./remainder.ts";
import { dropped } from "./warnings.ts";

type ReasoningInit = MessageInitShape<typeof ReasoningOptionsSchema>;

// How much to think stands in two places: `additionalModelRequestFields.thinking`, which is Anthropic's, and
// `outputConfig.effort`, which is Converse's own.

/**
 * Takes out how much to think. An effort alone reads as one with adaptive thinking, since other vendors make no difference;
 * what the canonical form cannot hold stays.
 */
export function takeReasoning(output: Remainder, fields: Remainder): ReasoningInit | undefined {
  const effort = readText(output.peek("effort"), "outputConfig.effort");
  const thinking = fields.peek("thinking");
  if (isJsonObject(thinking) && thinking["type"] === "disabled" && hasOnly(thinking, ["type"])) {
    fields.take("thinking");
    return { effort: "none" };
  }
  const reasoning = thinking === undefined ? {} : readThinking(thinking);
  if (reasoning === undefined) return undefined;
  const says = effort !== undefined || Object.keys(reasoning).length > 0;
  if (!says) return undefined;
  fields.take("thinking");
  output.take("effort");
  return { ...(effort === undefined ? {} : { effort }), ...reasoning };
}

/** Thinking with a budget, or adaptive; undefined when it says anything else. */
function readThinking(thinking: unknown): ReasoningInit | undefined {
  if (!isJsonObject(thinking)) return undefined;
  const { type, display, budget_tokens: budget } = thinking;
  const summary = display === undefined ? {} : readDisplay(display);
  if (summary === undefined) return undefined;
  if (type === "adaptive") return hasOnly(thinking, ["type", "display"]) ? summary : undefined;
  const budgetTokens = readCount(budget) ?? 0;
  const isBudget = type === "enabled" && budgetTokens > 0;
  return isBudget && hasOnly(thinking, ["type", "budget_tokens", "display"]) ? { budgetTokens, ...summary } : undefined;
}

function readDisplay(display: unknown): { readonly summary: string } | undefined {
  if (display === "omitted") return { summary: "none" };
  return display === "summarized" ? { summary: "auto" } : undefined;
}

/**
 * Writes how much to think. Anthropic's models take what they take from Anthropic itself.
 * @param maxTokens the longest reply
 * @param warnings gets what was left out
 */
export function writeThinking(
  options: ReasoningOptions,
  model: Model,
  maxTokens: number,
  warnings: Warning[],
): ThinkingWriting {
  if (model.family !== "anthropic") return writeOther(options, model, warnings);
  const omissions = createOmissions(dialectName);
  const writing = writeAnthropicThinking(options, model.traits, maxTokens, omissions);
  warnings.push(...omissions.warnings);
  return writing;
}

function writeOther(options: ReasoningOptions, model: Model, warnings: Warning[]): ThinkingWriting {
  const { effort, budgetTokens, summary } = options;
  if (summary !== "") warnings.push(dropped("reasoning.summary"));
  if (effort === "none" || budgetTokens === 0) {
    if (isAnthropic(model)) return { thinking: { type: "disabled" } };
    warnings.push(dropped(effort === "none" ? "reasoning.effort" : "reasoning.budget_tokens"));
    return {};
  }
  if (budgetTokens !== undefined && !isAnthropic(model)) {
    throw unsupported("On Bedrock only Anthropic's models take a budget for reasoning.", "reasoning.budget_tokens");
  }
  if (effort === "minimal") warnings.push(approximated("reasoning.effort", "Bedrock's least effort is low."));
  return {
    ...(budgetTokens === undefined ? {} : { thinking: { type: "enabled", budget_tokens: budgetTokens } }),
    ...(effort === "" ? {} : { effort: effort === "minimal" ? "low" : effort }),
  };
}
