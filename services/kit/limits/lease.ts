import { type Counter, placeWaitMs, type Standing, unknown } from "./counter.ts";
import { answerUnknown, type LimitMessage, type Past } from "./lease-script.ts";
import type { Limit } from "./limit.ts";
import { dayShape, minuteShape, RateWindow, type WindowShape } from "./rate-window.ts";
import { UseRate } from "./use-rate.ts";

/** What leases know of the store that they come from. */
export interface LeaseSurroundings {
  /** Whether the store does not answer, so that this process counts within its share. */
  readonly isAway: boolean;
  /** Processes that share the limits, this one among them; the number last known. */
  readonly holders: number;
  /** How long a lease holds from the moment that it was asked for. */
  readonly leaseMs: number;
  /** Something happened that the store should hear of; at once, or when it is convenient. */
  touched(counter: LeasedCounter, soon: boolean): void;
  /** A call was judged by the share of this process. */
  judgedAlone(): void;
}

/** A counter of a limit that several processes share. */
export interface LeasedCounter extends Counter {
  /** What tells it from others of this process, also from earlier ones of the same limit. */
  readonly holder: string;
  /** Whether a message of it is under way. */
  readonly inFlight: boolean;
  /** When the store should hear of it next; Infinity: there is nothing to say. */
  dueMs(nowMs: number): number;
  /** Whether it goes along with others that are due. */
  mayReport(nowMs: number): boolean;
  /** What the script is told, and from now on only so much is taken as that says. `need`: what calls wait for; `least`: what one of them does. */
  report(nowMs: number, need: number, least: number): LimitMessage;
  /** @param answer what the script says: granted, left, wait, reset */
  answered(nowMs: number, answer: readonly number[]): void;
  /** No answer came in time. */
  unanswered(): void;
  /** Wants nothing ahead of need any more. */
  letGo(): void;
}

/** The store takes no notice of a message that is older. */
export const answerMsMax = 1_000;
/** So long before its end a lease covers nothing while a message is under way, which may come after its end. */
const endMarginMs = answerMsMax + 500;
/** Least and greatest time between two reports of what was taken. */
const soonMs = 20;
const reportMs = 1_000;
/** A lease covers what is taken in this time, at the rate of late. */
const aheadSeconds = 2;
/** What all processes together have at hand of a limit without using it is at most this part of it. */
const idlePart = 4;
/** Who was refused by the store asks again after this at the earliest. */
const askAgainMs = 100;
/** What is given back must be in the store's window still when the store hears of it. */
const returnMarginMs = 5_000;
const returnStaleMs = 3_000;

/** What the store said last. */
interface Told {
  readonly atMs: number;
  readonly left: number;
  readonly resetMs: number;
  /** What this counter had taken then. */
  readonly taken: number;
}

/** What is wanted as a whole, what of it is in use already, and the middle of a message, from slotMs to past. */
interface Account {
  readonly want: number;
  readonly fixed: number;
  readonly args: readonly [slotMs: number, slots: number, taken: number, returned: number, past: Past | false];
}

abstract class Leased implements LeasedCounter {
  limit: Limit;
  open = 0;
  inFlight = false;
  readonly holder: string;
  protected readonly around: LeaseSurroundings;
  /** What may be taken of the lease; below 0 when more was used than set aside. */
  protected free = 0;
  protected expireMs = Number.NEGATIVE_INFINITY;
  protected sentMs = Number.NEGATIVE_INFINITY;
  /** Taken since the message that is under way left. */
  protected flightTaken = 0;
  protected ahead = 0;
  /** Whether there is something that no message says yet, and whether it cannot wait. */
  protected changed = false;
  private isHurried = false;
  /** Whether the store knew this holder when it last answered. */
  protected isKnown = false;
  /** Whether the store has lost what it knew of this holder. */
  private isForgotten = false;
  protected refusedUntilMs = Number.NEGATIVE_INFINITY;
  protected told: Told | undefined;
  protected readonly rate = new UseRate();
  private refusedMs = 0;
  private refusedWaitMs = 0;
  private messages = 0;

  constructor(limit: Limit, holder: string, around: LeaseSurroundings) {
    this.limit = limit;
    this.holder = holder;
    this.around = around;
  }

  /** What this process may take by itself. */
  protected get share(): number {
    return Math.max(1, Math.floor(this.limit.amount / this.around.holders));
  }

  waitMs(nowMs: number, amount: number, alone = false): number {
    const wanted = Math.min(amount, this.limit.amount);
    if (this.free >= wanted && nowMs < this.expireMs) return 0;
    if (nowMs < this.refusedUntilMs) return Math.max(1, this.refusedMs + this.refusedWaitMs - nowMs);
    if (alone || this.around.isAway) {
      this.around.judgedAlone();
      return this.aloneMs(nowMs, Math.min(wanted, this.share));
    }
    return unknown;
  }

  take(nowMs: number, amount: number): number {
    const taken = Math.min(amount, this.limit.amount);
    this.count(nowMs, taken);
    if (this.inFlight) this.flightTaken += taken;
    this.rate.add(nowMs, taken);
    this.tell(this.free * 2 < this.ahead);
    return taken;
  }

  /** Has the store hear of what is new, once for each message. */
  protected tell(soon: boolean): void {
    if (this.changed && (!soon || this.isHurried)) return;
    this.changed = true;
    this.isHurried = soon;
    this.around.touched(this, soon);
  }

  dueMs(nowMs: number): number {
    if (this.inFlight) return Number.POSITIVE_INFINITY;
    const isLow = this.ahead > 0 && this.free * 2 < this.ahead;
    if (this.isForgotten) return nowMs;
    if (this.changed) return this.sentMs + (isLow ? soonMs : reportMs);
    if (nowMs >= this.expireMs || !this.isHeld()) return Number.POSITIVE_INFINITY;
    return Math.min(this.sentMs + reportMs * 2, this.expireMs - this.around.leaseMs / 2);
  }

  mayReport(nowMs: number): boolean {
    return this.changed && !this.inFlight && nowMs - this.sentMs >= reportMs / 2;
  }

  report(nowMs: number, need: number, least: number): LimitMessage {
    const amount = this.limit.amount;
    const idleMax = Math.floor(amount / (idlePart * this.around.holders));
    this.ahead = Math.min(this.rate.expect(nowMs, aheadSeconds), idleMax);
    // The lease may end before the store reads this, and from then on covers nothing.
    if (nowMs >= this.expireMs - endMarginMs) this.free = Math.min(0, this.free);
    const { want, fixed, args } = this.account(nowMs, need);
    this.free = Math.min(this.free, want - fixed);
    this.inFlight = true;
    this.flightTaken = 0;
    this.sentMs = nowMs;
    this.changed = this.isHurried = this.isForgotten = false;
    this.messages += 1;
    return [this.holder, this.messages, amount, ...args, want, fixed + need, need === 0 ? 0 : fixed + least];
  }

  answered(nowMs: number, answer: readonly number[]): void {
    const [granted = -1, left = 0, waitMs = 0, resetMs = 0] = answer;
    this.inFlight = false;
    if (granted < 0) {
      this.changed = true;
      if (granted === answerUnknown) this.forgotten();
      return;
    }
    this.isKnown = true;
    this.expireMs = this.sentMs + this.around.leaseMs;
    this.accept(granted);
    this.told = { atMs: nowMs, left, resetMs, taken: this.takenTotal() - this.flightTaken };
    this.refusedMs = nowMs;
    this.refusedWaitMs = waitMs;
    this.refusedUntilMs = waitMs > 0 ? nowMs + Math.min(waitMs, askAgainMs) : Number.NEGATIVE_INFINITY;
  }

  unanswered(): void {
    this.inFlight = false;
    this.changed = true;
  }

  letGo(): void {
    this.rate.forget();
    this.changed = true;
    // Nobody asks for its past again.
    this.isKnown = false;
  }

  /** What it had at hand, the store may have given to others. */
  private forgotten(): void {
    this.isKnown = false;
    this.isForgotten = true;
    this.free = Math.min(0, this.free);
    this.expireMs = Number.NEGATIVE_INFINITY;
  }

  abstract settle(nowMs: number, takenMs: number, taken: number, used: number): void;
  abstract standing(nowMs: number): Standing;
  abstract idle(nowMs: number): boolean;
  /** Whether anything is held that must be renewed or given back. */
  protected abstract isHeld(): boolean;
  protected abstract aloneMs(nowMs: number, wanted: number): number;
  protected abstract count(nowMs: number, taken: number): void;
  protected abstract takenTotal(): number;
  protected abstract accept(granted: number): void;
  protected abstract account(nowMs: number, need: number): Account;
}

/** Requests or tokens of a window. */
class LeasedWindow extends Leased {
  /** What this process took: for its share, and for a store that has lost its data. */
  private readonly window: RateWindow;
  private readonly shape: WindowShape;
  private taken = 0;
  private returned = 0;
  private returnedSent = 0;
  private returnedKnown = 0;
  /** Since when something is given back that the store has not confirmed. */
  private returnedMs: number | undefined;

  constructor(limit: Limit, holder: string, around: LeaseSurroundings) {
    super(limit, holder, around);
    this.shape = limit.window === "day" ? dayShape : minuteShape;
    this.window = new RateWindow(this.shape);
  }

  settle(nowMs: number, takenMs: number, taken: number, used: number): void {
    this.window.settle(nowMs, takenMs, taken, used);
    if (used > taken) {
      const more = used - taken;
      this.taken += more;
      this.free -= more;
      if (this.inFlight) this.flightTaken += more;
    } else if (used < taken) {
      this.giveBack(nowMs, takenMs, taken - used);
    } else return;
    this.tell(false);
  }

  private giveBack(nowMs: number, takenMs: number, amount: number): void {
    const { slotMs, slots } = this.shape;
    if (takenMs > this.sentMs) {
      // The store has not heard of it, and will not.
      this.taken -= amount;
      if (this.inFlight) this.flightTaken -= amount;
    } else if (nowMs - takenMs < slotMs * slots - returnMarginMs) {
      this.returned += amount;
      this.returnedMs ??= nowMs;
    }
  }

  standing(nowMs: number): Standing {
    const limit = this.limit.amount;
    const { told } = this;
    if (told === undefined || this.around.isAway) {
      const { share } = this;
      return { limit, remaining: this.window.remaining(nowMs, share), resetMs: this.window.resetMs(nowMs) };
    }
    const since = this.taken - told.taken;
    return {
      limit,
      remaining: Math.max(0, Math.min(limit, told.left - since)),
      resetMs: since > 0 ? this.window.resetMs(nowMs) : Math.max(0, told.atMs + told.resetMs - nowMs),
    };
  }

  idle(nowMs: number): boolean {
    return this.window.idle(nowMs) && !this.inFlight && (this.free <= 0 || nowMs >= this.expireMs);
  }

  protected isHeld(): boolean {
    return this.free > 0;
  }

  protected aloneMs(nowMs: number, wanted: number): number {
    return this.window.waitMs(nowMs, wanted, this.share);
  }

  protected count(nowMs: number, taken: number): void {
    this.window.add(nowMs, taken);
    this.taken += taken;
    // Also what no lease covered leaves the lease when the store hears of it.
    this.free = Math.max(Math.min(0, this.free), this.free - taken);
  }

  protected takenTotal(): number {
    return this.taken;
  }

  protected accept(granted: number): void {
    this.free = granted - this.flightTaken;
    this.returnedKnown = this.returnedSent;
    if (this.returned === this.returnedSent) this.returnedMs = undefined;
  }

  protected account(nowMs: number, need: number): Account {
    // What waited too long may have left the store's window by itself.
    if (this.returnedMs !== undefined && nowMs - this.returnedMs > returnStaleMs) {
      this.returned = this.returnedKnown;
      this.returnedMs = undefined;
    }
    this.returnedSent = this.returned;
    const { slotMs, slots } = this.shape;
    const past = this.isKnown ? false : this.window.parts(nowMs);
    return {
      want: need + this.ahead,
      fixed: 0,
      args: [slotMs, slots, this.taken, this.returned, past],
    };
  }
}

/** Places of open calls. */
class LeasedPlaces extends Leased {
  private used = 0;

  settle(_nowMs: number, _takenMs: number, taken: number, used: number): void {
    const back = taken - used;
    this.used -= back;
    this.free += back;
    if (this.inFlight) this.flightTaken -= back;
    this.tell(false);
  }

  standing(): Standing {
    const limit = this.limit.amount;
    const isAlone = this.told === undefined || this.around.isAway;
    const remaining = isAlone ? this.share - this.used : Math.max(this.free, (this.told?.left ?? 0) - this.used);
    return { limit, remaining: Math.max(0, remaining), resetMs: this.used === 0 ? 0 : placeWaitMs };
  }

  idle(nowMs: number): boolean {
    return this.used === 0 && !this.inFlight && (this.free <= 0 || nowMs >= this.expireMs);
  }

  protected isHeld(): boolean {
    return this.used + this.free > 0;
  }

  protected aloneMs(): number {
    return this.used < this.share ? 0 : placeWaitMs;
  }

  protected count(_nowMs: number, taken: number): void {
    this.used += taken;
    // Without a lease it is owed, so that the end of the call frees no place that was never there.
    this.free -= taken;
  }

  protected takenTotal(): number {
    return this.used;
  }

  protected accept(granted: number): void {
    this.free = granted - this.used;
  }

  protected account(_nowMs: number, need: number): Account {
    return { want: this.used + need + this.ahead, fixed: this.used, args: [this.around.leaseMs, 0, 0, 0, []] };
  }
}

/** @param holder as in LeasedCounter */
export function createLeasedCounter(limit: Limit, holder: string, around: LeaseSurroundings): LeasedCounter {
  return limit.kind === "concurrent"
    ? new LeasedPlaces(limit, holder, around)
    : new LeasedWindow(limit, holder, around);
}
