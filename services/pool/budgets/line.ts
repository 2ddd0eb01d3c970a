import type { Account, Held, LeaseBook } from "./lease-book.ts";

/** How waiting ended. */
export type Turn =
  /** What was asked for is set aside. */
  | { readonly kind: "held"; readonly held: Held }
  /** No budget that is about the call is enforced any more. */
  | { readonly kind: "free" }
  /** It was refused. */
  | { readonly kind: "refused"; readonly failure: Error };

/** Somebody who waits for money. */
export interface Waiter {
  accounts: readonly Account[];
  /** What is to be added to; undefined: a new hold is wanted. */
  readonly held: Held | undefined;
  readonly amount: number;
  readonly turn: (turn: Turn) => void;
}

/** What is waited for in one account. */
interface Queue {
  count: number;
  amount: number;
}

/**
 * Those who wait, in the order in which they came; those who add to what they hold go first, since they cannot go on without.
 * Nobody overtakes another one who waits for the same account.
 */
export class Line {
  private readonly book: LeaseBook;
  private readonly extensions = new Set<Waiter>();
  private readonly arrivals = new Set<Waiter>();
  private readonly queues = new Map<Account, Queue>();

  constructor(book: LeaseBook) {
    this.book = book;
  }

  get size(): number {
    return this.extensions.size + this.arrivals.size;
  }

  /** Whether somebody waits for one of the accounts. */
  isAwaited(accounts: readonly Account[]): boolean {
    return this.queues.size > 0 && accounts.some((account) => this.queues.has(account));
  }

  /** What all who wait for an account want of it together. */
  wanted(account: Account): number {
    return this.queues.get(account)?.amount ?? 0;
  }

  add(waiter: Waiter): void {
    (waiter.held === undefined ? this.arrivals : this.extensions).add(waiter);
    this.count(waiter, 1);
  }

  /** @returns whether it was waiting */
  remove(waiter: Waiter): boolean {
    if (!this.extensions.delete(waiter) && !this.arrivals.delete(waiter)) return false;
    this.count(waiter, -1);
    return true;
  }

  *all(): Iterable<Waiter> {
    yield* this.extensions;
    yield* this.arrivals;
  }

  /**
   * Gives those their turn whom the book can serve.
   * @returns who is first for the accounts that lack something
   */
  serve(nowMs: number): Waiter[] {
    const heads: Waiter[] = [];
    const blocked = new Set<Account>();
    for (const waiter of this.all()) {
      if (blocked.size >= this.queues.size) break;
      const isBehind = waiter.accounts.some((account) => blocked.has(account));
      const held = isBehind ? undefined : this.take(waiter, nowMs);
      if (held !== undefined) {
        this.remove(waiter);
        waiter.turn({ kind: "held", held });
        continue;
      }
      if (!isBehind) heads.push(waiter);
      for (const account of waiter.accounts) blocked.add(account);
    }
    return heads;
  }

  /** A budget is not enforced any more: nobody waits for it. */
  leaveOut(budget: string): void {
    for (const waiter of this.all()) {
      if (!waiter.accounts.some((account) => account.budget === budget)) continue;
      this.count(waiter, -1);
      waiter.accounts = waiter.accounts.filter((account) => account.budget !== budget);
      if (waiter.held !== undefined) this.book.freeze(waiter.held, budget);
      this.count(waiter, 1);
      if (waiter.accounts.length > 0) continue;
      this.remove(waiter);
      waiter.turn({ kind: "free" });
    }
  }

  /** Refuses those whom `whom` picks. */
  refuse(whom: (waiter: Waiter) => boolean, failure: Error): void {
    for (const waiter of this.all()) {
      if (!whom(waiter)) continue;
      this.remove(waiter);
      waiter.turn({ kind: "refused", failure });
    }
  }

  private take(waiter: Waiter, nowMs: number): Held | undefined {
    const { held, accounts, amount } = waiter;
    if (held === undefined) return this.book.take(accounts, amount, nowMs);
    return this.book.extend(held, amount, nowMs) ? held : undefined;
  }

  private count({ accounts, amount }: Waiter, sign: 1 | -1): void {
    for (const account of accounts) {
      const queue = this.queues.get(account) ?? { count: 0, amount: 0 };
      queue.count += sign;
      queue.amount += sign * amount;
      if (queue.count === 0) this.queues.delete(account);
      else this.queues.set(account, queue);
    }
  }
}
