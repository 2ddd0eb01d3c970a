import { execFile, execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { boundaryFaults, readWorkspaces } from "./boundaries.ts";
import { generate, vendorProtos } from "./gen.ts";
import { staleGoFiles } from "./go-descriptors.ts";

// `npm run check`: everything that can be said about the code without running it. Steps run one after
// another, all of them even when one fails; the exit code is 1 when any failed.

const root = dirname(import.meta.dirname);

/** What a step found: nothing, a remark, or (thrown) what is wrong. */
type Step = () => string | undefined | Promise<string | undefined>;

class StepFailed extends Error {}

/** Runs one of the installed tools; what it printed becomes the failure's text. */
function run(tool: string, ...args: string[]): Promise<undefined> {
  return new Promise((resolve, reject) => {
    // Tools that are scripts run on this Node, not on the machine's own.
    const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"] ?? ""}` };
    const options = { cwd: root, env, maxBuffer: 64 << 20, timeout: 300_000 };
    execFile(join(root, "node_modules", ".bin", tool), args, options, (error, stdout, stderr) => {
      if (error === null) resolve(undefined);
      else reject(new StepFailed(`${stdout}${stderr}`.trim() || error.message));
    });
  });
}

/** Answers undefined when git refuses, as outside a clone or for a commit that a shallow clone lacks. */
function git(...args: string[]): string | undefined {
  try {
    return execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return undefined;
  }
}

const commit = (name: string) => git("rev-parse", "--verify", "--quiet", `${name}^{commit}`);

/** The commit whose protos callers know: main, or on main itself the commit before. */
function publishedCommit(): string | undefined {
  const main = commit("origin/main") ?? commit("main");
  return main === undefined || main === commit("HEAD") ? commit("HEAD~1") : main;
}

async function checkBreaking(): Promise<string | undefined> {
  const base = publishedCommit();
  if (base === undefined) return "skipped: no earlier commit to compare with";
  if (git("cat-file", "-e", `${base}:proto`) === undefined) return "skipped: the earlier commit has no protos";
  const folder = mkdtempSync(join(tmpdir(), "weir-check-"));
  try {
    const archive = join(folder, "base.tar");
    execFileSync("git", ["archive", "--output", archive, base, "proto", "buf.yaml"], { cwd: root });
    execFileSync("tar", ["-xf", archive, "-C", folder]);
    cpSync(join(root, "third_party"), join(folder, "third_party"), { recursive: true });
    await run("buf", "breaking", ".", "--against", folder);
    return `against ${base.slice(0, 12)}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function checkGenerated(): Promise<undefined> {
  const staleGo = await staleGoFiles(root, "examples/grpc/go/gen");
  if (staleGo.length > 0) {
    throw new StepFailed(`examples/grpc/README.md says how Go's code is made; not up to date: ${staleGo.join(", ")}`);
  }
  const folder = mkdtempSync(join(tmpdir(), "weir-check-"));
  try {
    const fresh = generate(folder);
    const kept = readdirSync(join(root, "gen"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.includes("node_modules"))
      .toSorted();
    const read = (from: string, name: string) => readFileSync(join(from, "gen", name), "utf8");
    const stale = [
      ...fresh.filter((name) => !kept.includes(name) || read(folder, name) !== read(root, name)),
      ...kept.filter((name) => !fresh.includes(name)),
    ];
    if (stale.length > 0) throw new StepFailed(`run \`npm run gen\`; not up to date: ${stale.join(", ")}`);
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function checkBoundaries(): undefined {
  const faults = boundaryFaults(readWorkspaces(root));
  if (faults.length > 0) throw new StepFailed(faults.join("\n"));
  return undefined;
}

/** services/local is a project of its own, installed apart; without its packages its types are not known. */
const hasLocal = existsSync(join(root, "services/local/node_modules"));
const withoutLocal = "services/local is not installed; `npm run local:install` does it";

async function checkLint(): Promise<string | undefined> {
  const args = ["--type-aware", "--deny-warnings"];
  if (hasLocal) return run("oxlint", ...args);
  await run("oxlint", ...args, "--ignore-pattern", "services/local/**");
  return `without one folder: ${withoutLocal}`;
}

async function checkLocalTypes(): Promise<string | undefined> {
  return hasLocal ? run("tsc", "-p", "services/local") : `skipped: ${withoutLocal}`;
}

async function checkDeadCode(): Promise<undefined> {
  await run("knip", "--no-progress");
  return run("knip", "--no-progress", "--directory", "services/local");
}

const steps: Readonly<Record<string, Step>> = {
  types: () => run("tsc", "-p", "."),
  "types of local": checkLocalTypes,
  lint: checkLint,
  format: () => run("biome", "format", "."),
  "proto lint": () => run("buf", "lint", "proto"),
  "proto breaking": checkBreaking,
  "generated code": checkGenerated,
  boundaries: checkBoundaries,
  "dead code": checkDeadCode,
};

mkdirSync(join(root, "third_party"), { recursive: true });
vendorProtos();
const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !(name in steps));
if (unknown.length > 0) {
  console.error(`no such step: ${unknown.join(", ")}; steps: ${Object.keys(steps).join(", ")}`);
  process.exit(2);
}
let failures = 0;
for (const [name, step] of Object.entries(steps)) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  const start = performance.now();
  let result = "ok";
  let detail: string | undefined;
  try {
    detail = await step();
  } catch (error) {
    failures++;
    result = "FAILED";
    detail = `\n${error instanceof StepFailed ? error.message : String(error instanceof Error ? error.stack : error)}`;
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(
    `${name.padEnd(16)} ${result.padEnd(7)} ${seconds.padStart(5)} s${detail === undefined ? "" : `  ${detail}`}`,
  );
}
console.log(failures === 0 ? "check: all steps passed" : `check: ${failures} of the steps failed`);
process.exitCode = failures === 0 ? 0 : 1;
