import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { unknown } from "./counter.ts";
import { answerMsMax, createLeasedCounter, type LeasedCounter, type LeaseSurroundings } from "./lease.ts";
import { bucketOf, leaseKey } from "./lease-key.ts";
import { answersPerLimit, type LimitMessage, leaseScript, presenceScript } from "./lease-script.ts";
import type { CounterStore } from "./limiter.ts";

/** Runs a script in Redis. Rejects when it was not run, or when nobody knows; never waits for a connection. */
export type RunScript = (script: string, keys: readonly string[], args: readonly string[]) => Promise<unknown>;

/** What the store did, for metrics. */
export interface SharedStoreMeasures {
  /** @param outcome `ok`, `error`, or `timeout` for what nobody waited for any more */
  operation(operation: "lease" | "presence", outcome: "ok" | "error" | "timeout"): void;
  /** A limit was judged by this process' share, since Redis did not answer. */
  judgedAlone(): void;
}

export interface SharedStoreDeps {
  readonly run: RunScript;
  readonly clock: Clock;
  /** Tells this process from all others, also from earlier ones. */
  readonly holder: string;
  readonly measures: SharedStoreMeasures;
  readonly log: Log;
  /** For tests: an expression of Lua for the time that Redis has. */
  readonly timeExpression?: string;
}

/** Counters of limits that several processes share in Redis. */
export interface SharedStore extends CounterStore {
  /** Whether Redis answers. */
  readonly isUp: boolean;
  /** Processes that share the limits; the number last known. */
  readonly holders: number;
  /** Gives back what is held, if Redis answers within a second. */
  close(): Promise<void>;
}

/** Leases hold for so long: what a process that dies had at hand counts as taken after that. */
const leaseMs = 5_000;
/** Longest that a call waits for Redis; then it is judged by the share. */
const patienceMs = 50;
/** Least time between messages that no call waits for: many counters then go in one. A lease is asked for in time for more than that. */
const flushMs = 500;
/** Limits of one run of the script, so that Redis is never busy for long: some 15 us each. */
const batchMax = 64;
/** Runs that are under way at once. */
const runsMax = 128;
const presenceMs = 1_000;
/** And while Redis is away. */
const knockMs = 250;
/** A process that was silent for so long shares no more. */
const absenceMs = 10_000;
const presenceKey = "weir:limits:{present}";

/** What calls wait for of one counter. */
interface Asking {
  amount: number;
  least: number;
  readonly answered: (() => void)[];
}

export function createSharedStore(deps: SharedStoreDeps): SharedStore {
  const { run, clock, measures, log } = deps;
  const scripts = { lease: leaseScript(deps.timeExpression), presence: presenceScript(deps.timeExpression) };
  /** Counters that Redis should hear of, or hears of regularly. */
  const active = new Set<LeasedCounter>();
  const asking = new Map<LeasedCounter, Asking>();
  /** Those runs that are not answered, the oldest first, and whether calls have waited for them long enough. */
  const runs = new Set<{ isSlow: boolean }>();
  let isUp = false;
  let holders = 1;
  /** When there were last so many. */
  let holdersMs = Number.NEGATIVE_INFINITY;
  let serial = 0;
  let closed = false;
  /** Redis' time less ours, at most `quickMs` too great; undefined until it was heard. */
  let aheadMs: number | undefined;
  let cancelBeat: (() => void) | undefined;
  let beatMs = Number.POSITIVE_INFINITY;
  let flushedMs = Number.NEGATIVE_INFINITY;
  let flushing = false;
  let isPresent = false;
  let cancelPresence = clock.after(0, tellPresence);

  const around: LeaseSurroundings = {
    get isAway() {
      if (!isUp || closed) return true;
      for (const { isSlow } of runs) return isSlow;
      return false;
    },
    get holders() {
      return holders;
    },
    leaseMs,
    touched(counter, soon) {
      active.add(counter);
      const nowMs = clock.monotonic();
      schedule(soon ? counter.dueMs(nowMs) : Math.min(counter.dueMs(nowMs), nowMs + leaseMs));
    },
    judgedAlone: () => measures.judgedAlone(),
  };

  function schedule(dueMs: number): void {
    const atMs = Math.max(dueMs, flushedMs + flushMs);
    if (closed || atMs >= beatMs || dueMs === Number.POSITIVE_INFINITY) return;
    cancelBeat?.();
    beatMs = atMs;
    cancelBeat = clock.after(Math.max(0, atMs - clock.monotonic()), beat);
  }

  function beat(): void {
    beatMs = Number.POSITIVE_INFINITY;
    cancelBeat = undefined;
    flush();
  }

  /** Tells Redis of all counters that are due, and of those that calls wait for. */
  function flush(): void {
    const nowMs = clock.monotonic();
    if (!isUp) return;
    flushedMs = nowMs;
    const due = new Set<LeasedCounter>();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const counter of active) {
      const dueMs = asking.has(counter) && !counter.inFlight ? nowMs : counter.dueMs(nowMs);
      if (dueMs <= nowMs + graceMs) due.add(counter);
      else if (dueMs !== Number.POSITIVE_INFINITY) nextMs = Math.min(nextMs, dueMs);
      else if (!counter.inFlight) active.delete(counter);
    }
    if (due.size > 0) {
      // One run costs more than one limit more in it.
      for (const counter of active) if (counter.mayReport(nowMs)) due.add(counter);
    }
    for (const batch of batchesOf(due)) {
      if (runs.size >= runsMax) nextMs = nowMs + graceMs;
      else void lease(batch, nowMs);
    }
    schedule(nextMs);
  }

  async function lease(counters: readonly LeasedCounter[], nowMs: number): Promise<void> {
    const deadlineMs = aheadMs === undefined ? 0 : Math.ceil(nowMs + aheadMs + answerMsMax);
    const messages: LimitMessage[] = [];
    const asked: Asking[] = [];
    for (const counter of counters) {
      const ask = asking.get(counter);
      if (ask !== undefined) {
        asked.push(ask);
        asking.delete(counter);
      }
      messages.push(counter.report(nowMs, ask?.amount ?? 0, ask?.least ?? 0));
    }
    const keys = counters.map(({ limit }) => leaseKey(limit));
    const args = [String(leaseMs), String(deadlineMs), JSON.stringify(messages)];
    const answer = await within("lease", nowMs, () => run(scripts.lease, keys, args));
    const endMs = clock.monotonic();
    // One of another length says that Redis took no notice of the message.
    const numbers = answer?.length === 1 + counters.length * answersPerLimit ? answer : undefined;
    counters.forEach((counter, index) => {
      if (numbers === undefined) counter.unanswered();
      else counter.answered(endMs, numbers.slice(1 + index * answersPerLimit, 1 + (index + 1) * answersPerLimit));
      schedule(counter.dueMs(endMs));
    });
    for (const { answered } of asked) for (const tell of answered) tell();
    // What was asked for while its counter's message was under way.
    if (asking.size > 0) flushSoon();
  }

  /** Makes a call that is over in time whatever Redis does. @returns undefined when it failed */
  async function within(
    operation: "lease" | "presence",
    sentMs: number,
    call: () => Promise<unknown>,
  ): Promise<readonly number[] | undefined> {
    const mark = { isSlow: false };
    runs.add(mark);
    let cancel: (() => void) | undefined;
    const timeout = new Promise<typeof late>((resolve) => {
      cancel = afterReading(clock, patienceMs - graceMs, () => {
        mark.isSlow = true;
        const leftMs = sentMs + answerMsMax - clock.monotonic();
        cancel = afterReading(clock, Math.max(0, leftMs), () => resolve(late));
      });
    });
    try {
      const said = await Promise.race([call(), timeout]);
      measures.operation(operation, said === late ? "timeout" : "ok");
      if (said === late) {
        setUp(false, "it does not answer");
        return undefined;
      }
      const answer = readNumbers(said);
      learnTime(answer, sentMs);
      setUp(true);
      return answer;
    } catch (error) {
      measures.operation(operation, "error");
      setUp(false, error);
      return undefined;
    } finally {
      cancel?.();
      runs.delete(mark);
    }
  }

  /** A quick answer tells Redis' time well; one that took no notice of a message tells that it was not known. */
  function learnTime(answer: readonly number[], sentMs: number): void {
    const [nowMs] = answer;
    if (nowMs === undefined) return;
    const endMs = clock.monotonic();
    // Of a slow one the least that it can be: a deadline may come too early, and is learned again, but never too late.
    if (endMs - sentMs <= quickMs) aheadMs = nowMs + 1 - sentMs;
    else if (aheadMs === undefined || answer.length === 1) aheadMs = Math.floor(nowMs - endMs);
  }

  function setUp(up: boolean, why?: unknown): void {
    if (isUp === up || closed) return;
    isUp = up;
    if (up) {
      log.info({ holders }, "limits are shared in Redis");
      schedule(clock.monotonic());
    } else {
      log.warn({ error: why }, "Redis is away; this process keeps to its share of the limits");
      tellAll();
    }
  }

  /** Nobody is to wait any longer. */
  function tellAll(): void {
    const all = [...asking.values()];
    asking.clear();
    for (const { answered } of all) for (const tell of answered) tell();
  }

  /** Asks for an amount that a call waits for. */
  function want(counter: LeasedCounter, amount: number, answered: () => void): void {
    const known = asking.get(counter);
    if (known === undefined) asking.set(counter, { amount, least: amount, answered: [answered] });
    else {
      known.amount += amount;
      known.least = Math.min(known.least, amount);
      known.answered.push(answered);
    }
    active.add(counter);
    flushSoon();
  }

  /** In the next turn of the event loop: what else is asked in this one goes along, and who was just answered has taken. */
  function flushSoon(): void {
    if (flushing) return;
    flushing = true;
    setImmediate(() => {
      flushing = false;
      flush();
    });
  }

  function tellPresence(): void {
    const nowMs = clock.monotonic();
    cancelPresence = clock.after(isUp ? presenceMs : knockMs, tellPresence);
    // What was taken so long ago that it does not count any more need not be told.
    if (!isUp) for (const counter of active) if (counter.idle(nowMs)) active.delete(counter);
    // One that is not answered yet says enough.
    if (isPresent) return;
    isPresent = true;
    const args = [deps.holder, String(absenceMs)];
    void within("presence", nowMs, () => run(scripts.presence, [presenceKey], args)).then((answer) => {
      isPresent = false;
      const count = answer?.[1];
      if (count !== undefined && count >= 1) countHolders(count);
    });
  }

  /** A Redis that has lost its data hears of the others one after another: who was there a moment ago counts still. */
  function countHolders(count: number): void {
    const nowMs = clock.monotonic();
    if (count < holders && nowMs - holdersMs < absenceMs) return;
    holders = count;
    holdersMs = nowMs;
  }

  return {
    counter: (limit) => {
      serial += 1;
      return createLeasedCounter(limit, `${deps.holder}.${serial}`, around);
    },
    patienceMs,
    ask(counters, amounts, endMs) {
      const nowMs = clock.monotonic();
      if (around.isAway) return Promise.resolve();
      return new Promise((resolve) => {
        let left = 1;
        const answered = () => {
          left -= 1;
          if (left > 0) return;
          cancel();
          resolve();
        };
        const cancel = afterReading(clock, Math.max(0, endMs - nowMs), resolve);
        counters.forEach((counter, index) => {
          const leased = counter as LeasedCounter;
          const amount = Math.min(amounts[index] as number, counter.limit.amount);
          if (leased.waitMs(nowMs, amount) !== unknown) return;
          left += 1;
          want(leased, amount, answered);
        });
        answered();
      });
    },
    get isUp() {
      return isUp;
    },
    get holders() {
      return holders;
    },
    async close() {
      if (closed) return;
      const nowMs = clock.monotonic();
      cancelBeat?.();
      cancelPresence();
      tellAll();
      const held = [...active].filter((counter) => !counter.inFlight);
      for (const counter of held) counter.letGo();
      closed = true;
      if (isUp) await Promise.all(batchesOf(held).map((batch) => lease(batch, nowMs)));
    },
  };
}

/** Timers are late rather than early, but for fractions. */
const graceMs = 5;
/** An answer that took no longer tells the time of Redis to within as much. */
const quickMs = 200;
const late = Symbol("late");

/**
 * As `clock.after`, but what has come to this process' sockets by then is read first: a process that stood still, and not Redis, would
 * else take an answer for late that is there.
 */
function afterReading(clock: Clock, delayMs: number, call: () => void): () => void {
  let immediate: NodeJS.Immediate | undefined;
  const cancel = clock.after(delayMs, () => {
    immediate = setImmediate(call);
  });
  return () => {
    cancel();
    clearImmediate(immediate);
  };
}

/** What goes to Redis together: counters of one slot of a cluster, and not too many. */
function batchesOf(counters: Iterable<LeasedCounter>): LeasedCounter[][] {
  const batches: LeasedCounter[][] = [];
  const byBucket = Map.groupBy(counters, ({ limit }) => bucketOf(limit));
  for (const list of byBucket.values()) {
    for (let start = 0; start < list.length; start += batchMax) batches.push(list.slice(start, start + batchMax));
  }
  return batches;
}

/** @throws Error when Redis answers otherwise than the scripts do */
function readNumbers(answer: unknown): readonly number[] {
  const numbers: unknown = typeof answer === "string" ? JSON.parse(answer) : undefined;
  if (Array.isArray(numbers) && numbers.every((value) => typeof value === "number")) return numbers;
  throw new Error("Redis answers otherwise than the script does");
}
