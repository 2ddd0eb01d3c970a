import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { LedgerService, type RerateChange } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { UsageBatchSchema, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { type Client, hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, expect } from "vitest";
import type { Metering } from "./service.ts";
import { journalA, meteringOn, openTestDatabase, type TestDatabase, testEventCost, testPrice } from "./testing.ts";

// What the tests of adjustments share.

export const day = Date.UTC(2026, 10, 20);

/** From the middle of the day on in which even test events begin, input costs twice as much. */
export const doubled: Price = (() => {
  const named = { ...testPrice, effectiveTime: day + 12 * 3_600_000 };
  const nanoUsdPerMillion = { ...testPrice.nanoUsdPerMillion, input: 4_000_000_000n };
  return { ...named, id: priceId(named), nanoUsdPerMillion };
})();
/** 900 uncached tokens at 2 USD a million more. */
export const doubledCost = testEventCost + 1_800_000n;

export interface Ledger {
  readonly db: TestDatabase;
  readonly metering: Metering;
  readonly client: Client<typeof LedgerService>;
}

export async function openLedger(engine: "embedded" | "postgres"): Promise<Ledger> {
  const db = await openTestDatabase(engine);
  const metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
  return {
    db,
    metering,
    client: bearing(
      createClient(LedgerService, createLocalDoor([hostService(LedgerService, metering.ledger)])),
      operatorMetadata,
    ),
  };
}

/** The ledger of the tests of a `describe`: before each of them it is empty and has the first price. */
export function ledgerUnderTest(engine: "embedded" | "postgres"): Ledger {
  let opened: Ledger | undefined;
  const there = (): Ledger => {
    if (opened === undefined) throw new Error("the ledger is there within tests");
    return opened;
  };
  beforeAll(async () => {
    opened = await openLedger(engine);
  });
  beforeEach(async () => {
    await empty(there());
    await there().metering.prepare(createPriceList([testPrice]));
  });
  afterAll(() => there().db.end());
  return {
    get db() {
      return there().db;
    },
    get metering() {
      return there().metering;
    },
    get client() {
      return there().client;
    },
  };
}

export async function empty({ db }: Ledger): Promise<void> {
  await db.query(
    `truncate attempts, transfers, conflicts, journals, adjustment_runs, adjustments, adjustment_transfers,
       attempt_standings, price_lists, retired_costs, retired_transfers`,
  );
}

export const record = ({ metering }: Ledger, ...events: UsageEvent[]) =>
  metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);

export interface Asked {
  readonly asOfMs?: number;
  readonly apply?: boolean;
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly tenant?: string;
  readonly model?: string;
}

/** Every page. */
export async function rerate({ client }: Ledger, { asOfMs = Date.now(), fromMs, toMs, ...asked }: Asked) {
  const changes: RerateChange[] = [];
  const pages: bigint[] = [];
  let unpricedCount = 0n;
  let unknownCount = 0n;
  let pageToken = "";
  do {
    const page = await client.rerate({
      asOf: timestampFromMs(asOfMs),
      ...(fromMs === undefined ? {} : { startTime: timestampFromMs(fromMs) }),
      ...(toMs === undefined ? {} : { endTime: timestampFromMs(toMs) }),
      ...asked,
      pageToken,
    });
    changes.push(...page.changes);
    pages.push(page.attemptCount);
    unpricedCount += page.unpricedCount;
    unknownCount += page.unknownCount;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  const seen = pages.reduce((sum, count) => sum + count, 0n);
  const changed = changes.reduce((sum, change) => sum + change.attemptCount, 0n);
  return { changes, pages, seen, changed, unpricedCount, unknownCount };
}

/** Everything that adjusting writes, but for the one time of day in it. */
export async function written({ db }: Ledger): Promise<string> {
  const rows = await Promise.all(
    [
      "select run_id, reason, question from adjustment_runs order by run_id",
      "select * from adjustments order by attempt_id, number",
      "select * from adjustment_transfers order by attempt_id, number, book",
      "select * from attempt_standings order by attempt_id",
    ].map((text) => db.query(text)),
  );
  return JSON.stringify(rows);
}

/** What must never change: rows and transfers as they were recorded. */
export const recorded = async ({ db }: Ledger) =>
  JSON.stringify([
    await db.query("select * from attempts order by attempt_id"),
    await db.query("select * from transfers order by attempt_id, book"),
  ]);

/** Sums, and what an analyst would find wrong with them. */
export async function expectSoundBooks({ db }: Ledger): Promise<void> {
  expect(await db.query("select attempt_id, book from entries group by 1, 2 having sum(amount_nano_usd) <> 0")).toEqual(
    [],
  );
  expect(await db.query("select book from balances group by book having sum(balance_nano_usd) <> 0")).toEqual([]);
  // Each attempt stands at what was recorded of it and its adjustments come to, in each book as in its row.
  expect(
    await db.query(
      `select a.attempt_id from attempts_as_adjusted a left join attempts o using (attempt_id) left join (
         select attempt_id, sum(cost_nano_usd) as cost, sum(charge_nano_usd) as charge, sum(input_tokens) as input,
           sum(output_tokens) as output, count(*) as count, max(number) as last
         from adjustments group by 1
       ) j using (attempt_id) left join (
         select attempt_id, sum(amount_nano_usd) filter (where book = 'cost' and account like 'provider/%') as cost,
           sum(amount_nano_usd) filter (where book = 'charge' and account = 'revenue') as charge
         from entries group by 1
       ) e using (attempt_id)
       where coalesce(a.cost_nano_usd, 0) <> coalesce(o.cost_nano_usd, 0) + coalesce(j.cost, 0)
         or coalesce(a.charge_nano_usd, 0) <> coalesce(o.charge_nano_usd, 0) + coalesce(j.charge, 0)
         or coalesce(a.input_tokens, 0) <> coalesce(o.input_tokens, 0) + coalesce(j.input, 0)
         or coalesce(a.output_tokens, 0) <> coalesce(o.output_tokens, 0) + coalesce(j.output, 0)
         or coalesce(a.cost_nano_usd, 0) <> coalesce(e.cost, 0) or coalesce(a.charge_nano_usd, 0) <> coalesce(e.charge, 0)
         or a.adjustments <> coalesce(j.count, 0) or a.adjustments <> coalesce(j.last, 0)`,
    ),
  ).toEqual([]);
}

/** Of all attempts, in the order of their ids. */
export async function costsOf({ db }: Ledger): Promise<(bigint | null)[]> {
  const rows = await db.query("select attempt_id, cost_nano_usd from attempt_details order by attempt_id");
  return rows.map(({ cost_nano_usd: cost }) => (typeof cost === "string" ? BigInt(cost) : null));
}

/**
 * Tells a list at a later millisecond than what was told before, and earlier than what is told after.
 * @returns a time before it
 */
export async function tell({ metering }: Ledger, ...prices: Price[]): Promise<number> {
  const before = Date.now();
  while (Date.now() <= before + 1) await new Promise((resolve) => setImmediate(resolve));
  await metering.prepare(createPriceList(prices));
  while (Date.now() <= before + 3) await new Promise((resolve) => setImmediate(resolve));
  return before;
}
