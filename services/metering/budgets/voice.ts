import type { Meter } from "@opentelemetry/api";
import type { Log } from "@weir/kit/log";
import type { BudgetNews } from "./settlement.ts";

/** Makes what tells operators about their budgets: soft limits that were crossed, and what should not happen. */
export function createBudgetVoice(meter: Meter, log: Log): (news: BudgetNews) => void {
  const crossings = meter.createCounter("weir_budget_soft_limits_crossed", {
    description: "Soft limits of budgets that were crossed, by percent.",
  });
  const late = meter.createCounter("weir_budget_late_nano_usd", {
    description: "Charges that were recorded after their lease had ended, and may lie beyond a limit, in 1e-9 USD.",
  });
  return ({ crossed, lateNanoUsd, unknownLeases }) => {
    for (const { budget, subject, percent, spent, limit } of crossed) {
      crossings.add(1, { percent: String(percent) });
      log.warn(
        { budget, subject, percent, spentNanoUsd: spent, limitNanoUsd: limit },
        "a soft limit of a budget was crossed",
      );
    }
    if (lateNanoUsd > 0n) {
      late.add(Number(lateNanoUsd));
      log.error({ nanoUsd: lateNanoUsd }, "usage was recorded after the leases that covered it had ended");
    }
    if (unknownLeases > 0) log.error({ count: unknownLeases }, "usage names leases of budgets that nobody knows");
  };
}
