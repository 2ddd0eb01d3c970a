import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { createMesh } from "@weir/kit/mesh";
import {
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testPrice,
} from "@weir/metering/testing";
import { createPriceList, priceId } from "@weir/price/price";
import { afterAll, beforeAll, expect, test } from "vitest";

// The command as a person starts it, against a ledger.

const main = join(dirname(import.meta.dirname), "main.ts");
const folder = mkdtempSync(join(tmpdir(), "weir-rerate-"));
const metering = createMesh({ name: "metering", listen: "127.0.0.1:0" });
let ledger: TestDatabase;
let asOf = "";

const named = { ...testPrice, effectiveTime: Date.UTC(2026, 10, 20, 12) };
const dearer = {
  ...named,
  id: priceId(named),
  nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, input: 4_000_000_000n },
};

beforeAll(async () => {
  ledger = await openTestDatabase("embedded");
  const service = meteringOn(ledger.database);
  await service.prepare(createPriceList([testPrice]));
  // More than a page of one day.
  const events = Array.from({ length: 1_100 }, (_, number) => testEvent(number));
  const other = { provider: "other", model: "large" };
  events.push(
    testEvent(2_000, { startTime: timestampFromMs(Date.UTC(2026, 10, 21)) }),
    testEvent(2_001, { target: other, priceId: "" }),
  );
  await service.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
  await service.prepare(createPriceList([testPrice, dearer]));
  asOf = new Date(Date.now()).toISOString();
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

function rerate(...options: string[]): Promise<Outcome> {
  const args = [main, "ledger", "rerate", "--address", metering.status().address ?? "", ...options];
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

const header =
  "day,tenant,provider,model,price_id_before,price_id,attempts,cost_usd_before,cost_usd,charge_usd_before,charge_usd";
const prices = `${testPrice.id},${dearer.id}`;
const csv = [
  header,
  `2026-11-20,default,acme,large,${prices},1100,2.475000000,4.455000000,2.475000000,4.455000000`,
  `2026-11-21,default,acme,large,${prices},1,0.002250000,0.004050000,0.002250000,0.004050000`,
  "",
].join("\r\n");

test("what differs is listed and nothing written; then it is written, and then nothing differs", async () => {
  const found = "1101 of 1102 attempts";
  const listed = await rerate("--as-of", asOf, "--format", "csv");
  expect(listed).toEqual({
    code: 0,
    stdout: csv,
    stderr:
      `as of ${asOf}, ${found} differ: 4.45905 USD in place of 2.47725\n` +
      "1 attempts have no price in that book, and keep what they have\nnothing was written; see --apply\n",
  });
  expect(await rerate("--as-of", asOf, "--format", "csv", "--dry-run")).toEqual(listed);

  const table = await rerate("--as-of", asOf, "--from", "2026-11-21");
  expect(
    table.stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/ {2,}/)),
  ).toEqual([
    ["day", "tenant", "provider", "model", "price", "attempts", "cost USD", "becomes", "charge USD", "becomes"],
    `2026-11-21,default,acme,large,${testPrice.id} -> ${dearer.id},1,0.00225,0.00405,0.00225,0.00405`.split(","),
  ]);

  const applied = await rerate("--as-of", asOf, "--format", "csv", "--apply");
  expect(applied).toMatchObject({ code: 0, stdout: csv });
  expect(applied.stderr).toContain(`${found} were adjusted`);
  const again = await rerate("--as-of", asOf, "--format", "csv", "--apply");
  expect(again).toMatchObject({ code: 0, stdout: `${header}\r\n` });
  expect(again.stderr).toContain("0 of 1102 attempts were adjusted\n");
  expect(await ledger.query("select count(*)::int from adjustments")).toEqual([{ count: 1_101 }]);
});

test("what cannot be asked ends with a sentence", async () => {
  expect(await rerate()).toMatchObject({ code: 1, stdout: "" });
  expect((await rerate("--as-of", "tomorrow")).stderr).toContain("expected 2026-11-21");
  expect((await rerate("--as-of", "2999-01-01")).stderr).toContain("--as-of must not lie in the future");
  expect((await rerate("--as-of", asOf, "--from", asOf)).stderr).toContain("--from must lie before --to");
  expect((await rerate("--as-of", asOf, "--apply", "--dry-run")).stderr).toContain("cannot be used with");
});
