import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type AcquireLeasesResponse,
  type BudgetService,
  type LeaseGroupResult,
  LeaseOutcome,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { type BatchHold, BatchHoldSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled } from "@weir/kit/weir-error";
import { heldByOthers, spent, storeAway } from "./lender.ts";
import type { AccountName } from "./scope-index.ts";

/** What the requests of a batch to one model may cost, and who pays. */
export interface BatchExpense {
  /** As the lines of the input file name it. */
  readonly model: string;
  /** None: no budget is about them, or they are free. */
  readonly accounts: readonly AccountName[];
  /** The most that they may cost, nano-USD, whole. */
  readonly amount: number;
}

/** Money that is set aside for a batch. */
export interface HeldBatch {
  /** What is put on record with the batch. */
  readonly message: BatchHold;
  /** The batch was not made. What does not come back now does so when its leases end. */
  giveBack(): void;
}

export interface BatchHoldDeps {
  readonly service: Pick<Client<typeof BudgetService>, "acquireLeases" | "renewLeases">;
  /** The longest that a call can run and take to reach the ledger. */
  readonly keepMs: () => number;
  readonly clock: Clock;
  readonly log: Log;
  /** This process may have in hand what is lacking. */
  readonly onTight: (account: AccountName) => void;
}

const callTimeoutMs = 2_000;
/** As long as chats wait for what others have in hand. */
const waitMs = 10_000;
const askAgainMinMs = 20;
const askAgainMaxMs = 250;
/** The store takes no larger number, and no budget has a larger limit. */
const amountMax = 9_000_000_000_000_000;

/**
 * Leases what a batch may cost of every budget that is about it, or of none: leases of its own, which nobody draws from. They end by
 * themselves some minutes later, unless they are put on record with the batch.
 * @param holder id of the attempt that makes the batch
 * @returns undefined: no budget is about it, or it is free
 * @throws WeirError BUDGET_EXHAUSTED, STORE_UNAVAILABLE; CallCancelled
 */
export async function holdBatch(
  deps: BatchHoldDeps,
  holder: string,
  expenses: readonly BatchExpense[],
  signal: AbortSignal,
): Promise<HeldBatch | undefined> {
  const { clock } = deps;
  const giveUpMs = clock.monotonic() + waitMs;
  const gone = new Set<string>();
  for (let pauseMs = askAgainMinMs; ; pauseMs = Math.min(pauseMs * 2, askAgainMaxMs)) {
    if (signal.aborted) throw new CallCancelled();
    const asks = asksOf(expenses, gone);
    if (asks.length === 0) return undefined;
    const beyond = asks.find(({ amount }) => amount > amountMax);
    if (beyond !== undefined) throw spent(beyond.account.budget, undefined);
    const answer = await ask(deps, holder, asks);
    const [result] = answer.results;
    if (result?.outcome === LeaseOutcome.GRANTED) return granted(deps, holder, expenses, answer);
    const refused = refusedBy(result);
    if (result?.outcome === LeaseOutcome.GONE) gone.add(refused.budget);
    else if (result?.outcome === LeaseOutcome.HELD) {
      deps.onTight(refused);
      if (clock.monotonic() + pauseMs >= giveUpMs) throw heldByOthers();
      await pause(clock, pauseMs);
    } else if (result?.outcome !== LeaseOutcome.SPENT) throw storeAway();
    else {
      const ends = result.windowEndsIn;
      throw spent(refused.budget, ends === undefined ? undefined : durationMs(ends));
    }
  }
}

interface Ask {
  readonly account: AccountName;
  amount: number;
}

/** What each account is asked for, over all models. @param gone budgets that are not enforced any more */
function asksOf(expenses: readonly BatchExpense[], gone: ReadonlySet<string>): Ask[] {
  const asks = new Map<string, Ask>();
  for (const { accounts, amount } of expenses) {
    for (const account of accounts) {
      if (gone.has(account.budget)) continue;
      const key = keyOf(account);
      const known = asks.get(key);
      if (known === undefined) asks.set(key, { account, amount });
      else known.amount += amount;
    }
  }
  return [...asks.values()];
}

async function ask(
  { service, keepMs, log }: BatchHoldDeps,
  holder: string,
  asks: readonly Ask[],
): Promise<AcquireLeasesResponse> {
  try {
    return await service.acquireLeases(
      {
        holder,
        keep: durationFromMs(keepMs()),
        groups: [
          {
            asks: asks.map(({ account: { budget, subject }, amount }) => ({
              account: { budget, subject },
              neededNanoUsd: BigInt(amount),
              preferredNanoUsd: BigInt(amount),
            })),
          },
        ],
      },
      // Not by the caller's signal: what it is leased is given back by whoever hears of it.
      { timeoutMs: callTimeoutMs },
    );
  } catch (thrown) {
    log.warn({ error: thrown }, "the store of budgets does not answer for a batch");
    throw storeAway(thrown);
  }
}

function refusedBy(result: LeaseGroupResult | undefined): AccountName {
  if (result?.account === undefined) throw storeAway();
  return result.account;
}

function granted(
  deps: BatchHoldDeps,
  holder: string,
  expenses: readonly BatchExpense[],
  { leases }: AcquireLeasesResponse,
): HeldBatch {
  const byAccount = new Map(
    leases.flatMap((lease) => (lease.account === undefined ? [] : [[keyOf(lease.account), lease.leaseId] as const])),
  );
  const message = create(BatchHoldSchema, {
    holder,
    parts: expenses.map(({ model, accounts, amount }) => {
      const leaseIds = accounts.flatMap((account) => byAccount.get(keyOf(account)) ?? []);
      return { model, leaseIds, chargeMaxNanoUsd: leaseIds.length === 0 ? 0n : BigInt(amount) };
    }),
    remainingNanoUsd: leases
      .map(({ remainingNanoUsd }) => remainingNanoUsd)
      .reduce((least, remaining) => (remaining < least ? remaining : least)),
    softLimits: leases
      .filter(({ softPercent }) => softPercent > 0)
      .map(({ account, softPercent }) => `${account?.budget ?? ""} ${softPercent}`),
  });
  return {
    message,
    giveBack() {
      deps.service
        .renewLeases(
          {
            holder,
            leases: leases.map(({ leaseId, grantedTotalNanoUsd }) => ({
              leaseId,
              returnedTotalNanoUsd: grantedTotalNanoUsd,
              forgotten: true,
              grantedTotalNanoUsd,
            })),
          },
          { timeoutMs: callTimeoutMs },
        )
        .catch((error: unknown) => deps.log.debug({ error }, "what was set aside for a batch comes back later"));
    },
  };
}

function keyOf({ budget, subject }: AccountName): string {
  return `${budget}\n${subject}`;
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}
