import type { Meter } from "@opentelemetry/api";
import { create } from "@bufbuild/protobuf";
import { type UsageBatch, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Journal } from "./journal.ts";

/** The way to the ledger: straight, or over a broker. It may lose, repeat and delay; only watermarks count. */
export interface Sink {
  /** Batches that may be under way at once. */
  readonly inFlightMax: number;
  /**
   * Hands a batch over, within a bounded time. A sink that learns the watermark by that returns it; one that does not
   * returns undefined, and tells it through `onWatermark` later.
   * @throws anything: the batch may or may not have arrived, and is sent again
   */
  send(batch: UsageBatch): Promise<bigint | undefined>;
  /** Asks how much of the journal stands in the ledger. @throws anything when nobody answers in time */
  watermark(journalId: string): Promise<bigint>;
  /** Calls for watermarks that come unasked. One listener at a time; undefined removes it. */
  onWatermark(listener: ((committedSequence: bigint) => void) | undefined): void;
}

export interface DrainOptions {
  readonly journal: Pick<
    Journal,
    "id" | "read" | "trim" | "onReadable" | "readableSequence" | "committedSequence" | "firstSequence" | "status"
  >;
  readonly sink: Sink;
  readonly clock: Clock;
  /** From 0 up to, not with, 1: for the jitter of pauses. */
  readonly random: () => number;
  readonly meter: Meter;
  readonly log: Log;
  /** How long an event may wait for others to share its batch, in milliseconds. Default 500. */
  readonly batchDelayMs?: number | undefined;
  /** Events in a batch. Default 1,000. */
  readonly batchEventsMax?: number | undefined;
  /** How long the watermark may stand still before what lies beyond it is sent again, in milliseconds. Default 5,000. */
  readonly stallMs?: number | undefined;
}

export interface Drain {
  /** Whether the ledger has confirmed everything that can be read. */
  readonly idle: boolean;
  /** Waits until the ledger has everything, for at most so long; then stops. What is left stays in the journal. */
  stop(timeoutMs: number): Promise<void>;
}

/** Below the 1 MiB that NATS takes in one message by default. */
const batchBytesMax = 512 * 1024;
const pauseMinMs = 100;
const pauseMaxMs = 10_000;

/**
 * Carries settled events from the journal to the ledger, in order and in batches, for ever: what fails is sent again, after
 * growing pauses, and nothing is trimmed before the ledger's own watermark says that it is there.
 */
export function createDrain(options: DrainOptions): Drain {
  const { journal, sink, clock, random, log } = options;
  const batchDelayMs = options.batchDelayMs ?? 500;
  const eventsMax = options.batchEventsMax ?? 1_000;
  const stallMs = options.stallMs ?? 5_000;
  const stopping = new AbortController();

  /** Newest event that was handed to the sink since it was last rewound to the watermark. */
  let sent = journal.committedSequence;
  let committed = journal.committedSequence;
  let inFlight = 0;
  let failures = 0;
  let failed = false;
  let stalls = 0;
  let movedMs = clock.monotonic();
  let hurried = false;
  /** The ledger claims events that this journal never had: it is not believed until the journal is beyond them. */
  let doubted = 0;
  let wake: (() => void) | undefined;

  const sentCount = options.meter.createCounter("usage_events_sent");
  const againCount = options.meter.createCounter("usage_resends");
  const unconfirmed = options.meter.createObservableGauge("usage_events_unconfirmed");
  const observe = (result: { observe(value: number): void }) => result.observe(journal.readableSequence - committed);
  unconfirmed.addCallback(observe);

  const ring = () => {
    const call = wake;
    wake = undefined;
    call?.();
  };
  /** Resolves after the time, or when something happens. */
  const rest = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.after(ms, ring);
      wake = () => {
        cancel();
        resolve();
      };
    });

  const confirm = (watermark: bigint) => {
    const sequence = Number(watermark);
    if (sequence > journal.readableSequence && sequence > journal.status().lastSequence) {
      if (doubted !== sequence) {
        log.error(
          { journal: journal.id, watermark: sequence, last: journal.status().lastSequence },
          "the ledger has confirmed events that this journal does not hold: was its folder restored from a copy?",
        );
      }
      doubted = sequence;
      return;
    }
    if (sequence <= committed || sequence <= doubted) return;
    committed = sequence;
    if (sent < committed) sent = committed;
    movedMs = clock.monotonic();
    stalls = 0;
    journal.trim(committed);
    ring();
  };

  const dispatch = async (batch: UsageBatch): Promise<void> => {
    inFlight += 1;
    try {
      const watermark = await sink.send(batch);
      failures = 0;
      sentCount.add(batch.events.length);
      if (watermark !== undefined) confirm(watermark);
    } catch (error) {
      failed = true;
      if (failures === 0)
        log.warn({ error, journal: journal.id }, "usage does not reach the ledger; it waits in the journal");
      failures += 1;
    } finally {
      inFlight -= 1;
      ring();
    }
  };

  /** Sends again what lies beyond the watermark. */
  const rewind = () => {
    if (sent > committed) againCount.add(1);
    sent = committed;
    movedMs = clock.monotonic();
  };

  const ask = async (): Promise<void> => {
    try {
      confirm(await sink.watermark(journal.id));
    } catch (error) {
      log.debug({ error }, "nobody says how far the ledger has come");
    }
  };

  const run = async (): Promise<void> => {
    await ask();
    let firstSeenMs: number | undefined;
    while (!stopping.signal.aborted) {
      const nowMs = clock.monotonic();
      if (failed) {
        failed = false;
        if (inFlight === 0) {
          const pauseMs = Math.min(pauseMaxMs, pauseMinMs * 2 ** Math.min(failures, 10)) * (0.5 + random() / 2);
          await restFor(pauseMs);
          rewind();
          continue;
        }
        failed = true;
      }
      const waiting = journal.readableSequence - sent;
      if (!failed && waiting > 0 && inFlight < sink.inFlightMax) {
        firstSeenMs ??= nowMs;
        const due = firstSeenMs + batchDelayMs;
        if (waiting >= eventsMax || hurried || nowMs >= due) {
          const settled = await journal.read(sent, { eventsMax, bytesMax: batchBytesMax });
          if (settled.events.length > 0) {
            sent = settled.firstSequence + settled.events.length - 1;
            if (committed === settled.firstSequence - 1) movedMs = nowMs;
            void dispatch(
              create(UsageBatchSchema, {
                journalId: journal.id,
                firstSequence: BigInt(settled.firstSequence),
                events: [...settled.events],
              }),
            );
            firstSeenMs = undefined;
            continue;
          }
        }
        await rest(Math.max(1, due - nowMs));
        continue;
      }
      const behind = sent > committed;
      const stallDueMs = movedMs + Math.min(stallMs * 2 ** stalls, 60_000);
      if (behind && inFlight === 0 && nowMs >= stallDueMs) {
        await ask();
        if (sent > committed) {
          stalls = Math.min(stalls + 1, 6);
          rewind();
        }
        continue;
      }
      await rest(behind ? Math.max(1, stallDueMs - nowMs) : 60_000);
    }
  };

  /** Rests for the whole time whatever happens, unless the drain stops. */
  const restFor = async (ms: number): Promise<void> => {
    const endMs = clock.monotonic() + ms;
    for (let left = ms; left > 0 && !stopping.signal.aborted && !hurried; left = endMs - clock.monotonic())
      await rest(left);
  };

  journal.onReadable(ring);
  sink.onWatermark(confirm);
  const running = run().catch((error: unknown) => {
    log.error({ error, journal: journal.id }, "the drain has ended; usage waits in the journal until the next start");
  });

  const isIdle = () => committed >= journal.readableSequence;
  return {
    get idle() {
      return isIdle();
    },
    async stop(timeoutMs) {
      hurried = true;
      ring();
      const endMs = clock.monotonic() + timeoutMs;
      while (!isIdle() && clock.monotonic() < endMs) await new Promise<void>((resolve) => clock.after(20, resolve));
      stopping.abort();
      ring();
      await running;
      journal.onReadable(undefined);
      sink.onWatermark(undefined);
      unconfirmed.removeCallback(observe);
    },
  };
}
