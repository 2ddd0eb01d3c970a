import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { Standings } from "./rate-headers.ts";
import { RateWindow, windowMs } from "./rate-window.ts";

/** Whom limits are for. */
export interface Limited {
  /** Id of the key. */
  readonly id: string;
  /** Undefined: the edge's default. */
  readonly requestsPerMinute: number | undefined;
  /** Undefined: the edge's default. */
  readonly tokensPerMinute: number | undefined;
}

export interface LimitDefaults {
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
}

export type LimitName = "requests" | "tokens";

/** Tokens set aside for one call. */
export interface TokenReservation {
  /** The truth about the call. Only the first use counts. */
  settle(usedTokens: number): void;
}

/**
 * Rates of keys, in this process's memory. In no 60 seconds does a key start more requests, or get more tokens reserved,
 * than its limit; a call that uses more tokens than were reserved for it puts the key into debt until that use is a
 * minute old.
 */
export interface Limits {
  /** Counts one request. @throws WeirError RATE_LIMITED */
  takeRequest(key: Limited): void;
  /**
   * Sets tokens aside until the truth is known. A call that asks for more than the limit is let through when the key
   * has used none for a minute.
   * @throws WeirError RATE_LIMITED
   */
  reserveTokens(key: Limited, tokens: number): TokenReservation;
  /** What is left of a key's limits now. */
  standings(key: Limited): Standings;
  /** Keys that were active in the last minutes. */
  readonly keyCount: number;
  close(): void;
}

interface KeyWindows {
  readonly requests: RateWindow;
  readonly tokens: RateWindow;
}

/** Keys whose windows are kept; beyond it the one that came first is forgotten, and with it its last minute. */
const keysMax = 100_000;
/** Clients of OpenAI's SDK ignore a Retry-After above this. */
const retryAfterMaxMs = 60_000;

export interface LimitsDeps {
  readonly clock: Clock;
  readonly defaults: () => LimitDefaults;
  /** Told of each refusal. */
  readonly onRefused: (limit: LimitName) => void;
}

export function createLimits({ clock, defaults, onRefused }: LimitsDeps): Limits {
  const byKey = new Map<string, KeyWindows>();
  let cancelSweep = clock.after(windowMs, sweep);

  function sweep(): void {
    const nowMs = clock.monotonic();
    for (const [id, windows] of byKey) {
      if (windows.requests.idle(nowMs) && windows.tokens.idle(nowMs)) byKey.delete(id);
    }
    cancelSweep = clock.after(windowMs, sweep);
  }

  function windowsOf(id: string): KeyWindows {
    const known = byKey.get(id);
    if (known !== undefined) return known;
    if (byKey.size >= keysMax) byKey.delete(byKey.keys().next().value as string);
    const windows = { requests: new RateWindow(), tokens: new RateWindow() };
    byKey.set(id, windows);
    return windows;
  }

  function refuse(limit: LimitName, perMinute: number, waitMs: number): never {
    onRefused(limit);
    throw new WeirError(ErrorReason.RATE_LIMITED, {
      text: `Rate limit reached: ${perMinute} ${limit} a minute for this API key. Retry after the delay in Retry-After.`,
      metadata: { limit },
      retryAfterMs: Math.min(Math.max(1, Math.ceil(waitMs)), retryAfterMaxMs),
    });
  }

  return {
    takeRequest(key) {
      const limit = key.requestsPerMinute ?? defaults().requestsPerMinute;
      const waitMs = windowsOf(key.id).requests.take(clock.monotonic(), 1, limit);
      if (waitMs > 0) refuse("requests", limit, waitMs);
    },
    reserveTokens(key, tokens) {
      const limit = key.tokensPerMinute ?? defaults().tokensPerMinute;
      const window = windowsOf(key.id).tokens;
      const takenMs = clock.monotonic();
      const taken = Math.min(tokens, limit);
      const waitMs = window.take(takenMs, taken, limit);
      if (waitMs > 0) refuse("tokens", limit, waitMs);
      let settled = false;
      return {
        settle(usedTokens) {
          if (settled) return;
          settled = true;
          window.settle(clock.monotonic(), takenMs, taken, usedTokens);
        },
      };
    },
    standings(key) {
      const nowMs = clock.monotonic();
      const standard = defaults();
      const standing = (window: RateWindow, limit: number) => ({
        limit,
        remaining: window.remaining(nowMs, limit),
        resetMs: window.resetMs(nowMs),
      });
      const { requests, tokens } = windowsOf(key.id);
      return {
        requests: standing(requests, key.requestsPerMinute ?? standard.requestsPerMinute),
        tokens: standing(tokens, key.tokensPerMinute ?? standard.tokensPerMinute),
      };
    },
    get keyCount() {
      return byKey.size;
    },
    close() {
      cancelSweep();
      byKey.clear();
    },
  };
}
