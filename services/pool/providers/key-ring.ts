/** Chooses which of a provider's credentials a call uses. */
export interface KeyRing {
  /** Index of the credential for the next call: in turn, those that are parked left out while others are not. */
  take(nowMs: number): number;
  /** The provider refused a credential. @param takenMs when the call took it; several that were under way are one refusal */
  refused(index: number, nowMs: number, takenMs: number): void;
  /** The provider limits a credential's rate. @param retryAfterMs what it said of when to return */
  limited(index: number, nowMs: number, retryAfterMs: number | undefined): void;
  /** A credential was accepted: what it was parked for before the call took it is forgotten. */
  accepted(index: number, takenMs: number): void;
  /** Whether another credential than this one may be called now. */
  hasOther(index: number, nowMs: number): boolean;
}

interface Standing {
  readyMs: number;
  refusals: number;
  /** When it was parked last. */
  parkedMs: number;
}

const refusedMs = 60_000;
const refusedMaxMs = 3_600_000;
const limitedMs = 5_000;
const limitedMaxMs = 600_000;

/** Creates the ring of `count` credentials; at least one. */
export function createKeyRing(count: number): KeyRing {
  const standings: Standing[] = Array.from({ length: count }, fresh);
  let next = 0;

  function standing(index: number): Standing {
    return standings[index] ?? fresh();
  }

  return {
    take(nowMs) {
      if (count === 1) return 0;
      let soonest = next;
      for (let step = 0; step < count; step += 1) {
        const index = (next + step) % count;
        if (standing(index).readyMs <= nowMs) {
          next = (index + 1) % count;
          return index;
        }
        if (standing(index).readyMs < standing(soonest).readyMs) soonest = index;
      }
      return soonest;
    },
    refused(index, nowMs, takenMs) {
      const key = standing(index);
      if (takenMs <= key.parkedMs) return;
      key.parkedMs = nowMs;
      key.readyMs = nowMs + Math.min(refusedMs * 2 ** key.refusals, refusedMaxMs);
      key.refusals = Math.min(key.refusals + 1, 10);
    },
    limited(index, nowMs, retryAfterMs) {
      const key = standing(index);
      key.parkedMs = nowMs;
      key.readyMs = nowMs + Math.min(retryAfterMs ?? limitedMs, limitedMaxMs);
    },
    accepted(index, takenMs) {
      const key = standing(index);
      if (takenMs <= key.parkedMs) return;
      key.readyMs = 0;
      key.refusals = 0;
    },
    hasOther: (index, nowMs) => standings.some((key, other) => other !== index && key.readyMs <= nowMs),
  };
}

function fresh(): Standing {
  return { readyMs: 0, refusals: 0, parkedMs: Number.NEGATIVE_INFINITY };
}
