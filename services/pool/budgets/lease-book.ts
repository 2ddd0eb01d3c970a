/** The part of a budget that is about one subject, and what this process has of it. */
export interface Account {
  /** Identity: id of the budget, a line feed, the subject. */
  readonly key: string;
  readonly budget: string;
  readonly subject: string;
  /** What new holds are drawn from; undefined: nothing was leased yet, or its window is over. */
  lease: Lease | undefined;
}

/** What the store leased to this process out of one window. Amounts are whole nano-USD. */
export interface Lease {
  readonly id: bigint;
  readonly account: Account;
  /** In hand: neither held by a call nor spent. */
  free: number;
  /** What the store granted since the lease began, as far as is known. */
  grantedTotal: number;
  /** What was given back since the lease began. */
  returnedTotal: number;
  /** Monotonic time from which nothing may be taken from it; before the store's own moment. */
  expireMs: number;
  /** Monotonic time at which its window ends; Infinity: never. */
  windowEndMs: number;
  /** Calls that it covers. */
  holds: number;
  /** Whether something was taken from it since it was last looked at. */
  used: boolean;
}

/** What the store says of a lease. */
export interface LeaseWord {
  readonly id: bigint;
  readonly grantedTotal: number;
  readonly expiresInMs: number;
  /** Infinity: never. */
  readonly windowEndsInMs: number;
}

/** Money set aside for one call, in every account that is about it. */
export interface Held {
  readonly leases: readonly Lease[];
  amount: number;
  over: boolean;
  /** What it has of leases whose budget is not enforced any more: it grows without them. Undefined: there are none. */
  frozen: Map<Lease, number> | undefined;
}

/**
 * The leases of one process, and what calls hold of them. Pure: no clock, no network.
 *
 * At every moment, and for every lease, `grantedTotal - returnedTotal` is what is free, plus what open holds have, plus
 * the charges of holds that have ended. So the store, which takes charges off a lease when the ledger has them, never
 * has less in it than what calls may still cost.
 */
export class LeaseBook {
  private readonly leases = new Map<bigint, Lease>();

  /** All leases that the store should keep. */
  get all(): Iterable<Lease> {
    return this.leases.values();
  }

  /**
   * Takes what the store said. Words may be repeated, and come late: totals only grow.
   * @param askedMs monotonic time at which the store was asked
   */
  learn(account: Account, word: LeaseWord, askedMs: number): Lease {
    let lease = this.leases.get(word.id);
    if (lease === undefined) {
      lease = {
        id: word.id,
        account,
        free: 0,
        grantedTotal: 0,
        returnedTotal: 0,
        expireMs: 0,
        windowEndMs: 0,
        holds: 0,
        used: true,
      };
      this.leases.set(word.id, lease);
    }
    const granted = Math.max(0, word.grantedTotal - lease.grantedTotal);
    lease.grantedTotal += granted;
    lease.free += granted;
    lease.expireMs = Math.max(lease.expireMs, askedMs + word.expiresInMs);
    lease.windowEndMs = Math.max(lease.windowEndMs, askedMs + word.windowEndsInMs);
    if (account.lease === undefined || account.lease.id < lease.id) account.lease = lease;
    return lease;
  }

  get(id: bigint): Lease | undefined {
    return this.leases.get(id);
  }

  /** The store has ended a lease: nothing may be taken from it any more. */
  end(id: bigint): void {
    const lease = this.leases.get(id);
    if (lease === undefined) return;
    this.leases.delete(id);
    lease.free = 0;
    lease.expireMs = 0;
    if (lease.account.lease === lease) lease.account.lease = undefined;
  }

  /** How much of an amount an account lacks now; 0: nothing. */
  lacks({ lease }: Account, amount: number, nowMs: number): number {
    if (lease === undefined || nowMs >= lease.expireMs || nowMs >= lease.windowEndMs) return amount;
    return Math.max(0, amount - lease.free);
  }

  /** Sets an amount aside in every account, or in none. @param amount more than 0 */
  take(accounts: readonly Account[], amount: number, nowMs: number): Held | undefined {
    for (const account of accounts) if (this.lacks(account, amount, nowMs) > 0) return undefined;
    const leases = accounts.map((account) => account.lease as Lease);
    for (const lease of leases) {
      lease.free -= amount;
      lease.holds += 1;
      lease.used = true;
    }
    return { leases, amount, over: false, frozen: undefined };
  }

  /** How much of an amount a hold's lease lacks now, whichever window it is of; 0: nothing. */
  lacksMore(lease: Lease, amount: number, nowMs: number): number {
    return nowMs >= lease.expireMs ? amount : Math.max(0, amount - lease.free);
  }

  /** Adds to a hold, in every lease or in none. */
  extend(held: Held, amount: number, nowMs: number): boolean {
    if (held.over) return false;
    for (const lease of growing(held)) if (this.lacksMore(lease, amount, nowMs) > 0) return false;
    this.grow(held, amount);
    return true;
  }

  /**
   * Ends a hold: what the call did not cost is free again. A call that cost more takes what is free beside it.
   * @returns how much of the charge is covered
   */
  settle(held: Held, charge: number, nowMs: number): number {
    if (held.over) return 0;
    const beyond = charge - held.amount;
    if (beyond > 0) {
      const free = Math.min(beyond, ...growing(held).map((lease) => (nowMs < lease.expireMs ? lease.free : 0)));
      this.grow(held, free);
    }
    held.over = true;
    const covered = Math.min(charge, held.amount);
    for (const lease of held.leases) {
      // One that the store has ended is not in the book any more.
      const has = held.frozen?.get(lease) ?? held.amount;
      if (lease.expireMs > 0) lease.free += Math.max(0, has - covered);
      lease.holds -= 1;
    }
    return covered;
  }

  /** A budget is not enforced any more: the hold grows without its leases from now on. */
  freeze(held: Held, budget: string): void {
    for (const lease of growing(held)) {
      if (lease.account.budget === budget) (held.frozen ??= new Map()).set(lease, held.amount);
    }
  }

  /** Takes out of hand what is to be given back. */
  giveBack(lease: Lease, amount: number): void {
    const back = Math.min(amount, lease.free);
    lease.free -= back;
    lease.returnedTotal += back;
  }

  /**
   * Forgets a lease of which nothing is left to do here. Only one that the store has let go of: if it spoke of the lease again, totals
   * would be taken for new money.
   */
  drop(lease: Lease): void {
    if (lease.free > 0 || lease.holds > 0) return;
    this.leases.delete(lease.id);
    if (lease.account.lease === lease) lease.account.lease = undefined;
  }

  private grow(held: Held, amount: number): void {
    for (const lease of growing(held)) {
      lease.free -= amount;
      lease.used = true;
    }
    held.amount += amount;
  }
}

/** The leases of which a hold takes more when it grows. */
export function growing({ leases, frozen }: Held): readonly Lease[] {
  return frozen === undefined ? leases : leases.filter((lease) => !frozen.has(lease));
}
