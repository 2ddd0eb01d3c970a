import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { UsageBatchSchema, type UsageEvent, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import fc from "fast-check";
import { expect, test } from "vitest";
import { runOf, toBatch } from "./batch-bytes.ts";
import { exampleEvent } from "./examples.ts";
import { createRecentEvents } from "./recent-events.ts";

const journalId = randomUUID();

/** An event whose encoding has about so many bytes. */
function eventOf(bytes: number): UsageEvent {
  const event = exampleEvent(randomUUID());
  event.providerReplyId = "x".repeat(bytes);
  return event;
}

const wholeBatch = (firstSequence: number, events: UsageEvent[]): Buffer =>
  Buffer.from(
    toBinary(UsageBatchSchema, create(UsageBatchSchema, { journalId, firstSequence: BigInt(firstSequence), events })),
  );

const step = fc.oneof(
  // Small ones, ones whose length takes two and three bytes, and ones of which few fit in a slab.
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("add" as const), bytes: fc.constantFrom(0, 200, 20_000, 60_000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("evict" as const), committed: fc.nat(60), unsynced: fc.nat(5) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("read" as const),
      from: fc.nat(60),
      count: fc.nat(20),
      bytes: fc.nat(90_000),
    }),
  },
);

test("what is kept is what a list of events would keep, and what is read is the batch that the protobuf library makes", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 2 ** 52 }), (steps, firstEver) => {
      const bytesMax = 150_000;
      const recent = createRecentEvents(firstEver, bytesMax);
      const kept: { readonly event: UsageEvent; readonly bytes: number }[] = [];
      let first = firstEver;
      for (const next of steps) {
        if (next.kind === "add") {
          const event = eventOf(next.bytes);
          const encoded = toBinary(UsageEventSchema, event);
          const around = Buffer.concat([Buffer.from("abc"), encoded, Buffer.from("d")]);
          recent.add(around, 3, around.length - 1);
          kept.push({ event, bytes: wholeBatch(0, [event]).length - wholeBatch(0, []).length });
        } else if (next.kind === "evict") {
          const committed = first - 1 + next.committed;
          const synced = first + kept.length - 1 - next.unsynced;
          recent.evict(committed, synced);
          const total = () => kept.reduce((sum, { bytes }) => sum + bytes, 0);
          while (kept.length > 0 && (first <= committed || (total() > bytesMax && first <= synced))) {
            kept.shift();
            first += 1;
          }
        } else {
          const from = Math.min(next.from, kept.length);
          const through = Math.min(kept.length, from + next.count + 1);
          const limits = { eventsMax: 7, bytesMax: next.bytes };
          const expected: UsageEvent[] = [];
          for (let at = from, bytes = 0; at < through && expected.length < 7 && bytes < next.bytes; at += 1) {
            expected.push((kept[at] as (typeof kept)[number]).event);
            bytes += (kept[at] as (typeof kept)[number]).bytes;
          }
          const run = recent.read(first + from, first + through - 1, limits);
          const batch = toBatch(journalId, first + from, run);
          expect(batch.count).toBe(expected.length);
          expect(batch.bytes).toEqual(wholeBatch(first + from, expected));
        }
        expect(recent.firstSequence).toBe(first);
      }
      for (const [index, { event }] of kept.entries()) {
        expect(fromBinary(UsageEventSchema, recent.at(first + index) as Buffer)).toEqual(event);
      }
      expect([recent.at(first - 1), recent.at(first + kept.length)]).toEqual([undefined, undefined]);
    }),
    { numRuns: 200 },
  );
});

test("events that come from elsewhere make the same batch, fields of later versions included", () => {
  const events = [0, 100, 20_000].map(eventOf);
  Object.assign(events[1] as UsageEvent, { $unknown: [{ no: 999, wireType: 0, data: Uint8Array.of(7) }] });
  const run = runOf(events.map((event) => toBinary(UsageEventSchema, event)));
  expect(toBatch(journalId, 5, run)).toEqual({ firstSequence: 5, count: 3, bytes: wholeBatch(5, events) });
});
