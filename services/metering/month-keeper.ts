import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { startDaily } from "./daily.ts";
import type { Database } from "./database.ts";
import { keepMonths } from "./months.ts";

export interface MonthKeeperDependencies {
  readonly database: Database;
  /** Whole months to keep beside the present one; undefined: all. Asked each time. */
  readonly keptMonths: () => number | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps the ledger's months now and every day. Several processes may do so at once. */
export function startMonthKeeper({ database, keptMonths, clock, log }: MonthKeeperDependencies): { stop(): void } {
  async function run(): Promise<void> {
    const { made, retired } = await keepMonths(database, clock.now(), keptMonths());
    if (made.length > 0) log.info({ tables: made }, "months were added to the ledger");
    if (retired.length > 0) log.info({ tables: retired }, "months of the ledger were retired");
  }
  return startDaily({ name: "keep the ledger's months", run, clock, log });
}
