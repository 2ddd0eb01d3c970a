import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { bareProxy, type Candidate, direct, externalCandidates, nginx, type Running } from "./candidate.ts";
import { measureGrpc } from "./grpc.ts";
import { measureHops } from "./hops.ts";
import { type LoadPlan, type LoadResult, pacedChunks, pacedGapMs } from "./load.ts";
import { measureMetering } from "./metering.ts";
import { consumption, start } from "./processes.ts";
import { renderReport, type Report, type Sample } from "./report.ts";
import { weirOneProcess, weirThreeProcesses } from "./weir.ts";

const help = `Measures gateways side by side, in one run, by the CPU time that the operating system counts.

  npm run bench                                   everything; about fifteen minutes
  npm run bench -- --rounds 3 --seconds 2         quicker and noisier
  npm run bench -- --only chat,streams            some of: chat, streams, translated, latency, memory, big, hops, grpc, metering
  npm run bench -- --candidates others.json       with other gateways beside Weir; see bench/README.md
  npm run bench -- --json results.json            where the numbers go (default: bench/results.json)
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "4" },
    rate: { type: "string", default: "1000" },
    warmup: { type: "string", default: "5" },
    streams: { type: "string", default: "300" },
    only: { type: "string", default: "chat,streams,translated,latency,memory,big,hops,grpc,metering" },
    candidates: { type: "string" },
    json: { type: "string", default: join(import.meta.dirname, "results.json") },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(help);
  process.exit(0);
}

const rounds = Number(options.rounds);
const seconds = Number(options.seconds);
const rate = Number(options.rate);
const streamCount = Number(options.streams);
const only = new Set(options.only.split(","));
const run = promisify(execFile);

/** Runs the load generator as a process of its own, so that its time is not the candidate's. */
async function load(plan: LoadPlan): Promise<LoadResult> {
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, "load.ts"), JSON.stringify(plan)], {
    maxBuffer: 1 << 24,
    timeout: 300_000,
  });
  return JSON.parse(stdout) as LoadResult;
}

/** One measurement of one candidate in one round: what it did and what it cost. */
async function measure(scenario: string, candidate: string, running: Running, plan: LoadPlan): Promise<Sample> {
  const ledgerPids = running.ledgerPids ?? [];
  const before = consumption(running.pids);
  const ledgerBefore = consumption(ledgerPids);
  const result = await load(plan);
  // What a request still costs after its answer (the ledger) belongs to it.
  if (plan.kind === "chats") await new Promise((resolve) => setTimeout(resolve, 1_500));
  const after = consumption(running.pids);
  const ledgerAfter = consumption(ledgerPids);
  const units = plan.kind === "chats" ? result.requests : result.chunks;
  const sample: Sample = {
    scenario,
    candidate,
    cpuUsPerUnit: (after.cpuUs - before.cpuUs) / units,
    ledgerUsPerUnit: (ledgerAfter.cpuUs - ledgerBefore.cpuUs) / units,
    result,
  };
  const cost = running.pids.length > 0 ? `${sample.cpuUsPerUnit.toFixed(1)} us CPU each` : "";
  console.log(
    `  ${scenario.padEnd(8)} ${candidate.padEnd(24)} ${String(units).padStart(7)} ${plan.kind === "chats" ? "chats " : "chunks"} ` +
      `${cost.padEnd(20)} p50 ${(plan.kind === "chats" ? result.latencyMs : result.chunkDelayMs).p50.toFixed(2)} ms` +
      (result.failures > 0 ? `  ${result.failures} FAILED: ${result.failure}` : ""),
  );
  return sample;
}

/** Memory that open streams add, over what the same processes took just before. */
async function measureMemory(candidate: string, running: Running, count: number): Promise<Sample> {
  const idle = consumption(running.pids);
  const plan: LoadPlan = {
    kind: "streams",
    url: running.url,
    key: running.key,
    model: running.model,
    streams: count,
    chunks: 12,
    gapMs: 1_000,
  };
  const loading = load(plan);
  let peak = idle.memoryBytes;
  const timer = setInterval(() => {
    peak = Math.max(peak, consumption(running.pids).memoryBytes);
  }, 500);
  const result = await loading;
  clearInterval(timer);
  const sample: Sample = {
    scenario: "memory",
    candidate,
    cpuUsPerUnit: Number.NaN,
    ledgerUsPerUnit: Number.NaN,
    memoryBytes: peak - idle.memoryBytes,
    result,
  };
  console.log(
    `  memory   ${candidate.padEnd(24)} ${(((sample.memoryBytes ?? 0) / 1e6).toFixed(1)).padStart(7)} MB over idle for ${count} streams` +
      (result.failures > 0 ? `  ${result.failures} FAILED: ${result.failure}` : ""),
  );
  return sample;
}

const candidates: Candidate[] = [direct, bareProxy];
const reverseProxy = nginx();
if (reverseProxy === undefined) console.log("nginx is not installed; its row is left out");
else candidates.push(reverseProxy);
candidates.push(weirOneProcess, weirThreeProcesses);
if (options.candidates !== undefined) candidates.push(...externalCandidates(options.candidates));

const samples: Sample[] = [];
if (["chat", "streams", "translated", "latency", "memory", "big"].some((name) => only.has(name))) {
  console.log("starting the upstream and the candidates ...");
  const upstream = await start(
    [process.execPath, join(import.meta.dirname, "..", "test", "provider", "main.ts"), "--port", "0", "--no-count"],
    /(http:\/\/127\.0\.0\.1:\d+)/,
  );
  const upstreamUrl = upstream.ready[1] ?? "";
  const running = new Map<string, Running>();
  try {
    for (const candidate of candidates) running.set(candidate.name, await candidate.start(upstreamUrl));
    const common = (gateway: Running) => ({ url: gateway.url, key: gateway.key, model: gateway.model });
    const chat = (gateway: Running, perSecond: number, length: number, bigPerSecond = 0): LoadPlan => ({
      kind: "chats",
      ...common(gateway),
      perSecond,
      seconds: length,
      promptBytes: 256,
      bigPerSecond,
    });
    const streams = (gateway: Running): LoadPlan => ({
      kind: "streams",
      ...common(gateway),
      streams: streamCount,
      chunks: Math.max(20, Math.round((seconds * 1000) / 50)),
      gapMs: 50,
    });
    console.log("warming up ...");
    // Until the compiler has seen enough: a gateway that has served few requests costs several times as much.
    for (const [name, gateway] of running) {
      if (name === direct.name) continue;
      for (let turn = 0; turn < Number(options.warmup); turn += 1) {
        await load(chat(gateway, rate, 10));
        await load(streams(gateway));
      }
    }
    for (let round = 1; round <= rounds; round += 1) {
      console.log(`round ${round} of ${rounds}`);
      // The order turns with the round, so that no candidate always follows the same one.
      const order = [...running]
        .map((_, index, all) => all[(index + round) % all.length])
        .filter((entry) => entry !== undefined);
      for (const [name, gateway] of order) {
        if (only.has("chat") && name !== direct.name)
          samples.push(await measure("chat", name, gateway, chat(gateway, rate, seconds)));
        if (only.has("streams") && name !== direct.name)
          samples.push(await measure("streams", name, gateway, streams(gateway)));
        if (only.has("translated") && name !== direct.name) {
          const large = { ...chat(gateway, rate / 2, seconds), promptBytes: 16_384 };
          samples.push(await measure("large", name, gateway, large));
          const { pacedModel } = gateway;
          if (pacedModel !== undefined) {
            samples.push(await measure("large, translated", name, gateway, { ...large, dialect: "anthropic" }));
            samples.push(
              await measure("streams, translated", name, gateway, {
                ...streams(gateway),
                kind: "streams",
                ...common(gateway),
                model: pacedModel,
                dialect: "anthropic",
                streams: streamCount,
                chunks: pacedChunks,
                gapMs: pacedGapMs,
              }),
            );
          }
        }
        if (only.has("latency")) samples.push(await measure("latency", name, gateway, chat(gateway, 50, seconds)));
        if (only.has("latency"))
          samples.push(
            await measure("pacing", name, gateway, {
              ...streams(gateway),
              kind: "streams",
              ...common(gateway),
              streams: 10,
              chunks: 40,
              gapMs: 50,
            }),
          );
        if (only.has("big") && name !== direct.name) {
          samples.push(await measure("alone", name, gateway, chat(gateway, 100, seconds)));
          samples.push(await measure("big", name, gateway, chat(gateway, 100, seconds, 5)));
        }
      }
    }
    if (only.has("memory")) {
      for (const [name, gateway] of running)
        if (name !== direct.name) samples.push(await measureMemory(name, gateway, 1_000));
    }
  } finally {
    for (const gateway of running.values()) await gateway.stop();
    await upstream.stop();
  }
}

const report: Report = {
  date: new Date().toISOString().slice(0, 10),
  machine: {
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? "unknown",
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  },
  settings: { rounds, seconds, rate, streams: streamCount },
  samples,
  ...(only.has("grpc") && { grpc: await measureGrpc(Math.max(rounds, 5)) }),
  ...(only.has("metering") && { metering: await measureMetering(Math.max(rounds, 5)) }),
  hops: only.has("hops") ? await measureHops(Math.min(rounds, 3)) : [],
};
writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
console.log(`\n${renderReport(report)}\nThe numbers are in ${options.json}.`);
