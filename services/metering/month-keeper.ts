import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Database } from "./database.ts";
import { keepMonths } from "./months.ts";

export interface MonthKeeperDependencies {
  readonly database: Database;
  /** Whole months to keep beside the present one; undefined: all. Asked each time. */
  readonly keptMonths: () => number | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const dayMs = 86_400_000;
/** After a failure: somebody's long query was in the way, or the server was away. */
const retryMs = 600_000;

/** Keeps the ledger's months now and every day. Several processes may do so at once. */
export function startMonthKeeper({ database, keptMonths, clock, log }: MonthKeeperDependencies): { stop(): void } {
  let stopped = false;
  let cancelTimer = () => {};
  round();

  function round(): void {
    keepMonths(database, clock.now(), keptMonths())
      .then(
        ({ made, retired }) => {
          if (made.length > 0) log.info({ tables: made }, "months were added to the ledger");
          if (retired.length > 0) log.info({ tables: retired }, "months of the ledger were retired");
          return dayMs;
        },
        (error: unknown) => {
          log.warn({ error }, "the ledger's months could not be kept; trying again later");
          return retryMs;
        },
      )
      .then((delayMs) => {
        if (!stopped) cancelTimer = clock.after(delayMs, round);
      })
      .catch((error: unknown) => log.error({ error }, "the ledger's months are no longer kept"));
  }

  return {
    stop() {
      stopped = true;
      cancelTimer();
    },
  };
}
