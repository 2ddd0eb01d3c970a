import { estimateInputTokens } from "@weir/dialect/wire-request";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import type { Clock } from "@weir/kit/clock";
import type { Counter } from "@weir/kit/limits/counter";
import { type CounterStore, createLimiter, type Refusal, Taking } from "@weir/kit/limits/limiter";
import { WeirError } from "@weir/kit/weir-error";
import type { ProviderSettings } from "./provider-set.ts";

/** What a call may use, as far as it can be told before. */
export interface Expected {
  readonly body: Uint8Array;
  /** Undefined: the request names no limit. */
  readonly outputTokensMax: number | undefined;
}

/** What providers allow, as the configuration says. */
export interface ProviderLimits {
  /**
   * Takes a request, a place and the tokens that a call may use in all limits of a provider, or in none. Whoever gets something
   * ends it with `end`, or gives it back when nothing was sent.
   * @returns undefined for a provider without limits; a promise only when a shared store has to be asked
   * @throws WeirError PROVIDER_RATE_LIMITED with `limit`, OVERLOADED when too many calls are open: another target may do
   */
  take(provider: ProviderSettings, expected: Expected): Taking | undefined | Promise<Taking>;
  close(): void;
}

/** Of a request that names no limit; the truth is settled at the end. */
const outputTokensGuess = 1_024;

export function createProviderLimits({
  clock,
  store,
}: {
  clock: Clock;
  store?: CounterStore | undefined;
}): ProviderLimits {
  const limiter = createLimiter({ clock, store });
  const known = new WeakMap<ProviderSettings, readonly Counter[]>();

  function countersOf(provider: ProviderSettings): readonly Counter[] {
    const counters = known.get(provider);
    if (counters?.every(limiter.knows) === true) return counters;
    const made = provider.limits.map((limit) => limiter.counter(limit));
    known.set(provider, made);
    return made;
  }

  return {
    take(provider, { body, outputTokensMax = outputTokensGuess }) {
      if (provider.limits.length === 0) return undefined;
      const counters = countersOf(provider);
      const countsTokens = counters.some(({ limit }) => limit.kind === "tokens");
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
      const outcome = limiter.take(counters, countsTokens ? estimateInputTokens(bytes) + outputTokensMax : 0);
      return outcome instanceof Promise ? outcome.then(taken) : taken(outcome);
    },
    close: () => limiter.close(),
  };
}

/** The end of a call that was under limits. */
export function endTaking(taking: Taking | undefined, { inputTokens, outputTokens }: Usage): void {
  if (inputTokens !== undefined || outputTokens !== undefined) taking?.settle((inputTokens ?? 0) + (outputTokens ?? 0));
  taking?.end();
}

function taken(outcome: Taking | Refusal): Taking {
  if (outcome instanceof Taking) return outcome;
  const { limit, waitMs } = outcome;
  const retryAfterMs = Math.max(1, Math.ceil(waitMs));
  if (limit.kind === "concurrent") {
    throw new WeirError(ErrorReason.OVERLOADED, {
      text: "Too many calls to this provider are under way; retry after the delay in Retry-After.",
      retryAfterMs,
    });
  }
  throw new WeirError(ErrorReason.PROVIDER_RATE_LIMITED, {
    metadata: { provider: limit.id, limit: limit.kind },
    retryAfterMs,
  });
}
