import { spawn } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

// `npm run test:properties`: the laws of the dialects' round trips (requests, answers, streams, to the wire and back) and of transcoded
// methods (requests and answers, to path, query and JSON and back), each over WEIR_PROPERTY_RUNS cases, 100,000 by default, in two
// processes. Each law is told when it is done. Arguments go to vitest: `npm run test:properties -- services/dialect/gemini`.
//
// One case of every law of the dialects costs 10 ms of one core in all (Intel Xeon, Node 26; 5 ms of them for requests), so that
// 100,000 of each take 17 minutes of it, and 20,000 fit into four.

const root = dirname(import.meta.dirname);
const runs = process.env["WEIR_PROPERTY_RUNS"] ?? "100000";

/** Names of the laws. */
const laws = "back as|survive|cut after";

const given = process.argv.slice(2);
const files = globSync(["services/dialect/**/*.test.ts", "services/edge/transcode/*.test.ts"], { cwd: root }).filter(
  (file) => /WEIR_PROPERTY_RUNS|numRuns/.test(readFileSync(join(root, file), "utf8")),
);

const args = ["run", "--reporter=verbose", "--maxWorkers=2", "--testTimeout=3600000", "-t", laws];
const child = spawn(
  process.execPath,
  [join(root, "node_modules/vitest/vitest.mjs"), ...args, ...(given.length > 0 ? given : files)],
  { cwd: root, env: { ...process.env, WEIR_PROPERTY_RUNS: runs }, stdio: "inherit" },
);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => child.kill(signal));
child.once("exit", (code, signal) => {
  process.exitCode = signal === null ? (code ?? 1) : 1;
});
