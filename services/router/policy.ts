import type { RouteTarget } from "./snapshot.ts";

/** What a target's circuit says about one more call. */
export interface Standing {
  /**
   * `ready`: it may be called. `broken`: its circuit is open, or its one probe is under way. `cooling`: its provider
   * asked for a pause.
   */
  readonly state: "ready" | "broken" | "cooling";
  /** Milliseconds until that changes; 0 when ready. */
  readonly waitMs: number;
}

/** A target as one request sees it just before an attempt. */
export interface Candidate {
  readonly target: RouteTarget;
  /** Place in the route, from 0. */
  readonly position: number;
  /** Attempts that this request has made there. */
  readonly tries: number;
  readonly standing: Standing;
}

/** Whether a target may take a conversation that is too long for another: its context is larger, or not known to be no larger. */
export function mayTakeMore(target: RouteTarget, than: RouteTarget): boolean {
  if (target.key === than.key) return false;
  return (
    target.contextTokens === undefined || than.contextTokens === undefined || target.contextTokens > than.contextTokens
  );
}

/** How candidates compare: by the first number, then the next; the smaller is the better. */
export type Ranking = readonly ((candidate: Candidate) => number)[];

/** Targets not yet tried first, in the route's order. */
export const routeOrder: Ranking = [(candidate) => candidate.tries, (candidate) => candidate.position];

/** Among broken ones: the one that is nearest to being tried anyway. */
const leastBroken: Ranking = [(candidate) => candidate.tries, (candidate) => candidate.standing.waitMs];

export type Choice =
  | { readonly kind: "call"; readonly candidate: Candidate }
  /** All that could be called are cooling; the first is ready after so many milliseconds. */
  | { readonly kind: "wait"; readonly waitMs: number };

/**
 * Chooses where the next attempt goes. Pure. While a target is ready, the best ready one; when none is, a broken one all
 * the same, since a request that is refused for certain is worse than one that probably fails. Targets that asked for a
 * pause are left in peace.
 * @param candidates at least one
 */
export function choose(candidates: readonly Candidate[], ranking: Ranking): Choice {
  const ready = best(candidates, "ready", ranking);
  if (ready !== undefined) return { kind: "call", candidate: ready };
  const broken = best(candidates, "broken", leastBroken);
  if (broken !== undefined) return { kind: "call", candidate: broken };
  return { kind: "wait", waitMs: Math.min(...candidates.map((candidate) => candidate.standing.waitMs)) };
}

function best(candidates: readonly Candidate[], state: Standing["state"], ranking: Ranking): Candidate | undefined {
  let chosen: Candidate | undefined;
  for (const candidate of candidates) {
    if (candidate.standing.state !== state) continue;
    if (chosen === undefined || compare(candidate, chosen, ranking) < 0) chosen = candidate;
  }
  return chosen;
}

function compare(a: Candidate, b: Candidate, ranking: Ranking): number {
  for (const value of ranking) {
    const difference = value(a) - value(b);
    if (difference !== 0) return difference;
  }
  return 0;
}
