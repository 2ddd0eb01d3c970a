import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { systemClock } from "@weir/kit/clock";
import { createSimulator, type Simulator } from "@weir/simulator/simulator";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePorts } from "weir/local-servers";
import { type Supervised, supervise } from "weir/supervisor";
import { stringify } from "yaml";
import { type LedgerReader, openEmbeddedLedger } from "../ledger.ts";
import { runScenario, scenarioTimeoutMs } from "./scenario.ts";
import { faultConfig } from "./setting.ts";
import { planStorm, runStorm } from "./storm.ts";
import { ledgerFaults, trialFaults } from "./verdict.ts";

// F1 for `npm start`: a gateway, and metering with the embedded database, which dies in the middle of writing as well. The
// ledger can be read when the gateway has ended, so the trials are judged together.
const trials = 2;
const main = join(dirname(dirname(import.meta.dirname)), "services/weir/main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-kill-"));
const dataDir = join(folder, "data");

let simulator: Simulator;
let gateway: Supervised;
let url: string;
let key: string;
let output = "";

beforeAll(async () => {
  simulator = createSimulator();
  const { url: simulatorUrl } = await simulator.listen();
  writeFileSync(join(folder, "weir.yaml"), stringify(faultConfig(simulatorUrl)));
  const [port = 0] = await freePorts(1);
  url = `http://127.0.0.1:${port}`;
  const plan = {
    name: "gateway",
    command: process.execPath,
    args: [main, "start", "--port", String(port), "--data-dir", dataDir],
    env: { PATH: process.env["PATH"], HOME: folder, NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] },
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

/** @throws Error when nothing of it runs: a signal for process 0 would go to the tests themselves */
function pidOf(victim: "gateway" | "metering"): number {
  let pid = gateway.pid();
  // Its only child is metering.
  if (victim === "metering" && pid !== undefined)
    pid = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
  if (pid === undefined || pid === 0) throw new Error(`there is no ${victim} to kill`);
  return pid;
}

test(
  "F1 after kills of the gateway and of metering the ledger equals the simulator's count",
  async () => {
    let ledger: LedgerReader | undefined;
    const trialsOver = runScenario(
      "F1-start",
      async ({ seed, random, tag }) => {
        const victim = seed % 2 === 0 ? "gateway" : "metering";
        const storm = planStorm(random, { requestCount: 80, atOnce: 20, spanMs: 1200 });
        const killAfterMs = Math.floor(random() * 900);
        let isOver = false;
        const running = runStorm({ url, key }, storm, tag).finally(() => (isOver = true));
        await new Promise((resolve) => setTimeout(resolve, killAfterMs));
        if (isOver) throw new Error("the requests were over before the process was killed");
        const killedAtMs = Date.now();
        process.kill(pidOf(victim), "SIGKILL");
        const outcome = await running;
        await ready();
        await vi.waitFor(() => expect(simulator.counts().open).toBe(0), { timeout: 10_000, interval: 20 });
        return async () => {
          const served = simulator.attempts().filter(({ model }) => model === tag);
          const journalKilledAtMs = victim === "gateway" ? killedAtMs : undefined;
          const rows = (await ledger?.rows({ endUser: tag })) ?? [];
          const faults = [...ledgerFaults(rows, served), ...trialFaults({ outcome, rows, served, journalKilledAtMs })];
          return faults.map((fault) => `${victim} killed after ${killAfterMs} ms: ${fault}`);
        };
      },
      {
        trials,
        settleMs: 0,
        async beforeVerdicts() {
          // An orderly end hands over everything that is still pending.
          await gateway.stop(30_000);
          ledger = await openEmbeddedLedger(dataDir);
        },
      },
    );
    try {
      await trialsOver;
    } finally {
      await ledger?.close();
    }
  },
  scenarioTimeoutMs(trials),
);
