import type { Duplex } from "node:stream";
import type { Clock } from "@weir/kit/clock";

export interface LateHeadsOptions {
  readonly clock: Clock;
  /** Ends a connection. Not called for one that was deleted. */
  readonly end: (socket: Duplex) => void;
  /** How many must go at once, because connections run short; may be negative. */
  readonly urgentCount: () => number;
}

/**
 * Connections whose time for a head is over, on their way out; the first to come is the first to go. Few go at a time: ending one is
 * work, and so is what comes in its place, while one that waits for the rest of its head costs nothing but its memory.
 */
export interface LateHeads {
  add(socket: Duplex): void;
  /** Its head has come, or it has closed. */
  delete(socket: Duplex): void;
}

const turnMs = 20;
/** 200 connections a second. */
const endedPerTurn = 4;

export function createLateHeads({ clock, end, urgentCount }: LateHeadsOptions): LateHeads {
  const late = new Set<Duplex>();
  let isArmed = false;

  function arm(): void {
    if (isArmed || late.size === 0) return;
    isArmed = true;
    clock.after(turnMs, turn);
  }

  function turn(): void {
    isArmed = false;
    let left = Math.max(endedPerTurn, urgentCount());
    for (const socket of late) {
      if (left <= 0) break;
      left -= 1;
      late.delete(socket);
      end(socket);
    }
    arm();
  }

  return {
    add(socket) {
      late.add(socket);
      arm();
    },
    delete: (socket) => void late.delete(socket),
  };
}
