import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Counter, Standing } from "@weir/kit/limits/counter";
import { type Limit, type LimitAmounts, limitsOf, type LimitScope } from "@weir/kit/limits/limit";
import { type CounterStore, createLimiter, type Refusal, Taking } from "@weir/kit/limits/limiter";
import { WeirError } from "@weir/kit/weir-error";
import type { AliasLimits } from "./alias-limits.ts";
import type { Standings } from "./rate-headers.ts";

/** Whom limits are for. Its own limits are those of its key; where it names none for a minute, the edge's defaults. */
export interface Limited extends LimitAmounts {
  /** Id of the key, or what stands for one: callers of one id share its limits. */
  readonly id: string;
  /** Whose limits hold for it as well: `tenants/`, `teams/` and `users/` and an id, the tenant first. */
  readonly subjects: readonly string[];
}

export interface LimitDefaults {
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
}

/**
 * The limits of every door. One call goes through them like this, whatever it speaks:
 *
 *     const admission = await limits.admit(caller);        // a request and a place, of key, user, team and tenant
 *     try {
 *       await admission.reserve(alias, estimate);          // the alias's request and place, and everybody's tokens
 *       ...                                                // the call
 *       admission.settle(inputTokens + outputTokens);      // the truth, when it is known
 *     } finally {
 *       admission.end();                                   // the places are free
 *     }
 *
 * Both steps return a promise only when a shared store has to be asked, so test for one before you await: the hot path
 * stays in its turn of the event loop. A call that leads to no model takes no second step.
 */
export interface Limits {
  /**
   * Takes one request, and one place among those that are open, in every limit of a caller: in all or in none.
   * @throws WeirError RATE_LIMITED; a promise rejects with it
   */
  admit(caller: Limited): Admission | Promise<Admission>;
  /** What is left of a caller's limits now. */
  standings(caller: Limited): Standings;
  /** Limits that something was taken of in the last minutes. */
  readonly counterCount: number;
  close(): void;
}

/** What one call has taken. Whoever holds it ends it, whatever becomes of the call. */
export interface Admission {
  /**
   * Takes a request and a place in the limits of an alias, and sets tokens aside in all limits of the call until the truth
   * is known: in all or in none. When it is refused, what `admit` took goes back, too. An estimate above a whole limit is
   * let through when nothing else was taken of it. To be called at most once.
   * @throws WeirError RATE_LIMITED; a promise rejects with it
   */
  reserve(alias: string, tokens: number): undefined | Promise<undefined>;
  /** What the call used. What was set aside and is not settled stays counted. Only the first use counts. */
  settle(usedTokens: number): void;
  /** The call is over. Only the first use counts, and nothing can be settled after it. */
  end(): void;
  /** For a call that goes on when its exchange is over: what was taken moves to another holder, and this one holds nothing. */
  handOver(): Admission;
}

export interface LimitsDeps {
  readonly clock: Clock;
  readonly defaults: () => LimitDefaults;
  /** What is said of a tenant, a team or a user. The same object until it changes. */
  readonly subject: (name: string) => { readonly limits?: LimitAmounts | undefined } | undefined;
  readonly aliases: () => AliasLimits;
  /** Where limits are that several edges share. Undefined: this one counts for itself. */
  readonly store?: CounterStore | undefined;
  /** Told of each refusal. */
  readonly onRefused: (limit: Limit) => void;
}

/** The counters of one caller, and what they were made from. */
interface Plan {
  readonly caller: Limited;
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  readonly subjects: readonly (object | undefined)[];
  /** Requests and places. */
  readonly door: readonly Counter[];
  readonly tokens: readonly Counter[];
  /** Those that headers tell of. */
  readonly shown: Record<"requests" | "tokens", Record<"minute" | "day", readonly Counter[]>>;
}

/** Plans that are kept; all of them go when there are more, and each comes back with its caller's next call. */
const plansMax = 100_000;
/** Clients of OpenAI's SDK ignore a Retry-After above this; a minute's limit, whose slots end a second later, may round to it. */
const minuteRetryMaxMs = 60_000;

export function createLimits(deps: LimitsDeps): Limits {
  const { clock, defaults, subject, aliases, onRefused } = deps;
  const limiter = createLimiter({ clock, store: deps.store });
  const plans = new Map<string, Plan>();

  function planOf(caller: Limited): Plan {
    const known = plans.get(caller.id);
    if (known !== undefined && isCurrent(known, caller)) return known;
    if (plans.size >= plansMax) plans.clear();
    const plan = createPlan(caller);
    plans.set(caller.id, plan);
    return plan;
  }

  function isCurrent(plan: Plan, caller: Limited): boolean {
    const standard = defaults();
    return (
      plan.caller === caller &&
      plan.requestsPerMinute === standard.requestsPerMinute &&
      plan.tokensPerMinute === standard.tokensPerMinute &&
      caller.subjects.every((name, index) => subject(name) === plan.subjects[index]) &&
      plan.door.every(limiter.knows) &&
      plan.tokens.every(limiter.knows)
    );
  }

  function createPlan(caller: Limited): Plan {
    const { requestsPerMinute, tokensPerMinute } = defaults();
    const subjects = caller.subjects.map(subject);
    const [group] = caller.subjects;
    const limits = [
      ...limitsOf(
        "key",
        caller.id,
        {
          ...caller,
          requestsPerMinute: caller.requestsPerMinute ?? requestsPerMinute,
          tokensPerMinute: caller.tokensPerMinute ?? tokensPerMinute,
        },
        group,
      ),
      ...subjects.flatMap((known, index) => subjectLimits(caller.subjects[index] as string, known?.limits, group)),
    ];
    const counters = limits.map((limit) => limiter.counter(limit));
    const ofKind = (kind: Limit["kind"], window: Limit["window"]) =>
      counters.filter(({ limit }) => limit.kind === kind && limit.window === window);
    return {
      caller,
      requestsPerMinute,
      tokensPerMinute,
      subjects,
      door: counters.filter(({ limit }) => limit.kind !== "tokens"),
      tokens: counters.filter(({ limit }) => limit.kind === "tokens"),
      shown: {
        requests: { minute: ofKind("requests", "minute"), day: ofKind("requests", "day") },
        tokens: { minute: ofKind("tokens", "minute"), day: ofKind("tokens", "day") },
      },
    };
  }

  function refuse({ limit, waitMs }: Refusal): never {
    onRefused(limit);
    throw new WeirError(ErrorReason.RATE_LIMITED, {
      text: `Rate limit reached: ${limitText(limit)}. Retry after the delay in Retry-After.`,
      metadata: {
        limit: limit.kind,
        scope: limit.scope,
        ...(limit.window === undefined ? {} : { window: limit.window }),
      },
      retryAfterMs: Math.max(1, Math.ceil(limit.window === "day" ? waitMs : Math.min(waitMs, minuteRetryMaxMs))),
    });
  }

  function admitted(caller: Limited, outcome: Taking | Refusal): Admission {
    return outcome instanceof Taking ? new OpenAdmission(caller, [outcome], reserve) : refuse(outcome);
  }

  function reserve(caller: Limited, alias: string, tokens: number): Taking | Promise<Taking> {
    const own = planOf(caller).tokens;
    const limits = aliases().of(alias);
    const counters = limits.length === 0 ? own : [...own, ...limits.map((limit) => limiter.counter(limit))];
    const outcome = limiter.take(counters, tokens);
    return outcome instanceof Promise ? outcome.then(reserved) : reserved(outcome);
  }

  function reserved(outcome: Taking | Refusal): Taking {
    return outcome instanceof Taking ? outcome : refuse(outcome);
  }

  function tightest(counters: readonly Counter[], nowMs: number): Standing | undefined {
    let found: Standing | undefined;
    for (const counter of counters) {
      const standing = counter.standing(nowMs);
      if (found === undefined || standing.remaining < found.remaining) found = standing;
    }
    return found;
  }

  return {
    admit(caller) {
      const outcome = limiter.take(planOf(caller).door, 0);
      return outcome instanceof Promise
        ? outcome.then((settled) => admitted(caller, settled))
        : admitted(caller, outcome);
    },
    standings(caller) {
      const nowMs = clock.monotonic();
      const { requests, tokens } = planOf(caller).shown;
      return {
        // A key has both of a minute, by default at least.
        requests: tightest(requests.minute, nowMs) as Standing,
        tokens: tightest(tokens.minute, nowMs) as Standing,
        requestsOfDay: tightest(requests.day, nowMs),
        tokensOfDay: tightest(tokens.day, nowMs),
      };
    },
    get counterCount() {
      return limiter.size;
    },
    close() {
      limiter.close();
      plans.clear();
    },
  };
}

type Reserve = (caller: Limited, alias: string, tokens: number) => Taking | Promise<Taking>;

class OpenAdmission implements Admission {
  private readonly caller: Limited;
  private readonly takeTokens: Reserve;
  /** Empty once it is over, or was handed over. */
  private takings: readonly Taking[];
  private isOver = false;

  constructor(caller: Limited, takings: readonly Taking[], takeTokens: Reserve) {
    this.caller = caller;
    this.takings = takings;
    this.takeTokens = takeTokens;
  }

  reserve(alias: string, tokens: number): undefined | Promise<undefined> {
    try {
      const taking = this.takeTokens(this.caller, alias, tokens);
      if (taking instanceof Promise) return this.whenReserved(taking);
      this.add(taking);
      return undefined;
    } catch (thrown) {
      this.giveBack();
      throw thrown;
    }
  }

  settle(usedTokens: number): void {
    for (const taking of this.takings) taking.settle(usedTokens);
  }

  end(): void {
    for (const taking of this.takings) taking.end();
    this.takings = [];
    this.isOver = true;
  }

  handOver(): Admission {
    const next = new OpenAdmission(this.caller, this.takings, this.takeTokens);
    this.takings = [];
    this.isOver = true;
    return next;
  }

  private async whenReserved(taking: Promise<Taking>): Promise<undefined> {
    try {
      this.add(await taking);
    } catch (thrown) {
      this.giveBack();
      throw thrown;
    }
  }

  private add(taking: Taking): void {
    // The call ended while a store was asked: nothing will be used.
    if (this.isOver) taking.giveBack();
    else this.takings = [...this.takings, taking];
  }

  private giveBack(): void {
    for (const taking of this.takings) taking.giveBack();
    this.end();
  }
}

const subjectScopes: Readonly<Record<string, LimitScope>> = { tenants: "tenant", teams: "team", users: "user" };

/** @param name `teams/search` */
function subjectLimits(name: string, limits: LimitAmounts | undefined, group: string | undefined): Limit[] {
  const slash = name.indexOf("/");
  const scope = subjectScopes[name.slice(0, slash)];
  return limits === undefined || scope === undefined ? [] : limitsOf(scope, name.slice(slash + 1), limits, group);
}

const scopeWords: Readonly<Record<LimitScope, string>> = {
  key: "this API key",
  user: "this user",
  team: "this team",
  tenant: "this tenant",
  alias: "this model",
  provider: "this provider",
};

function limitText({ scope, kind, window, amount }: Limit): string {
  const what = window === undefined ? `${amount} requests at once` : `${amount} ${kind} a ${window}`;
  return `${what} for ${scopeWords[scope]}`;
}
