import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import type { AttackPlan } from "./attack.ts";
import type { Running } from "./candidate.ts";
import type { LoadPlan, LoadResult } from "./load.ts";
import { consumption, type Started, start } from "./processes.ts";
import { median } from "./report.ts";
import { weirOneProcess } from "./weir.ts";

const help = `Measures what hostile clients do to the latency of others, and to memory.

  npm run bench:hostile                        about twenty minutes, alone on the machine
  npm run bench:hostile -- --only slowloris    some of: slowloris, bombs, deep, unread

Each round measures the same healthy load three times: alone, beside attackers of another gateway, which is idle otherwise, and
beside attackers of its own. The second tells what attackers and their victim take of the machine, whoever the victim is.
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    rate: { type: "string", default: "200" },
    only: { type: "string", default: "slowloris,bombs,deep,unread" },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(help);
  process.exit(0);
}

interface Setting {
  /** Sockets that never finish a head; requests a second; streams that nobody reads. */
  readonly count: number;
  /** How long others' requests are measured: for slow heads until the oldest connections have met their timeout, and come again. */
  readonly seconds: number;
  /** What docs/security.md allows it to take, in bytes. */
  readonly boundBytes: number;
}

const bodiesBytesMax = 512 * 1024 * 1024;
const settings = {
  slowloris: { count: 5_000, seconds: 35, boundBytes: 5_000 * 40 * 1024 },
  bombs: { count: 10, seconds: 20, boundBytes: bodiesBytesMax },
  deep: { count: 10, seconds: 20, boundBytes: bodiesBytesMax },
  unread: { count: 2_000, seconds: 20, boundBytes: 2_000 * 320 * 1024 },
} satisfies Record<AttackPlan["kind"], Setting>;
type Kind = keyof typeof settings;
const kinds = (Object.keys(settings) as Kind[]).filter((kind) => options.only.split(",").includes(kind));
const aloneSeconds = 20;

const run = promisify(execFile);

async function load(plan: LoadPlan): Promise<LoadResult> {
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, "load.ts"), JSON.stringify(plan)], {
    maxBuffer: 1 << 24,
    timeout: 300_000,
  });
  return JSON.parse(stdout) as LoadResult;
}

function healthy({ url, key, model }: Running, perSecond: number, seconds: number): LoadPlan {
  return { kind: "chats", url, key, model, perSecond, seconds, promptBytes: 256, bigPerSecond: 0 };
}

function attack(kind: Kind, { url, key, model }: Running): Promise<Started> {
  const plan: AttackPlan = { kind, url, key, model, count: settings[kind].count };
  const command = [process.execPath, join(import.meta.dirname, "attack.ts"), JSON.stringify(plan)];
  return start(command, /attacking/, { timeoutMs: 120_000 });
}

/** Waits until a gateway has little to do. What fills the system's buffers of streams that nobody reads is a load, and no attack. */
async function calm({ pids }: Running): Promise<void> {
  for (let turn = 0; turn < 90; turn += 1) {
    const before = consumption(pids).cpuUs;
    await delay(1_000);
    if (consumption(pids).cpuUs - before < 100_000) return;
  }
  throw new Error("the gateway does not come to rest");
}

/** Looks at the memory of processes until it is asked for the most that it saw. */
function watchMemory(pids: readonly number[]): () => number {
  let mostBytes = 0;
  const timer = setInterval(() => {
    mostBytes = Math.max(mostBytes, consumption(pids).memoryBytes);
  }, 200);
  return () => {
    clearInterval(timer);
    return mostBytes;
  };
}

interface Beside {
  readonly p99Ms: number;
  readonly failures: number;
  /** The most that the attacked gateway held, over what it held before. */
  readonly memoryBytes: number;
}

/** Measures healthy requests to one gateway while attackers are at one. */
async function measure(kind: Kind, measured: Running, attacked: Running): Promise<Beside> {
  const before = consumption(attacked.pids).memoryBytes;
  const mostBytes = watchMemory(attacked.pids);
  const attacker = await attack(kind, attacked);
  try {
    if (kind === "unread") await calm(attacked);
    else await delay(1_000);
    const { latencyMs, failures } = await load(healthy(measured, Number(options.rate), settings[kind].seconds));
    return { p99Ms: latencyMs.p99, failures, memoryBytes: mostBytes() - before };
  } finally {
    mostBytes();
    attacker.process.kill("SIGKILL");
    await calm(attacked);
  }
}

function ratio(over: readonly number[], under: readonly number[]): string {
  return median(over.map((value, round) => value / (under[round] ?? Number.NaN))).toFixed(2);
}

/** Measures all rounds of one attack. @returns a row of the table */
async function row(kind: Kind, gateway: Running, other: Running): Promise<string> {
  const alone: number[] = [];
  const control: number[] = [];
  const beside: Beside[] = [];
  for (let round = 0; round < Number(options.rounds); round += 1) {
    alone.push((await load(healthy(gateway, Number(options.rate), aloneSeconds))).latencyMs.p99);
    console.error(`${kind}, round ${round + 1}: alone ${alone.at(-1)?.toFixed(2)} ms`);
    control.push((await measure(kind, gateway, other)).p99Ms);
    console.error(`  beside attackers of another ${control.at(-1)?.toFixed(2)} ms`);
    beside.push(await measure(kind, gateway, gateway));
    console.error(`  beside its own ${JSON.stringify(beside.at(-1))}`);
  }
  const p99 = beside.map(({ p99Ms }) => p99Ms);
  const failures = beside.reduce((sum, round) => sum + round.failures, 0);
  const most = Math.max(...beside.map(({ memoryBytes }) => memoryBytes));
  const { count, boundBytes } = settings[kind];
  const cells = [
    `${kind}, ${count}`,
    median(alone).toFixed(2),
    median(control).toFixed(2),
    median(p99).toFixed(2),
    ratio(p99, alone),
    ratio(p99, control),
    String(failures),
    (most / 1e6).toFixed(0),
    (boundBytes / 1e6).toFixed(0),
  ];
  return `| ${cells.join(" | ")} |`;
}

const upstream = await start(
  [process.execPath, join(import.meta.dirname, "..", "test", "provider", "main.ts"), "--port", "0", "--no-count"],
  /(http:\/\/127\.0\.0\.1:\d+)/,
);
try {
  const gateway = await weirOneProcess.start(upstream.ready[1] ?? "");
  try {
    const other = await weirOneProcess.start(upstream.ready[1] ?? "");
    try {
      console.log("warming up ...");
      await Promise.all([load(healthy(gateway, 1_000, 15)), load(healthy(other, 500, 15))]);
      console.log(
        "| attack | p99 alone, ms | beside attackers of another, ms | beside its own, ms | x alone | x another's | failed | memory over idle, MB | bound, MB |",
      );
      console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
      for (const kind of kinds) console.log(await row(kind, gateway, other));
    } finally {
      await other.stop();
    }
  } finally {
    await gateway.stop();
  }
} finally {
  await upstream.stop();
}
