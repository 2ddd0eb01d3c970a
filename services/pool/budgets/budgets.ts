import type { Meter } from "@opentelemetry/api";
import { inputTokensToHold } from "@weir/dialect/wire-request";
import type { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled, reasonWord, toWeirError, WeirError } from "@weir/kit/weir-error";
import { type Price, unitsNanoUsd } from "@weir/price/price";
import { amountOf, dearestRates } from "./amounts.ts";
import { type BatchExpense, type HeldBatch, holdBatch } from "./batch-hold.ts";
import { CallHold } from "./call-hold.ts";
import { type Account, LeaseBook } from "./lease-book.ts";
import { Lender } from "./lender.ts";
import { type AccountName, ScopeIndex, type Spender } from "./scope-index.ts";
import { type FollowDeps, followBudgets } from "./watch.ts";

/** A call for which money is to be set aside. */
export interface Expense {
  readonly spender: Spender;
  /** The one in force; undefined: there is none. */
  readonly price: Price | undefined;
  /** What goes to the provider. */
  readonly body: Uint8Array;
  readonly stream: boolean;
  /** The most that the provider may answer with, over all choices. */
  readonly outputTokensMax: number;
  /** The most units that it may bill beside tokens, by the names of `Usage.serverToolUses`. Default: none. */
  readonly units?: Readonly<Record<string, number>>;
}

/** Keeps calls within the budgets that are about them. */
export interface Budgets {
  /**
   * Sets aside what a call may cost, in every budget that is about it, or in none.
   * @param signal fires when the caller has gone
   * @returns at once when what this process has leased suffices; undefined: no budget is about the call, or it is free
   * @throws WeirError BUDGET_EXHAUSTED; STORE_UNAVAILABLE when that cannot be found out; OVERLOADED when too many wait;
   *   MODEL_UNPRICED for a call whose cost nobody knows
   */
  hold(expense: Expense, signal: () => AbortSignal): CallHold | undefined | Promise<CallHold | undefined>;
  /**
   * The budgets that are about a call.
   * @throws WeirError STORE_UNAVAILABLE while it is not known what budgets there are
   */
  about(spender: Spender): Promise<readonly AccountName[]>;
  /**
   * Sets aside what a batch may cost, in every budget that is about it, or in none. It is put on record with the batch, or given back.
   * @param holder id of the attempt that makes it
   * @returns undefined: no budget is about it, or it is free
   * @throws as `hold`
   */
  holdBatch(
    holder: string,
    expenses: () => Promise<readonly BatchExpense[]>,
    signal: AbortSignal,
  ): Promise<HeldBatch | undefined>;
  /** Follows the budgets from now on; until then, and while they are not known, calls wait. */
  begin(): void;
  /** Gives back what is in hand. */
  close(): Promise<void>;
}

export interface BudgetsDeps {
  readonly service: Pick<Client<typeof BudgetService>, "watchBudgets" | "acquireLeases" | "renewLeases">;
  /** Id of this process: a UUID, new at each start. */
  readonly holder: string;
  /** The longest that a call can run and take to reach the ledger, in milliseconds. */
  readonly keepMs: () => number;
  readonly clock: Clock;
  /** From 0 to less than 1; spreads reconnects. */
  readonly random: () => number;
  readonly meter: Meter;
  readonly log: Log;
}

/** Calls alike whose accounts are remembered; then all are forgotten. */
const rememberedMax = 10_000;
/** How long a call waits, after the start, until it is known what budgets there are. */
const loadMs = 5_000;
/** Accounts that are remembered; beyond it those of which nothing is leased are forgotten. */
const accountsMax = 100_000;

export function createBudgets(deps: BudgetsDeps): Budgets {
  const { service, clock, log } = deps;
  const index = new ScopeIndex();
  const book = new LeaseBook();
  const accounts = new Map<string, Account>();
  /** By everything that a budget can be about. */
  const remembered = new Map<string, readonly Account[]>();
  /** The last call of each caller: its next one is like it more often than not. Begun anew whenever what is remembered is forgotten. */
  let last = new WeakMap<Spender["principal"], LastCall>();
  let isLoaded = false;
  const loaded = Promise.withResolvers<void>();
  let stopFollowing = () => {};

  const refusals = deps.meter.createCounter("weir_budget_refused_calls", {
    description: "Calls that were refused for want of a budget, or of its store, by reason.",
  });
  const waiting = deps.meter.createObservableGauge("weir_budget_waiting_calls", {
    description: "Calls that wait for money of a budget.",
  });
  const observe = (result: { observe(value: number): void }) => result.observe(lender.waiting);
  waiting.addCallback(observe);

  function account(budget: string, subject: string): Account {
    const key = `${budget}\n${subject}`;
    const known = accounts.get(key);
    if (known !== undefined) return known;
    const made = { key, budget, subject, lease: undefined };
    accounts.set(key, made);
    return made;
  }

  function forgetCalls(): void {
    remembered.clear();
    last = new WeakMap();
  }

  function forget(): void {
    forgetCalls();
    for (const [key, known] of accounts) {
      if (known.lease === undefined && !lender.isAwaited(known)) accounts.delete(key);
    }
  }

  function remove(id: string): void {
    index.remove(id);
    forgetCalls();
  }

  const lender = new Lender({
    service,
    book,
    account,
    onGone: remove,
    holder: deps.holder,
    keepMs: deps.keepMs,
    clock,
    log,
  });
  const following: FollowDeps = {
    service,
    clock,
    random: deps.random,
    log,
    onComplete(records) {
      const kept = new Set(records.map(({ id }) => id));
      for (const id of index.ids()) if (!kept.has(id)) gone(id);
      for (const record of records) index.put(record);
      forgetCalls();
      isLoaded = true;
      loaded.resolve();
    },
    onChange({ records, removed }) {
      // First: an id that is used again is in both.
      for (const id of removed) gone(id);
      for (const record of records) index.put(record);
      if (records.length > 0) forgetCalls();
    },
    onTight: tighten,
  };

  function tighten({ budget, subject }: AccountName): void {
    const known = accounts.get(`${budget}\n${subject}`);
    if (known !== undefined) lender.tightened(known);
  }

  function gone(id: string): void {
    remove(id);
    lender.leaveOut(id);
    // What is in hand goes back; another budget of the same id begins with nothing.
    for (const [key, { budget }] of accounts) if (budget === id) accounts.delete(key);
  }

  function accountsOf(spender: Spender): readonly Account[] {
    const { principal, alias, target } = spender;
    const before = last.get(principal);
    const isAlike = before?.alias === alias && before.provider === target.provider && before.model === target.model;
    if (isAlike) return before.accounts;
    const accounts = accountsOfCallsLike(spender);
    last.set(principal, { alias, provider: target.provider, model: target.model, accounts });
    return accounts;
  }

  function accountsOfCallsLike(spender: Spender): readonly Account[] {
    const { principal, alias, target } = spender;
    const { tenant, key, user, tags } = principal;
    const likeness = `${key}\n${alias}\n${target.provider}\n${target.model}\n${tenant}\n${user}\n${hasAny(tags) ? JSON.stringify(tags) : ""}`;
    const known = remembered.get(likeness);
    if (known !== undefined) return known;
    if (remembered.size >= rememberedMax) forgetCalls();
    const names = index.accountsOf(spender);
    // Before any of them is made: one that is forgotten at once would never hear of its lease.
    if (accounts.size + names.length > accountsMax) forget();
    const found = names.map(({ budget, subject }) => account(budget, subject));
    remembered.set(likeness, found);
    return found;
  }

  /** What budgets there are is not known: there may be one. */
  async function whenLoaded(): Promise<void> {
    let cancel = () => {};
    const late = new Promise<never>((_, reject) => {
      cancel = clock.after(loadMs, () => reject(new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: 1_000 })));
    });
    await Promise.race([loaded.promise, late]).finally(cancel);
  }

  function take(expense: Expense, signal: () => AbortSignal): CallHold | undefined | Promise<CallHold | undefined> {
    const { spender, price, body, stream, outputTokensMax, units } = expense;
    if (!index.concerns(spender.principal.tenant)) return undefined;
    const charged = accountsOf(spender);
    if (charged.length === 0) return undefined;
    if (price === undefined) {
      throw new WeirError(ErrorReason.MODEL_UNPRICED, {
        text: "A budget is about this call, and what the model costs is not known; add its price under `prices`.",
        metadata: { model: spender.alias },
      });
    }
    const inputTokens = inputTokensToHold(body);
    const rates = dearestRates(price, inputTokens);
    const unitsAmount = units === undefined ? 0 : Number(unitsNanoUsd(units, price));
    if (rates.input === 0 && rates.output === 0 && unitsAmount === 0) return undefined;
    const outputTokens = stream ? Math.min(firstOutputTokens, outputTokensMax) : outputTokensMax;
    const open = { lender, price, rates, outputTokens, outputTokensMax };
    const held = lender.take(charged, amountOf(rates, inputTokens, outputTokens) + unitsAmount, signal);
    if (held instanceof Promise) return held.then((later) => later && new CallHold(later, open));
    return new CallHold(held, open);
  }

  function refused(thrown: unknown): never {
    if (!(thrown instanceof CallCancelled)) refusals.add(1, { reason: reasonWord(toWeirError(thrown).reason) });
    throw thrown;
  }

  return {
    hold(expense, signal) {
      try {
        const hold = isLoaded ? take(expense, signal) : whenLoaded().then(() => take(expense, signal));
        return hold instanceof Promise ? hold.catch(refused) : hold;
      } catch (thrown) {
        return refused(thrown);
      }
    },
    async holdBatch(holder, expenses, signal) {
      try {
        return await holdBatch({ ...deps, onTight: tighten }, holder, await expenses(), signal);
      } catch (thrown) {
        return refused(thrown);
      }
    },
    async about(spender) {
      if (!isLoaded) await whenLoaded();
      return index.accountsOf(spender);
    },
    begin() {
      stopFollowing = followBudgets(following);
    },
    async close() {
      stopFollowing();
      waiting.removeCallback(observe);
      await lender.close();
    },
  };
}

interface LastCall {
  readonly alias: string;
  readonly provider: string;
  readonly model: string;
  readonly accounts: readonly Account[];
}

function hasAny(tags: Readonly<Record<string, string>>): boolean {
  for (const _ in tags) return true;
  return false;
}

/** What a stream may answer with before more is set aside for it. */
const firstOutputTokens = 1_024;
