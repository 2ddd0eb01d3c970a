import type { Clock } from "@weir/kit/clock";
import { sourceOf } from "../http/source.ts";

/** Counts calls with wrong keys by where they come from. */
export interface GuessLimit {
  /** Counts one. @returns 0 while the address may fail, otherwise the milliseconds until it may again */
  failed(address: string | undefined): number;
  readonly size: number;
}

/** Failures that an address may make at once. */
const failuresMax = 20;
/** Time for one of them to be forgotten. */
const forgetMs = 2_000;
/** Addresses that are remembered; beyond it the one that failed longest ago is forgotten. */
const addressesMax = 10_000;

export function createGuessLimit(clock: Clock): GuessLimit {
  /** When all failures of an address will be forgotten, in the order of the last failure. */
  const clearMs = new Map<string, number>();
  return {
    failed(address) {
      const source = sourceOf(address);
      const nowMs = clock.monotonic();
      const clear = Math.max(clearMs.get(source) ?? 0, nowMs) + forgetMs;
      const waitMs = clear - nowMs - failuresMax * forgetMs;
      clearMs.delete(source);
      if (waitMs > 0) {
        clearMs.set(source, clear - forgetMs);
        return waitMs;
      }
      if (clearMs.size >= addressesMax) clearMs.delete(clearMs.keys().next().value as string);
      clearMs.set(source, clear);
      return 0;
    },
    get size() {
      return clearMs.size;
    },
  };
}
