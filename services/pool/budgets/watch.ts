import type {
  BudgetAccount,
  BudgetRecord,
  BudgetService,
  WatchBudgetsResponse,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled } from "@weir/kit/weir-error";

export interface FollowDeps {
  readonly service: Pick<Client<typeof BudgetService>, "watchBudgets">;
  readonly clock: Clock;
  /** From 0 to less than 1; spreads reconnects. */
  readonly random: () => number;
  readonly log: Log;
  /** Told at the beginning of each stream: all budgets that there are. */
  readonly onComplete: (records: readonly BudgetRecord[]) => void;
  readonly onChange: (change: Pick<WatchBudgetsResponse, "records" | "removed">) => void;
  readonly onTight: (account: BudgetAccount) => void;
}

/** A stream that shows no sign of life for so long is given up and opened anew; signs come every second. */
const silentAfterMs = 10_000;
const backoffMinMs = 100;
const backoffMaxMs = 5_000;

/** Follows the budgets. @returns what ends it */
export function followBudgets(deps: FollowDeps): () => void {
  const { clock, log } = deps;
  let stopped = false;
  let failures = 0;
  let cancel = () => {};

  async function follow(): Promise<void> {
    const call = new AbortController();
    let cancelWatch = () => {};
    const hear = () => {
      cancelWatch();
      cancelWatch = clock.after(silentAfterMs, () => call.abort());
    };
    cancel = () => call.abort();
    hear();
    try {
      let building: BudgetRecord[] | undefined = [];
      for await (const message of deps.service.watchBudgets({}, { signal: call.signal })) {
        hear();
        if (building === undefined) deps.onChange(message);
        else {
          building.push(...message.records);
          if (message.complete) {
            deps.onComplete(building);
            building = undefined;
            failures = 0;
          }
        }
        for (const account of message.tight) deps.onTight(account);
      }
    } finally {
      cancelWatch();
    }
  }

  async function run(): Promise<void> {
    try {
      await follow();
    } catch (thrown) {
      if (!stopped && !(thrown instanceof CallCancelled)) {
        log.warn({ error: thrown, failures }, "the stream of budgets broke off");
      }
    }
    if (stopped) return;
    const longestMs = Math.min(backoffMinMs * 2 ** failures, backoffMaxMs);
    failures += 1;
    cancel = clock.after(longestMs * (0.5 + deps.random() / 2), () => void run());
  }

  void run();
  return () => {
    stopped = true;
    cancel();
  };
}
