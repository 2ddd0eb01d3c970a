import { type ChildProcess, fork, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { metrics } from "@opentelemetry/api";
import {
  AcquireLeasesResponseSchema,
  BudgetService,
  LeaseOutcome,
  RenewLeasesResponseSchema,
  WatchBudgetsResponseSchema,
} from "@weir/gen/weir/account/v1/budget_service_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSchema, UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, UsageBatchSchema, WatermarkSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { GetWatermarkRequestSchema } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { usageStream } from "@weir/kit/usage-stream";
import { toIntent, toUsageEvent } from "./attempt-record.ts";
import { createBudgets } from "./budgets/budgets.ts";
import { createDrain } from "./journal/drain.ts";
import { openJournal } from "./journal/journal.ts";
import { createJetStreamSink } from "./journal/sink-jetstream.ts";
import { createPriceList } from "@weir/price/price";
import { connect } from "nats";

// What metering costs the data plane, for one request: `node services/pool/metering.bench.ts [--rounds 5] [--rate 1000] [--busy 0]`. Price and
// budgets looked up, money held, the intent on record, the cost reckoned, the settlement on record, and the journal synced and carried to a
// real JetStream, whose consumer is another process. CPU time of this process, less that of the same paced loop without it. With `--busy`, both
// loops do other work of so many microseconds for each request, as a pool does: else the process sleeps between, and finds
// a cold cache and a clock that has slowed down at each of its steps. Needs nats-server.

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "5" },
    busy: { type: "string", default: "0" },
  },
});
const [rounds, rate, seconds] = [Number(values.rounds), Number(values.rate), Number(values.seconds)];
const busyMs = Number(values.busy) / 1_000;

const provider = { id: "openai" };
/** Used again and again, as the journal knows them only while they are open. */
const attemptIds = Array.from({ length: 10_000 }, () => randomUUID());
if (process.env["WEIR_BENCH_LEDGER"] === undefined) await measure();
else await playLedger(process.env["WEIR_BENCH_LEDGER"]);

async function measure(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "weir-bench-metering-"));
  const port = await freePort();
  const url = `nats://127.0.0.1:${port}`;
  const nats = spawn("nats-server", ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", join(folder, "nats")], {
    stdio: "ignore",
  });
  let ledger: ChildProcess | undefined;
  try {
    const connection = await connect({
      servers: url,
      waitOnFirstConnect: true,
      maxReconnectAttempts: 50,
      reconnectTimeWait: 100,
    });
    ledger = fork(import.meta.filename, { env: { ...process.env, WEIR_BENCH_LEDGER: url } });
    await once(ledger, "message");
    const journal = await openJournal({ directory: join(folder, "journal"), clock: systemClock, log: silentLog });
    const sink = createJetStreamSink(connection, journal.id);
    const meter = metrics.getMeter("bench");
    const drain = createDrain({ journal, sink, clock: systemClock, random: Math.random, meter, log: silentLog });
    for (const count of [0, 2]) {
      const budgets = createBudgets({
        service: createClient(BudgetService, createLocalDoor([lenderOf(count)])),
        holder: randomUUID(),
        keepMs: () => 600_000,
        clock: systemClock,
        random: Math.random,
        meter,
        log: silentLog,
      });
      budgets.begin();
      const meteredCall = createCalls(journal, budgets);
      await meteredCall(0);
      await runAtRate(20 * rate, 40_000, meteredCall);
      const costs: Cpu[] = [];
      // The first round is not counted: its code is still being compiled.
      for (let round = 0; round <= rounds; round += 1) {
        const bare = await runAtRate(rate, rate * seconds, () => undefined);
        const metered = await runAtRate(rate, rate * seconds, meteredCall);
        if (round > 0)
          costs.push({ all: metered.all - bare.all, main: metered.main - bare.main, pool: metered.pool - bare.pool });
      }
      costs.sort((a, b) => a.all - b.all);
      const middle = costs[rounds >> 1] ?? { all: 0, main: 0, pool: 0 };
      const text = costs.map(({ all }) => all.toFixed(2)).join(", ");
      console.log(
        `${count} budgets, ${rate} requests/s: ${middle.all.toFixed(2)} us of CPU for a request (${text}); ` +
          `${middle.main.toFixed(2)} in the main thread, ${middle.pool.toFixed(2)} in libuv's, the rest in V8's`,
      );
      await budgets.close();
    }
    const { openAttempts, lastSequence } = journal.status();
    await drain.stop(10_000);
    console.log(
      `${lastSequence} attempts settled, ${openAttempts} open; the ledger confirmed ${journal.committedSequence}`,
    );
    sink.close();
    await journal.close();
    await connection.close();
  } finally {
    ledger?.kill();
    nats.kill();
    await once(nats, "exit");
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Each call as the pool meters it; ids and messages are made by the pool for other reasons, and are made before. */
function createCalls(
  journal: Awaited<ReturnType<typeof openJournal>>,
  budgets: ReturnType<typeof createBudgets>,
): (index: number) => void | Promise<void> {
  const price = {
    id: "openai/gpt-4o@1970-01-01",
    provider: "openai",
    model: "gpt-4o",
    effectiveTime: 0,
    source: "a measurement",
    nanoUsdPerMillion: {
      input: 2_500_000_000n,
      output: 10_000_000_000n,
      cachedInput: 1_250_000_000n,
      cacheWrite: 2_500_000_000n,
    },
  };
  const prices = createPriceList([price]);
  const target = create(TargetSchema, { provider: "openai", model: "gpt-4o" });
  const principals = Array.from({ length: 200 }, (_, index) =>
    create(PrincipalSchema, { tenant: "acme", key: `key${String(index).padStart(13, "a")}`, user: `u-${index}` }),
  );
  const usage = create(UsageSchema, { inputTokens: 123, outputTokens: 456 });
  const reserved = create(UsageSchema, { inputTokens: 1_000, outputTokens: 4_096 });
  const body = Buffer.alloc(600, "a");
  const never = new AbortController().signal;
  return (index) => {
    const principal = principals[index % principals.length] ?? principals[0];
    if (principal === undefined) return;
    const attemptId = attemptIds[index % attemptIds.length] ?? "";
    const startTimeMs = Date.now();
    const found = prices.find(target, startTimeMs);
    const expense = {
      spender: { principal, alias: "chat", target },
      price: found,
      body,
      stream: false,
      outputTokensMax: 1_024,
    };
    const run = (hold: Awaited<ReturnType<typeof budgets.hold>>) => {
      const plan = {
        attemptId,
        requestId: attemptId,
        principal,
        alias: "chat",
        target,
        priceId: found?.id ?? "",
        provider: provider as never,
        stream: false,
        reserved,
        hold,
        startTimeMs,
      };
      void journal.intend(toIntent(plan));
      hold?.keep();
      journal.settle(
        toUsageEvent(plan, {
          usage,
          source: UsageSource.REPORTED,
          outcome: AttemptOutcome.COMPLETED,
          failure: undefined,
          status: 200,
          replyId: "chatcmpl-abcdefghijklmnopqrstuvwxyz",
          firstContentMs: 100,
          durationMs: 800,
          drained: false,
          sound: true,
        }),
      );
    };
    const hold = budgets.hold(expense, () => never);
    return hold instanceof Promise ? hold.then(run) : run(hold);
  };
}

/** CPU time for a call, in microseconds: of the whole process, and of some of its threads where the system tells. */
interface Cpu {
  readonly all: number;
  readonly main: number;
  readonly pool: number;
}

async function runAtRate(
  perSecond: number,
  count: number,
  call: (index: number) => void | Promise<void>,
): Promise<Cpu> {
  const [mainBefore, poolBefore] = threadTimes();
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (let done = 0; done < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - start) * perSecond) / 1_000));
    for (; done < due; done += 1) {
      for (const endMs = performance.now() + busyMs; performance.now() < endMs; );
      const waiting = call(done);
      if (waiting !== undefined) await waiting;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const { user, system } = process.cpuUsage(cpu);
  const [main, pool] = threadTimes();
  return { all: (user + system) / count, main: (main - mainBefore) / count, pool: (pool - poolBefore) / count };
}

/** CPU time of the main thread, and of libuv's pool, in microseconds; zero where there is no /proc. */
function threadTimes(): [main: number, pool: number] {
  let [main, pool] = [0, 0];
  const folder = "/proc/self/task";
  if (!existsSync(folder)) return [main, pool];
  for (const id of readdirSync(folder)) {
    const us = Number(readFileSync(`${folder}/${id}/schedstat`, "utf8").split(" ")[0]) / 1_000;
    if (id === String(process.pid)) main += us;
    else if (readFileSync(`${folder}/${id}/comm`, "utf8").startsWith("libuv")) pool += us;
  }
  return [main, pool];
}

/** A store with as many budgets for each tenant, which are never used up. */
function lenderOf(count: number) {
  const records = Array.from({ length: count }, (_, index) => ({ id: `budget-${index}`, scope: { tenant: "acme" } }));
  const granted = new Map<string, { id: bigint; total: bigint }>();
  const expiresIn = durationFromMs(10_000);
  return hostService(BudgetService, {
    async *watchBudgets(_request: unknown, { signal }: { signal: AbortSignal }) {
      yield create(WatchBudgetsResponseSchema, { records, complete: true });
      while (!signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        yield create(WatchBudgetsResponseSchema, {});
      }
    },
    acquireLeases({ groups }) {
      const leases = groups.flatMap(({ asks }) =>
        asks.map(({ account, neededNanoUsd, preferredNanoUsd }) => {
          const name = `${account?.budget}/${account?.subject}`;
          const lease = granted.get(name) ?? { id: BigInt(granted.size + 1), total: 0n };
          lease.total += preferredNanoUsd > neededNanoUsd ? preferredNanoUsd : neededNanoUsd;
          granted.set(name, lease);
          return {
            leaseId: lease.id,
            ...(account === undefined ? {} : { account }),
            grantedTotalNanoUsd: lease.total,
            expiresIn,
            remainingNanoUsd: 1_000_000_000_000n,
          };
        }),
      );
      const results = groups.map(() => ({ outcome: LeaseOutcome.GRANTED }));
      return create(AcquireLeasesResponseSchema, { results, leases });
    },
    renewLeases({ leases }) {
      const kept = leases.flatMap(({ leaseId }) => {
        const found = [...granted].find(([, { id }]) => id === leaseId);
        if (found === undefined) return [];
        const [budget = "", subject = ""] = found[0].split("/");
        return [
          {
            leaseId,
            account: { budget, subject },
            grantedTotalNanoUsd: found[1].total,
            expiresIn,
            remainingNanoUsd: 1_000_000_000_000n,
          },
        ];
      });
      return create(RenewLeasesResponseSchema, { leases: kept });
    },
  });
}

/** Metering, as far as the bus is concerned: takes every batch, and says so. */
async function playLedger(url: string): Promise<void> {
  const { AckPolicy, DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType, jetstream } = await import(
    "@nats-io/jetstream"
  );
  const connection = await connect({ servers: url });
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    name: usageStream.name,
    subjects: [...usageStream.subjects],
    storage: StorageType.File,
    retention: RetentionPolicy.Interest,
    discard: DiscardPolicy.New,
    max_bytes: 1024 ** 3,
  });
  await manager.consumers.add(usageStream.name, { durable_name: usageStream.durable, ack_policy: AckPolicy.Explicit });
  let committed = 0n;
  const watermark = (journalId: string) =>
    toBinary(WatermarkSchema, create(WatermarkSchema, { journalId, committedSequence: committed }));
  connection.subscribe(usageStream.watermarkRequests, {
    callback: (_, request) => {
      request.respond(watermark(fromBinary(GetWatermarkRequestSchema, request.data).journalId));
    },
  });
  process.send?.("ready");
  const consumer = await jetstream(connection).consumers.get(usageStream.name, usageStream.durable);
  for await (const message of await consumer.consume()) {
    const { journalId, firstSequence, events } = fromBinary(UsageBatchSchema, message.data);
    const last = firstSequence + BigInt(events.length) - 1n;
    if (last > committed) committed = last;
    message.ack();
    connection.publish(usageStream.watermarkPrefix + journalId, watermark(journalId));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
