import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { migrate } from "@weir/metering/migrate";
import { openTestDatabase, type TestDatabase } from "@weir/metering/testing";
import type { Price } from "@weir/price/price";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFleet } from "./fleet.ts";

// Models that are billed by seconds, characters or images, and the budgets about them.

let db: TestDatabase;
beforeAll(async () => {
  db = await openTestDatabase("embedded");
  await migrate(db.database);
});
afterAll(() => db.end());

/** 100,000 nano-USD for a second of sound. */
const price: Price = {
  id: "acme/whisper@always",
  provider: "acme",
  model: "whisper",
  effectiveTime: undefined,
  nanoUsdPerMillion: { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n },
  nanoUsdPerThousandUses: { audio_seconds: 100_000_000n },
  source: "a test",
};

test("money is set aside for the most units that a call may have; what it had is spent, and the rest free again", async () => {
  const fleet = await createFleet(db);
  const budgetId = `b-${randomUUID()}`;
  const limitNanoUsd = 10_000_000n;
  await fleet.service.createBudget({
    budgetId,
    limitNanoUsd,
    window: { kind: WindowKind.DAY },
    scope: { tenant: "default" },
  });
  const { budgets } = fleet.addPool();
  const hold = async (seconds: number) => {
    const principal = create(PrincipalSchema, { tenant: "default", key: "abcdefghijklmnop" });
    const spender = { principal, alias: "speech", target: { provider: "acme", model: "whisper" } };
    const expense = { spender, price, body: Buffer.alloc(0), stream: false, outputTokensMax: 32_768 };
    return budgets.hold({ ...expense, units: { audio_seconds: seconds } }, () => new AbortController().signal);
  };
  const first = await hold(90);
  expect(first?.toRecord().chargeMaxNanoUsd).toBeGreaterThanOrEqual(9_000_000n);
  await expect(hold(101)).rejects.toMatchObject({ reason: ErrorReason.BUDGET_EXHAUSTED });
  first?.end("completed", create(UsageSchema, { serverToolUses: { audio_seconds: 10 } }));
  const second = await hold(85);
  expect(second?.toRecord().chargeMaxNanoUsd).toBeGreaterThanOrEqual(8_500_000n);
  second?.giveUp();
  await fleet.stop();
});
