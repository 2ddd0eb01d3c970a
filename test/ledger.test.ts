import type { AttemptRecord } from "@weir/simulator/simulator";
import { expect, test } from "vitest";
import {
  brokenLaws,
  createLedgerReader,
  differences,
  expectedCost,
  type LedgerRow,
  sumsAfterTrueUp,
} from "./ledger.ts";
import { ledgerFaults } from "./faults/verdict.ts";
import { createDatabase, startPostgres } from "./servers.ts";

const price = { input: 123_456_789n, cachedInput: 1_000_000n, output: 500_000n };

test("cost is rounded once, half to even", () => {
  expect(expectedCost(price, 1, 0, 0)).toBe(123n);
  expect(expectedCost(price, 2, 2, 1)).toBe(2n);
  expect(expectedCost(price, 3, 3, 1)).toBe(4n);
  expect(expectedCost(price, 0, 0, 2)).toBe(1n);
});

const row = (more: Partial<LedgerRow>): LedgerRow => ({
  attemptId: "a",
  requestId: "r",
  tenant: "t",
  key: "k",
  endUser: "",
  alias: "chat",
  provider: "sim",
  model: "m",
  stream: false,
  outcome: "completed",
  usageSource: "reported",
  inputTokens: 4,
  cachedInputTokens: 4,
  outputTokens: 8,
  reasoningTokens: 0,
  priceId: "p",
  costNanoUsd: 8n,
  ...more,
});
const record = (more: Partial<AttemptRecord>): AttemptRecord => ({
  id: "a",
  model: "m",
  stream: false,
  status: 200,
  end: "completed",
  clientLeft: false,
  inputTokens: 4,
  outputTokens: 8,
  bytes: 1,
  chunks: 1,
  startMs: 0,
  tokensFromMs: 0,
  endMs: 0,
  ...more,
});
const compare = (rows: LedgerRow[], served: AttemptRecord[]) => differences(rows, served, () => price);

test("of a stream that is cut, what its provider wrote just before may be on its way, and no more", () => {
  const cut = row({ stream: true, outcome: "cancelled", usageSource: "counted", outputTokens: 0, costNanoUsd: 4n });
  const streamed = { stream: true, end: "abandoned", outputTokens: 14, chunks: 15, endMs: 1000 } as const;
  const counts = (more: Partial<AttemptRecord>) =>
    ledgerFaults([cut], [record({ ...streamed, ...more })]).filter((fault) => fault.includes("tokens out"));
  expect(counts({ tokensFromMs: 999 })).toEqual([]);
  expect(counts({ tokensFromMs: 0 })).toHaveLength(1);
});

test("what differs is said", () => {
  expect(compare([row({})], [record({})])).toEqual([]);
  expect(compare([], [record({})])).toEqual(["attempt a (completed) has no row"]);
  expect(compare([row({}), row({})], [record({})])).toContain("two rows for attempt a");
  expect(compare([row({})], [record({}), record({})])).toContain("attempt a reached the simulator twice");
  expect(compare([row({ costNanoUsd: 9n })], [record({})])).toEqual(["attempt a costs 9, not 8 nano-USD"]);
  expect(compare([row({})], [record({ outputTokens: 9 })])).toHaveLength(1);
  expect(compare([row({})], [])).toHaveLength(1);
  expect(compare([row({ usageSource: "counted" })], [])).toHaveLength(1);
  expect(compare([row({ usageSource: "estimated" })], [])).toEqual([]);
  expect(compare([row({ usageSource: "estimated" })], [record({ outputTokens: 2 })])).toEqual([]);
  expect(
    compare(
      [row({ inputTokens: undefined, cachedInputTokens: undefined, outputTokens: undefined, costNanoUsd: 0n })],
      [],
    ),
  ).toEqual([]);
});

test("a true-up takes the provider's figures for rows that do not claim to be exact, and only for those", () => {
  const estimated = row({ usageSource: "estimated", outputTokens: 4_096 });
  expect(sumsAfterTrueUp([estimated], [record({})])).toEqual([]);
  expect(sumsAfterTrueUp([estimated], [])).toEqual([]);
  expect(sumsAfterTrueUp([row({ outputTokens: 9 })], [record({})])).toEqual([
    "outputTokens after true-up: 9; the simulator billed 8",
  ]);
  expect(sumsAfterTrueUp([], [record({})])).toHaveLength(2);
});

test("the ledger's own laws can be seen to be broken", async () => {
  const server = await startPostgres();
  const database = await createDatabase(server.url);
  const ledger = createLedgerReader(database.url);
  await ledger.query(`
    create table attempts (attempt_id uuid, end_user text, cost_nano_usd bigint, charge_nano_usd bigint, start_time int, end_time int);
    create table entries (attempt_id uuid, book text, account text, amount_nano_usd bigint);
    create table conflicts (attempt_id text);
    insert into attempts values ('00000000-0000-7000-8000-000000000001', 'good', 5, 0, 1, 2);
    insert into entries values
      ('00000000-0000-7000-8000-000000000001', 'cost', 'provider/sim', 5),
      ('00000000-0000-7000-8000-000000000001', 'cost', 'usage/tests', -5);
    insert into attempts values ('00000000-0000-7000-8000-000000000002', 'bad', 5, 7, 2, 1);
    insert into entries values ('00000000-0000-7000-8000-000000000002', 'cost', 'provider/sim', 6);
    insert into conflicts values ('00000000-0000-7000-8000-000000000002');`);
  expect(await brokenLaws(ledger, "good")).toEqual([]);
  expect(await brokenLaws(ledger, "bad")).toEqual([
    "conflicts: 1",
    "unbalanced: 1",
    "cost_beside: 1",
    "charge_beside: -7",
    "backwards: 1",
  ]);
  await ledger.close();
  await database.drop();
  await server.stop();
});
