import type { UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";

/** One settled event and its size when encoded, or about. */
export interface RecentEvent {
  readonly event: UsageEvent;
  readonly bytes: number;
}

/** The newest settled events, by number without a gap. */
export interface RecentEvents {
  /** Number of the oldest one; that of the next one when there is none. */
  readonly firstSequence: number;
  add(event: UsageEvent, bytes: number): void;
  /** The event of a number; undefined outside of what is kept. */
  at(sequence: number): RecentEvent | undefined;
  /** Lets go what the ledger has, and of what is synced the oldest while all take too much. */
  evict(committedSequence: number, syncedSequence: number): void;
}

/** @param bytesMax of encoded events; in memory they take about five times that */
export function createRecentEvents(nextSequence: number, bytesMax: number): RecentEvents {
  let events: (RecentEvent | undefined)[] = [];
  let head = 0;
  let first = nextSequence;
  let bytes = 0;
  return {
    get firstSequence() {
      return first;
    },
    add(event, size) {
      events.push({ event, bytes: size });
      bytes += size;
    },
    at(sequence) {
      return sequence < first ? undefined : events[head + sequence - first];
    },
    evict(committedSequence, syncedSequence) {
      for (let oldest = events[head]; oldest; oldest = events[head]) {
        if (first > committedSequence && (bytes <= bytesMax || first > syncedSequence)) break;
        bytes -= oldest.bytes;
        events[head] = undefined;
        head += 1;
        first += 1;
      }
      if (head > 1_024 && head * 2 > events.length) {
        events = events.slice(head);
        head = 0;
      }
    },
  };
}
