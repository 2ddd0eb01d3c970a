import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createSetting } from "../e2e/setting.ts";
import type { Weir } from "../e2e/weir.ts";
import { oneProcess, processes, type Runner } from "../runners.ts";
import { planTrial, runTrial, trialSettings } from "./storm.ts";
import { faultsAfter } from "./verdict.ts";

// kill -9 of a Weir process at a random moment of 200 requests. A failure names its seed; to replay it:
// WEIR_FAULT_SEED=<seed> WEIR_FAULT_TRIALS=1 npm test -- test/faults/kill.test.ts -t "<name of the group>"
const { firstSeed, trialCount, requestCount } = trialSettings(process.env, 17);
const alone = Math.max(1, Math.round(trialCount * 0.3));
const groups: [Runner, number, readonly string[]][] = [
  [processes, Math.max(1, trialCount - alone), ["pool"]],
  [oneProcess, alone, ["weir"]],
];

describe.each(groups)("$name", (runner, count, journalVictims) => {
  let weir: Weir;
  let setting: Awaited<ReturnType<typeof createSetting>>;
  let alreadyServed = 0;

  beforeAll(async () => {
    process.stdout.write(`faults: ${runner.name}, ${count} trials from seed ${firstSeed}\n`);
    setting = await createSetting();
    weir = await runner.start({ config: setting.config });
  });
  afterAll(async () => {
    await weir?.stop();
    await setting?.close();
  });

  test.each(Array.from({ length: count }, (_, index) => firstSeed + index))("seed %i", async (seed) => {
    const trial = planTrial(seed, { victims: weir.processes, requestCount });
    const user = `trial-${seed}`;
    const where = `seed ${seed}: ${trial.victim} killed after ${trial.killAfterMs} ms`;
    const outcome = await runTrial(weir, trial, user);
    expect(outcome.complete + outcome.failed + outcome.lies.length).toBe(requestCount);
    await weir.ready();
    await vi.waitFor(() => expect(weir.simulator.counts().open, where).toBe(0), { timeout: 10_000, interval: 20 });
    const served = weir.simulator.attempts().slice(alreadyServed);
    alreadyServed += served.length;
    // Most requests must have come through, or there was nothing to lose.
    expect(outcome.complete, `${where}; failures: ${JSON.stringify(outcome.failures)}`).toBeGreaterThan(
      requestCount / 2,
    );
    await vi.waitFor(
      async () => {
        const rows = (await weir.ledger.rows()).filter((row) => row.endUser === user);
        expect(faultsAfter(trial, outcome, rows, served, journalVictims), where).toEqual([]);
      },
      { timeout: 20_000, interval: 100 },
    );
  });
});
