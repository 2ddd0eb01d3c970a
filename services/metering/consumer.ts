import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  JetStreamApiError,
  type ConsumerMessages,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { type UsageBatch, UsageBatchSchema, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { usageStream } from "@weir/kit/usage-stream";
import { type Msg, type NatsConnection, nanos } from "nats";
import { isUuid } from "./ledger.ts";
import type { Recorder } from "./recorder.ts";
import type { LedgerStore } from "./store.ts";

export interface ConsumerDependencies {
  /** Open, with endless reconnects; closed by who opened it. */
  readonly connection: NatsConnection;
  readonly recorder: Recorder;
  readonly store: LedgerStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Largest size of the stream, in bytes; beyond it batches are refused and wait in the journals. Default 256 MiB. */
  readonly streamBytesMax?: number;
  /** Copies of the stream in a cluster. Default 1. */
  readonly streamReplicas?: number;
}

export interface UsageConsumer {
  /**
   * Finishes the transaction that runs, acknowledges what it wrote, and gives everything else back to the broker, also what
   * is still on its way here: for up to two seconds.
   */
  stop(): Promise<void>;
}

/** Events that go into one transaction, unless a single message holds more. */
const rowsMax = 5_000;
/** Messages held here; as many again may wait in the client. */
const messagesMax = 64;
/**
 * How long the broker may fill one request for messages. It cannot be taken back: what it sends to a consumer that hung up
 * is missing until `ack_wait` is over, so a consumer that stops hears it to its end.
 */
const fetchMs = 1_000;
/** Longer, and the connection is gone. */
const lastFetchMs = fetchMs + 1_000;
/** For questions to the broker; one that was asked while the connection broke is never answered. */
const askTimeoutMs = 2_000;
const retryMinMs = 250;
const retryMaxMs = 5_000;

/**
 * Brings batches from JetStream into the ledger: pulls, commits, tells the watermark, and only then acknowledges. A
 * message may come twice or never; the journals send again what lies beyond the watermark, so the stream may be lost
 * and is made anew.
 */
export function startUsageConsumer(dependencies: ConsumerDependencies): UsageConsumer {
  const { connection, recorder, store, clock, log } = dependencies;
  const stopping = new AbortController();
  const inbox: JsMsg[] = [];
  let working: Promise<void> | undefined;
  let messages: ConsumerMessages | undefined;

  function wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        cancel();
        stopping.signal.removeEventListener("abort", finish);
        resolve();
      };
      const cancel = clock.after(delayMs, finish);
      stopping.signal.addEventListener("abort", finish);
      if (stopping.signal.aborted) finish();
    });
  }

  async function read(): Promise<void> {
    let delayMs = 0;
    while (!stopping.signal.aborted) {
      try {
        await ensureStream(await jetstreamManager(connection, { timeout: askTimeoutMs }), dependencies);
        const stream = jetstream(connection, { timeout: askTimeoutMs });
        const consumer = await stream.consumers.get(usageStream.name, usageStream.durable);
        while (!stopping.signal.aborted) {
          messages = await consumer.fetch({ max_messages: messagesMax, expires: fetchMs });
          for await (const message of messages) {
            inbox.push(message);
            // Messages that come while a transaction runs share the next one.
            working ??= work().finally(() => (working = undefined));
            if (inbox.length >= messagesMax) await working;
          }
          if (delayMs > 0) log.info({}, "usage comes through JetStream again");
          delayMs = 0;
        }
      } catch (thrown) {
        if (stopping.signal.aborted) return;
        if (delayMs === 0) log.warn({ error: thrown }, "no usage comes through JetStream; trying again");
        delayMs = Math.min(retryMaxMs, Math.max(retryMinMs, delayMs * 2));
        await wait(delayMs);
      }
    }
  }

  /** Empties the inbox. Never fails. */
  async function work(): Promise<void> {
    let delayMs = retryMinMs;
    while (inbox.length > 0) {
      if (stopping.signal.aborted) {
        // For another instance; sooner, they would come here again.
        for (const message of inbox.splice(0)) send(() => message.nak(fetchMs));
        return;
      }
      const { taken, batches, unreadable } = take(inbox);
      let committed: ReadonlyMap<string, bigint>;
      try {
        committed = await recorder.record(batches, unreadable);
      } catch (thrown) {
        log.warn({ error: thrown, count: taken.length }, "usage could not be written to the ledger; it comes again");
        for (const message of taken) send(() => message.nak(delayMs));
        await wait(delayMs);
        delayMs = Math.min(retryMaxMs, delayMs * 2);
        continue;
      }
      for (const [journalId, committedSequence] of committed) {
        const watermark = toBinary(WatermarkSchema, create(WatermarkSchema, { journalId, committedSequence }));
        send(() => connection.publish(usageStream.watermarkPrefix + journalId, watermark));
      }
      for (const message of taken) send(() => message.ack());
      delayMs = retryMinMs;
    }
  }

  /** What cannot be sent because the connection is gone comes again: the ledger holds it already, or the journal does. */
  function send(publish: () => void): void {
    try {
      publish();
    } catch (thrown) {
      log.debug({ error: thrown }, "an acknowledgement was not sent");
    }
  }

  async function answer(request: Msg): Promise<void> {
    try {
      const journalId = fromBinary(GetWatermarkRequestSchema, request.data).journalId.toLowerCase();
      if (!isUuid(journalId)) return;
      const committedSequence = await store.watermark(journalId);
      request.respond(toBinary(WatermarkSchema, create(WatermarkSchema, { journalId, committedSequence })));
    } catch (thrown) {
      log.debug({ error: thrown }, "a request for a watermark was not answered");
    }
  }

  const requests = connection.subscribe(usageStream.watermarkRequests, {
    queue: "metering",
    callback: (error, request) => {
      if (!error) void answer(request);
    },
  });
  const reading = read();

  return {
    async stop() {
      stopping.abort();
      requests.unsubscribe();
      const cancelHangUp = clock.after(lastFetchMs, () => messages?.stop());
      await reading;
      cancelHangUp();
      await working;
      // Acknowledgements that were written last; when the connection is gone, or goes now, the messages come again.
      if (!connection.isClosed()) await connection.flush().catch(() => undefined);
    },
  };
}

/** Takes messages off the inbox until a transaction is full. */
function take(inbox: JsMsg[]): { taken: JsMsg[]; batches: UsageBatch[]; unreadable: Uint8Array[] } {
  const taken: JsMsg[] = [];
  const batches: UsageBatch[] = [];
  const unreadable: Uint8Array[] = [];
  let rows = 0;
  for (let message = inbox.shift(); message; message = rows < rowsMax ? inbox.shift() : undefined) {
    taken.push(message);
    try {
      const batch = fromBinary(UsageBatchSchema, message.data);
      rows += batch.events.length;
      batches.push(batch);
    } catch {
      // Kept aside, as it is.
      unreadable.push(message.data);
    }
  }
  return { taken, batches, unreadable };
}

/** Makes stream and consumer where they are missing; what an operator has set on existing ones stays. */
async function ensureStream(manager: JetStreamManager, options: ConsumerDependencies): Promise<void> {
  await manager.streams.info(usageStream.name).catch((thrown: unknown) => {
    if (!isMissing(thrown)) throw thrown;
    return manager.streams.add({
      name: usageStream.name,
      subjects: [...usageStream.subjects],
      storage: StorageType.File,
      // A message goes once the ledger has acknowledged it; what does not fit is refused, never pushed out.
      retention: RetentionPolicy.Interest,
      discard: DiscardPolicy.New,
      max_bytes: options.streamBytesMax ?? 268_435_456,
      max_age: 0,
      num_replicas: options.streamReplicas ?? 1,
      duplicate_window: nanos(120_000),
    });
  });
  await manager.consumers.info(usageStream.name, usageStream.durable).catch((thrown: unknown) => {
    if (!isMissing(thrown)) throw thrown;
    return manager.consumers.add(usageStream.name, {
      durable_name: usageStream.durable,
      ack_policy: AckPolicy.Explicit,
      // Above the time that a transaction may take with its repetitions.
      ack_wait: nanos(60_000),
      deliver_policy: DeliverPolicy.All,
      max_deliver: -1,
      max_ack_pending: 4 * messagesMax,
    });
  });
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof JetStreamApiError && thrown.status === 404;
}
