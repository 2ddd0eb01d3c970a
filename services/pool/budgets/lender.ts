import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import {
  type BudgetService,
  type Lease as LeaseMessage,
  type LeaseGroupResult,
  LeaseAskSchema,
  LeaseOutcome,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Client } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import { type Account, growing, type Held, type Lease, type LeaseBook } from "./lease-book.ts";
import { Line, type Turn, type Waiter } from "./line.ts";

export interface LenderDeps {
  readonly service: Pick<Client<typeof BudgetService>, "acquireLeases" | "renewLeases">;
  readonly book: LeaseBook;
  /** The account of a name; made when it is new. */
  readonly account: (budget: string, subject: string) => Account;
  /** A budget is not enforced any more. */
  readonly onGone: (budget: string) => void;
  /** Id of this process: a UUID, new at each start. */
  readonly holder: string;
  /** The longest that a call can run and take to reach the ledger. */
  readonly keepMs: () => number;
  readonly clock: Clock;
  readonly log: Log;
}

/** How an account stood when the store last spoke of it. */
export interface AccountWord {
  /** Neither spent nor leased to anybody, nano-USD. */
  readonly remaining: number;
  /** The highest soft limit that was crossed; 0: none. */
  readonly softPercent: number;
}

/** For one call to the store. */
const callTimeoutMs = 2_000;
/** Who is refused what others have in hand waits so long for it. */
const waitMs = 10_000;
/** Calls that wait at once; more are refused with OVERLOADED. */
const waitersMax = 10_000;
const renewEveryMs = 5_000;
/** What is asked for ahead, as a multiple of what the call at hand needs: more where the store would be asked more often than this. */
const aheadFactor = { min: 32, max: 4_096 };
const askEveryMs = 200;
/** How long an account is taken to be tight after somebody else was refused. */
const tightMs = 5_000;
/** Between two questions about what others had in hand. */
const askAgainMinMs = 20;
const askAgainMaxMs = 250;
/** What is given back at once waits so long for more of it. */
const giveBackDelayMs = 10;
/** The store takes no more in one call. */
const leasesAtOnce = 10_000;
/** The most that is asked for ahead, in nano-USD: the store takes no larger number. */
const askedMax = 9_000_000_000_000_000;
/** Accounts of one call to the store, and calls that one question is about. */
const groupsMax = 32;

/** Borrows from the store what calls need, ahead of need; and gives back what is idle. */
export class Lender {
  private readonly deps: LenderDeps;
  private readonly line: Line;
  private readonly words = new WeakMap<Account, AccountWord>();
  /** What ends the wait of holds that want more. */
  private readonly extensions = new Map<Held, (failure: Error) => void>();
  private readonly tightUntilMs = new Map<Account, number>();
  /** What was asked for ahead last, and when. */
  private readonly aheads = new WeakMap<Account, { readonly factor: number; readonly askedMs: number }>();
  private asking = false;
  private renewing = false;
  /** Accounts of which others have in hand what is lacking here, and when the store is asked again. */
  private readonly pauses = new Map<Account, { untilMs: number; lengthMs: number }>();
  private cancelAsk: (() => void) | undefined;
  private cancelRenewal: () => void;
  private cancelGiveBack: (() => void) | undefined;
  private closed = false;

  constructor(deps: LenderDeps) {
    this.deps = deps;
    this.line = new Line(deps.book);
    this.cancelRenewal = deps.clock.after(renewEveryMs, () => this.tick());
  }

  get waiting(): number {
    return this.line.size;
  }

  isAwaited(account: Account): boolean {
    return this.line.isAwaited([account]);
  }

  wordOf(account: Account): AccountWord | undefined {
    return this.words.get(account);
  }

  /**
   * Sets an amount aside in every account, now or when it can be had.
   * @returns undefined when no budget of them is enforced any more
   * @throws WeirError BUDGET_EXHAUSTED, STORE_UNAVAILABLE, OVERLOADED; CallCancelled
   */
  take(accounts: readonly Account[], amount: number, signal: () => AbortSignal): Held | Promise<Held | undefined> {
    const nowMs = this.deps.clock.monotonic();
    if (!this.line.isAwaited(accounts)) {
      const held = this.deps.book.take(accounts, amount, nowMs);
      if (held !== undefined) return held;
    }
    if (this.closed) throw storeAway();
    if (this.line.size >= waitersMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 });
    return new Promise((resolve, reject) => {
      const over = this.join({ accounts, held: undefined, amount }, (turn) => {
        callerSignal.removeEventListener("abort", left);
        if (turn.kind === "held") resolve(turn.held);
        else if (turn.kind === "free") resolve(undefined);
        else reject(turn.failure);
      });
      const callerSignal = signal();
      const left = () => over(new CallCancelled());
      callerSignal.addEventListener("abort", left, { once: true });
      this.serve();
    });
  }

  /**
   * Adds to a hold, now or when it can be had.
   * @param told how it ended; may be called before this returns
   */
  extend(held: Held, amount: number, told: (kind: Turn["kind"]) => void): void {
    const accounts = growing(held).map(({ account }) => account);
    const isFree = !this.line.isAwaited(accounts);
    if (isFree && this.deps.book.extend(held, amount, this.deps.clock.monotonic())) {
      told("held");
      return;
    }
    const over = this.join({ accounts, held, amount }, (turn) => {
      this.extensions.delete(held);
      told(turn.kind);
    });
    this.extensions.set(held, over);
    this.serve();
  }

  /** Ends a hold. @returns how much of the charge is covered */
  settle(held: Held, charge: number): number {
    this.extensions.get(held)?.(heldByOthers());
    const covered = this.deps.book.settle(held, charge, this.deps.clock.monotonic());
    if (this.line.size > 0) this.serve();
    if (this.tightUntilMs.size > 0 && held.leases.some(({ account }) => this.isTight(account))) this.giveBackSoon();
    return covered;
  }

  /** Somebody else lacks what this process may have in hand. */
  tightened(account: Account): void {
    this.tightUntilMs.set(account, this.deps.clock.monotonic() + tightMs);
    if (account.lease !== undefined && account.lease.free > 0) this.giveBackSoon();
  }

  /** A budget is not enforced any more. */
  leaveOut(budget: string): void {
    this.line.leaveOut(budget);
    this.serve();
  }

  /** Refuses who waits, and gives back what no call holds. */
  async close(): Promise<void> {
    this.closed = true;
    this.cancelRenewal();
    this.cancelAsk?.();
    this.cancelGiveBack?.();
    this.line.refuse(() => true, storeAway());
    const leases = [...this.deps.book.all].filter((lease) => lease.free > 0);
    for (const lease of leases) this.deps.book.giveBack(lease, lease.free);
    if (leases.length > 0) await this.renew(leases);
  }

  /** @returns what ends the wait with a failure, if it has not ended */
  private join(wish: Omit<Waiter, "turn">, told: (turn: Turn) => void): (failure: Error) => void {
    const waiter: Waiter = {
      ...wish,
      turn(turn) {
        cancelTimer();
        told(turn);
      },
    };
    const over = (failure: Error) => {
      if (this.line.remove(waiter)) waiter.turn({ kind: "refused", failure });
    };
    const cancelTimer = this.deps.clock.after(waitMs, () => over(heldByOthers()));
    this.line.add(waiter);
    return over;
  }

  private serve(): void {
    const nowMs = this.deps.clock.monotonic();
    const heads = this.line.serve(nowMs);
    const ready = heads.filter(({ accounts }) => accounts.every((account) => this.pauseMs(account, nowMs) === 0));
    if (ready.length > 0 && !this.asking) void this.ask(ready.slice(0, groupsMax));
    if (ready.length < heads.length) {
      const lengths = heads.flatMap(({ accounts }) => accounts.map((account) => this.pauseMs(account, nowMs)));
      this.cancelAsk ??= this.deps.clock.after(Math.min(...lengths.filter((ms) => ms > 0)), () => {
        this.cancelAsk = undefined;
        this.serve();
      });
    }
  }

  private pauseMs(account: Account, nowMs: number): number {
    return Math.max(0, (this.pauses.get(account)?.untilMs ?? 0) - nowMs);
  }

  /** Others have in hand what is lacking here: what is too little for us may be enough for one of them. */
  private pause(account: Account): void {
    const nowMs = this.deps.clock.monotonic();
    const lengthMs = Math.min((this.pauses.get(account)?.lengthMs ?? askAgainMinMs / 2) * 2, askAgainMaxMs);
    this.pauses.set(account, { untilMs: nowMs + lengthMs, lengthMs });
    this.tightened(account);
  }

  private async ask(heads: readonly Waiter[]): Promise<void> {
    const { service, holder, keepMs, clock } = this.deps;
    const askedMs = clock.monotonic();
    this.asking = true;
    try {
      const answer = await service.acquireLeases(
        {
          holder,
          keep: durationFromMs(keepMs()),
          groups: heads.map((waiter) => ({ asks: this.asksOf(waiter, askedMs) })),
        },
        { timeoutMs: callTimeoutMs },
      );
      for (const lease of answer.leases) this.learn(lease, askedMs);
      heads.forEach((waiter, index) => {
        const result = answer.results[index];
        if (result !== undefined) this.judge(waiter, result);
      });
    } catch (thrown) {
      this.deps.log.warn({ error: thrown, waiting: this.line.size }, "the store of budgets does not answer");
      this.line.refuse(() => true, storeAway(thrown));
    } finally {
      this.asking = false;
    }
    if (!this.closed) this.serve();
  }

  private asksOf({ held, accounts, amount }: Waiter, nowMs: number) {
    const { book } = this.deps;
    const ask = (account: Account, leaseId: bigint, needed: number) => {
      const ahead = this.isTight(account) ? 0 : this.line.wanted(account) + this.aheadFactorOf(account, nowMs) * amount;
      return create(LeaseAskSchema, {
        account: { budget: account.budget, subject: account.subject },
        leaseId,
        neededNanoUsd: BigInt(needed),
        preferredNanoUsd: BigInt(Math.max(needed, Math.min(ahead, askedMax))),
      });
    };
    const asks =
      held === undefined
        ? accounts.map((account) => ask(account, 0n, book.lacks(account, amount, nowMs)))
        : growing(held).map((lease) => ask(lease.account, lease.id, book.lacksMore(lease, amount, nowMs)));
    return asks.filter(({ neededNanoUsd }) => neededNanoUsd > 0n);
  }

  private aheadFactorOf(account: Account, nowMs: number): number {
    const last = this.aheads.get(account) ?? { factor: 0, askedMs: -Infinity };
    // Of one question: several may wait for the account.
    if (last.askedMs === nowMs) return last.factor;
    const wanted = nowMs - last.askedMs < askEveryMs ? last.factor * 2 : last.factor / 2;
    const factor = Math.min(Math.max(wanted, aheadFactor.min), aheadFactor.max);
    this.aheads.set(account, { factor, askedMs: nowMs });
    return factor;
  }

  private judge(waiter: Waiter, { outcome, account: name, unspentNanoUsd, windowEndsIn }: LeaseGroupResult): void {
    if (outcome === LeaseOutcome.GRANTED || name === undefined) {
      for (const account of waiter.accounts) this.pauses.delete(account);
      return;
    }
    if (outcome === LeaseOutcome.GONE) {
      this.deps.onGone(name.budget);
      this.line.leaveOut(name.budget);
      return;
    }
    const account = this.deps.account(name.budget, name.subject);
    if (outcome === LeaseOutcome.HELD) {
      this.pause(account);
      // A stream does not stand still while it waits: it asks for less instead.
      if (waiter.held !== undefined) this.line.refuse((other) => other === waiter, heldByOthers());
      return;
    }
    const unspent = Number(unspentNanoUsd);
    const lacking = (other: Waiter) => other.accounts.includes(account) && other.amount > unspent + inHand(account);
    const failure = spent(name.budget, windowEndsIn === undefined ? undefined : durationMs(windowEndsIn));
    this.line.refuse((other) => other === waiter || lacking(other), failure);
  }

  private learn(message: LeaseMessage, askedMs: number): Lease | undefined {
    const { account: name } = message;
    if (name === undefined) return undefined;
    // A lease stays with the account that it was made for, though a budget of the same id may have taken its place.
    const account = this.deps.book.get(message.leaseId)?.account ?? this.deps.account(name.budget, name.subject);
    this.words.set(account, { remaining: Number(message.remainingNanoUsd), softPercent: message.softPercent });
    const word = {
      id: message.leaseId,
      grantedTotal: Number(message.grantedTotalNanoUsd),
      expiresInMs: message.expiresIn === undefined ? 0 : durationMs(message.expiresIn),
      windowEndsInMs: message.windowEndsIn === undefined ? Infinity : durationMs(message.windowEndsIn),
    };
    return this.deps.book.learn(account, word, askedMs);
  }

  private tick(): void {
    this.cancelRenewal = this.deps.clock.after(renewEveryMs, () => this.tick());
    const nowMs = this.deps.clock.monotonic();
    for (const [account, untilMs] of this.tightUntilMs) if (untilMs <= nowMs) this.tightUntilMs.delete(account);
    for (const [account, { untilMs }] of this.pauses) if (untilMs + renewEveryMs <= nowMs) this.pauses.delete(account);
    const { book } = this.deps;
    if (this.renewing) return;
    const leases = [...book.all];
    for (const lease of leases) {
      const isIdle = !lease.used || nowMs >= lease.windowEndMs || this.isTight(lease.account);
      lease.used = false;
      if (isIdle) book.giveBack(lease, lease.free);
    }
    if (leases.length > 0) void this.renew(leases);
  }

  private giveBackSoon(): void {
    this.cancelGiveBack ??= this.deps.clock.after(giveBackDelayMs, () => {
      this.cancelGiveBack = undefined;
      const { book } = this.deps;
      const leases = [...book.all].filter(({ account, free }) => free > 0 && this.isTight(account));
      for (const lease of leases) book.giveBack(lease, lease.free);
      if (leases.length > 0) void this.renew(leases);
    });
  }

  private async renew(leases: readonly Lease[]): Promise<void> {
    this.renewing = true;
    try {
      for (let at = 0; at < leases.length; at += leasesAtOnce)
        await this.renewSome(leases.slice(at, at + leasesAtOnce));
    } catch (thrown) {
      // What was given back is told again the next time.
      this.deps.log.debug({ error: thrown }, "leases of budgets could not be renewed");
    } finally {
      this.renewing = false;
    }
  }

  private async renewSome(leases: readonly Lease[]): Promise<void> {
    const { service, holder, clock, book, log } = this.deps;
    const askedMs = clock.monotonic();
    const idle = leases.filter((lease) => lease.free === 0 && lease.holds === 0 && !lease.used);
    const forgotten = new Map(idle.map((lease) => [lease.id, BigInt(lease.grantedTotal)]));
    const answer = await service.renewLeases(
      {
        holder,
        leases: leases.map(({ id, returnedTotal }) => {
          const grantedTotalNanoUsd = forgotten.get(id);
          return {
            leaseId: id,
            returnedTotalNanoUsd: BigInt(returnedTotal),
            ...(grantedTotalNanoUsd === undefined ? {} : { forgotten: true, grantedTotalNanoUsd }),
          };
        }),
      },
      { timeoutMs: callTimeoutMs },
    );
    for (const word of answer.leases) {
      const lease = book.get(word.leaseId);
      if (lease === undefined) continue;
      this.learn(word, askedMs);
      // One that was added to meanwhile stays ours.
      if (forgotten.get(lease.id) === word.grantedTotalNanoUsd) book.drop(lease);
    }
    for (const id of answer.ended) book.end(id);
    if (answer.ended.length > 0)
      log.warn({ count: answer.ended.length }, "leases of budgets ended before their calls did");
  }

  private isTight(account: Account): boolean {
    return (this.tightUntilMs.get(account) ?? -Infinity) > this.deps.clock.monotonic();
  }
}

function inHand({ lease }: Account): number {
  return lease?.free ?? 0;
}

export function storeAway(cause?: unknown): WeirError {
  return new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: 1_000, cause });
}

export function spent(budget: string, windowEndsInMs: number | undefined): WeirError {
  const until =
    windowEndsInMs === undefined ? "" : ` Its next window begins in ${Math.ceil(windowEndsInMs / 1_000)} s.`;
  return new WeirError(ErrorReason.BUDGET_EXHAUSTED, {
    text: `What is left of the budget \`${budget}\` does not cover this call.${until}`,
    metadata: { budget },
  });
}

export function heldByOthers(): WeirError {
  return new WeirError(ErrorReason.BUDGET_EXHAUSTED, {
    text: "What is left of the budget for this call is held by other calls that are under way.",
  });
}
