import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type StartedGateway, startGateway } from "./started-gateway.ts";

// The clients in examples/grpc against a gateway as `npm start` starts it. Where a toolchain is missing, or its packages cannot be
// had, the name of the test says so and the client is compiled as far as that goes.

const root = dirname(dirname(import.meta.dirname));
const examples = join(root, "examples/grpc");
const run = promisify(execFile);
const path = [dirname(process.execPath), process.env["PATH"], "/usr/local/go/bin"].join(delimiter);

const folder = mkdtempSync(join(tmpdir(), "weir-examples-"));

let gateway: StartedGateway;

beforeAll(async () => {
  gateway = await startGateway();
}, 120_000);

afterAll(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}, 60_000);

async function output(file: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const { url, grpc, key } = gateway;
  const settings = { WEIR_URL: url, WEIR_GRPC: grpc, WEIR_KEY: key };
  const all = { HOME: process.env["HOME"] ?? folder, PATH: path, ...settings, ...env };
  const { stdout } = await run(file, args, { cwd: root, env: all, timeout: 120_000 });
  return stdout;
}

test.each(["grpc-js", "connect"])("TypeScript: %s.ts prints a reply", async (name) => {
  expect(await output(process.execPath, [join(examples, `typescript/${name}.ts`)])).toMatch(
    /\S[^]*\d+ tokens of output/,
  );
});

/** What answers in time, or undefined. */
function attempt(file: string, args: readonly string[], timeout: number): Promise<string | undefined> {
  return run(file, args, { cwd: root, env: { HOME: folder, ...process.env, PATH: path }, timeout }).then(
    ({ stdout }) => stdout,
    () => undefined,
  );
}

const venv = join(folder, "venv");
const python = join(venv, "bin/python");
const hasPython = (await attempt("python3", ["--version"], 10_000)) !== undefined;
const pip = [
  "-m",
  "pip",
  "install",
  "-q",
  "--disable-pip-version-check",
  "-r",
  join(examples, "python/requirements.txt"),
];
const hasVenv = hasPython && (await attempt("python3", ["-m", "venv", venv], 90_000)) !== undefined;
const hasGrpcio = hasVenv && (await attempt(python, pip, 90_000)) !== undefined;
const pythonLacks = hasGrpcio
  ? ""
  : hasPython
    ? " (only compiled: grpcio cannot be installed)"
    : " (not run: python3 is missing)";

test(`Python: client.py prints a reply${pythonLacks}`, { timeout: 120_000 }, async () => {
  const client = join(examples, "python/client.py");
  if (!hasPython) return;
  if (!hasGrpcio) {
    await output("python3", ["-c", `compile(open(${JSON.stringify(client)}).read(), "client.py", "exec")`]);
    return;
  }
  const generated = join(folder, "python");
  await output("/bin/sh", [join(examples, "python/generate.sh"), generated], { PYTHON: python });
  expect(await output(python, [client], { PYTHONPATH: generated })).toMatch(/\S[^]*\d+ tokens of output/);
});

const go = join(examples, "go");
const hasGo = (await attempt("go", ["version"], 10_000)) !== undefined;
const hasModules = hasGo && (await attempt("go", ["-C", go, "mod", "download"], 60_000)) !== undefined;
const goLacks = hasModules ? "" : hasGo ? " (only formatted: its modules cannot be had)" : " (not run: go is missing)";

test(`Go: main.go prints a reply${goLacks}`, { timeout: 240_000 }, async () => {
  expect(existsSync(join(go, "gen/weir/chat/v1/chat_service.pb.go"))).toBe(true);
  if (!hasGo) return;
  if (!hasModules) {
    expect(await output("gofmt", ["-l", join(go, "main.go")])).toBe("");
    return;
  }
  expect(await output("go", ["-C", go, "run", "."])).toMatch(/\S[^]*\d+ tokens of output/);
});
