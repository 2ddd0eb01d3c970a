/** Whom a limit holds for. */
export type LimitScope = "key" | "user" | "team" | "tenant" | "alias" | "provider";

/** What it counts: calls, tokens of input and output together, or calls that are open at once. */
export type LimitKind = "requests" | "tokens" | "concurrent";

/** The span that it counts over. */
export type LimitWindow = "minute" | "day";

/** One limit, as data. */
export interface Limit {
  readonly scope: LimitScope;
  /** Of whom: the id of a key, a user, a team, a tenant or a provider, or an alias. */
  readonly id: string;
  /** Limits of one group are asked for together where they are shared: `tenants/acme`. Undefined: it is alone. */
  readonly group?: string | undefined;
  readonly kind: LimitKind;
  /** Undefined: what is open at once needs none. */
  readonly window: LimitWindow | undefined;
  /** Whole, at least 1. */
  readonly amount: number;
}

/** Limits as keys, subjects, aliases and providers name them; what is absent is not limited. */
export interface LimitAmounts {
  readonly requestsPerMinute?: number | undefined;
  readonly tokensPerMinute?: number | undefined;
  readonly requestsPerDay?: bigint | number | undefined;
  readonly tokensPerDay?: bigint | number | undefined;
  readonly concurrentRequests?: number | undefined;
}

/** The limits of one subject, as data. @param group as in Limit */
export function limitsOf(scope: LimitScope, id: string, amounts: LimitAmounts, group?: string): Limit[] {
  const { requestsPerMinute, tokensPerMinute, requestsPerDay, tokensPerDay, concurrentRequests } = amounts;
  const limits: Limit[] = [];
  const add = (kind: LimitKind, window: LimitWindow | undefined, amount: bigint | number | undefined) => {
    if (amount !== undefined) limits.push({ scope, id, group, kind, window, amount: Number(amount) });
  };
  add("requests", "minute", requestsPerMinute);
  add("requests", "day", requestsPerDay);
  add("concurrent", undefined, concurrentRequests);
  add("tokens", "minute", tokensPerMinute);
  add("tokens", "day", tokensPerDay);
  return limits;
}

/** What tells one limit from every other, whatever its amount. */
export function limitName({ scope, id, kind, window }: Limit): string {
  // The id comes last: it alone may hold a colon.
  return `${scope}:${kind}:${window ?? "open"}:${id}`;
}
