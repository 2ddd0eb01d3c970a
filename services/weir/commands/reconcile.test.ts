import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { createMesh } from "@weir/kit/mesh";
import {
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testPrice,
} from "@weir/metering/testing";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, expect, test } from "vitest";

// The command as a person starts it, against a ledger in Postgres.

const main = join(dirname(import.meta.dirname), "main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-reconcile-"));
const file = join(folder, "export");
const metering = createMesh({ name: "metering", listen: "127.0.0.1:0" });
let ledger: TestDatabase;

const time = (day: number) => timestampFromMs(Date.UTC(2026, 10, day, 23, 59, 59, 999));
const usage = {
  inputTokens: 1_000,
  cachedInputTokens: 100,
  cacheWriteTokens: 50,
  cacheWriteLongTokens: 20,
  outputTokens: 50,
};
const refused = {
  usage: { inputTokens: 0, outputTokens: 0 },
  usageSource: UsageSource.COUNTED,
  outcome: AttemptOutcome.REJECTED,
};

beforeAll(async () => {
  ledger = await openTestDatabase("embedded");
  const service = meteringOn(ledger.database);
  await service.prepare(createPriceList([testPrice]));
  const events = [
    testEvent(1, { startTime: time(19), usage }),
    testEvent(2, { startTime: time(20), usage }),
    testEvent(3, { startTime: time(20), usage, usageSource: UsageSource.ESTIMATED }),
    testEvent(4, { startTime: time(20), ...refused }),
    testEvent(7, { startTime: time(19), ...refused }),
    testEvent(5, { startTime: time(20), usage, target: { provider: "other", model: "large" }, priceId: "" }),
    testEvent(6, { startTime: time(21), usage }),
  ];
  await service.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
  metering.host("metering", UsageService, service.usage);
  metering.host("metering", LedgerService, service.ledger);
  await metering.start();
});

afterAll(async () => {
  await metering.close();
  await ledger.end();
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function reconcile(text: string, ...options: string[]): Promise<Outcome> {
  writeFileSync(file, text);
  return weir("--provider", "acme", "--file", file, ...options);
}

function weir(...options: string[]): Promise<Outcome> {
  const args = [main, "reconcile", "--address", metering.status().address ?? "", ...options];
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: folder,
    WEIR_DATA_DIR: join(folder, "data"),
    NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"],
  };
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: folder, env, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

const names =
  "day,model,input_tokens,cached_input_tokens,cache_write_tokens,cache_write_long_tokens,output_tokens,requests";
const exported = `${names}\n2026-11-19,large,1000,100,50,20,50,1\n2026-11-20,large,2000,200,100,40,100,2\n`;

test("an export that says what the ledger says agrees: only its days, only the provider's attempts", async () => {
  expect(await reconcile(exported)).toEqual({
    code: 0,
    stdout: "",
    stderr: "all agree: acme, 2 days and models from 2026-11-19 until 2026-11-21\n",
  });
});

test("each difference is a line, with what attempts that are not known for sure could explain", async () => {
  const { code, stdout, stderr } = await reconcile(exported.replace("2000,200,100,40,100,2", "700,200,100,40,130,3"));
  expect(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/ {2,}/)),
  ).toEqual([
    ["day", "model", "class", "exported", "ledger", "difference", "explainable"],
    ["2026-11-20", "large", "input_tokens", "700", "2000", "-1300", "-1000"],
    ["2026-11-20", "large", "output_tokens", "130", "100", "30", "30"],
    ["2026-11-20", "large", "requests", "3", "2", "1", "1"],
  ]);
  expect(stderr).toContain("3 differences");
  expect(code).toBe(1);
});

test("an attempt that was refused explains no tokens, only a request", async () => {
  const { code, stdout } = await reconcile(exported.replace("1000,100,50,20,50,1", "1001,100,50,20,50,3"));
  const lines = stdout.trimEnd().split("\n");
  expect([code, lines.slice(1).map((line) => line.split(/ {2,}/).slice(2))]).toEqual([
    1,
    [
      ["input_tokens", "1001", "1000", "1", "0"],
      ["requests", "3", "1", "2", "1"],
    ],
  ]);
});

test("days are chosen, and models renamed", async () => {
  const other = exported.replaceAll("large", "large-2026").replace("50,1\n", "51,1\n");
  const renaming = ["--rename", "large-2026=large"];
  expect((await reconcile(other, "--from", "2026-11-20", ...renaming)).code).toBe(0);
  expect((await reconcile(other, "--to", "2026-11-20", ...renaming)).code).toBe(1);
  expect((await reconcile(other, "--from", "2026-11-20")).code).toBe(1);
  const { code, stdout } = await reconcile(exported, "--to", "2026-11-22", "--format", "csv");
  expect([code, stdout.split("\r\n").slice(0, 2)]).toEqual([
    1,
    ["day,model,class,exported,ledger,difference,explainable", "2026-11-21,large,input_tokens,0,1000,-1000,0"],
  ]);
});

test("money is compared to the nano-USD, and is decimal text for programs", async () => {
  const [row] = await ledger.query(
    "select sum(cost_usd)::text as usd from cost_by_day where day = '2026-11-19' and provider = 'acme'",
  );
  const usd = Number(row?.["usd"]).toFixed(9);
  const money = `day,model,cost_usd\n2026-11-19,large,${usd}\n`;
  expect((await reconcile(money)).code).toBe(0);
  const dearer = `${usd.slice(0, -1)}${(Number(usd.at(-1)) + 1) % 10}`;
  const { code, stdout } = await reconcile(money.replace(usd, dearer), "--format", "json");
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toEqual({
    provider: "acme",
    form: "weir",
    from: "2026-11-19",
    to: "2026-11-20",
    comparedCount: 1,
    differences: [
      {
        day: "2026-11-19",
        model: "large",
        class: "cost_usd",
        exported: dearer,
        ledger: usd,
        difference: "0.000000001",
        explainable: "0.000000000",
      },
    ],
  });
  const csv = await reconcile(money.replace(usd, "0.000000001"), "--format", "csv");
  expect(csv.stdout.split("\r\n")[1]).toMatch(
    /^2026-11-19,large,cost_usd,0\.000000001,0\.\d{9},-0\.\d{9},0\.000000000$/,
  );
});

test("what cannot be compared ends with 2, and with a sentence that quotes nothing", async () => {
  const place = (name: string, text = "") => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const told = place("told", exported);
  truncateSync(place("large"), 67_108_865);
  const outcomes = await Promise.all(
    [
      ["--file", place("odd", '{"secret": 1}')],
      ["--file", told, "--from", "2026-11-21"],
      ["--file", told, "--from", "2026-11-31"],
      ["--file", told, "--address", "127.0.0.1:1"],
      [],
      ["--file", join(folder, "gone")],
      ["--file", join(folder, "large")],
    ].map((options) => weir("--provider", "acme", ...options)),
  );
  expect(outcomes).toEqual(outcomes.map(({ stderr }) => ({ code: 2, stdout: "", stderr })));
  const [odd, , , , , gone, large] = outcomes.map(({ stderr }) => stderr);
  expect(odd).toMatch(/^weir: odd cannot be used: it has none of the forms that are known.+\n$/);
  expect(gone).toContain("cannot be read (ENOENT)");
  expect(large).toContain("cannot be read (EFBIG)");
}, 60_000);

test("metering that does not yet tell all classes is no ledger without them", async () => {
  const older = createMesh({ name: "older", listen: "127.0.0.1:0" });
  older.host("metering", UsageService, {
    listCosts: () => ({ rows: [{ day: "2026-11-19", model: "large", attemptCount: 1n, inputTokens: 1_000n }] }),
  });
  await older.start();
  const { code, stderr } = await reconcile(exported, "--address", older.status().address ?? "");
  await older.close();
  expect([code, stderr]).toEqual([2, expect.stringContaining("older version")]);
});

// The last one: it changes the ledger.
test("what the provider did not report is trued up, once, and what remains is told", async () => {
  const told = `${exported.replace("2000,200,100,40,100,2", "1777,177,101,41,131,2")}2026-11-20,small,5,0,0,0,5,1\n`;
  const { code, stdout, stderr } = await reconcile(told, "--true-up");
  // Listed as they were before.
  expect(stdout.split("\n")[1]?.split(/ {2,}/)).toEqual([
    "2026-11-20",
    "large",
    "input_tokens",
    "1777",
    "2000",
    "-223",
    "-223",
  ]);
  expect([code, stderr]).toEqual([1, expect.stringContaining("1 attempt was trued up; 3 differences are left\n")]);
  expect(
    await ledger.query(
      `select usage_source, input_tokens::int as input, cached_input_tokens::int as cached, cache_write_tokens::int as written,
         cache_write_long_tokens::int as long, output_tokens::int as output, trued_up
       from attempt_details where day = '2026-11-20' and provider = 'acme' and outcome <> 'rejected' order by attempt_id`,
    ),
  ).toEqual([
    { usage_source: "reported", input: 1_000, cached: 100, written: 50, long: 20, output: 50, trued_up: false },
    { usage_source: "estimated", input: 777, cached: 77, written: 51, long: 21, output: 81, trued_up: true },
  ]);
  const known = told.replace(/.+small.+\n/, "");
  const again = await reconcile(known, "--true-up");
  expect(again).toMatchObject({ code: 0, stdout: "" });
  expect(await ledger.query("select count(*)::int from adjustments")).toEqual([{ count: 1 }]);
});

test("a model of which the export has no row is listed and left alone", async () => {
  const { code, stderr } = await reconcile("day,model,input_tokens\n2026-11-20,small,0\n", "--true-up");
  expect([code, stderr]).toEqual([1, expect.stringContaining("0 attempts were trued up; 1 difference is left\n")]);
});
