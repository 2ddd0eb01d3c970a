import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJetStreamSink } from "@weir/pool/journal/sink-jetstream";
import { connect, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { brokenLaws, createLedgerReader, differences, type LedgerReader } from "../ledger.ts";
import { createDatabase, startPostgres, type TestServer } from "../servers.ts";
import { type Broker, createBroker } from "./broker.ts";
import { meteringEnvironment } from "./metering.ts";
import { createProxy, type Direction, type Proxy } from "./proxy.ts";
import { runScenario, scenarioTimeoutMs, type TrialContext } from "./scenario.ts";
import { runService, type ServiceProcess } from "./service-process.ts";
import { createSource, type Source, sourcePriceOf } from "./usage-source.ts";

// kill -9 of a metering process at chosen moments between the broker and the ledger. Real: metering as a process, NATS,
// Postgres, journal and drain (in the test's process). The moments are chosen from outside: proxies before the database and
// before the broker see what metering says.

const lanes = 3;
/** For what comes within milliseconds on a machine that has nothing else to do. */
const patienceMs = 20_000;
const folder = mkdtempSync(join(tmpdir(), "weir-metering-faults-"));

interface Lane {
  readonly broker: Broker;
  readonly process: ServiceProcess;
  readonly connection: NatsConnection;
  /** Before the database and before the broker. */
  readonly database: Proxy;
  readonly bus: Proxy;
  /** Sees what metering sends; false: it does not get there. */
  onSay: (to: "database" | "bus", text: Buffer, connection: object) => boolean;
}

let postgres: TestServer;
let database: Awaited<ReturnType<typeof createDatabase>>;
let ledger: LedgerReader;
const open: Lane[] = [];

async function openLane(index: number): Promise<Lane> {
  const broker = await createBroker();
  const saying = (to: "database" | "bus") => (direction: Direction, data: Buffer, connection: object) =>
    direction === "down" || lane.onSay(to, data, connection);
  const target = new URL(database.url);
  const databaseProxy = await createProxy(Number(target.port), saying("database"));
  const busProxy = await createProxy(broker.port, saying("bus"));
  target.port = String(databaseProxy.port);
  const home = join(folder, `metering-${index}`);
  mkdirSync(home);
  const env = meteringEnvironment(home, target.href, `nats://127.0.0.1:${busProxy.port}`);
  const lane: Lane = {
    broker,
    process: runService("metering", ["metering"], env, home),
    connection: await connect({ servers: broker.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 }),
    database: databaseProxy,
    bus: busProxy,
    onSay: () => true,
  };
  await lane.process.ready();
  await vi.waitFor(() => consumerState(lane), { timeout: patienceMs, interval: 50 });
  // A minute by default; the broker itself shall send again what was not acknowledged.
  await api(lane, "CONSUMER.DURABLE.CREATE.WEIR_USAGE.ledger", {
    stream_name: "WEIR_USAGE",
    config: { ...(await consumerState(lane)).config, ack_wait: 1_000_000_000 },
  });
  return lane;
}

interface ConsumerState {
  readonly config: object;
  readonly num_pending: number;
  readonly num_ack_pending: number;
  readonly delivered: { readonly consumer_seq: number; readonly stream_seq: number };
}

/** https://docs.nats.io/reference/reference-protocols/nats_api_reference */
async function api(lane: Lane, what: string, request?: object): Promise<unknown> {
  const body = request === undefined ? "" : JSON.stringify(request);
  const reply = await lane.connection.request(`$JS.API.${what}`, body, { timeout: patienceMs });
  const answer = reply.json<{ error?: { description: string } }>();
  if (answer.error !== undefined) throw new Error(answer.error.description);
  return answer;
}

async function consumerState(lane: Lane): Promise<ConsumerState> {
  return (await api(lane, "CONSUMER.INFO.WEIR_USAGE.ledger")) as ConsumerState;
}

/** Deliveries beyond the first of a message. */
async function redeliveries(lane: Lane): Promise<number> {
  const { delivered } = await consumerState(lane);
  return delivered.consumer_seq - delivered.stream_seq;
}

/** Messages that the broker holds for the ledger. */
async function unwritten(lane: Lane): Promise<number> {
  const { num_pending, num_ack_pending } = await consumerState(lane);
  return num_pending + num_ack_pending;
}

beforeAll(async () => {
  postgres = await startPostgres();
  database = await createDatabase(postgres.url);
  ledger = createLedgerReader(database.url);
  for (let index = 0; index < lanes; index++) open.push(await openLane(index));
});
afterAll(async () => {
  for (const lane of open) {
    await lane.process.stop();
    await lane.connection.close();
    await lane.database.close();
    await lane.bus.close();
    await lane.broker.close();
  }
  await ledger?.close();
  await database?.drop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const says = (data: Buffer, word: string) => data.toString("latin1").toLowerCase().includes(word);

/** Tells the commit of a batch from those of metering's other work: rows were inserted before it by the same connection. */
function batchCommits(): (data: Buffer, connection: object) => boolean {
  const inserting = new WeakSet<object>();
  return (data, connection) => {
    if (says(data, "insert-new\0") || says(data, "insert-missing\0")) inserting.add(connection);
    return inserting.has(connection) && says(data, "commit\0");
  };
}

/**
 * Moments at which metering dies. Each arms itself, and resolves when it has come. `commits`: whether what is under way is
 * then in the ledger, and not acknowledged.
 */
const moments: Readonly<
  Record<string, { readonly commits: boolean; arm(lane: Lane, random: () => number): Promise<unknown> }>
> = {
  "before the commit": {
    commits: false,
    arm: (lane) =>
      new Promise<void>((resolve) => {
        const commits = batchCommits();
        lane.onSay = (to, data, connection) => {
          if (to !== "database" || !commits(data, connection)) return true;
          resolve();
          return false;
        };
      }),
  },
  "after the commit, before metering hears of it": {
    commits: true,
    arm: (lane) =>
      new Promise<void>((resolve) => {
        const commits = batchCommits();
        lane.onSay = (to, data, connection) => {
          if (to === "database" && commits(data, connection)) {
            lane.database.stop("down");
            resolve();
          }
          return true;
        };
      }),
  },
  "after the commit, before the watermark and the acknowledgement": {
    commits: true,
    arm: (lane) =>
      new Promise<void>((resolve) => {
        lane.onSay = (to, data) => {
          if (to !== "bus" || !(says(data, "pub weir.watermark.v1.") || says(data, "pub $js.ack."))) return true;
          resolve();
          return false;
        };
      }),
  },
  "after the acknowledgement": {
    commits: false,
    arm: (lane) =>
      new Promise<void>((resolve) => {
        lane.onSay = (to, data) => {
          if (to === "bus" && says(data, "pub $js.ack.")) setTimeout(resolve, 5);
          return true;
        };
      }),
  },
  "at random": { commits: false, arm: (_lane, random) => pause(random() * 150) },
};
const momentNames = Object.keys(moments);

/** Brings usage in, and kills metering at a moment. */
async function killAt(name: string, { random, tag }: TrialContext, lane: Lane, source: Source): Promise<void> {
  const moment = moments[name] as (typeof moments)[string];
  const starts = lane.process.starts();
  const come = moment.arm(lane, random);
  const late = pause(patienceMs).then(() => Promise.reject(new Error(`${name}: the moment did not come`)));
  try {
    for (let burst = 0; burst < 4; burst++) {
      source.run(1 + Math.floor(random() * 12));
      await pause(random() * 10);
    }
    await Promise.race([come, late]);
    // A commit that the database was told is done when its rows are seen.
    if (moment.commits) {
      await vi.waitFor(async () => expect((await ledger.rows({ endUser: tag })).length).toBeGreaterThan(0), {
        timeout: patienceMs,
        interval: 2,
      });
    }
    lane.process.signal("SIGKILL");
    await vi.waitFor(() => expect(lane.process.starts()).toBeGreaterThan(starts), {
      timeout: patienceMs,
      interval: 2,
    });
  } finally {
    // Also when it fails, for the lane's next trial.
    lane.onSay = () => true;
    lane.database.mend();
  }
}

/** What is sent again, by the broker or by a journal, would be taken for the next trial's. */
async function atRest(lane: Lane): Promise<void> {
  await lane.process.ready();
  await vi.waitFor(async () => expect(await unwritten(lane)).toBe(0), { timeout: patienceMs, interval: 20 });
}

async function verdict({ tag }: TrialContext, source: Source): Promise<string[]> {
  const rows = await ledger.rows({ endUser: tag });
  return [...differences(rows, [...source.billed.values()], sourcePriceOf), ...(await brokenLaws(ledger, tag))];
}

test(
  "F3 metering killed between commit and acknowledgement, and around it, writes everything once",
  async () => {
    let provenAgain = 0;
    await runScenario(
      "F3",
      async (context) => {
        const { random, seed, tag, lane: index } = context;
        const lane = open[index] as Lane;
        const name = momentNames[seed % momentNames.length] as string;
        const commits = moments[name]?.commits === true;
        await atRest(lane);
        const before = await redeliveries(lane);
        let sent = 0;
        const source = await createSource({
          directory: join(folder, tag),
          tag,
          random,
          sink(journalId) {
            const plain = createJetStreamSink(lane.connection, journalId);
            return { ...plain, send: (batch, again) => ((sent += batch.count), plain.send(batch, again)) };
          },
        });
        try {
          await killAt(name, context, lane, source);
          await vi.waitFor(() => expect(source.drained()).toBe(true), { timeout: 45_000, interval: 20 });
        } finally {
          await source.close();
        }
        await atRest(lane);
        const again = Math.max((await redeliveries(lane)) - before, sent - source.billed.size);
        if (commits && again > 0) provenAgain++;
        return async () => {
          const unproven = commits && again < 1 ? ["nothing was delivered again"] : [];
          return [...unproven, ...(await verdict(context, source))];
        };
      },
      { atOnce: lanes },
    );
    expect(provenAgain).toBeGreaterThan(0);
  },
  scenarioTimeoutMs(),
);
