import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { UsageBatchSchema, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import type { Sink } from "@weir/pool/journal/drain";
import type { SettledBatch } from "@weir/pool/journal/journal";
import { createJetStreamSink } from "@weir/pool/journal/sink-jetstream";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, test } from "vitest";
import { brokenLaws, createLedgerReader, differences, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { type Broker, createBroker } from "./broker.ts";
import { type RunningMetering, startMetering } from "./metering.ts";
import { runScenario, scenarioTimeoutMs, type TrialContext } from "./scenario.ts";
import { createSource, type Source, sourcePriceOf } from "./usage-source.ts";

// Faults between a journal and the ledger. Real: journal, drain, NATS, metering with its consumer, Postgres. In the test's
// process: journal and metering, so that a trial needs no gateway.

const lanes = 4;
const folder = mkdtempSync(join(tmpdir(), "weir-broker-faults-"));

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let ledger: LedgerReader;
const brokers: Broker[] = [];
const meterings: RunningMetering[] = [];
const connections: NatsConnection[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  for (let lane = 0; lane < lanes; lane++) {
    const broker = await createBroker();
    brokers.push(broker);
    meterings.push(await startMetering(database.url, broker.url));
    connections.push(await connect({ servers: broker.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 }));
  }
});
afterAll(async () => {
  await Promise.all(connections.map((connection) => connection.close()));
  await Promise.all(meterings.map((metering) => metering.close()));
  await Promise.all(brokers.map((broker) => broker.close()));
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function openSource({ tag, random, lane }: TrialContext, sink?: (plain: Sink) => Sink): Promise<Source> {
  return createSource({
    directory: join(folder, tag),
    tag,
    random,
    sink(journalId) {
      const plain = createJetStreamSink(connections[lane] as NatsConnection, journalId);
      return { ...(sink?.(plain) ?? plain), close: () => plain.close() };
    },
  });
}

/** Every attempt has exactly one row, equal to what was billed, and nothing else has one. */
async function verdict({ tag }: TrialContext, source: Source): Promise<string[]> {
  if (!source.drained()) return ["the ledger has not confirmed everything"];
  const rows = await ledger.rows({ endUser: tag });
  return [...differences(rows, [...source.billed.values()], sourcePriceOf), ...(await brokenLaws(ledger, tag))];
}

/** Judges until all is well, then closes the source. */
function judged(context: TrialContext, source: Source, more: () => Promise<string[]> = async () => []) {
  return async () => {
    const faults = [...(await verdict(context, source)), ...(await more())];
    if (faults.length === 0) await source.close();
    return faults;
  };
}

test(
  "F17 every message three times, in any order, and once more when all was written, changes nothing",
  async () => {
    await runScenario(
      "F17",
      async (context) => {
        const { random } = context;
        const sent: SettledBatch[] = [];
        let plain: Sink | undefined;
        let copies = 0;
        const copy = async (batch: SettledBatch): Promise<void> => {
          copies++;
          // Under the broker's id of the first half the time, so that its window takes it; else under one of its own.
          const again = random() < 0.3 ? 0 : 1 + Math.floor(random() * 1e9);
          // A copy may be lost: the drain sends on until the ledger has each.
          await plain?.send(batch, again).catch(() => undefined);
        };
        const source = await openSource(context, (sink) => {
          plain = sink;
          return {
            ...sink,
            async send(batch) {
              sent.push(batch);
              await Promise.all([0, 1, 2].map(() => pause(random() * 80).then(() => copy(batch))));
              return undefined;
            },
          };
        });
        for (let burst = 0; burst < 6; burst++) {
          source.run(1 + Math.floor(random() * 20));
          await pause(random() * 30);
        }
        let repeated = false;
        return judged(context, source, async () => {
          if (!source.drained()) return [];
          if (!repeated) {
            repeated = true;
            // Long after, as far as any window goes.
            for (const batch of sent.toSorted(() => random() - 0.5)) await copy(batch);
          }
          if (copies < 4 * sent.length) return [`only ${copies} copies of ${sent.length} batches`];
          const left = await unwritten(context.lane);
          return left === 0 ? [] : [`${left} messages are not written yet`];
        });
      },
      { atOnce: lanes },
    );
  },
  scenarioTimeoutMs(),
);

test(
  "F17 an attempt that comes again with other content leaves its row alone and is kept aside",
  async () => {
    await runScenario(
      "F17-content",
      async (context) => {
        const { random, tag } = context;
        const sent: SettledBatch[] = [];
        let plain: Sink | undefined;
        const source = await openSource(context, (sink) => {
          plain = sink;
          return { ...sink, send: (batch, again) => (sent.push(batch), sink.send(batch, again)) };
        });
        source.run(1 + Math.floor(random() * 30));
        let altered: UsageEvent | undefined;
        return async () => {
          if (!source.drained()) return ["the ledger has not confirmed everything"];
          if (altered === undefined) {
            const chosen = sent[Math.floor(random() * sent.length)] as SettledBatch;
            const batch = fromBinary(UsageBatchSchema, chosen.bytes);
            const index = Math.floor(random() * batch.events.length);
            const event = batch.events[index] as UsageEvent;
            altered = {
              ...event,
              usage: { ...(event.usage as Usage), outputTokens: 1 + (event.usage?.outputTokens ?? 0) },
            };
            batch.events[index] = altered;
            const bytes = toBinary(UsageBatchSchema, batch);
            await plain?.send({ ...chosen, bytes }, 1 + Math.floor(random() * 1e9));
          }
          const rows = await ledger.rows({ endUser: tag });
          const faults = differences(rows, [...source.billed.values()], sourcePriceOf);
          const laws = await brokenLaws(ledger, tag);
          if (laws.join() !== "conflicts: 1") faults.push(`instead of one conflict: ${laws.join(", ")}`);
          if (faults.length === 0) await source.close();
          return faults;
        };
      },
      { atOnce: lanes },
    );
  },
  scenarioTimeoutMs(),
);

// Last: what an old copy holds in flight comes again for a minute, which the other scenarios would wait for.
test(
  "F5 a broker that comes back empty or set back to an old copy costs nothing",
  async () => {
    await runScenario(
      "F5",
      async (context) => {
        const { random, lane } = context;
        const broker = brokers[lane] as Broker;
        const source = await openSource(context);
        const produce = setInterval(() => source.run(1 + Math.floor(random() * 5)), 10);
        try {
          await pause(random() * 150);
          await broker.kill();
          // The copy is of this moment of an earlier trial: what it holds has been confirmed, and deleted, long since.
          const old = random() < 0.5 && broker.restore("old");
          if (!old) {
            broker.save("old");
            broker.empty();
          }
          await pause(random() * 100);
          await broker.start();
          await pause(random() * 150);
        } finally {
          clearInterval(produce);
        }
        return judged(context, source);
      },
      { atOnce: lanes, sharesBroken: true },
    );
  },
  scenarioTimeoutMs(),
);

/** Messages that the broker holds for the ledger. https://docs.nats.io/reference/reference-protocols/nats_api_reference */
async function unwritten(lane: number): Promise<number> {
  const reply = await (connections[lane] as NatsConnection).request("$JS.API.CONSUMER.INFO.WEIR_USAGE.ledger", "");
  const info = reply.json<{ num_pending: number; num_ack_pending: number }>();
  return info.num_pending + info.num_ack_pending;
}
