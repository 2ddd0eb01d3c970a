import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CostDimension, type ExportUsageResponse, UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { type Client, hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList } from "@weir/price/price";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { csvLine, decimalUsd } from "./csv.ts";
import type { Metering } from "./service.ts";
import {
  attemptId,
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testPrice,
} from "./testing.ts";

const startTime = timestampFromMs(Date.UTC(2026, 10, 1));
const endTime = timestampFromMs(Date.UTC(2026, 11, 1));
const noon = Date.UTC(2026, 10, 20, 12);
const everything = { startTime, endTime };

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let metering: Metering;
  let usage: Client<typeof UsageService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    metering = meteringOn(db.database);
    await metering.prepare(createPriceList([testPrice]));
    const door = createLocalDoor([hostService(UsageService, metering.usage)]);
    usage = bearing(createClient(UsageService, door), operatorMetadata);
    // Twelve attempts in three starts of four, so that only their ids tell some of them apart.
    const events = Array.from({ length: 12 }, (_, index) =>
      testEvent(index + 1, {
        startTime: { seconds: BigInt(noon / 1_000), nanos: Math.floor(index / 4) * 1_000 },
        requestId: index < 2 ? "twice" : `r-${index}`,
        principal: {
          tenant: index % 3 === 0 ? "zeta" : "default",
          key: "abcdefghijklmnop",
          user: `=user-${index % 2}`,
          tags: index % 2 === 0 ? { team: "search", odd: "a=b" } : {},
        },
      }),
    );
    await metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
  });
  afterAll(() => db.end());

  const numberOf = (id: string) => Number.parseInt(id.slice(-12), 16);
  const csvOf = async (answer: AsyncIterable<ExportUsageResponse>) => {
    const parts: Uint8Array[] = [];
    for await (const { csv } of answer) parts.push(csv);
    return Buffer.concat(parts).toString();
  };

  test("pages of attempts hold each once, the newest first, whatever their size", async () => {
    const whole = Array.from({ length: 12 }, (_, index) => 12 - index);
    for (const pageSize of [1, 5, 12, 0]) {
      const seen: number[] = [];
      let pageToken = "";
      do {
        const page = await usage.listAttempts({ ...everything, pageSize, pageToken });
        seen.push(...page.attempts.map((attempt) => numberOf(attempt.attemptId)));
        pageToken = page.nextPageToken;
        if (pageSize > 0 && pageToken !== "") expect(page.attempts).toHaveLength(pageSize);
      } while (pageToken !== "");
      expect(seen, `pages of ${pageSize}`).toEqual(whole);
    }
  });

  test("an attempt is told as it stands in the ledger", async () => {
    const { attempts } = await usage.listAttempts({ ...everything, pageSize: 1, tag: "team=search" });
    expect(attempts[0]).toMatchObject({
      attemptId: attemptId(11),
      requestId: "r-10",
      tenant: "default",
      user: "=user-0",
      model: "large",
      outcome: "completed",
      usageSource: "reported",
      inputTokens: 1_000n,
      cachedInputTokens: 100n,
      outputTokens: 50n,
      pricing: "priced",
      costNanoUsd: 2_250_000n,
      startTime: { seconds: BigInt(noon / 1_000), nanos: 2_000 },
      firstTokenUs: 250_000n,
      providerStatus: 200,
      tags: { team: "search", odd: "a=b" },
    });
    expect(attempts[0]?.reasoningTokens).toBeUndefined();
  });

  test("a filter leaves out what it does not fit", async () => {
    const found = async (filter: Parameters<typeof usage.listAttempts>[0]) =>
      (await usage.listAttempts({ ...everything, ...filter })).attempts.map((row) => numberOf(row.attemptId));
    expect(await found({ tenant: "zeta" })).toEqual([10, 7, 4, 1]);
    expect(await found({ tenant: "zeta", user: "=user-1" })).toEqual([10, 4]);
    expect(await found({ tag: "team" })).toEqual([11, 9, 7, 5, 3, 1]);
    expect(await found({ tag: "odd=a=b", tenant: "zeta" })).toEqual([7, 1]);
    expect(await found({ tag: "team=ads" })).toEqual([]);
    expect(await found({ requestId: "twice" })).toEqual([2, 1]);
    for (const filter of [{ key: "x" }, { alias: "x" }, { provider: "x" }, { model: "x" }]) {
      expect(await found(filter)).toEqual([]);
    }
    expect(await found({ key: "abcdefghijklmnop", alias: "large", provider: "acme", model: "large" })).toHaveLength(12);
    expect(await found({ endTime: { seconds: BigInt(noon / 1_000), nanos: 1_000_000 } })).toHaveLength(12);
    expect(await found({ startTime: timestampFromMs(noon + 1) })).toEqual([]);
  });

  test("pages of costs hold each sum once, in one order", async () => {
    const dimensions = [CostDimension.DAY, CostDimension.TENANT, CostDimension.USER, CostDimension.TAG];
    const question = { ...everything, dimensions };
    const whole = (await usage.listCosts(question)).rows.map((row) => ({ ...row }));
    expect(whole.map((row) => [row.tenant, row.user, row.tag, row.costNanoUsd])).toEqual([
      ["default", "=user-0", "odd=a=b", 9_000_000n],
      ["default", "=user-0", "team=search", 9_000_000n],
      ["zeta", "=user-0", "odd=a=b", 4_500_000n],
      ["zeta", "=user-0", "team=search", 4_500_000n],
    ]);
    const paged: unknown[] = [];
    let pageToken = "";
    do {
      const page = await usage.listCosts({ ...question, rowCountMax: 1, pageToken });
      paged.push(...page.rows.map((row) => ({ ...row })));
      expect(page.truncated).toBe(page.nextPageToken !== "");
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(paged).toEqual(whole);
  });

  test("costs can be asked for one tenant, key or tag", async () => {
    const attemptsOf = async (filter: Parameters<typeof usage.listCosts>[0]) =>
      (await usage.listCosts({ ...everything, dimensions: [CostDimension.ALIAS], ...filter })).rows.map((row) =>
        Number(row.attemptCount),
      );
    expect(await attemptsOf({ tenant: "zeta" })).toEqual([4]);
    expect(await attemptsOf({ tag: "team=search" })).toEqual([6]);
    expect(await attemptsOf({ key: "nobody" })).toEqual([]);
    const dimensions = [CostDimension.TAG];
    const tagsOf = async (tag: string) =>
      (await usage.listCosts({ ...everything, dimensions, tag })).rows.map((row) => row.tag);
    expect(await tagsOf("team")).toEqual(["team=search"]);
    expect(await tagsOf("odd=a=b")).toEqual(["odd=a=b"]);
  });

  test("a page token is of its own question, and nothing else is one", async () => {
    const { nextPageToken } = await usage.listAttempts({ ...everything, pageSize: 5 });
    const costs = await usage.listCosts({ ...everything, dimensions: [CostDimension.TENANT], rowCountMax: 1 });
    for (const call of [
      usage.listAttempts({ ...everything, tenant: "zeta", pageToken: nextPageToken }),
      usage.listAttempts({ ...everything, pageToken: costs.nextPageToken }),
      usage.listAttempts({ ...everything, pageToken: "x" }),
      usage.listAttempts({ ...everything, pageToken: Buffer.from("[1]").toString("base64url") }),
      usage.listCosts({ ...everything, dimensions: [CostDimension.KEY], pageToken: costs.nextPageToken }),
      usage.listCosts({ ...everything, pageToken: nextPageToken }),
    ]) {
      await expect(call).rejects.toMatchObject({
        reason: ErrorReason.INVALID_REQUEST,
        metadata: { param: "page_token" },
      });
    }
  });

  test("a page behind the first keeps its range, though time goes on", async () => {
    const { nextPageToken } = await usage.listAttempts({ startTime, endTime, pageSize: 5 });
    // The range of the request itself no longer counts.
    const rest = await usage.listAttempts({ pageToken: nextPageToken });
    expect(rest.attempts.map((attempt) => numberOf(attempt.attemptId))).toEqual([7, 6, 5, 4, 3, 2, 1]);
  });

  test("attempts as CSV are whole, and no formula is among them", async () => {
    const csv = await csvOf(
      usage.exportUsage({ table: { case: "attempts", value: { ...everything, tenant: "zeta" } } }),
    );
    const lines = csv.split("\r\n");
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^start_time,end_time,attempt_id,request_id,tenant,key,user,/);
    expect(lines[1]).toBe(
      `2026-11-20T12:00:00.000Z,2026-11-20T12:00:00.810Z,${attemptId(10)},r-9,zeta,abcdefghijklmnop,"'=user-1",large,acme,large,,` +
        `true,completed,200,chatcmpl-10,reported,1000,100,50,,250000,acme/large@2026-01-01,priced,0.002250000,0.002250000,0,0.002250000,0.002250000`,
    );
    expect(lines[2]).toContain('"odd=a=b,team=search"');
    expect(lines[5]).toBe("");
  });

  test("costs as CSV have the columns that were asked for", async () => {
    const costs = { ...everything, dimensions: [CostDimension.DAY, CostDimension.TENANT] };
    expect(await csvOf(usage.exportUsage({ table: { case: "costs", value: costs } }))).toBe(
      "day,tenant,requests,attempts,input_tokens,output_tokens,cost_usd,charge_usd,estimated_attempts,unpriced_attempts," +
        "cached_input_tokens,cache_write_tokens,reasoning_tokens\r\n" +
        "2026-11-20,default,8,8,8000,400,0.018000000,0.018000000,0,0,800,0,0\r\n" +
        "2026-11-20,zeta,4,4,4000,200,0.009000000,0.009000000,0,0,400,0,0\r\n",
    );
  });

  test("an export of nothing is the line of names, and one that was left reads no further", async () => {
    const attempts = { ...everything, tenant: "nobody" };
    expect(
      (await csvOf(usage.exportUsage({ table: { case: "attempts", value: attempts } }))).split("\r\n"),
    ).toHaveLength(2);
    for await (const { csv } of usage.exportUsage({ table: { case: "attempts", value: everything } })) {
      expect(csv.length).toBeGreaterThan(0);
      break;
    }
  });

  test("more questions at once than there are places are turned away, and places come free again", async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => usage.listCosts({ ...everything, dimensions: [CostDimension.DAY] })),
    );
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(refused.length).toBe(16);
    for (const { reason } of refused) expect(reason).toMatchObject({ reason: ErrorReason.OVERLOADED });
    expect((await usage.listCosts(everything)).rows).toHaveLength(1);
  });
});

describe("CSV", () => {
  const line = (value: string) => csvLine([{ name: "x", value: (text: string) => text }], value);

  test.each([
    ["=1+1", `"'=1+1"\r\n`],
    ["+1", `"'+1"\r\n`],
    ["-1", `"'-1"\r\n`],
    ["@SUM(A1)", `"'@SUM(A1)"\r\n`],
    [" =1", `"' =1"\r\n`],
    ["\t=1", `"'\t=1"\r\n`],
    ["\r\n=1", `"'\r\n=1"\r\n`],
    ["＝1", `"'＝1"\r\n`],
    ['=HYPERLINK("x","y")', `"'=HYPERLINK(""x"",""y"")"\r\n`],
    ["a,b", '"a,b"\r\n'],
    ['a "b"', '"a ""b"""\r\n'],
    ["a=b", "a=b\r\n"],
    ["", "\r\n"],
  ])("%j becomes %j", (text, expected) => {
    expect(line(text)).toBe(expected);
  });

  test("property: a text is one cell, comes back as it was, and no cell begins a formula", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const cell = line(text).slice(0, -2);
        const inner = cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell;
        if (!cell.startsWith('"')) expect(cell).not.toMatch(/[",\r\n]/);
        expect(inner).not.toMatch(/^\s*[=+\-@]/);
        expect([text, `'${text}`]).toContain(inner);
      }),
      { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) },
    );
  });

  test("amounts are decimals of USD, to the nano", () => {
    expect([0n, 1n, 999_999_999n, 1_000_000_000n, 12_345_678_901n].map(decimalUsd)).toEqual([
      "0.000000000",
      "0.000000001",
      "0.999999999",
      "1.000000000",
      "12.345678901",
    ]);
  });
});
