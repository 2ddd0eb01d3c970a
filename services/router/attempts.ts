import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import type { FailureKind } from "./health.ts";
import type { AttemptTimeouts, RetrySettings } from "./snapshot.ts";

/** What a failed attempt means for the request and for its target. */
export interface Verdict {
  /** Where the request may go next: nowhere, to another target only, or to this one again as well. */
  readonly next: "nowhere" | "elsewhere" | "anywhere";
  /** What it says about the target: a failure of its own; that it works (`refused`); or nothing. */
  readonly health: FailureKind | "refused" | "nothing";
}

const giveUp: Verdict = { next: "nowhere", health: "nothing" };
const callersFault: Verdict = { next: "nowhere", health: "refused" };
/** The target works; one with a larger context may take it. */
const tooLong: Verdict = { next: "elsewhere", health: "refused" };
/** Another target may be able to do it; nothing was sent to this one. */
const unable: Verdict = { next: "elsewhere", health: "nothing" };
const anotherKey: Verdict = { next: "anywhere", health: "nothing" };
const outage: Verdict = { next: "anywhere", health: "failure" };

/** Reasons that are not here end the request and say nothing about the target. */
const verdicts: ReadonlyMap<Reason, Verdict> = new Map([
  [ErrorReason.PROVIDER_UNAVAILABLE, outage],
  [ErrorReason.PROVIDER_TIMEOUT, outage],
  [ErrorReason.STREAM_TRUNCATED, outage],
  [ErrorReason.PROVIDER_RATE_LIMITED, { next: "anywhere", health: "rate-limit" }],
  // The pool's own limit, or a pool that went away: nothing reached the target that it could have failed.
  [ErrorReason.OVERLOADED, { next: "anywhere", health: "nothing" }],
  [ErrorReason.PROVIDER_REJECTED, callersFault],
  [ErrorReason.TARGET_UNSUPPORTED, unable],
  [ErrorReason.CONTEXT_TOO_LONG, tooLong],
]);

/**
 * Judges a failed attempt. Pure.
 * @param leftMs what was left of the caller's time when the attempt began; undefined: no deadline. A timer that this made
 *   shorter than the route's says nothing about the target when it fires
 */
export function judge(error: WeirError, timeouts: AttemptTimeouts, leftMs: number | undefined): Verdict {
  const { reason, metadata } = error;
  if (reason === ErrorReason.PROVIDER_UNAVAILABLE && metadata.cause === "credential") {
    return { next: "elsewhere", health: "credential" };
  }
  // What the configuration says that the provider allows, less what was called already: it never heard of the call.
  if (reason === ErrorReason.PROVIDER_RATE_LIMITED && metadata.limit !== undefined) {
    return { next: "anywhere", health: "nothing" };
  }
  // One key of several: the pool has set it aside, and calls with another one.
  if (reason === ErrorReason.PROVIDER_UNAVAILABLE && metadata.cause === "key") return anotherKey;
  // By what is known of the target's model; the same from a provider is its answer.
  if (reason === ErrorReason.CONTEXT_TOO_LONG && metadata.context_tokens !== undefined) return unable;
  const verdict = verdicts.get(reason) ?? giveUp;
  if (reason !== ErrorReason.PROVIDER_TIMEOUT || leftMs === undefined) return verdict;
  const hurried = leftMs < (timerMs[metadata.timer ?? ""]?.(timeouts) ?? timeouts.totalMs);
  return hurried ? { ...verdict, health: "nothing" } : verdict;
}

/** The route's value of a timer, by its word in the metadata of PROVIDER_TIMEOUT. */
const timerMs: Readonly<Record<string, (timeouts: AttemptTimeouts) => number>> = {
  connect: (timeouts) => timeouts.connectMs,
  first_token: (timeouts) => timeouts.firstTokenMs,
  idle: (timeouts) => timeouts.idleMs,
  total: (timeouts) => timeouts.totalMs,
};

/**
 * The failure that helps the caller most, of all attempts of a request: a provider's rate limit before a limit of ours,
 * before a timeout, before an outage; of several, the one that may be over first. Its text is the reason's own, not an
 * attempt's, but for what a target cannot express.
 */
export function mostUseful(failures: readonly WeirError[]): WeirError {
  const rank = (error: WeirError) => {
    const at = usefulness.indexOf(error.reason);
    return at < 0 ? usefulness.length : at;
  };
  const delay = (error: WeirError) => error.retryAfterMs ?? Infinity;
  const [first] = [...failures].sort((a, b) => {
    const byRank = rank(a) - rank(b);
    if (byRank !== 0) return byRank;
    return delay(a) === delay(b) ? 0 : delay(a) - delay(b);
  });
  if (first === undefined) return new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
  // Its text names what to leave out, in our own words.
  return first.reason === ErrorReason.TARGET_UNSUPPORTED ? first : withoutText(first);
}

const usefulness: readonly Reason[] = [
  ErrorReason.PROVIDER_RATE_LIMITED,
  ErrorReason.OVERLOADED,
  ErrorReason.PROVIDER_TIMEOUT,
  ErrorReason.PROVIDER_UNAVAILABLE,
];

/** The same failure in the words of its reason. */
export function withoutText(error: WeirError): WeirError {
  return new WeirError(error.reason, {
    metadata: error.metadata,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    cause: error,
  });
}

const backoffBaseMs = 100;
const backoffMaxMs = 2_000;

/**
 * How long to wait before the same target is called again: full jitter, so that callers who failed together do not come
 * back together. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 * @param tries attempts made there so far, at least 1
 * @param random 0 to 1
 */
export function backoffMs(tries: number, random: number): number {
  return random * Math.min(backoffMaxMs, backoffBaseMs * 2 ** (tries - 1));
}

/** Spreads callers that wait for one moment over up to a quarter of a second after it. */
export function spreadMs(waitMs: number, random: number): number {
  return waitMs + random * Math.min(250, waitMs);
}

/** Bounds the attempts that follow a first one, over all requests of a router. */
export interface RetryBudget {
  /** Counts a request. */
  request(): void;
  /** Takes one retry out of the budget; false when there is none left. */
  takeRetry(): boolean;
}

const slotMs = 1_000;
const slots = 10;

/**
 * A budget over the last ten seconds: retries are at most a percentage of the requests in them, plus a number for each
 * second. So when everything fails, a router calls upstream little more often than it is called itself.
 */
export function createRetryBudget(settings: () => RetrySettings, monotonic: () => number): RetryBudget {
  const requests = new Float64Array(slots);
  const retries = new Float64Array(slots);
  let requestSum = 0;
  let retrySum = 0;
  let current = Math.floor(monotonic() / slotMs);

  /** Empties the slots that have fallen out of the window; returns the present one. */
  const advance = (): number => {
    const now = Math.floor(monotonic() / slotMs);
    for (let slot = Math.max(current, now - slots) + 1; slot <= now; slot += 1) {
      const index = slot % slots;
      requestSum -= requests[index] ?? 0;
      retrySum -= retries[index] ?? 0;
      requests[index] = 0;
      retries[index] = 0;
    }
    current = Math.max(current, now);
    return current % slots;
  };

  return {
    request() {
      const index = advance();
      requests[index] = (requests[index] ?? 0) + 1;
      requestSum += 1;
    },
    takeRetry() {
      const index = advance();
      const { percent, perSecondMin } = settings();
      if (retrySum + 1 > (requestSum * percent) / 100 + perSecondMin * slots) return false;
      retries[index] = (retries[index] ?? 0) + 1;
      retrySum += 1;
      return true;
    },
  };
}
