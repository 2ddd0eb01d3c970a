import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Price, priceId } from "@weir/price/price";
import { describe, expect, test } from "vitest";
import {
  costsOf,
  day,
  doubled,
  expectSoundBooks,
  ledgerUnderTest,
  record,
  recorded,
  rerate,
  tell,
  written,
} from "./ledger-under-test.ts";
import { attemptId, testEvent, testEventCost, testPrice } from "./testing.ts";

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  const ledger = ledgerUnderTest(engine);
  const costs = () => costsOf(ledger);
  const tellLater = (...prices: Price[]) => tell(ledger, ...prices);
  const estimated = (number: number, inputTokens: number, outputTokens: number) =>
    testEvent(number, {
      usage: { inputTokens, outputTokens },
      usageSource: UsageSource.ESTIMATED,
      outcome: AttemptOutcome.LOST,
    });
  const unserved = testEvent(9, {
    usage: { inputTokens: 0, outputTokens: 0 },
    usageSource: UsageSource.COUNTED,
    outcome: AttemptOutcome.REJECTED,
  });
  const counts = () =>
    ledger.db.query(
      `select attempt_id, input_tokens::int as input, cached_input_tokens::int as cached, output_tokens::int as output, trued_up
       from attempt_details order by 1`,
    );
  const trueUp = (told: object, model = "large") =>
    ledger.client.trueUp({ provider: "acme", model, day: "2026-11-20", counts: told });

  test("what the provider did not report follows its export to the token, and costs what it counts; the rest stays", async () => {
    const other = { startTime: timestampFromMs(day + 86_400_000) };
    await record(ledger, testEvent(1), estimated(2, 4_000, 300), estimated(3, 2_000, 300), unserved, {
      ...estimated(4, 5, 5),
      ...other,
    });
    const before = await recorded(ledger);
    const told = { inputTokens: 2_001n, cachedInputTokens: 100n, outputTokens: 151n };
    expect(await trueUp(told)).toMatchObject({ adjustedCount: 2n, unreportedCount: 2n });
    expect(await counts()).toEqual([
      { attempt_id: attemptId(1), input: 1_000, cached: 100, output: 50, trued_up: false },
      { attempt_id: attemptId(2), input: 667, cached: null, output: 51, trued_up: true },
      { attempt_id: attemptId(3), input: 334, cached: null, output: 50, trued_up: true },
      { attempt_id: attemptId(4), input: 5, cached: null, output: 5, trued_up: false },
      { attempt_id: attemptId(9), input: 0, cached: null, output: 0, trued_up: false },
    ]);
    expect((await costs()).slice(1, 3)).toEqual([667n * 2_000n + 51n * 8_000n, 334n * 2_000n + 50n * 8_000n]);
    expect(await recorded(ledger)).toBe(before);
    await expectSoundBooks(ledger);
    const once = await written(ledger);
    expect(await trueUp(told)).toMatchObject({ adjustedCount: 0n, unreportedCount: 2n });
    expect(await written(ledger)).toBe(once);
  });

  test("the next export may say otherwise, and a price that comes later finds the trued-up counts", async () => {
    await record(ledger, estimated(1, 100, 10), estimated(2, 100, 10));
    await trueUp({ inputTokens: 1_000n, outputTokens: 20n });
    await trueUp({ inputTokens: 1_003n, outputTokens: 20n });
    expect((await counts()).map((row) => row["input"])).toEqual([502, 501]);
    await tellLater(testPrice, doubled);
    await rerate(ledger, { apply: true });
    expect(await costs()).toEqual([502n * 4_000n + 10n * 8_000n, 501n * 4_000n + 10n * 8_000n]);
    expect(
      await ledger.db.query(
        "select sum(trued_up_attempts)::int as count, sum(adjusted_attempts)::int as all from cost_by_day",
      ),
    ).toEqual([{ count: 2, all: 2 }]);
    await expectSoundBooks(ledger);
  });

  test("where reported attempts count more than the export, the others count nothing, and that is all", async () => {
    await record(ledger, testEvent(1), estimated(2, 4_000, 300));
    await trueUp({ inputTokens: 700n, outputTokens: 50n });
    expect((await counts()).map(({ input, output }) => [input, output])).toEqual([
      [1_000, 50],
      [0, 0],
    ]);
    expect(await trueUp({ inputTokens: 700n, outputTokens: 50n })).toMatchObject({ adjustedCount: 0n });
    expect(await costs()).toEqual([testEventCost, 0n]);
    await expectSoundBooks(ledger);
  });

  test("an attempt without a price gets its counts and still no price, until it is priced anew", async () => {
    const target = { provider: "acme", model: "fresh" };
    const fresh = { ...testPrice, model: "fresh" };
    await record(ledger, testEvent(1, { target, priceId: "", usageSource: UsageSource.ESTIMATED }));
    await trueUp({ inputTokens: 500n, cachedInputTokens: 0n, outputTokens: 0n }, "fresh");
    expect(await costs()).toEqual([null]);
    await tellLater(testPrice, { ...fresh, id: priceId(fresh) });
    expect(await costs()).toEqual([null]);
    await rerate(ledger, { apply: true });
    expect(await costs()).toEqual([1_000_000n]);
    await expectSoundBooks(ledger);
  });

  test("a day that is none and counts that are missing are refused", async () => {
    const refused = { reason: ErrorReason.INVALID_REQUEST };
    const asked = { provider: "acme", model: "large", counts: {} };
    await expect(ledger.client.trueUp({ ...asked, day: "2026-02-31" })).rejects.toMatchObject(refused);
    await expect(ledger.client.trueUp({ provider: "acme", model: "large", day: "2026-02-20" })).rejects.toMatchObject(
      refused,
    );
  });
});
