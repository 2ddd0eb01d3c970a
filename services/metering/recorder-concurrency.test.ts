import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { UsageBatch } from "@weir/gen/weir/metering/v1/usage_event_pb";
import {
  journalA,
  journalB,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testBatch,
  testPrice,
} from "./testing.ts";
import type { Metering } from "./service.ts";

// On a real server only: the embedded one is a single session.
let db: TestDatabase;
let metering: Metering;
beforeAll(async () => {
  db = await openTestDatabase("postgres");
  metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
});
afterAll(() => db.end());
beforeEach(async () => {
  await db.query("truncate attempts, transfers, conflicts, journals");
});

const record = (...batches: UsageBatch[]) => metering.recorder.record(batches);
const count = async (table: string) => Number((await db.query(`select count(*) from ${table}`))[0]?.["count"]);
const unbalanced = () =>
  db.query("select attempt_id, book from entries group by 1, 2 having sum(amount_nano_usd) <> 0 or count(*) <> 2");

test("consumers that write the same batches at once write each row once", async () => {
  const others = [metering, meteringOn(db.database), meteringOn(db.database)];
  const batches = Array.from({ length: 20 }, (_, index) => testBatch(index * 50 + 1, index * 50 + 50));
  const reversed = batches.toReversed();
  await Promise.all(
    others.map(async ({ recorder }, which) => {
      for (const batch of which % 2 === 0 ? batches : reversed) await recorder.record([batch]);
    }),
  );
  expect([await count("attempts"), await count("entries"), await count("conflicts")]).toEqual([1000, 4000, 0]);
  expect(await unbalanced()).toEqual([]);
  expect(await record(testBatch(1, 1000))).toEqual(new Map([[journalA, 1000n]]));
});

test("consumers of several journals that overlap neither deadlock nor lose", async () => {
  const journals = [journalA, journalB];
  await Promise.all(
    Array.from({ length: 6 }, async (_, which) => {
      for (let round = 0; round < 10; round++) {
        const order = which % 2 === 0 ? journals : journals.toReversed();
        await record(...order.map((journalId, index) => testBatch(round * 10 + 1, round * 10 + 10 + index, journalId)));
      }
    }),
  );
  expect([await count("attempts"), await count("conflicts")]).toEqual([101, 0]);
  expect(await unbalanced()).toEqual([]);
});

test("connections that are cut while they write lose nothing, and what failed can be sent again", async () => {
  let cutting = true;
  const cutter = (async () => {
    while (cutting) {
      await db.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'weir-metering' and state <> 'idle'",
      );
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  let failureCount = 0;
  // What a pool does: it sends again until the ledger says that it has it.
  const send = async (first: number): Promise<void> => {
    for (;;) {
      try {
        const committed = await record(testBatch(first, first + 99));
        expect(committed.get(journalA)).toBe(BigInt(first + 99));
        return;
      } catch (thrown) {
        expect(thrown).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
        failureCount++;
        if (failureCount >= 20) cutting = false;
      }
    }
  };
  for (let first = 1; first <= 1_901; first += 100) await send(first);
  cutting = false;
  await cutter;
  expect(failureCount).toBeGreaterThan(0);
  expect([await count("attempts"), await count("entries"), await count("conflicts")]).toEqual([2_000, 8_000, 0]);
  expect(await unbalanced()).toEqual([]);
  expect(await metering.store.watermark(journalA)).toBe(2_000n);
});
