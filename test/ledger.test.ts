import type { AttemptRecord } from "@weir/simulator/simulator";
import { expect, test } from "vitest";
import { differences, expectedCost, type LedgerRow } from "./ledger.ts";

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
  endMs: 0,
  ...more,
});
const compare = (rows: LedgerRow[], served: AttemptRecord[]) => differences(rows, served, () => price);

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
