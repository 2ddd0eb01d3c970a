import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { bareProxy } from "./candidate.ts";
import type { LoadPlan, LoadResult } from "./load.ts";
import { consumption, start } from "./processes.ts";
import { median, type MeteringSample } from "./report.ts";

const run = promisify(execFile);
const bench = join(import.meta.dirname, "..", "services", "pool", "metering.bench.ts");
const bareRate = 2_000;
const bareSeconds = 3;

/**
 * Measures in turns what a request costs the data plane for being metered (services/pool/metering.bench.ts, 10,000 a second), and what a short chat
 * costs a proxy that does nothing: a machine's microseconds say little unless one knows what others cost there.
 */
export async function measureMetering(rounds: number): Promise<MeteringSample> {
  const provider = join(import.meta.dirname, "..", "test", "provider", "main.ts");
  const upstream = await start(
    [process.execPath, provider, "--port", "0", "--no-count"],
    /(http:\/\/127\.0\.0\.1:\d+)/,
  );
  const bare = await bareProxy.start(upstream.ready[1] ?? "");
  const chats = async (perSecond: number, seconds: number): Promise<number> => {
    const { url, key, model } = bare;
    const plan: LoadPlan = { kind: "chats", url, key, model, perSecond, seconds, promptBytes: 256, bigPerSecond: 0 };
    const before = consumption(bare.pids).cpuUs;
    const { stdout } = await run(process.execPath, [join(import.meta.dirname, "load.ts"), JSON.stringify(plan)], {
      timeout: 120_000,
    });
    return (consumption(bare.pids).cpuUs - before) / (JSON.parse(stdout) as LoadResult).requests;
  };
  try {
    await chats(1_000, 10);
    const pairs: { readonly bare: number; readonly metered: number; readonly budgeted: number }[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const bareUs = await chats(bareRate, bareSeconds);
      const { stdout } = await run(process.execPath, [bench, "--rate", "10000", "--rounds", "1", "--seconds", "1.5"], {
        timeout: 120_000,
      });
      const [metered = Number.NaN, budgeted = Number.NaN] = [
        ...stdout.matchAll(/: ([\d.]+) us of CPU for a request/g),
      ].map(([, us]) => Number(us));
      pairs.push({ bare: bareUs, metered, budgeted });
      console.log(
        `  metering ${metered.toFixed(1)} us a request, ${budgeted.toFixed(1)} us with two budgets; a bare chat ${bareUs.toFixed(1)} us`,
      );
    }
    return {
      bareUs: median(pairs.map((pair) => pair.bare)),
      meteredUs: median(pairs.map((pair) => pair.metered)),
      budgetedUs: median(pairs.map((pair) => pair.budgeted)),
      meteredRatio: median(pairs.map((pair) => pair.metered / pair.bare)),
      budgetedRatio: median(pairs.map((pair) => pair.budgeted / pair.bare)),
    };
  } finally {
    await bare.stop();
    await upstream.stop();
  }
}
