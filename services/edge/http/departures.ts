import type { Clock } from "@weir/kit/clock";

export interface DeparturesOptions<T> {
  readonly clock: Clock;
  /** Ends one. Not called for one that was deleted. */
  readonly end: (leaver: T) => void;
  /** How many must go because room runs short; may be negative. */
  readonly urgentCount: () => number;
}

/**
 * What is out of time, on its way out; the first to come is the first to go. Few go at a time: ending one is work, and so is what comes
 * in its place, while one that waits costs nothing but its memory.
 */
export interface Departures<T> {
  add(leaver: T): void;
  /** It has ended by itself, or need not any more. */
  delete(leaver: T): void;
}

const turnMs = 20;
/** 200 a second; 2,000 where room runs short, which takes a good part of the process. */
const endedPerTurn = 4;
const endedPerTurnMax = 40;

export function createDepartures<T>({ clock, end, urgentCount }: DeparturesOptions<T>): Departures<T> {
  const leaving = new Set<T>();
  let isArmed = false;

  function arm(): void {
    if (isArmed || leaving.size === 0) return;
    isArmed = true;
    clock.after(turnMs, turn);
  }

  function turn(): void {
    isArmed = false;
    let left = Math.min(Math.max(endedPerTurn, urgentCount()), endedPerTurnMax);
    for (const leaver of leaving) {
      if (left <= 0) break;
      left -= 1;
      leaving.delete(leaver);
      end(leaver);
    }
    arm();
  }

  return {
    add(leaver) {
      leaving.add(leaver);
      arm();
    },
    delete: (leaver) => void leaving.delete(leaver),
  };
}
