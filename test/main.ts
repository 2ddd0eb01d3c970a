import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { countTests } from "./report.ts";
import { installLocal } from "./install-local.ts";
import { startNats, startPostgres, startRedis, type TestServer } from "./servers.ts";

// `npm test`: starts the servers that tests need, runs vitest over every workspace, ends with a count. Arguments go to
// vitest: `npm test -- services/kit`, `npm test -- -t "deadline"`.

const root = dirname(import.meta.dirname);
const say = (text: string) => process.stdout.write(`${text}\n`);

const folder = mkdtempSync(join(tmpdir(), "weir-test-"));
const servers: TestServer[] = [];
let stopping: Promise<void> | undefined;

function stop(): Promise<void> {
  stopping ??= (async () => {
    await Promise.allSettled(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  })();
  return stopping;
}

function runVitest(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], {
    cwd: root,
    env,
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      child.kill(signal);
      void stop().then(() => process.exit(130));
    });
  }
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 1) : 1));
  });
}

async function main(): Promise<number> {
  const started = performance.now();
  say(`node ${process.version}, ${process.execPath}`);
  say(await installLocal(root));
  const [postgres, nats, redis] = await Promise.allSettled([startPostgres(), startNats(), startRedis()]);
  for (const outcome of [postgres, nats, redis]) {
    if (outcome.status === "fulfilled") {
      servers.push(outcome.value);
      say(outcome.value.description);
    }
  }
  if (postgres.status === "rejected") throw postgres.reason;
  if (nats.status === "rejected") throw nats.reason;
  if (redis.status === "rejected") throw redis.reason;
  say(`servers started in ${((performance.now() - started) / 1000).toFixed(1)} s`);

  const report = join(folder, "report.json");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const code = await runVitest([...reporters, ...process.argv.slice(2)], {
    ...process.env,
    WEIR_TEST_POSTGRES_URL: postgres.value.url,
    WEIR_TEST_NATS_URL: nats.value.url,
    // Of vitest, and of processes that tests start again and again.
    NODE_COMPILE_CACHE: join(folder, "compile-cache"),
    WEIR_TEST_REDIS_URL: redis.value.url,
  });
  if (!existsSync(report)) {
    say("vitest ended without a report");
    return code || 1;
  }
  const counts = countTests(JSON.parse(readFileSync(report, "utf8")));
  for (const file of counts.brokenFiles) say(`did not run to its end: ${file}`);
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  say(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
  return code || (counts.failed > 0 || counts.passed === 0 ? 1 : 0);
}

let code = 1;
try {
  code = await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  say("0 passed, 1 failed");
} finally {
  await stop();
}
process.exit(code);
