import type { IncomingHttpHeaders } from "node:http";
import { pickAnswerHeaders } from "@weir/dialect/headers";
import type { Warning } from "@weir/gen/weir/chat/v1/event_pb";
import type { WireHead } from "@weir/gen/weir/chat/v1/wire_pb";
import type { AttemptPlan } from "./attempt-plan.ts";
import type { CallHold } from "./budgets/call-hold.ts";

/** What an answer begins with, for the caller. @param headers of the provider's answer */
export function headOf(
  { provider, target, call, hold }: AttemptPlan,
  status: number,
  contentType: string,
  headers: IncomingHttpHeaders,
): WireHead {
  return {
    $typeName: "weir.chat.v1.WireHead",
    status,
    contentType,
    headers: call.headerRules === undefined ? {} : pickAnswerHeaders(call.headerRules, headers),
    provider: provider.id,
    model: target.model,
    attempts: 0,
    ...withBudget([...call.warnings], hold),
  };
}

function withBudget(
  warnings: Warning[],
  hold: CallHold | undefined,
): Pick<WireHead, "warnings" | "budgetRemainingNanoUsd"> {
  if (hold === undefined) return { warnings };
  for (const param of hold.softLimits) {
    warnings.push({
      $typeName: "weir.chat.v1.Warning",
      code: "budget_soft_limit",
      param,
      text: "A soft limit of a budget for this call was crossed.",
    });
  }
  const { remainingNanoUsd } = hold;
  if (remainingNanoUsd === undefined) return { warnings };
  return { warnings, budgetRemainingNanoUsd: BigInt(remainingNanoUsd) };
}
