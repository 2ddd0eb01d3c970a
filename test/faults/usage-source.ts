import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, type UsageEvent, UsageEventSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Clock, systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { noTelemetry } from "@weir/kit/telemetry/none";
import { createDrain, type DrainOptions, type Sink } from "@weir/pool/journal/drain";
import { type Intent, type Journal, type JournalOptions, openJournal } from "@weir/pool/journal/journal";
import type { Billed, LedgerRow, TestPrice } from "../ledger.ts";

/** The one price of scenarios that need no whole gateway, in nano-USD for a million tokens; odd, so that amounts are rounded. */
export const sourcePrice: TestPrice = { input: 2_500_000_001n, cachedInput: 1_250_000_003n, output: 10_000_000_007n };
export const sourcePriceOf = (_row: LedgerRow): TestPrice => sourcePrice;

/** The configuration in which metering knows that price. */
export const sourceConfig = {
  discovery: { environment: false, local: false, demo: false },
  providers: { sim: { kind: "openai", base_url: "http://127.0.0.1:9/v1", api_key: "none" } },
  prices: [
    {
      provider: "sim",
      model: "*",
      input_usd_per_million: "2.500000001",
      cached_input_usd_per_million: "1.250000003",
      output_usd_per_million: "10.000000007",
    },
  ],
};

/**
 * A pool as the ledger knows it: the real journal and drain, and attempts that a provider served and billed. What was
 * billed is kept here, apart from the journal.
 */
export interface Source {
  readonly journal: Journal;
  /** Every attempt that left, by id, and what its provider billed. */
  readonly billed: ReadonlyMap<string, Billed>;
  /** Attempts that were begun and not ended. */
  readonly open: ReadonlySet<string>;
  /** Begins and ends so many attempts. @throws WeirError STORE_UNAVAILABLE from the one that the journal does not admit */
  run(count: number): void;
  /** Begins one attempt, which leaves and is billed. */
  begin(): string;
  end(id: string): void;
  /** Whether the ledger has confirmed everything that was settled. */
  drained(): boolean;
  /** Waits for that, for at most ten seconds, and closes the journal. */
  close(): Promise<void>;
}

export interface SourceOptions {
  readonly directory: string;
  readonly sink: (journalId: string) => Sink & { close?(): void };
  /** End user of the rows. */
  readonly tag: string;
  readonly random: () => number;
  readonly clock?: Clock;
  readonly journal?: Partial<JournalOptions>;
  /** Default: small batches and short waits, so that much happens in a short trial. `{}`: as the pool has it. */
  readonly drain?: Partial<DrainOptions>;
}

const hastyDrain = { batchEventsMax: 10, batchDelayMs: 20, idleDelayMs: 5, stallMs: 400 };

export async function createSource(options: SourceOptions): Promise<Source> {
  const { tag, random, clock = systemClock } = options;
  const journal = await openJournal({
    directory: options.directory,
    syncIntervalMs: 1,
    clock,
    log: silentLog,
    ...options.journal,
  });
  const sink = options.sink(journal.id);
  const drain = createDrain({
    journal,
    sink,
    clock,
    random,
    meter: noTelemetry.meter,
    log: silentLog,
    ...(options.drain ?? hastyDrain),
  });
  const billed = new Map<string, Billed>();
  const open = new Map<string, Intent>();

  const source: Source = {
    journal,
    billed,
    get open() {
      return new Set(open.keys());
    },
    run(count) {
      for (let i = 0; i < count; i++) source.end(source.begin());
    },
    begin() {
      const intent = intentOf(randomUUID(), tag, clock.now());
      void journal.intend(intent);
      // From here on the call is out, and whatever happens to it is billed.
      const { attemptId: id } = intent;
      const inputTokens = 1 + Math.floor(random() * 5_000);
      billed.set(id, { id, end: "completed", inputTokens, outputTokens: Math.floor(random() * 3_000) });
      open.set(id, intent);
      return id;
    },
    end(id) {
      const intent = open.get(id);
      const bill = billed.get(id);
      if (intent === undefined || bill === undefined) throw new Error(`attempt ${id} is not open`);
      open.delete(id);
      journal.settle(settlementOf(intent, bill));
    },
    drained: () => drain.idle && journal.committedSequence === journal.lastSequence,
    async close() {
      await drain.stop(10_000);
      sink.close?.();
      await journal.close();
    },
  };
  return source;
}

export const reservedTokens = { inputTokens: 9_999, outputTokens: 8_888 };

export function intentOf(attemptId: string, user: string, startTimeMs: number): Intent {
  return {
    attemptId,
    requestId: `req_${attemptId}`,
    principal: create(PrincipalSchema, { tenant: "default", key: "abcdefghijklmnop", user }),
    alias: "chat",
    target: { $typeName: "weir.routing.v1.Target", provider: "sim", model: "large" },
    priceId: "sim/*@always",
    startTimeMs,
    stream: true,
    reserved: create(UsageSchema, reservedTokens),
  };
}

export function settlementOf(intent: Intent, { inputTokens, outputTokens }: Billed): UsageEvent {
  return create(UsageEventSchema, {
    ...intent,
    startTime: timestampFromMs(Math.floor(intent.startTimeMs)),
    endTime: timestampFromMs(Math.floor(intent.startTimeMs) + 500),
    outcome: AttemptOutcome.COMPLETED,
    usage: { inputTokens, outputTokens },
    usageSource: UsageSource.REPORTED,
    providerStatus: 200,
  });
}
