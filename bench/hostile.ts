import { execFile } from "node:child_process";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import type { AttackPlan } from "./attack.ts";
import type { LoadPlan, LoadResult } from "./load.ts";
import { consumption, start } from "./processes.ts";
import { median } from "./report.ts";
import { weirOneProcess } from "./weir.ts";

const help = `Measures what hostile clients do to the latency of others, and to memory.

  npm run bench:hostile                        about ten minutes, alone on the machine
  npm run bench:hostile -- --only slowloris    some of: slowloris, bombs, deep, unread
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

/** 5,000 sockets that never finish a head; 10 bombs and 10 deep bodies a second; 2,000 streams that nobody reads. */
const counts = { slowloris: 5_000, bombs: 10, deep: 10, unread: 2_000 } as const;
/** How long others' requests are measured: for slow heads until the oldest connections have met their timeout, and come again. */
const seconds = { slowloris: 35, bombs: 15, deep: 15, unread: 15 } as const;
type Kind = keyof typeof counts;
const kinds = (Object.keys(counts) as Kind[]).filter((kind) => options.only.split(",").includes(kind));

const run = promisify(execFile);

async function load(plan: LoadPlan): Promise<LoadResult> {
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, "load.ts"), JSON.stringify(plan)], {
    maxBuffer: 1 << 24,
    timeout: 300_000,
  });
  return JSON.parse(stdout) as LoadResult;
}

/** Waits until streams that nobody reads stand still: what fills the system's buffers on the way is a load, and no attack. */
async function calm(pids: readonly number[]): Promise<void> {
  for (let turn = 0; turn < 90; turn += 1) {
    const before = consumption(pids).cpuUs;
    await delay(1_000);
    if (consumption(pids).cpuUs - before < 100_000) return;
  }
  throw new Error("the streams do not come to a stand");
}

const upstream = await start(
  [process.execPath, join(import.meta.dirname, "..", "test", "provider", "main.ts"), "--port", "0", "--no-count"],
  /(http:\/\/127\.0\.0\.1:\d+)/,
);
try {
  const gateway = await weirOneProcess.start(upstream.ready[1] ?? "");
  const { url, key, model, pids } = gateway;
  const healthy: LoadPlan = {
    kind: "chats",
    url,
    key,
    model,
    perSecond: Number(options.rate),
    seconds: 10,
    promptBytes: 256,
    bigPerSecond: 0,
  };
  try {
    console.log("warming up ...");
    for (let turn = 0; turn < 3; turn += 1) await load({ ...healthy, perSecond: 1_000 });
    console.log("| attack | p99 alone, ms | p99 beside it, ms | ratio | failed | memory over idle, MB |");
    console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (const kind of kinds) {
      const alone: number[] = [];
      const beside: number[] = [];
      let failures = 0;
      let peakBytes = 0;
      for (let round = 0; round < Number(options.rounds); round += 1) {
        const quiet = await load({ ...healthy, seconds: seconds[kind] });
        alone.push(quiet.latencyMs.p99);
        const idleBytes = consumption(pids).memoryBytes;
        const plan: AttackPlan = { kind, url, key, model, count: counts[kind] };
        const attacker = await start(
          [process.execPath, join(import.meta.dirname, "attack.ts"), JSON.stringify(plan)],
          /attacking/,
          { timeoutMs: 120_000 },
        );
        try {
          if (kind === "unread") await calm(pids);
          else await delay(1_000);
          const attacked = await load({ ...healthy, seconds: seconds[kind] });
          beside.push(attacked.latencyMs.p99);
          failures += attacked.failures;
          peakBytes = Math.max(peakBytes, consumption(pids).memoryBytes - idleBytes);
        } finally {
          attacker.process.kill("SIGKILL");
        }
        // Until everything that the attacker held has been let go.
        await delay(2_000);
      }
      const ratio = median(beside.map((value, round) => value / (alone[round] ?? Number.NaN)));
      console.log(
        `| ${kind}, ${counts[kind]} | ${median(alone).toFixed(2)} | ${median(beside).toFixed(2)} | ${ratio.toFixed(2)} | ${failures} | ${(peakBytes / 1e6).toFixed(0)} |`,
      );
    }
  } finally {
    await gateway.stop();
  }
} finally {
  await upstream.stop();
}
