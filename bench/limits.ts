import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { aliasLimits } from "@weir/edge/limits/alias-limits";
import { type Admission, createLimits, type Limited, type Limits } from "@weir/edge/limits/limits";
import { appendRateHeaders } from "@weir/edge/limits/rate-headers";
import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { systemClock } from "@weir/kit/clock";
import type { LimitAmounts } from "@weir/kit/limits/limit";
import type { CounterStore } from "@weir/kit/limits/limiter";
import { createSharedStore } from "@weir/kit/limits/shared-store";
import { silentLog } from "@weir/kit/log";
import { findProgram } from "weir/local-servers";
import { startRedis } from "weir/redis";

// CPU of limits for one request: `node bench/limits.ts [--rounds 5]`. Counted in memory, for 1 to 5 scopes; and shared in a real Redis at
// a steady rate, beside the same in memory in the same round. Redis' own CPU is not counted: it is another machine's.

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
const rounds = Number(values.rounds);

const amounts: LimitAmounts = {
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 2_000_000_000,
  concurrentRequests: 100_000,
};
const subjectNames = ["tenants/acme", "teams/search", "users/ann"];

/** A caller with limits of its key alone, or of more scopes. */
function setUp(
  scopes: number,
  store?: CounterStore,
): { readonly limits: Limits; readonly callers: readonly Limited[] } {
  const subjects = subjectNames.slice(0, Math.min(3, scopes - 1));
  const records = new Map(subjects.map((name) => [name, { limits: amounts }]));
  const aliases = aliasLimits(scopes >= 5 ? { small: { limits: amounts } } : {});
  const limits = createLimits({
    clock: systemClock,
    defaults: () => defaults,
    subject: (name) => records.get(name),
    aliases: () => aliases,
    store,
    onRefused: ({ scope, kind }) => {
      throw new Error(`${kind} of ${scope} are used up`);
    },
  });
  return { limits, callers: Array.from({ length: 10 }, (_, index) => ({ id: `k${index}`, subjects, ...amounts })) };
}

const defaults = { requestsPerMinute: 1, tokensPerMinute: 1 };

/** What a chat does with limits, its headers among it. */
async function request(limits: Limits, caller: Limited): Promise<void> {
  const admitted = limits.admit(caller);
  const admission: Admission = admitted instanceof Promise ? await admitted : admitted;
  const reserving = admission.reserve("small", 1_200);
  if (reserving !== undefined) await reserving;
  const headers: string[] = [];
  appendRateHeaders(openaiChat, limits.standings(caller), 1_700_000_000_000, headers);
  admission.settle(345);
  admission.end();
}

/** @returns microseconds of CPU for each call */
async function cpuOf(count: number, call: (index: number) => Promise<void>, perMs?: number): Promise<number> {
  const before = process.cpuUsage();
  if (perMs === undefined) for (let index = 0; index < count; index += 1) await call(index);
  else await paced(count, perMs, call);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

/** Requests come by so many milliseconds, since waking up costs more, and varies more, than what is measured. */
const tickMs = 5;

async function paced(count: number, perMs: number, call: (index: number) => Promise<void>): Promise<void> {
  const beginMs = performance.now();
  const all: Promise<void>[] = [];
  for (let made = 0; made < count; ) {
    const due = Math.min(count, Math.floor((performance.now() - beginMs) * perMs));
    for (; made < due; made += 1) all.push(call(made));
    await new Promise((resolve) => setTimeout(resolve, tickMs));
  }
  await Promise.all(all);
}

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

async function startServer(): Promise<{ readonly url: string; stop(): void }> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  const folder = mkdtempSync(join(tmpdir(), "weir-bench-redis-"));
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no"];
  const program = findProgram("redis-server");
  if (program === undefined) throw new Error("redis-server is not installed");
  const child = spawn(program, args, { stdio: "ignore" });
  return {
    url: `redis://127.0.0.1:${port}`,
    stop() {
      child.kill("SIGTERM");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

for (const scopes of [1, 2, 3, 4, 5]) {
  const { limits, callers } = setUp(scopes);
  const run = (index: number) => request(limits, callers[index % 10] as Limited);
  const empty = async () => {};
  await cpuOf(30_000, run);
  const figures: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const nothing = await cpuOf(20_000, empty);
    figures.push((await cpuOf(20_000, run)) - nothing);
  }
  console.log(`in memory, ${scopes} scopes of 3 limits each: ${median(figures).toFixed(2)} us`);
  limits.close();
}

const server = await startServer();
try {
  for (const keys of [1, 10]) {
    const link = startRedis({ url: server.url, name: "weir-bench", log: silentLog });
    let operations = 0;
    const store = createSharedStore({
      run: (...call) => {
        operations += 1;
        return link.run(...call);
      },
      clock: systemClock,
      holder: `bench-${keys}`,
      measures: { operation: () => undefined, judgedAlone: () => undefined },
      log: silentLog,
    });
    while (!store.isUp) await new Promise((resolve) => setTimeout(resolve, 10));
    const shared = setUp(5, store);
    const alone = setUp(5);
    const figures: { shared: number; alone: number }[] = [];
    const of =
      ({ limits, callers }: typeof alone) =>
      (index: number) =>
        request(limits, callers[index % keys] as Limited);
    const perMs = 1;
    const count = 4_000;
    for (const setting of [shared, alone]) await cpuOf(count, of(setting), perMs);
    operations = 0;
    for (let round = 0; round < rounds; round += 1) {
      const ofAlone = await cpuOf(count, of(alone), perMs);
      figures.push({ alone: ofAlone, shared: await cpuOf(count, of(shared), perMs) });
    }
    const added = median(figures.map((figure) => figure.shared - figure.alone));
    const ratio = operations / (rounds * count);
    console.log(
      `at 1,000 requests/s of ${keys} keys, 5 scopes of 3 limits each: Redis adds ${added.toFixed(2)} us (${figures.map((figure) => (figure.shared - figure.alone).toFixed(1)).join(", ")}), ${ratio.toFixed(3)} runs of the script for a request`,
    );
    shared.limits.close();
    alone.limits.close();
    await store.close();
    link.close();
  }
} finally {
  server.stop();
}
