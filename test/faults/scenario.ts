import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRandom } from "@weir/simulator/script";
import { expect } from "vitest";

/** One trial of a scenario. Everything that it chooses follows from its seed. */
export interface TrialContext {
  readonly seed: number;
  /** From 0 up to, not with, 1. */
  readonly random: () => number;
  /** Marks what belongs to this trial: the end user of its rows, and part of its models' names. */
  readonly tag: string;
  /** Which of the trials that run at once this is, from 0: each lane has servers of its own. */
  readonly lane: number;
}

/**
 * Breaks something under load. Resolves when that is over, with what says later what is wrong with the ledger: none, when
 * nothing is. It is asked again until nothing is wrong, since usage takes its time, and meanwhile other trials run.
 */
export type Trial = (context: TrialContext) => Promise<() => readonly string[] | Promise<readonly string[]>>;

export interface ScenarioOptions {
  /** Trials that run at once. Default 1. */
  readonly atOnce?: number;
  /** Trials unless WEIR_FAULT_TRIALS says otherwise. Default 20. */
  readonly trials?: number;
  /** Called when all trials are over; no verdict is asked before. Default: each is asked as soon as its trial is over. */
  readonly beforeVerdicts?: () => Promise<void>;
  /** How long a verdict may take to become good, in milliseconds. Default 60,000. */
  readonly settleMs?: number;
  /**
   * Trials break what those before them still wait for: the time to settle begins when all are over, and anew whenever a
   * verdict has become good, since all of them wait for the same servers. Default false.
   */
  readonly sharesBroken?: boolean;
}

const seedFile = join(import.meta.dirname, "failing-seeds.json");
const seedsKeptMax = 20;
const pollMs = 100;
/** A trial that takes longer hangs. Nobody knows what it goes on doing: its lane begins no other. */
const trialMsMax = 60_000;

/** How many trials a scenario has by default; WEIR_FAULT_TRIALS overrides it. */
const trialsByDefault = 20;
/** Without WEIR_FAULT_TRIALS, a scenario begins no more trials after this time, so that a slow machine comes to an end. */
const beginMsMax = 120_000;

/** Time for a scenario's test, whatever the number of its trials, in milliseconds. */
export function scenarioTimeoutMs(trials: number = trialsByDefault): number {
  return 120_000 + trialMsMax * Number(process.env["WEIR_FAULT_TRIALS"] ?? trials);
}

/**
 * Runs the trials of a scenario: first the seeds that failed before, then new ones from WEIR_FAULT_SEED or a random seed. A
 * seed that fails is kept in failing-seeds.json. Prints one line.
 * @param id as docs/failure-modes.md names the scenario: `F4`
 */
export async function runScenario(id: string, trial: Trial, options: ScenarioOptions = {}): Promise<void> {
  const { atOnce = 1, settleMs = 60_000, sharesBroken = false, beforeVerdicts } = options;
  const asked = process.env["WEIR_FAULT_TRIALS"];
  const count = Number(asked ?? options.trials ?? trialsByDefault);
  const given = process.env["WEIR_FAULT_SEED"];
  const firstSeed = Number(given ?? Math.floor(Math.random() * 1e9));
  const fresh = Array.from({ length: count }, (_, index) => firstSeed + index);
  const seeds = given === undefined ? [...(keptSeeds()[id] ?? []), ...fresh] : fresh;
  const startMs = performance.now();
  const failures: { readonly seed: number; readonly faults: readonly string[] }[] = [];
  const verdicts: Promise<void>[] = [];
  const fail = (seed: number, faults: readonly string[]): void => {
    failures.push({ seed, faults });
    // At once: a run may be cut off.
    keepSeed(id, seed);
  };
  let next = 0;
  let begun = 0;
  const nextSeed = (): number | undefined => {
    if (asked === undefined && performance.now() - startMs > beginMsMax) return undefined;
    const seed = seeds[next++];
    if (seed !== undefined) begun++;
    return seed;
  };
  /** When the last trial ended, or a verdict last became good. */
  let movedMs = startMs;
  let allOver = false;
  const over = Promise.withResolvers<void>();
  if (beforeVerdicts === undefined) over.resolve();

  const judge = async (seed: number, check: Awaited<ReturnType<Trial>>): Promise<void> => {
    await over.promise;
    const endedMs = performance.now();
    for (;;) {
      const faults = await Promise.resolve()
        .then(check)
        .catch((error: unknown) => [String(error)]);
      const nowMs = performance.now();
      if (faults.length === 0) {
        movedMs = nowMs;
        return;
      }
      const isLate = sharesBroken ? allOver && nowMs > movedMs + settleMs : nowMs > endedMs + settleMs;
      if (isLate) {
        fail(seed, faults.slice(0, 5));
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  };
  const work = async (lane: number): Promise<void> => {
    for (let seed = nextSeed(); seed !== undefined; seed = nextSeed()) {
      const current = seed;
      const context = { seed, random: createRandom(seed), tag: `${id.toLowerCase()}-${seed}`, lane };
      try {
        verdicts.push(judge(current, await withinTime(trial(context))));
      } catch (error) {
        fail(seed, [error instanceof Error ? (error.stack ?? error.message) : String(error)]);
        if (error instanceof Hanging) return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, seeds.length) }, (_, lane) => work(lane)));
  allOver = true;
  movedMs = performance.now();
  await beforeVerdicts?.().finally(over.resolve);
  await Promise.all(verdicts);

  const result = {
    id,
    trials: begun,
    firstSeed,
    failed: failures.length,
    seconds: Math.round((performance.now() - startMs) / 100) / 10,
  };
  const left = seeds.length - begun;
  process.stdout.write(
    `faults ${id}: ${begun} trials from seed ${firstSeed}, ${failures.length} failed, ${result.seconds} s` +
      `${left === 0 ? "" : `; ${left} were not begun`}\n`,
  );
  const report = process.env["WEIR_FAULT_REPORT"];
  if (report !== undefined) appendFileSync(report, `${JSON.stringify(result)}\n`);
  const replay = `replay: npm run test:faults -- --only ${id.split("-")[0]} --seed <seed> --trials 1`;
  expect(failures, `${ofOneCause(failures, begun)}${replay}`).toEqual([]);
}

/** When nothing passed, and all for one reason: that lies outside of what the trials break, or in their servers. */
function ofOneCause(failures: readonly { readonly faults: readonly string[] }[], begun: number): string {
  const [first = "", ...others] = new Set(failures.map(({ faults }) => faults[0]?.split("\n")[0]));
  if (begun < 2 || failures.length < begun || others.length > 0) return "";
  return `every trial failed in the same way, so look first at what they all stand on: ${first}; `;
}

class Hanging extends Error {
  override readonly name = "Hanging";
}

async function withinTime<T>(trial: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Hanging(`the trial was not over after ${trialMsMax / 1000} s`)), trialMsMax);
  });
  try {
    return await Promise.race([trial, late]);
  } finally {
    clearTimeout(timer);
  }
}

function keptSeeds(): Record<string, number[]> {
  return existsSync(seedFile) ? (JSON.parse(readFileSync(seedFile, "utf8")) as Record<string, number[]>) : {};
}

function keepSeed(id: string, seed: number): void {
  const kept = keptSeeds();
  kept[id] = [...new Set([...(kept[id] ?? []), seed])].slice(-seedsKeptMax);
  writeFileSync(seedFile, `${JSON.stringify(kept, undefined, 2)}\n`);
}
