import type { Clock } from "../clock.ts";
import { type Counter, createLocalCounter, unknown } from "./counter.ts";
import { type Limit, limitName } from "./limit.ts";

/** Why nothing was taken. */
export interface Refusal {
  /** The one that is used up; of several the one that takes longest. */
  readonly limit: Limit;
  /** Milliseconds until there is room, if nobody takes any. */
  readonly waitMs: number;
}

/** Where counters come from that several processes share. */
export interface CounterStore {
  counter(limit: Limit): Counter;
  /** Longest that a call waits for the store; then it is judged without. */
  readonly patienceMs: number;
  /** Asks for what a call lacks, for all its counters at once. Resolves, and never rejects, when there is an answer, or at `endMs`. */
  ask(counters: readonly Counter[], amounts: readonly number[], endMs: number): Promise<void>;
}

/** Takes from several limits at once. */
export interface Limiter {
  /** The counter of a limit, which has the limit's amount from now on. */
  counter(limit: Limit): Counter;
  /**
   * Takes one request, one place or so many tokens from each counter, as its limit's kind says: from all or from none.
   * At once, unless a store has to be asked.
   */
  take(counters: readonly Counter[], tokens: number): Taking | Refusal | Promise<Taking | Refusal>;
  /** Whether a counter is still the one that counts; who keeps counters asks again when it is not. */
  knows(counter: Counter): boolean;
  /** Counters in memory. */
  readonly size: number;
  close(): void;
}

/** Counters that are kept; beyond it the one that came first is forgotten, and with it what was taken. */
const countersMax = 200_000;
const sweepMs = 60_000;

export interface LimiterDeps {
  readonly clock: Clock;
  /** Undefined: this process counts for itself. */
  readonly store?: CounterStore | undefined;
}

export function createLimiter({ clock, store }: LimiterDeps): Limiter {
  const counters = new Map<string, Counter>();
  const forgotten = new WeakSet<Counter>();
  let cancelSweep = clock.after(sweepMs, sweep);

  function sweep(): void {
    const nowMs = clock.monotonic();
    for (const [name, counter] of counters) {
      if (counter.open === 0 && counter.idle(nowMs)) forget(name, counter);
    }
    cancelSweep = clock.after(sweepMs, sweep);
  }

  function forget(name: string, counter: Counter): void {
    counters.delete(name);
    forgotten.add(counter);
  }

  function makeRoom(): void {
    for (const [name, counter] of counters) {
      forget(name, counter);
      return;
    }
  }

  /** @returns the first counter that has to ask its store, when nothing is refused without */
  function tryTake(list: readonly Counter[], tokens: number, alone: boolean): Taking | Refusal | Counter {
    const nowMs = clock.monotonic();
    let refusal: Refusal | undefined;
    let lacking: Counter | undefined;
    for (const counter of list) {
      const waitMs = counter.waitMs(nowMs, amountOf(counter, tokens), alone);
      if (waitMs === unknown) lacking ??= counter;
      else if (waitMs > (refusal?.waitMs ?? 0)) refusal = { limit: counter.limit, waitMs };
    }
    return refusal ?? lacking ?? new Taking(clock, list, tokens, nowMs);
  }

  async function askAndTake(asked: CounterStore, list: readonly Counter[], tokens: number): Promise<Taking | Refusal> {
    const amounts = list.map((counter) => amountOf(counter, tokens));
    const endMs = clock.monotonic() + asked.patienceMs;
    for (let round = 1; ; round += 1) {
      await asked.ask(list, amounts, endMs);
      // Others may have taken what the store gave.
      const alone = round === asksMax || clock.monotonic() >= endMs - graceMs;
      const outcome = tryTake(list, tokens, alone);
      if (!isCounter(outcome)) return outcome;
    }
  }

  return {
    counter(limit) {
      const name = limitName(limit);
      const known = counters.get(name);
      if (known !== undefined) {
        known.limit = limit;
        return known;
      }
      if (counters.size >= countersMax) makeRoom();
      const counter = store?.counter(limit) ?? createLocalCounter(limit);
      counters.set(name, counter);
      return counter;
    },
    take(list, tokens) {
      const outcome = tryTake(list, tokens, store === undefined);
      return isCounter(outcome) ? askAndTake(store as CounterStore, list, tokens) : outcome;
    },
    knows: (counter) => !forgotten.has(counter),
    get size() {
      return counters.size;
    },
    close() {
      cancelSweep();
      counters.clear();
    },
  };
}

/** Times that one call asks the store, if each answer comes at once. */
const asksMax = 10;
/** A timer may be early by as much. */
const graceMs = 1;

function isCounter(outcome: Taking | Refusal | Counter): outcome is Counter {
  return "standing" in outcome;
}

function amountOf(counter: Counter, tokens: number): number {
  return counter.limit.kind === "tokens" ? tokens : 1;
}

/** What was taken for one call. Whoever holds it ends it, once, whatever becomes of the call. */
export class Taking {
  private readonly clock: Clock;
  private readonly counters: readonly Counter[];
  private readonly taken: number[] = [];
  private readonly takenMs: number;
  private settled = false;
  private ended = false;

  constructor(clock: Clock, counters: readonly Counter[], tokens: number, nowMs: number) {
    this.clock = clock;
    this.counters = counters;
    this.takenMs = nowMs;
    for (const counter of counters) {
      this.taken.push(counter.take(nowMs, amountOf(counter, tokens)));
      counter.open += 1;
    }
  }

  /** The truth about the tokens; what nobody settles stays as it was taken. Only the first use counts. */
  settle(usedTokens: number): void {
    if (this.settled || this.ended) return;
    this.settled = true;
    this.correct("tokens", usedTokens);
  }

  /** The call is over: its places are free. Only the first use counts. */
  end(): void {
    if (this.ended) return;
    this.ended = true;
    this.correct("concurrent", 0);
    for (const counter of this.counters) counter.open -= 1;
  }

  /** As if nothing had been taken, as far as it was not settled. */
  giveBack(): void {
    if (this.ended) return;
    this.correct("requests", 0);
    this.settle(0);
    this.end();
  }

  private correct(kind: "requests" | "tokens" | "concurrent", used: number): void {
    let nowMs: number | undefined;
    this.counters.forEach((counter, index) => {
      if (counter.limit.kind !== kind) return;
      nowMs ??= this.clock.monotonic();
      counter.settle(nowMs, this.takenMs, this.taken[index] as number, used);
    });
  }
}
