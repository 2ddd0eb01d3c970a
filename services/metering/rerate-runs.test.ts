import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { operator } from "./confinement.ts";
import type { Database } from "./database.ts";
import {
  day,
  doubled,
  empty,
  expectSoundBooks,
  type Ledger,
  openLedger,
  record,
  rerate,
  written,
} from "./ledger-under-test.ts";
import { readPriceBook } from "./price-lists.ts";
import { firstRerateOf, reratePage, type ReratePlace } from "./rerate-pages.ts";
import { testEvent, testPrice } from "./testing.ts";

const anyAttempt = { tenant: "", provider: "", model: "" };

test("books stay in balance and runs change nothing the second time, whatever is told, priced anew and trued up in between", async () => {
  const ledger = await openLedger("embedded");
  const rated = (index: number): Price => {
    const named = { ...testPrice, effectiveTime: day + index * 4 * 3_600_000 };
    const input = BigInt(index) * 1_234_567_891n;
    return { ...named, id: priceId(named), nanoUsdPerMillion: { ...testPrice.nanoUsdPerMillion, input } };
  };
  const count = fc.bigInt({ min: 0n, max: 20_000n });
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("record" as const),
      isReported: fc.boolean(),
      hour: fc.nat(23),
      input: fc.nat(5_000),
      most: fc.nat(5_000_000),
    }),
    fc.record({
      kind: fc.constant("tell" as const),
      lists: fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("rerate" as const), agoMs: fc.constantFrom(0, 5, 50, 60_000) }),
    fc.record({
      kind: fc.constant("true_up" as const),
      inputTokens: count,
      cachedInputTokens: count,
      outputTokens: count,
    }),
  );
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 8 }), async (steps) => {
        await empty(ledger);
        await ledger.metering.prepare(createPriceList([testPrice]));
        let number = 0;
        for (const { kind, ...what } of [
          { kind: "record", isReported: false, hour: 1, input: 10, most: 5 } as const,
          ...steps,
        ]) {
          if ("hour" in what) {
            number += 1;
            await record(
              ledger,
              testEvent(number, {
                startTime: timestampFromMs(day + what.hour * 3_600_000),
                usage: { inputTokens: what.input, outputTokens: 7 },
                usageSource: what.isReported ? UsageSource.REPORTED : UsageSource.ESTIMATED,
                ...(what.most % 2 === 0 ? {} : { hold: { leaseIds: [], chargeMaxNanoUsd: BigInt(what.most) } }),
              }),
            );
          } else if ("lists" in what) {
            await ledger.metering.prepare(createPriceList([testPrice, ...what.lists.map(rated)]));
          } else if ("agoMs" in what) {
            const asOfMs = Date.now() - what.agoMs;
            await rerate(ledger, { asOfMs, apply: true });
            const once = await written(ledger);
            expect((await rerate(ledger, { asOfMs, apply: true })).changed).toBe(0n);
            expect(await written(ledger)).toBe(once);
          } else {
            const asked = { provider: "acme", model: "large", day: "2026-11-20", counts: what };
            await ledger.client.trueUp(asked);
            expect(await ledger.client.trueUp(asked), kind).toMatchObject({ adjustedCount: 0n });
          }
        }
        await expectSoundBooks(ledger);
      }),
      { numRuns: Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) / 200) },
    );
  } finally {
    await ledger.db.end();
  }
}, 120_000);

describe("a run on a copy", () => {
  const open: Ledger[] = [];
  beforeAll(async () => {
    for (const engine of ["postgres", "postgres", "embedded"] as const) open.push(await openLedger(engine));
    const events = Array.from({ length: 2_200 }, (_, number) =>
      testEvent(number, {
        startTime: timestampFromMs(day + 43_200_000 + number * 1_000),
        ...(number % 7 === 0 ? { outcome: AttemptOutcome.FAILED } : {}),
      }),
    );
    for (const ledger of open) {
      await record(ledger, ...events);
      await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    }
  });
  afterAll(() => Promise.all(open.map(({ db }) => db.end())));

  test("answers and writes the same bytes, also when it was killed in the middle and made again, and on another engine", async () => {
    const [whole, killed, embedded] = open as [Ledger, Ledger, Ledger];
    const asOfMs = Date.now();
    const listed = await rerate(whole, { asOfMs });
    expect(await rerate(killed, { asOfMs })).toEqual(listed);
    expect(await rerate(whole, { asOfMs, apply: true })).toEqual(listed);
    expect(await rerate(embedded, { asOfMs, apply: true })).toEqual(listed);

    const script = `
      import { operator } from ${JSON.stringify(join(import.meta.dirname, "confinement.ts"))};
      import { openDatabase } from ${JSON.stringify(join(import.meta.dirname, "database.ts"))};
      import { readPriceBook } from ${JSON.stringify(join(import.meta.dirname, "price-lists.ts"))};
      import { firstRerateOf, reratePage } from ${JSON.stringify(join(import.meta.dirname, "rerate-pages.ts"))};
      const database = await openDatabase(${JSON.stringify(killed.db.place)});
      const question = { asOfMs: ${asOfMs}, startTimeMs: Date.UTC(2000, 0, 1), endTimeMs: ${asOfMs}, tenant: "", provider: "", model: "" };
      const book = await readPriceBook(database, question.asOfMs);
      for (let place = firstRerateOf(question); place !== undefined; ) {
        const page = await reratePage(database, book, question, place, true, operator);
        process.stdout.write(page.ratings.length + "\\n");
        place = page.next;
      }`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let lines = 0;
    child.stdout.on("data", (data: Buffer) => {
      lines += data.toString().split("\n").length - 1;
      if (lines >= 1) child.kill("SIGKILL");
    });
    await once(child, "close");
    const [standing] = await killed.db.query("select count(*)::int as count from adjustments");
    expect(standing?.["count"]).toBeGreaterThan(0);
    const rest = await rerate(killed, { asOfMs, apply: true });
    expect(rest.changed).toBe(listed.changed - BigInt(Number(standing?.["count"])));
    const bytes = await written(whole);
    expect(await written(killed)).toBe(bytes);
    expect(await written(embedded)).toBe(bytes);
    await expectSoundBooks(killed);
  }, 60_000);
});

test("runs at once write each adjustment once", async () => {
  const ledger = await openLedger("postgres");
  try {
    await record(ledger, ...Array.from({ length: 1_500 }, (_, number) => testEvent(number)));
    await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    const asOfMs = Date.now();
    const runs = await Promise.all([1, 2, 3].map(() => rerate(ledger, { asOfMs, apply: true })));
    expect(runs.reduce((sum, { changed }) => sum + changed, 0n)).toBe(1_500n);
    expect(await ledger.db.query("select count(*)::int from adjustments")).toEqual([{ count: 1_500 }]);
    await expectSoundBooks(ledger);
  } finally {
    await ledger.db.end();
  }
});

test("attempts that come between two looks of a page push none of the others out of the run", async () => {
  const ledger = await openLedger("embedded");
  const { database } = ledger.db;
  const at = (number: number, startMs: number) => testEvent(number, { startTime: timestampFromMs(startMs) });
  try {
    await record(ledger, ...Array.from({ length: 1_000 }, (_, index) => at(index, day + 43_210_000 + index)));
    await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    const question = { asOfMs: Date.now(), startTimeMs: day, endTimeMs: day + 86_400_000, ...anyAttempt };
    const book = await readPriceBook(database, question.asOfMs);
    let looks = 0;
    const busy: Database = {
      ...database,
      async transaction(run) {
        looks += 1;
        const found = await database.transaction(run);
        // Behind the first look, which counted what is a page.
        if (looks === 1)
          await record(ledger, ...[1, 2, 3].map((number) => at(5_000 + number, day + 43_200_000 + number)));
        return found;
      },
    };
    for (
      let place: ReratePlace | undefined = { ...firstRerateOf(question), spanMs: 86_400_000 };
      place !== undefined;
    ) {
      place = (await reratePage(busy, book, question, place, true, operator)).next;
    }
    expect(looks).toBeGreaterThan(2);
    expect((await rerate(ledger, {})).changed).toBe(0n);
    expect(await ledger.db.query("select count(*)::int from adjustments")).toEqual([{ count: 1_003 }]);
  } finally {
    await ledger.db.end();
  }
});

test("lists keep the order in which they were told, though the database's clock goes back", async () => {
  const ledger = await openLedger("embedded");
  try {
    await record(ledger, testEvent(1));
    await ledger.db.query("update price_lists set told_time = clock_timestamp() + interval '1 second'");
    await ledger.metering.prepare(createPriceList([testPrice, doubled]));
    const lists = await ledger.db.query("select list_number::int as number from price_lists order by told_time");
    const [first, second] = lists.map((row) => Number(row["number"]));
    expect([lists.length, second]).toEqual([2, (first ?? 0) + 1]);
    await vi.waitFor(async () => expect((await rerate(ledger, {})).changed).toBe(1n), { timeout: 5_000 });
  } finally {
    await ledger.db.end();
  }
});
