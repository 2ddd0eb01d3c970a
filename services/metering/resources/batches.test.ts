import fc from "fast-check";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import { createPriceList, type Price } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { as } from "../conversations/testing.ts";
import { isUuid } from "../ledger.ts";
import { meteringOn, openTestDatabase, type TestDatabase } from "../testing.ts";
import { batchAttemptId } from "./batches.ts";

const rates = (input: bigint) => ({ input, cachedInput: input, cacheWrite: input, output: 2n * input });

describe.each(["embedded", "postgres"] as const)("batches, %s", (engine) => {
  let db: TestDatabase;
  let batches: Client<typeof BatchService>;
  let resources: Client<typeof ResourceService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    const metering = meteringOn(db.database);
    const prices: Price[] = [
      {
        id: "openai/m@always",
        provider: "openai",
        model: "m",
        effectiveTime: undefined,
        nanoUsdPerMillion: rates(1_000_000n),
        tiers: [
          { serviceTier: "", inputTokensAbove: 10, nanoUsdPerMillion: rates(9_000_000n) },
          { serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: rates(500_000n) },
        ],
        source: "a test",
      },
      {
        id: "openai/untiered@always",
        provider: "openai",
        model: "untiered",
        effectiveTime: undefined,
        nanoUsdPerMillion: rates(1_000_000n),
        source: "a test",
      },
    ];
    tier = async () => {
      const batch = { serviceTier: "batch", inputTokensAbove: 0, nanoUsdPerMillion: rates(500_000n) };
      const tiered = prices
        .slice(1)
        .map((price) => ({ ...price, id: "openai/untiered@1970-01-01", effectiveTime: 0, tiers: [batch] }));
      await metering.prepare(createPriceList([...prices, ...tiered]));
    };
    await metering.prepare(createPriceList(prices));
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", BatchService, metering.batches);
    mesh.host("metering", ResourceService, metering.resources);
    batches = mesh.client(BatchService, "metering");
    resources = mesh.client(ResourceService, "metering");
    await mesh.start();
  });
  /** The price of the model without rates for batches gets some; those that it had stay. */
  let tier: () => Promise<void>;
  afterAll(() => db.end());
  beforeEach(() => db.query("delete from resources"));

  const record = (resourceId: string, kind = "batch", tenant = "acme") =>
    resources.recordResource(
      { resource: { resourceId, kind, place: { provider: "openai", account: "a1" } } },
      as(tenant),
    );
  const claim = async (countMax = 10) =>
    (await batches.claimBatches({ countMax })).batches.map(({ batchId }) => batchId);
  const settle = (batchId: string, inputTokens = 100, model = "m") =>
    batches.settleBatch({
      provider: "openai",
      batchId,
      outcome: AttemptOutcome.COMPLETED,
      uses: [{ model, usage: { inputTokens, outputTokens: 10 } }],
    });
  const rowsOf = (batchId: string) =>
    db.query("select * from attempts where provider_reply_id = $1 order by model", [batchId]);

  test("a batch is given to one that asks, and again when it was put off for long enough", async () => {
    await record("batch_1");
    await record("file-1", "file");
    expect(await claim()).toEqual(["batch_1"]);
    expect(await claim()).toEqual([]);
    await db.query("update resources set look_time = now() - interval '1 second'");
    expect(await claim()).toEqual(["batch_1"]);
  });

  test("those that wait longest come first, and no more than were asked for", async () => {
    for (const id of ["batch_1", "batch_2", "batch_3"]) await record(id);
    await db.query("update resources set look_time = now() - interval '1 hour' where resource_id = 'batch_3'");
    expect(await claim(1)).toEqual(["batch_3"]);
  });

  test.each([
    ["1 minute", 30],
    ["2 hours", 900],
    ["20 days", 3_600],
  ])("after %s a batch is put off for %d s", async (age, seconds) => {
    await record("batch_1");
    await db.query(`update resources set create_time = now() - interval '${age}'`);
    await claim();
    const [row] = await db.query("select round(extract(epoch from look_time - now()))::int as wait from resources");
    expect(Math.abs(Number(row?.["wait"]) - seconds)).toBeLessThanOrEqual(5);
  });

  test.each([
    ["is asked for", (id: string) => resources.findResources({ resourceIds: [id] }, as("acme"))],
    ["is listed", () => resources.listResources({ kind: "batch", pageSize: 10 }, as("acme"))],
  ])("a batch that %s by its tenant is looked at soon, and only while it is not settled", async (_name, read) => {
    await record("batch_read");
    const waits = async () => {
      await db.query("update resources set look_time = now() + interval '1 hour'");
      await read("batch_read");
      const [row] = await db.query("select extract(epoch from look_time - now())::int as wait from resources");
      return Number(row?.["wait"]);
    };
    expect(await waits()).toBeLessThanOrEqual(5);
    await batches.settleBatch({ provider: "openai", batchId: "batch_read", outcome: AttemptOutcome.REJECTED });
    expect(await waits()).toBeGreaterThan(3_500);
  });

  test("what it used is written once, for its maker; long input is not asked of the sum of many requests", async () => {
    await record("batch_once");
    await settle("batch_once");
    await settle("batch_once", 999);
    expect(await rowsOf("batch_once")).toMatchObject([
      { tenant: "acme", model: "m", input_tokens: "100", service_tier: "batch", cost_nano_usd: "60" },
    ]);
    expect(await claim()).toEqual([]);
  });

  test("after a crash between the rows and the mark the first rows stand, and nothing is a conflict", async () => {
    await record("batch_crash");
    await settle("batch_crash");
    await db.query("update resources set settle_time = null");
    await settle("batch_crash", 777);
    expect(await rowsOf("batch_crash")).toMatchObject([{ input_tokens: "100" }]);
    expect(await db.query("select * from conflicts")).toEqual([]);
    expect(await db.query("select 1 from resources where settle_time is null")).toEqual([]);
  });

  test("many that settle one batch at once write one row", async () => {
    await record("batch_race");
    await Promise.all(Array.from({ length: 8 }, () => settle("batch_race")));
    expect(await rowsOf("batch_race")).toHaveLength(1);
    expect(await db.query("select * from conflicts")).toEqual([]);
  });

  test("each model has a row, by the price of the name without its version's date where there is no other", async () => {
    await record("batch_dated");
    await batches.settleBatch({
      provider: "openai",
      batchId: "batch_dated",
      outcome: AttemptOutcome.COMPLETED,
      uses: [
        { model: "m-2026-01-31", usage: { inputTokens: 100 } },
        { model: "other", usage: { inputTokens: 1 } },
      ],
    });
    const rows = (await rowsOf("batch_dated")).map((row) => [row["model"], row["pricing"], row["price_id"]]);
    expect(rows).toEqual([
      ["m-2026-01-31", "priced", "openai/m@always"],
      ["other", "unpriced", ""],
    ]);
  });

  test("by a price that says nothing of batches it is without a cost, which stands in the ledger, until one does", async () => {
    await record("batch_untiered");
    await settle("batch_untiered", 100, "untiered");
    expect(await rowsOf("batch_untiered")).toMatchObject([
      { pricing: "unpriced", price_id: "", cost_nano_usd: null, input_tokens: "100", service_tier: "batch" },
    ]);
    await tier();
    expect(await rowsOf("batch_untiered")).toMatchObject([
      { pricing: "priced", price_id: "openai/untiered@1970-01-01", cost_nano_usd: "60" },
    ]);
  });

  test("one that did nothing has no row and does not come again; one that nobody recorded is not there", async () => {
    await record("batch_none");
    await batches.settleBatch({ provider: "openai", batchId: "batch_none", outcome: AttemptOutcome.REJECTED });
    expect([await rowsOf("batch_none"), await claim()]).toEqual([[], []]);
    await expect(settle("batch_unknown")).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
  });

  test("a batch that its provider forgot stays until it is settled", async () => {
    await record("batch_kept");
    const find = () => resources.findResources({ resourceIds: ["batch_kept"] }, as("acme"));
    await resources.forgetResource({ resourceId: "batch_kept" }, as("acme"));
    expect((await find()).resources).toHaveLength(1);
    await settle("batch_kept");
    await resources.forgetResource({ resourceId: "batch_kept" }, as("acme"));
    await expect(find()).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
  });
});

test("ids of attempts are UUIDs of version 7 that begin with the time, the same for the same batch and model only", () => {
  const time = fc.integer({ min: 0, max: 2 ** 47 });
  fc.assert(
    fc.property(
      time,
      fc.array(fc.string(), { maxLength: 3 }),
      fc.array(fc.string(), { maxLength: 3 }),
      (ms, one, two) => {
        const id = batchAttemptId(ms, one);
        expect(isUuid(id)).toBe(true);
        expect(id).toMatch(/^.{14}7.{4}[89ab]/);
        expect(Number.parseInt(id.slice(0, 13).replace("-", ""), 16)).toBe(ms);
        expect(batchAttemptId(ms, two) === id).toBe(JSON.stringify(one) === JSON.stringify(two));
      },
    ),
    { numRuns: 300 },
  );
});
