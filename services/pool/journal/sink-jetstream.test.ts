import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AckPolicy,
  DiscardPolicy,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from "@nats-io/jetstream";
import { metrics } from "@opentelemetry/api";
import { UsageBatchSchema, type UsageEvent, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { systemClock } from "@weir/kit/clock";
import { silentLog } from "@weir/kit/log";
import { usageStream } from "@weir/kit/usage-stream";
import { connect, type NatsConnection } from "nats";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createDrain, type Drain } from "./drain.ts";
import { exampleEvent, exampleIntent } from "./examples.ts";
import { type Journal, openJournal } from "./journal.ts";
import { createJetStreamSink } from "./sink-jetstream.ts";

const hasServer = spawnSync("nats-server", ["--version"]).error === undefined;

/** A server that can be killed, emptied and started again on its port. */
class Server {
  readonly store: string;
  readonly port: number;
  process: ChildProcess | undefined;

  constructor(store: string, port: number) {
    this.store = store;
    this.port = port;
  }

  async start(): Promise<void> {
    const args = ["-a", "127.0.0.1", "-p", String(this.port), "-js", "-sd", this.store];
    this.process = spawn("nats-server", args, { stdio: "ignore" });
    await vi.waitFor(() => connect({ servers: this.url, timeout: 500 }).then((probe) => probe.close()), {
      timeout: 10_000,
    });
  }

  async kill(): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    this.process = undefined;
  }

  empty(): void {
    fs.rmSync(this.store, { recursive: true, force: true });
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`;
  }
}

/** Metering, as far as the bus is concerned. */
class Consumer {
  readonly rows = new Map<string, UsageEvent>();
  committed = 0;
  deliveries = 0;
  answers = true;
  /** Messages to take and drop, as a ledger that loses them. */
  drop = 0;
  #stopped = false;
  #working: Promise<void> | undefined;
  readonly #connection: NatsConnection;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  start(): void {
    this.#connection.subscribe(usageStream.watermarkRequests, {
      callback: (_, request) => {
        const { journalId } = fromBinary(GetWatermarkRequestSchema, request.data);
        if (this.answers) request.respond(this.#watermark(journalId));
      },
    });
    this.#working = this.#work();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#working;
    await this.#connection.close();
  }

  async ensureStream(): Promise<void> {
    const manager = await jetstreamManager(this.#connection, { timeout: 1_000 });
    await manager.streams.add({
      name: usageStream.name,
      subjects: [...usageStream.subjects],
      storage: StorageType.File,
      retention: RetentionPolicy.Interest,
      discard: DiscardPolicy.New,
      max_bytes: 64 * 1024 * 1024,
    });
    await manager.consumers.add(usageStream.name, {
      durable_name: usageStream.durable,
      ack_policy: AckPolicy.Explicit,
    });
  }

  #watermark(journalId: string): Uint8Array {
    return toBinary(WatermarkSchema, create(WatermarkSchema, { journalId, committedSequence: BigInt(this.committed) }));
  }

  async #work(): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.ensureStream();
        const consumer = await jetstream(this.#connection, { timeout: 1_000 }).consumers.get(
          usageStream.name,
          usageStream.durable,
        );
        for await (const message of await consumer.fetch({ max_messages: 10, expires: 1_000 })) {
          const batch = fromBinary(UsageBatchSchema, message.data);
          message.ack();
          this.deliveries += 1;
          if (this.drop > 0) {
            this.drop -= 1;
            continue;
          }
          for (const event of batch.events) this.rows.set(event.attemptId, event);
          const first = Number(batch.firstSequence);
          if (first <= this.committed + 1) this.committed = Math.max(this.committed, first + batch.events.length - 1);
          this.#connection.publish(usageStream.watermarkPrefix + batch.journalId, this.#watermark(batch.journalId));
        }
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

let folder: string;
let server: Server;
let connection: NatsConnection;
let consumer: Consumer;
let journal: Journal;
let sink: ReturnType<typeof createJetStreamSink>;
let drain: Drain;

beforeEach(async () => {
  if (!hasServer) return;
  folder = fs.mkdtempSync(join(tmpdir(), "weir-jetstream-"));
  server = new Server(join(folder, "store"), await freePort());
  await server.start();
  const options = { servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 };
  connection = await connect(options);
  consumer = new Consumer(await connect(options));
  journal = await openJournal({
    directory: join(folder, "journal"),
    syncIntervalMs: 1,
    clock: systemClock,
    log: silentLog,
  });
  sink = createJetStreamSink(connection, journal.id);
  drain = createDrain({
    journal,
    sink,
    clock: systemClock,
    random: Math.random,
    meter: metrics.getMeter("test"),
    log: silentLog,
    batchEventsMax: 10,
    idleDelayMs: 1,
    stallMs: 300,
  });
});

afterEach(async () => {
  if (!hasServer) return;
  await drain.stop(0);
  sink.close();
  await consumer.stop();
  await connection.close();
  await journal.close();
  await server.kill();
  fs.rmSync(folder, { recursive: true });
});

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, "close");
  return port;
}

function run(count: number): string[] {
  return Array.from({ length: count }, () => {
    const id = randomUUID();
    void journal.intend(exampleIntent(id));
    journal.settle(exampleEvent(id));
    return id;
  });
}

const arrived = (ids: readonly string[]) =>
  vi.waitFor(
    () => {
      expect(journal.committedSequence).toBe(journal.lastSequence);
      expect([...consumer.rows.keys()].toSorted()).toEqual(ids.toSorted());
    },
    { timeout: 20_000 },
  );

test.runIf(hasServer)(
  "batches reach the ledger over JetStream; the journal waits for the ledger's word",
  { timeout: 30_000 },
  async () => {
    const ids = run(95);
    // Neither stream nor ledger: nothing is lost, nothing is confirmed.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(journal.committedSequence).toBe(0);
    consumer.start();
    await arrived(ids);
    expect(consumer.rows.get(ids[7] as string)).toEqual(exampleEvent(ids[7] as string));
  },
);

test.runIf(hasServer)(
  "what the ledger lost after the broker's acknowledgement is sent again",
  { timeout: 30_000 },
  async () => {
    consumer.start();
    consumer.drop = 2;
    const ids = run(50);
    await arrived(ids);
    expect(consumer.deliveries).toBeGreaterThan(5);
  },
);

test.runIf(hasServer)(
  "a broker that is killed and comes back empty in the middle costs nothing",
  { timeout: 60_000 },
  async () => {
    consumer.start();
    const ids: string[] = [];
    const produce = setInterval(() => ids.push(...run(5)), 5);
    try {
      for (const emptied of [false, true, true]) {
        const before = consumer.committed;
        await vi.waitFor(() => expect(consumer.committed).toBeGreaterThan(before + 50), { timeout: 20_000 });
        await server.kill();
        if (emptied) server.empty();
        await new Promise((resolve) => setTimeout(resolve, 200));
        await server.start();
      }
    } finally {
      clearInterval(produce);
    }
    ids.push(...run(1));
    await arrived(ids);
  },
);

test.runIf(hasServer)("while nobody answers for the ledger the broker is not filled", { timeout: 30_000 }, async () => {
  consumer.answers = false;
  await consumer.ensureStream();
  run(200);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const info = await (await jetstreamManager(connection)).streams.info(usageStream.name);
  expect(info.state.messages).toBe(0);
  expect(journal.committedSequence).toBe(0);
});
