import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createSetting, priceOf } from "../e2e/setting.ts";
import type { Weir } from "../e2e/weir.ts";
import { differences } from "../ledger.ts";
import { oneProcess, processes, type Runner } from "../runners.ts";
import { planTrial, runTrial } from "./storm.ts";

// kill -9 of a Weir process at a random moment of 200 requests. Replay a failure with the seed that it names:
// WEIR_FAULT_SEED=<seed> WEIR_FAULT_TRIALS=1 npm test -- test/faults -t "<name of the test's group>"
const firstSeed = Number(process.env["WEIR_FAULT_SEED"] ?? Math.floor(Math.random() * 1e9));
const trialCount = Number(process.env["WEIR_FAULT_TRIALS"] ?? 20);
const requestCount = 200;

const alone = Math.max(1, Math.round(trialCount * 0.3));
const groups: [Runner, number, number][] = [
  [processes, firstSeed, Math.max(1, trialCount - alone)],
  [oneProcess, firstSeed + 1_000_000, alone],
];

describe.each(groups)("$name", (runner, seed, count) => {
  let weir: Weir;
  let setting: Awaited<ReturnType<typeof createSetting>>;
  let alreadyServed = 0;

  beforeAll(async () => {
    process.stdout.write(`faults: ${runner.name}, ${count} trials from seed ${seed}\n`);
    setting = await createSetting();
    weir = await runner.start({ config: setting.config });
  });
  afterAll(async () => {
    await weir?.stop();
    await setting?.close();
  });

  test.each(Array.from({ length: count }, (_, index) => seed + index))("seed %i", async (trialSeed) => {
    const trial = planTrial(trialSeed, { victims: weir.processes, requestCount });
    const user = `trial-${trialSeed}`;
    const where = `seed ${trialSeed}: ${trial.victim} killed after ${trial.killAfterMs} ms`;
    const outcome = await runTrial(weir, trial, user);
    expect(outcome.lies, where).toEqual([]);
    expect(outcome.complete + outcome.failed).toBe(requestCount);

    await weir.ready();
    await vi.waitFor(() => expect(weir.simulator.counts().open, where).toBe(0), { timeout: 10_000, interval: 20 });
    const served = weir.simulator.attempts().slice(alreadyServed);
    alreadyServed += served.length;
    expect(served.length).toBeGreaterThan(requestCount / 4);
    const rows = await vi.waitFor(
      async () => {
        const found = (await weir.ledger.rows()).filter((row) => row.endUser === user);
        expect(differences(found, served, priceOf), where).toEqual([]);
        return found;
      },
      { timeout: 20_000, interval: 100 },
    );

    const holdsJournal = trial.victim === "pool" || trial.victim === "weir";
    const recordOf = new Map(served.map((record) => [record.id, record]));
    for (const row of rows) {
      const record = recordOf.get(row.attemptId);
      if (row.usageSource === "estimated") {
        // Only the journal's own process can lose a settlement, and only of what was open when it died.
        expect(holdsJournal, `${where}: an estimate, and the journal was never in danger`).toBe(true);
        expect(row.outcome, where).toBe("lost");
        if (record === undefined) continue;
        expect(record.startMs, where).toBeLessThanOrEqual(outcome.killedAtMs);
        expect(record.endMs, where).toBeGreaterThanOrEqual(outcome.killedAtMs - 100);
      } else if (row.usageSource === "counted") {
        // The client's side died and the provider stopped: what came is billed.
        expect(row.alias, where).toBe("chat");
        expect(Math.abs((row.outputTokens ?? 0) - (record?.outputTokens ?? 0)), where).toBeLessThanOrEqual(5);
      }
    }
    const reported = rows.filter((row) => row.usageSource === "reported").length;
    expect(reported, where).toBeGreaterThanOrEqual(outcome.complete);
  });
});
