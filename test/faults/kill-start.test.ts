import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { createSimulator, type Simulator } from "@weir/simulator/simulator";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePorts } from "weir/local-servers";
import { type Supervised, supervise } from "weir/supervisor";
import { stringify } from "yaml";
import { createSetting } from "../e2e/setting.ts";
import { openEmbeddedLedger } from "../ledger.ts";
import { planTrial, runTrial, type Trial, type TrialOutcome, trialSettings } from "./storm.ts";
import { faultsAfter } from "./verdict.ts";

// The same for `npm start`: a gateway, and metering with the embedded database, which dies in the middle of writing as
// well. The ledger can be read when the gateway has ended, so the trials are judged together.
const { firstSeed, trialCount, requestCount } = trialSettings(process.env, 3);
const main = join(dirname(dirname(import.meta.dirname)), "services/weir/main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-kill-"));
const dataDir = join(folder, "data");

let simulator: Simulator;
let setting: Awaited<ReturnType<typeof createSetting>>;
let gateway: Supervised;
let url: string;
let key: string;
let output = "";

beforeAll(async () => {
  process.stdout.write(`faults: npm start, ${trialCount} trials from seed ${firstSeed}\n`);
  setting = await createSetting();
  simulator = createSimulator();
  const { url: simulatorUrl } = await simulator.listen();
  writeFileSync(join(folder, "weir.yaml"), stringify(setting.config(simulatorUrl)));
  const [port = 0] = await freePorts(1);
  url = `http://127.0.0.1:${port}`;
  const plan = {
    name: "gateway",
    command: process.execPath,
    args: [main, "start", "--port", String(port), "--data-dir", dataDir],
    env: { PATH: process.env["PATH"], HOME: folder },
    cwd: folder,
  };
  const onLine = (_name: string, line: string) => {
    output = `${output}${line}\n`.slice(-20_000);
  };
  const launch = () => {
    gateway = supervise(plan, { clock: systemClock, restart: false, onLine, onExit: launch });
  };
  launch();
  await ready();
  key = readFileSync(join(dataDir, "key"), "utf8").trim();
}, 120_000);

afterAll(async () => {
  await gateway?.stop(20_000);
  await simulator?.close();
  await setting?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function ready(): Promise<void> {
  await vi.waitFor(
    async () => {
      const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2000) });
      const health = (await response.json()) as { status: string };
      expect(health, output).toMatchObject({ status: "ok" });
      // The key's file is written last.
      expect(readFileSync(join(dataDir, "key"), "utf8")).toContain("weir_");
    },
    { timeout: 60_000, interval: 100 },
  );
}

/** Its only child is metering. */
function meteringPid(): number {
  const pid = gateway.pid() ?? 0;
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);
}

test("after kills of the gateway and of metering the ledger equals the simulator's count", async () => {
  const trials: { trial: Trial; outcome: TrialOutcome; from: number; to: number }[] = [];
  for (let index = 0; index < trialCount; index++) {
    const seed = firstSeed + index;
    const trial = planTrial(seed, { victims: [seed % 2 === 0 ? "gateway" : "metering"], requestCount });
    const from = simulator.attempts().length;
    const kill = (victim: string) =>
      process.kill(victim === "metering" ? meteringPid() : (gateway.pid() ?? 0), "SIGKILL");
    const started = performance.now();
    const outcome = await runTrial({ url, key, kill }, trial, `trial-${trial.seed}`);
    const over = performance.now();
    await ready();
    const readyAt = performance.now();
    const seconds = [over - started, readyAt - over].map((ms) => (ms / 1000).toFixed(1));
    process.stdout.write(
      `seed ${trial.seed}: ${trial.victim} killed; ${seconds[0]} s, then ready after ${seconds[1]} s\n`,
    );
    await vi.waitFor(() => expect(simulator.counts().open).toBe(0), { timeout: 10_000, interval: 20 });
    trials.push({ trial, outcome, from, to: simulator.attempts().length });
  }
  // An orderly end hands over everything that is still pending.
  await gateway.stop(30_000);
  const ledger = await openEmbeddedLedger(dataDir);
  const rows = await ledger.rows();
  await ledger.close();
  for (const { trial, outcome, from, to } of trials) {
    const own = rows.filter((row) => row.endUser === `trial-${trial.seed}`);
    const served = simulator.attempts().slice(from, to);
    const where = `seed ${trial.seed}: ${trial.victim} killed after ${trial.killAfterMs} ms`;
    expect(faultsAfter(trial, outcome, own, served, ["gateway"]), where).toEqual([]);
  }
}, 180_000);
