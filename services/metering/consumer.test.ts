import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type UsageBatch, UsageBatchSchema, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { systemClock } from "@weir/kit/clock";
import { usageStream } from "@weir/kit/usage-stream";
import { WeirError } from "@weir/kit/weir-error";
import { createPriceList } from "@weir/price/price";
import { connect, type NatsConnection } from "nats";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startNats, type TestServer } from "../../test/servers.ts";
import { startUsageConsumer, type UsageConsumer } from "./consumer.ts";
import type { Recorder } from "./recorder.ts";
import { createMetering, type Metering } from "./service.ts";
import {
  journalA,
  journalB,
  openTestDatabase,
  silentLog,
  type TestDatabase,
  testBatch,
  testMeter,
  testPrice,
} from "./testing.ts";

let db: TestDatabase;
let metering: Metering;
let nats: TestServer;
let connection: NatsConnection;
let consumers: UsageConsumer[] = [];

beforeAll(async () => {
  [db, nats] = await Promise.all([openTestDatabase("embedded"), startNats()]);
  metering = createMetering({
    database: db.database,
    pepper: Buffer.alloc(32),
    clock: systemClock,
    meter: testMeter,
    log: silentLog,
  });
  await metering.prepare(createPriceList([testPrice]));
  connection = await connect({ servers: nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
});
afterAll(async () => {
  await connection.close();
  await Promise.all([db.end(), nats.stop()]);
});
beforeEach(async () => {
  await db.query("truncate attempts, transfers, conflicts, journals");
  const { streams } = await jetstreamManager(connection);
  for await (const name of streams.names()) await streams.delete(name);
});
afterEach(async () => {
  await Promise.all(consumers.map((consumer) => consumer.stop()));
  consumers = [];
});

function start(recorder: Recorder = metering.recorder, on = connection): UsageConsumer {
  const consumer = startUsageConsumer({
    connection: on,
    recorder,
    store: metering.store,
    clock: systemClock,
    log: silentLog,
  });
  consumers.push(consumer);
  return consumer;
}

async function publish(batch: UsageBatch, on = connection): Promise<void> {
  await vi.waitFor(() => jetstream(on).publish(`weir.usage.v1.${batch.journalId}`, toBinary(UsageBatchSchema, batch)), {
    timeout: 10_000,
    interval: 50,
  });
}

const committed = () => metering.store.watermark(journalA);
const count = async (table: string) => Number((await db.query(`select count(*) from ${table}`))[0]?.["count"]);
const until = (condition: () => Promise<unknown>) => vi.waitFor(condition, { timeout: 15_000, interval: 20 });

async function unacknowledged(): Promise<number> {
  const info = await (await jetstreamManager(connection)).consumers.info(usageStream.name, usageStream.durable);
  return info.num_pending + info.num_ack_pending;
}

test("batches that are published stand in the ledger, are acknowledged, and leave the stream", async () => {
  start();
  for (let first = 1; first <= 91; first += 10) await publish(testBatch(first, first + 9));
  await until(async () => expect(await committed()).toBe(100n));
  expect([await count("attempts"), await count("entries")]).toEqual([100, 400]);
  await until(async () => expect(await unacknowledged()).toBe(0));
  const info = await (await jetstreamManager(connection)).streams.info(usageStream.name);
  expect(info.state.messages).toBe(0);
  expect(info.config).toMatchObject({ discard: "new", storage: "file", max_bytes: 268_435_456, max_age: 0 });
});

test("the watermark is told after the commit, and to whoever asks", async () => {
  start();
  const told: [string, bigint][] = [];
  connection.subscribe(`${usageStream.watermarkPrefix}*`, {
    callback: (_, message) => {
      if (message.subject === usageStream.watermarkRequests) return;
      const { journalId, committedSequence } = fromBinary(WatermarkSchema, message.data);
      expect(message.subject).toBe(usageStream.watermarkPrefix + journalId);
      told.push([journalId, committedSequence]);
    },
  });
  await publish(testBatch(1, 3));
  await publish(testBatch(1, 2, journalB));
  await until(async () =>
    expect(new Map(told)).toEqual(
      new Map([
        [journalA, 3n],
        [journalB, 2n],
      ]),
    ),
  );
  const ask = async (journalId: string) => {
    const request = toBinary(GetWatermarkRequestSchema, create(GetWatermarkRequestSchema, { journalId }));
    const reply = await connection.request(usageStream.watermarkRequests, request, { timeout: 5_000 });
    return fromBinary(WatermarkSchema, reply.data).committedSequence;
  };
  expect([await ask(journalA), await ask(journalB), await ask(crypto.randomUUID())]).toEqual([3n, 2n, 0n]);
});

test("messages that wait are written together, in one transaction", async () => {
  const sizes: number[] = [];
  let open = () => undefined as void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const recorder: Recorder = {
    async record(batches, unreadable) {
      sizes.push(batches.length);
      await opened;
      return metering.recorder.record(batches, unreadable);
    },
  };
  start(recorder);
  await publish(testBatch(1, 10));
  await until(async () => expect(sizes).toEqual([1]));
  for (let first = 11; first <= 191; first += 10) await publish(testBatch(first, first + 9));
  open();
  await until(async () => expect(await committed()).toBe(200n));
  expect(sizes.length).toBeLessThanOrEqual(4);
});

test("while the store is away messages are kept and come again", async () => {
  let away = true;
  let refusedCount = 0;
  const recorder: Recorder = {
    async record(batches, unreadable) {
      if (!away) return metering.recorder.record(batches, unreadable);
      refusedCount++;
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
    },
  };
  start(recorder);
  await publish(testBatch(1, 5));
  await publish(testBatch(6, 10));
  await until(async () => expect(refusedCount).toBeGreaterThan(2));
  expect(await unacknowledged()).toBe(2);
  away = false;
  await until(async () => expect(await count("attempts")).toBe(10));
  await until(async () => expect(await unacknowledged()).toBe(0));
  // They may come back in any order; a batch that came before the one it follows moved no watermark, so its journal sends it
  // once more.
  if ((await committed()) === 5n) await publish(testBatch(6, 10));
  await until(async () => expect(await committed()).toBe(10n));
  expect(await count("attempts")).toBe(10);
});

test("a message that is no batch is kept aside and stops nothing", async () => {
  start();
  await publish(testBatch(1, 1));
  await jetstream(connection).publish("weir.usage.v1.odd", Buffer.from("\xff\xff\xff not a batch"));
  await publish(testBatch(2, 2));
  await until(async () => expect(await committed()).toBe(2n));
  await until(async () => expect(await count("conflicts")).toBe(1));
  await until(async () => expect(await unacknowledged()).toBe(0));
});

test("killed between commit and acknowledgement, the next consumer gets the message again and writes nothing twice", async () => {
  const doomed = await connect({ servers: nats.url });
  let deliveredCount = 0;
  start(
    {
      async record(batches, unreadable) {
        const applied = await metering.recorder.record(batches, unreadable);
        deliveredCount++;
        // From here on nothing that this consumer sends arrives.
        await doomed.close();
        return applied;
      },
    },
    doomed,
  );
  await publish(testBatch(1, 20));
  await until(async () => expect(deliveredCount).toBe(1));
  expect(await committed()).toBe(20n);
  expect(await unacknowledged()).toBe(1);
  // What the server does by itself after ack_wait.
  const manager = await jetstreamManager(connection);
  const info = await manager.consumers.info(usageStream.name, usageStream.durable);
  await manager.consumers.update(usageStream.name, usageStream.durable, { ...info.config, ack_wait: 500_000_000 });
  let redeliveredCount = 0;
  start({
    record(batches, unreadable) {
      redeliveredCount++;
      return metering.recorder.record(batches, unreadable);
    },
  });
  await until(async () => expect(await unacknowledged()).toBe(0));
  expect(redeliveredCount).toBeGreaterThanOrEqual(1);
  expect([await count("attempts"), await count("entries"), await count("conflicts")]).toEqual([20, 80, 0]);
});

test("two consumers share the work and the ledger is the same", async () => {
  start();
  start();
  for (let first = 1; first <= 191; first += 10) {
    await publish(testBatch(first, first + 9));
    await publish(testBatch(first, first + 9));
  }
  await until(async () => expect(await count("attempts")).toBe(200));
  await until(async () => expect(await unacknowledged()).toBe(0));
  expect([await count("entries"), await count("conflicts")]).toEqual([800, 0]);
});

test("the stream may be deleted under a running consumer: it is made anew and what is sent again is written", async () => {
  start();
  await publish(testBatch(1, 5));
  await until(async () => expect(await committed()).toBe(5n));
  await (await jetstreamManager(connection)).streams.delete(usageStream.name);
  // What comes between the new stream and its new consumer is dropped, so it is sent until it stands, as a journal does.
  await until(async () => {
    await publish(testBatch(1, 8));
    expect(await committed()).toBe(8n);
  });
});

test("a server that is killed and comes back empty is taken up again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-nats-amnesia-"));
  const port = await freePort();
  let round = 0;
  const server = async () => {
    const child = spawn(
      "nats-server",
      ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", join(folder, String(round++))],
      {
        stdio: "ignore",
      },
    );
    await vi.waitFor(async () => (await connect({ servers: `127.0.0.1:${port}` })).close(), { timeout: 10_000 });
    return child;
  };
  let child = await server();
  const own = await connect({ servers: `127.0.0.1:${port}`, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  try {
    const consumer = start(metering.recorder, own);
    await publish(testBatch(1, 5), own);
    await until(async () => expect(await committed()).toBe(5n));
    child.kill("SIGKILL");
    await once(child, "exit");
    child = await server();
    // As above: dropped while the new stream has no consumer.
    await until(async () => {
      await publish(testBatch(4, 9), own);
      expect(await committed()).toBe(9n);
    });
    await consumer.stop();
    expect(await count("attempts")).toBe(9);
  } finally {
    await own.close();
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});

test("stopping finishes the transaction that runs and gives the rest back, also what is on its way", async () => {
  let open = () => undefined as void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let recordedCount = 0;
  const consumer = start({
    async record(batches, unreadable) {
      recordedCount++;
      await opened;
      return metering.recorder.record(batches, unreadable);
    },
  });
  await publish(testBatch(1, 5));
  await until(async () => expect(recordedCount).toBe(1));
  await publish(testBatch(6, 10));
  const stopped = consumer.stop();
  await publish(testBatch(11, 15));
  open();
  await stopped;
  expect(await committed()).toBe(5n);
  expect(recordedCount).toBe(1);
  // Nothing is sent again: what the first consumer had comes to the second long before ack_wait is over.
  start();
  await until(async () => expect(await count("attempts")).toBe(15));
  await until(async () => expect(await unacknowledged()).toBe(0));
});

test("stopping ends in time although the broker is gone", async () => {
  const own = await connect({ servers: nats.url, maxReconnectAttempts: -1 });
  const consumer = start(metering.recorder, own);
  await publish(testBatch(1, 5));
  await until(async () => expect(await committed()).toBe(5n));
  await own.close();
  const startMs = performance.now();
  await consumer.stop();
  expect(performance.now() - startMs).toBeLessThan(3_500);
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
