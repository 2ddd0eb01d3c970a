import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";

// `npm run test:faults`: the fault scenarios with many trials, and a table of what came of them.

const help = `Usage: npm run test:faults -- [options]

  --trials <n>  trials of each scenario (default 300; npm test runs 20)
  --seed <n>    first seed; each trial takes the next (default: seeds that failed before, then random ones)
  --only <id>   one scenario, as docs/failure-modes.md names it: F4
`;

const root = dirname(dirname(import.meta.dirname));
const { values } = parseArgs({
  options: {
    trials: { type: "string", default: "300" },
    seed: { type: "string" },
    only: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

interface Result {
  readonly id: string;
  readonly trials: number;
  readonly firstSeed: number;
  readonly failed: number;
  readonly seconds: number;
}

async function run(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "weir-faults-"));
  const report = join(folder, "report.jsonl");
  const env = {
    ...process.env,
    WEIR_FAULT_TRIALS: values.trials,
    WEIR_FAULT_REPORT: report,
    ...(values.seed === undefined ? {} : { WEIR_FAULT_SEED: values.seed }),
  };
  const { only } = values;
  const filter =
    only === undefined
      ? ["test/faults", "-t", String.raw`\b(F\d+|P4) `]
      : [...filesOf(only), "-t", String.raw`\b${only} `];
  try {
    const child = spawn(process.execPath, [join(root, "test/main.ts"), ...filter], {
      cwd: root,
      env,
      stdio: "inherit",
    });
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => child.kill(signal));
    const code = await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (exitCode) => resolve(exitCode ?? 1));
    });
    if (existsSync(report)) process.stdout.write(tableOf(report));
    return code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Files with tests of a scenario: the others need not be loaded. */
function filesOf(scenario: string): string[] {
  const names = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".test.ts"));
  const found = names.filter((name) => readFileSync(join(import.meta.dirname, name), "utf8").includes(`"${scenario} `));
  return found.length === 0 ? ["test/faults"] : found.map((name) => `test/faults/${name}`);
}

function tableOf(report: string): string {
  const results = readFileSync(report, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Result);
  const [first] = cpus();
  const machine = `${cpus().length} x ${first?.model ?? "CPU"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`;
  const rows = results.map(
    ({ id, trials, firstSeed, failed, seconds }) => `| ${id} | ${trials} | ${firstSeed} | ${failed} | ${seconds} s |`,
  );
  return `\n${machine}\n\n| scenario | trials | first seed | failed | took |\n| --- | --- | --- | --- | --- |\n${rows.join("\n")}\n`;
}

if (values.help) process.stdout.write(help);
else process.exitCode = await run();
