import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { startDaily } from "../daily.ts";
import type { Database } from "../database.ts";
import { sweepBudgets } from "./sweep.ts";

export interface BudgetSweeperDependencies {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Log;
}

/** Sweeps the budgets' leases and windows now and every day. Several processes may do so at once. */
export function startBudgetSweeper({ database, clock, log }: BudgetSweeperDependencies): { stop(): void } {
  async function run(isStopped: () => boolean): Promise<void> {
    const { leases, windows } = await sweepBudgets(database, isStopped);
    if (leases + windows > 0) log.info({ leases, windows }, "leases and old windows of budgets were swept");
  }
  return startDaily({ name: "sweep budgets", run, clock, log });
}
