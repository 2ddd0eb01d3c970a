import { toBinary } from "@bufbuild/protobuf";
import type { Meter } from "@opentelemetry/api";
import { type UsageBatch, type UsageEvent, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { createBudgetVoice } from "./budgets/voice.ts";
import { attemptFromEvent, isUuid, MalformedEvent } from "./ledger.ts";
import type { PriceBook } from "./price-book.ts";
import type { Conflict, LedgerStore, Recordable, Run } from "./store.ts";

/** What brings usage into the ledger, whichever way it came. */
export interface Recorder {
  /**
   * Writes batches, and messages that could not be read as batches, in one transaction. Idempotent, in any order, with
   * gaps and overlaps.
   * @param isAdopted whether the command line brought them, which the audit log tells
   * @returns by journal: every event up to this number is committed
   * @throws WeirError STORE_UNAVAILABLE, and then nothing is written
   */
  record(
    batches: readonly UsageBatch[],
    unreadable?: readonly Uint8Array[],
    isAdopted?: boolean,
  ): Promise<ReadonlyMap<string, bigint>>;
}

export interface RecorderDependencies {
  readonly store: LedgerStore;
  readonly prices: PriceBook;
  readonly clock: Clock;
  readonly meter: Meter;
  readonly log: Log;
}

export function createRecorder({ store, prices, clock, meter, log }: RecorderDependencies): Recorder {
  const recorded = meter.createCounter("weir_ledger_attempts", { description: "Attempts written to the ledger." });
  const repeated = meter.createCounter("weir_ledger_repeated_events", {
    description: "Usage events that stood in the ledger already, or came with a conflict.",
  });
  const conflicting = meter.createCounter("weir_ledger_conflicts", {
    description: "Usage events kept aside: same attempt with other content, or malformed. Each needs a look.",
  });
  const unpriced = meter.createCounter("weir_ledger_unknown_prices", {
    description: "Usage events whose price the ledger did not know; they are priced once it does.",
  });

  const duration = meter.createHistogram("weir_ledger_commit_seconds", {
    description: "Time to write a transaction of usage events to the ledger.",
    unit: "s",
    advice: { explicitBucketBoundaries: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] },
  });

  const tellBudgets = createBudgetVoice(meter, log);

  /** Never fails: the rows stand, and are settled at the latest when their price is added again at a start. */
  async function settleLate(ids: readonly string[]): Promise<number> {
    try {
      return await prices.settleLate(ids);
    } catch (thrown) {
      log.warn({ error: thrown }, "rows without a price could not be looked at again; the next start does so");
      return 0;
    }
  }

  return {
    async record(batches, unreadable = [], isAdopted = false) {
      const events = batches.flatMap((batch) => batch.events);
      await prices.load(events.map((event) => event.priceId));
      const rows: Recordable[] = [];
      const conflicts = unreadable.map(fromUnreadable);
      for (const batch of batches) {
        batch.events.forEach((event, index) => {
          const aside = (reason: string) => conflictFrom(event, reason, batch, index);
          try {
            rows.push({ row: attemptFromEvent(event, prices.get(event.priceId)), aside });
          } catch (thrown) {
            if (!(thrown instanceof MalformedEvent)) throw thrown;
            conflicts.push(aside(thrown.field));
          }
        });
      }
      const startMs = clock.monotonic();
      const applied = await store.apply(rows, conflicts, runsOf(batches), isAdopted);
      duration.record((clock.monotonic() - startMs) / 1000);
      recorded.add(applied.insertedCount);
      repeated.add(rows.length - applied.insertedCount);
      const unknownIds = rows.filter(({ row }) => row.pricing === "price_unknown").map(({ row }) => row.priceId);
      // A price may have come between reading it and writing these rows, and its own settling has not seen them.
      const lateCount = unknownIds.length === 0 ? 0 : await settleLate(unknownIds);
      const unknownCount = Math.max(0, unknownIds.length - lateCount);
      if (unknownCount > 0) {
        unpriced.add(unknownCount);
        log.warn(
          { count: unknownCount },
          "usage events name a price that the ledger does not know; add it to weir.yaml",
        );
      }
      tellBudgets(applied.budgets);
      if (applied.conflictCount > 0) {
        conflicting.add(applied.conflictCount);
        log.error({ count: applied.conflictCount }, "usage events were kept aside; see `weir ledger conflicts`");
      }
      return applied.committed;
    },
  };
}

/**
 * Joins batches that follow each other, so that what comes out of order in one transaction leaves no gap. A batch that
 * does not say where it stands in a journal has no run; its rows are written all the same.
 */
function runsOf(batches: readonly UsageBatch[]): Run[] {
  const runs: Run[] = [];
  const sorted = batches
    .filter((batch) => isUuid(batch.journalId) && batch.firstSequence >= 1n && batch.firstSequence < sequenceMax)
    .map((batch) => ({
      journalId: batch.journalId.toLowerCase(),
      first: batch.firstSequence,
      last: batch.firstSequence + BigInt(batch.events.length) - 1n,
    }))
    // By journal: every transaction locks journals in the same order.
    .sort((a, b) => compare(a.journalId, b.journalId) || compare(a.first, b.first));
  for (const run of sorted) {
    const before = runs.at(-1);
    if (before?.journalId === run.journalId && run.first <= before.last + 1n) {
      runs[runs.length - 1] = { ...before, last: run.last > before.last ? run.last : before.last };
    } else runs.push(run);
  }
  return runs;
}

/** Far below what int8 holds, so that adding a batch's length cannot leave it. */
const sequenceMax = 2n ** 62n;

function compare<T extends string | bigint>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function conflictFrom(event: UsageEvent, reason: string, batch: UsageBatch, index: number): Conflict {
  return {
    attemptId: printable(event.attemptId),
    reason,
    journalId: printable(batch.journalId),
    sequence: batch.firstSequence + BigInt(index),
    payload: payloadOf(event),
  };
}

function payloadOf(event: UsageEvent): Uint8Array {
  try {
    return toBinary(UsageEventSchema, event);
  } catch {
    // A number outside of its field's range: possible only when the event never was on a wire.
    return Buffer.from(
      JSON.stringify(event, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
    );
  }
}

function printable(id: string): string {
  return id.slice(0, 64).replaceAll("\0", "\ufffd").toWellFormed();
}

function fromUnreadable(payload: Uint8Array): Conflict {
  return { attemptId: "", reason: "message", journalId: "", sequence: 0n, payload };
}
