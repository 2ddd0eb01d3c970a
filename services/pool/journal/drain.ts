import type { Meter, ObservableGauge, ObservableResult } from "@opentelemetry/api";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { Journal, SettledBatch } from "./journal.ts";

/** The way to the ledger: straight, or over a broker. It may lose, repeat and delay; only watermarks count. */
export interface Sink {
  /** Batches that may be on their way: handed over, and not confirmed by a watermark. */
  readonly inFlightMax: number;
  /**
   * Hands a batch over, within a bounded time. A sink that learns the watermark by that returns it; one that does not
   * returns undefined, and tells it through `onWatermark` later.
   * @param again how often in a row the ledger has confirmed nothing of what was sent: a broker that drops what it has
   *   seen before must take this batch all the same when the number has changed
   * @throws anything: the batch may or may not have arrived, and is sent again
   */
  send(batch: SettledBatch, again: number): Promise<bigint | undefined>;
  /** Asks how much of the journal stands in the ledger. @throws anything when nobody answers in time */
  watermark(journalId: string): Promise<bigint>;
  /** Calls for watermarks that come unasked. One listener at a time; undefined removes it. */
  onWatermark(listener: ((committedSequence: bigint) => void) | undefined): void;
}

export interface DrainOptions {
  readonly journal: Pick<
    Journal,
    | "id"
    | "read"
    | "trim"
    | "continueAfter"
    | "onReadable"
    | "firstSequence"
    | "lastSequence"
    | "readableSequence"
    | "committedSequence"
    | "status"
  >;
  readonly sink: Sink;
  readonly clock: Clock;
  /** From 0 up to, not with, 1: for the jitter of pauses. */
  readonly random: () => number;
  readonly meter: Meter;
  readonly log: Log;
  /** Events in a batch. Default 2,000. */
  readonly batchEventsMax?: number | undefined;
  /** How long an event may wait for others to share its batch, in milliseconds. Default 1,000. */
  readonly batchDelayMs?: number | undefined;
  /** The same while nothing is on its way, counted from the last batch: the first event after a rest leaves at once. Default 200. */
  readonly idleDelayMs?: number | undefined;
  /** How long the watermark may stand still before what lies beyond it is sent again, in milliseconds. Default 5,000, doubled each time. */
  readonly stallMs?: number | undefined;
}

export interface Drain {
  /** Whether the ledger has confirmed everything that can be read. */
  readonly idle: boolean;
  /** Waits until the ledger has everything, for at most so long; then stops. What is left stays in the journal. */
  stop(timeoutMs: number): Promise<void>;
}

/** Half of what NATS takes in one message by default. */
const batchBytesMax = 524_288;
const pauseMs = { first: 100, max: 5_000 };
const stallMsMax = 60_000;
const idlePollMs = 20;

/**
 * Carries settled events from the journal to the ledger, in order and in batches, for ever. It works in rounds. A round begins
 * with the ledger's own answer how much it has, sends what lies beyond, and ends when a batch fails or the watermark stands
 * still. So nothing is sent while the ledger is away, what got lost on the way is sent again, and nothing is trimmed before
 * the ledger says that it is there.
 */
export function createDrain(options: DrainOptions): Drain {
  const { journal, sink, clock, random, log } = options;
  const eventsMax = options.batchEventsMax ?? 2_000;
  const batchDelayMs = options.batchDelayMs ?? 1_000;
  const idleDelayMs = options.idleDelayMs ?? 200;
  const stallMs = options.stallMs ?? 5_000;

  /** What the ledger has, as far as it was heard in this round. */
  let committed = journal.committedSequence;
  /** The last event that was handed over in this round. */
  let sent = committed;
  /** When the watermark last moved, or the oldest batch beyond it was handed over. */
  let movedMs = clock.monotonic();
  let lastSentMs = Number.NEGATIVE_INFINITY;
  /** Since when an event has waited to be sent. */
  let waitingMs: number | undefined;
  /** Rounds in a row that ended because the watermark stood still. */
  let stalls = 0;
  /** Rounds in a row that ended in an error. */
  let failures = 0;
  let told = false;
  let hurried = false;
  let stopped = false;
  let wake: (() => void) | undefined;
  const measures = createMeasures(options.meter, journal, () => committed);

  function ring(): void {
    wake?.();
  }

  /** Most syncs add to a batch that gathers and has its time: nobody is woken for them. */
  function ringForBatch(): void {
    if (waitingMs === undefined || journal.readableSequence - sent >= eventsMax) ring();
  }

  /** Resolves after the time, or when something happens. */
  function rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        cancel();
        wake = undefined;
        resolve();
      };
      const cancel = clock.after(ms, finish);
      wake = finish;
    });
  }

  /** Takes a watermark that came while batches are on their way. An old one may come late; a strange one waits for the next round. */
  function confirm(watermark: bigint): void {
    const sequence = Number(watermark);
    if (stopped || sequence <= committed || sequence > journal.readableSequence) return;
    moveTo(sequence);
    sent = Math.max(sent, committed);
    if (told) log.info({ journal: journal.id }, "usage reaches the ledger again");
    told = false;
    failures = 0;
    stalls = 0;
    ring();
  }

  function moveTo(sequence: number): void {
    committed = sequence;
    movedMs = clock.monotonic();
    journal.trim(sequence);
  }

  /** Asks the ledger where to go on, and goes there even if that is not where this journal was. */
  async function begin(): Promise<void> {
    const watermark = Number(await sink.watermark(journal.id));
    if (stopped) return;
    const last = journal.lastSequence;
    const fields = { journal: journal.id, watermark, committed, last };
    if (watermark > last) {
      log.error(fields, "the ledger has events that this journal does not: its directory is an older copy");
      measures.fault("ahead");
      await journal.continueAfter(watermark);
    } else if (watermark < committed) {
      const gone = Math.max(0, journal.firstSequence - 1 - watermark);
      log.error(
        { ...fields, gone },
        "the ledger went back: what this journal still has is sent again, `gone` events are lost",
      );
      measures.fault("behind");
    }
    if (watermark !== committed) stalls = 0;
    moveTo(watermark);
    sent = watermark;
  }

  /** Sends until something fails (throws), the watermark stands still (true), or the drain stops (false). */
  async function round(): Promise<boolean> {
    await begin();
    const underWay = new Set<Promise<void>>();
    /** The last numbers of the batches beyond the watermark. */
    let ends: number[] = [];
    /** A watermark may overtake the end of a sending: both count for what the sink takes. */
    let sendings = 0;
    let failure: { readonly error: unknown } | undefined;
    const again = stalls;

    const dispatch = async (batch: SettledBatch): Promise<void> => {
      sendings += 1;
      try {
        const watermark = await sink.send(batch, again);
        measures.sent(batch.count);
        if (watermark !== undefined) confirm(watermark);
      } catch (error) {
        failure ??= { error };
      }
      sendings -= 1;
      ring();
    };

    try {
      while (!stopped) {
        if (failure) throw failure.error;
        ends = ends.filter((end) => end > committed);
        const nowMs = clock.monotonic();
        const stallDueMs = movedMs + Math.min(stallMs * 2 ** stalls, stallMsMax);
        if (ends.length > 0 && nowMs >= stallDueMs) return true;
        const hasRoom = Math.max(ends.length, sendings) < sink.inFlightMax;
        const dueMs = hasRoom ? nextDueMs(nowMs, ends.length === 0) : Number.POSITIVE_INFINITY;
        if (nowMs < dueMs) {
          await rest(Math.min(dueMs, ends.length > 0 ? stallDueMs : Number.POSITIVE_INFINITY) - nowMs);
          continue;
        }
        const batch = await journal.read(sent, { eventsMax, bytesMax: batchBytesMax });
        // A late watermark may have gone beyond what was read.
        if (batch.firstSequence !== sent + 1) continue;
        if (batch.count === 0) throw new Error("the journal's events cannot be read");
        sent += batch.count;
        if (ends.length === 0) movedMs = nowMs;
        ends.push(sent);
        lastSentMs = nowMs;
        waitingMs = undefined;
        const sending = dispatch(batch).finally(() => underWay.delete(sending));
        underWay.add(sending);
      }
      return false;
    } finally {
      // Each is bounded in time. Rounds do not overlap, so that no more than `inFlightMax` are ever under way.
      if (!stopped) await Promise.allSettled(underWay);
    }
  }

  /** When the next batch is to leave; infinite while there is nothing to send. */
  function nextDueMs(nowMs: number, isIdle: boolean): number {
    const waiting = journal.readableSequence - sent;
    if (waiting <= 0) {
      waitingMs = undefined;
      return Number.POSITIVE_INFINITY;
    }
    waitingMs ??= nowMs;
    if (hurried || waiting >= eventsMax) return nowMs;
    const dueMs = waitingMs + batchDelayMs;
    return isIdle ? Math.min(dueMs, lastSentMs + idleDelayMs) : dueMs;
  }

  async function run(): Promise<void> {
    while (!stopped) {
      try {
        if (!(await round())) return;
        stalls = Math.min(stalls + 1, 10);
        measures.fault("stalled");
        log.debug({ journal: journal.id, committed, sent }, "the ledger confirms nothing; sending again");
      } catch (error) {
        // While nothing waits, as when everything starts together, nobody has to know.
        if (!told && journal.lastSequence > committed) {
          told = true;
          log.warn({ error, journal: journal.id }, "usage does not reach the ledger; it waits in the journal");
        }
        failures += 1;
        measures.fault("failed");
        await pause(Math.min(pauseMs.max, pauseMs.first * 2 ** Math.min(failures - 1, 10)) * (0.5 + random() / 2));
      }
    }
  }

  /** Rests for the whole time, whatever happens. */
  async function pause(ms: number): Promise<void> {
    const endMs = clock.monotonic() + ms;
    for (let left = ms; left > 0 && !stopped; left = endMs - clock.monotonic()) await rest(left);
  }

  journal.onReadable(ringForBatch);
  sink.onWatermark(confirm);
  void run();

  const isIdle = () => committed >= journal.lastSequence;
  return {
    get idle() {
      return isIdle();
    },
    async stop(timeoutMs) {
      hurried = true;
      ring();
      const endMs = clock.monotonic() + timeoutMs;
      while (!isIdle() && clock.monotonic() < endMs) {
        await new Promise<void>((resolve) => clock.after(Math.min(idlePollMs, endMs - clock.monotonic()), resolve));
      }
      // What is still under way ends by itself, and nobody hears of it.
      stopped = true;
      journal.onReadable(undefined);
      sink.onWatermark(undefined);
      measures.close();
      ring();
    },
  };
}

type Fault = "failed" | "stalled" | "behind" | "ahead";

function createMeasures(meter: Meter, journal: DrainOptions["journal"], committed: () => number) {
  const sentEvents = meter.createCounter("weir_journal_sent_events", {
    description: "Usage events that were handed over on the way to the ledger, repetitions included.",
  });
  const faults = meter.createCounter("weir_journal_drain_faults", {
    description:
      "Times that usage had to be sent again, by cause; `behind` and `ahead` are for an operator to look at.",
  });
  const gauge = (name: string, description: string, read: () => number): (() => void) => {
    const instrument: ObservableGauge = meter.createObservableGauge(name, { description });
    const observe = (result: ObservableResult) => result.observe(read());
    instrument.addCallback(observe);
    return () => instrument.removeCallback(observe);
  };
  const removers = [
    gauge("weir_journal_unconfirmed_events", "Usage events that the ledger has not confirmed.", () =>
      Math.max(0, journal.lastSequence - committed()),
    ),
    gauge(
      "weir_journal_oldest_unconfirmed_seconds",
      "Age of the oldest of them.",
      () => journal.status().oldestUnconfirmedAgeMs / 1_000,
    ),
    gauge(
      "weir_journal_open_attempts",
      "Attempts with an intent and no settlement.",
      () => journal.status().openAttempts,
    ),
    gauge("weir_journal_bytes", "Size of the journal on disk.", () => journal.status().bytes),
    gauge("weir_journal_damaged_records", "Records found damaged at start.", () => journal.status().damagedRecords),
    gauge("weir_journal_writable", "1 while new attempts are admitted.", () =>
      Number(journal.status().writable === true),
    ),
  ];
  return {
    sent: (count: number) => sentEvents.add(count),
    fault: (fault: Fault) => faults.add(1, { fault }),
    close: () => {
      for (const remove of removers) remove();
    },
  };
}
