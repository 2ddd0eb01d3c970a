import { create } from "@bufbuild/protobuf";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  attemptId,
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testPrice,
} from "./testing.ts";

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
  });
  afterAll(() => db.end());

  test("events that are kept aside are listed, the newest first, and counted", async () => {
    const metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
    const door = createLocalDoor([hostService(UsageService, metering.usage)]);
    const usage = bearing(createClient(UsageService, door), operatorMetadata);
    expect(await metering.conflicts.count()).toBe(0);
    expect((await usage.listConflicts({})).conflicts).toEqual([]);

    const record = (firstSequence: bigint, ...events: ReturnType<typeof testEvent>[]) =>
      metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence, events })]);
    await record(1n, testEvent(1));
    await record(2n, testEvent(1, { providerStatus: 500 }));
    await record(3n, testEvent(2, { attemptId: "none" }));
    expect(await metering.conflicts.count()).toBe(2);
    const { conflicts } = await usage.listConflicts({});
    expect(conflicts).toMatchObject([
      { attemptId: "none", reason: "attempt_id", journalId: journalA, sequence: 3n, standsInLedger: false },
      { attemptId: attemptId(1), reason: "content", journalId: journalA, sequence: 2n, standsInLedger: true },
    ]);
    expect(conflicts[0]?.payloadBytes).toBeGreaterThan(0);
    expect((await usage.listConflicts({ rowCountMax: 1 })).conflicts).toHaveLength(1);
  });
});
