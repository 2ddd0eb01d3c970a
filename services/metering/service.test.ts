import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AccountService, type WatchKeysResponse } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { AttemptOutcome, UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CostDimension, UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { keyDigest, parseKeyText } from "@weir/kit/api-key";
import { hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { CallCancelled } from "@weir/kit/weir-error";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createMetering } from "./service.ts";
import {
  journalA,
  openTestDatabase,
  silentLog,
  type TestDatabase,
  testBatch,
  testEvent,
  testEventCost,
  testMeter,
  testPrice,
} from "./testing.ts";

const pepper = Buffer.alloc(32, 7);

function connect(db: TestDatabase) {
  const metering = createMetering({
    database: db.database,
    pepper,
    clock: systemClock,
    meter: testMeter,
    log: silentLog,
  });
  const door = createLocalDoor([
    hostService(AccountService, metering.accounts),
    hostService(BudgetService, metering.budgets),
    hostService(UsageService, metering.usage),
  ]);
  return {
    metering,
    accounts: bearing(createClient(AccountService, door), operatorMetadata),
    budgets: bearing(createClient(BudgetService, door), operatorMetadata),
    usage: bearing(createClient(UsageService, door), operatorMetadata),
  };
}

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let db: TestDatabase;
  let here: ReturnType<typeof connect>;
  /** Another instance on the same database. */
  let there: ReturnType<typeof connect>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    here = connect(db);
    there = connect(db);
    await here.metering.prepare(createPriceList([testPrice]));
  });
  afterAll(() => db.end());
  beforeEach(async () => {
    await db.query("truncate tenants, keys, teams, users, attempts, transfers, conflicts, journals");
  });

  describe("accounts", () => {
    test("a tenant is created once and listed by id", async () => {
      const created = await here.accounts.createTenant({ tenantId: "zeta", displayName: "Zeta" });
      await here.accounts.createTenant({ tenantId: "acme", displayName: 'Acme\'s "one"' });
      expect(created.tenant).toMatchObject({ name: "tenants/zeta", displayName: "Zeta" });
      await expect(here.accounts.createTenant({ tenantId: "zeta" })).rejects.toMatchObject({
        reason: ErrorReason.ALREADY_EXISTS,
        metadata: { resource: "tenants/zeta" },
      });
      const { tenants } = await here.accounts.listTenants({});
      expect(tenants.map((tenant) => tenant.name)).toEqual(["tenants/acme", "tenants/zeta"]);
    });

    test("a key's secret is in the answer and nowhere in the database", async () => {
      await here.accounts.createTenant({ tenantId: "acme" });
      const scope = { models: ["gpt-*"], requestsPerMinute: 60 };
      const { key, secret } = await here.accounts.createKey({ tenant: "tenants/acme", displayName: "ci", scope });
      const id = parseKeyText(secret)?.id ?? "";
      expect(key).toMatchObject({ name: `keys/${id}`, tenant: "tenants/acme", displayName: "ci" });
      expect(key?.scope).toMatchObject(scope);
      const [row] = await db.query("select * from keys");
      expect(row?.["digest"]).toEqual(keyDigest(pepper, secret));
      const everything = JSON.stringify(await db.query("select keys::text from keys"));
      expect(everything).not.toContain(secret.slice(22, 54));
    });

    test("what is not there is NOT_FOUND, what cannot be is INVALID_REQUEST", async () => {
      await expect(here.accounts.createKey({ tenant: "tenants/nobody" })).rejects.toMatchObject({
        reason: ErrorReason.NOT_FOUND,
        metadata: { resource: "tenants/nobody" },
      });
      await expect(here.accounts.revokeKey({ name: "keys/aaaaaaaaaaaaaaaa" })).rejects.toMatchObject({
        reason: ErrorReason.NOT_FOUND,
      });
      await here.accounts.createTenant({ tenantId: "acme" });
      for (const request of [
        { tenant: "acme" },
        { tenant: "tenants/acme", expireTime: timestampFromMs(Date.now() - 1) },
        { tenant: "tenants/acme", displayName: "a\0b" },
      ]) {
        await expect(here.accounts.createKey(request)).rejects.toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
      }
      await expect(here.accounts.listKeys({ tenant: "tenants/a\0" })).rejects.toMatchObject({
        reason: ErrorReason.INVALID_REQUEST,
      });
      expect((await here.accounts.listKeys({})).keys).toEqual([]);
    });

    test("keys are listed newest first, of one tenant or of all; a revoked one keeps its first time", async () => {
      for (const tenantId of ["acme", "zeta"]) await here.accounts.createTenant({ tenantId });
      const names: (string | undefined)[] = [];
      for (const tenant of ["acme", "zeta", "acme"]) {
        names.push((await here.accounts.createKey({ tenant: `tenants/${tenant}` })).key?.name);
      }
      const list = async (tenant: string) => (await here.accounts.listKeys({ tenant })).keys;
      expect((await list("")).map((key) => key.name)).toEqual(names.toReversed());
      expect((await list("tenants/acme")).map((key) => key.name)).toEqual([names[2], names[0]]);
      const first = await here.accounts.revokeKey({ name: names[0] ?? "" });
      const second = await there.accounts.revokeKey({ name: names[0] ?? "" });
      expect(first.key?.revokeTime).toBeDefined();
      expect(second.key?.revokeTime).toEqual(first.key?.revokeTime);
      expect((await list("tenants/acme"))[1]?.revokeTime).toEqual(first.key?.revokeTime);
    });
  });

  describe("WatchKeys", () => {
    async function makeKey(expireTimeMs?: number) {
      const expireTime = expireTimeMs === undefined ? {} : { expireTime: timestampFromMs(expireTimeMs) };
      const { key, secret } = await here.accounts.createKey({ tenant: "tenants/acme", ...expireTime });
      return { id: key?.name.slice(5) ?? "", name: key?.name ?? "", secret };
    }
    beforeEach(async () => {
      await here.accounts.createTenant({ tenantId: "acme" });
    });

    test("begins with every live key and ends the beginning with `complete`", async () => {
      const live = await makeKey(Date.now() + 60_000);
      const revoked = await makeKey();
      await here.accounts.revokeKey({ name: revoked.name });
      const expired = await makeKey();
      await db.query("update keys set expire_time = now() - interval '1 second' where key_id = $1", [expired.id]);
      for await (const response of here.accounts.watchKeys({})) {
        expect(response.complete).toBe(true);
        expect(response.records.map((record) => record.id)).toEqual([live.id]);
        expect(response.records[0]?.tenant).toBe("acme");
        expect(keyDigest(pepper, live.secret).equals(response.records[0]?.digest ?? Buffer.alloc(0))).toBe(true);
        expect(response.records[0]?.expireTime).toBeDefined();
        break;
      }
    });

    test("with no key, says so at once", async () => {
      for await (const response of here.accounts.watchKeys({})) {
        expect(response).toMatchObject({ records: [], removed: [], complete: true });
        break;
      }
    });

    test("ends in good order when its instance stops, open or asked for later, and only there", async () => {
      const leaving = connect(db);
      const streams = [leaving.accounts.watchKeys({}), leaving.budgets.watchBudgets({})];
      for (const stream of streams) expect((await stream.next()).value).toMatchObject({ complete: true });
      leaving.metering.endWatches();
      for (const stream of streams) expect(await stream.next()).toEqual({ done: true, value: undefined });
      const late: WatchKeysResponse[] = [];
      for await (const response of leaving.accounts.watchKeys({})) late.push(response);
      expect(late).toMatchObject([{ complete: true }]);
      const staying = here.accounts.watchKeys({});
      await staying.next();
      expect(await staying.next()).toMatchObject({ done: false });
      await staying.return();
    });

    test("more keys than fit into one message come in several, each once", async () => {
      await db.query(
        `insert into keys (key_id, tenant_id, digest, display_name, scope, revision)
         select translate(lpad(to_hex(n), 16, 'q'), '0189', 'wxyz'), 'acme', sha256(n::text::bytea), '', '{}', -n
         from generate_series(1, 1200) as n`,
      );
      const ids: string[] = [];
      let messageCount = 0;
      for await (const response of here.accounts.watchKeys({})) {
        ids.push(...response.records.map((record) => record.id));
        messageCount++;
        if (response.complete) break;
      }
      expect(messageCount).toBe(3);
      expect(ids).toHaveLength(1200);
      expect(new Set(ids).size).toBe(1200);
    });

    test("tells changes made here at once, changes made elsewhere within half a second, and that it lives", async () => {
      const responses: { atMs: number; response: WatchKeysResponse }[] = [];
      const hangUp = new AbortController();
      const watching = (async () => {
        for await (const response of here.accounts.watchKeys({}, { signal: hangUp.signal })) {
          responses.push({ atMs: performance.now(), response });
        }
      })();
      const hungUp = expect(watching).rejects.toThrow(CallCancelled);
      const told = (find: (response: WatchKeysResponse) => boolean) =>
        vi.waitFor(
          () => {
            const found = responses.find(({ response }) => find(response));
            if (!found) throw new Error("not told yet");
            return found.atMs;
          },
          { timeout: 5_000, interval: 5 },
        );
      await told((response) => response.complete);

      let startMs = performance.now();
      const key = await makeKey();
      expect(
        (await told((response) => response.records.some((record) => record.id === key.id))) - startMs,
      ).toBeLessThan(300);

      startMs = performance.now();
      await there.accounts.revokeKey({ name: key.name });
      // The contract's half second, and what a busy machine may add.
      expect((await told((response) => response.removed.includes(key.id))) - startMs).toBeLessThan(900);

      const seen = responses.length;
      await vi.waitFor(() => expect(responses.length).toBeGreaterThanOrEqual(seen + 2), { timeout: 5_000 });
      const pauses = responses.slice(seen).map(({ atMs }, index) => atMs - (responses[seen + index - 1]?.atMs ?? atMs));
      expect(Math.max(...pauses)).toBeLessThan(1_700);
      expect(
        responses.slice(seen).every(({ response }) => response.records.length + response.removed.length === 0),
      ).toBe(true);
      hangUp.abort();
      await hungUp;
    });
  });

  describe("usage", () => {
    test("RecordUsage answers with the watermark, GetWatermark with the same", async () => {
      const recorded = await here.usage.recordUsage({ batch: testBatch(1, 4) });
      expect(recorded.watermark).toMatchObject({ journalId: journalA, committedSequence: 4n });
      expect((await there.usage.recordUsage({ batch: testBatch(2, 3) })).watermark?.committedSequence).toBe(4n);
      expect((await there.usage.recordUsage({ batch: testBatch(9, 9) })).watermark?.committedSequence).toBe(4n);
      const asked = await there.usage.getWatermark({ journalId: journalA.toUpperCase() });
      expect(asked.watermark).toMatchObject({ journalId: journalA, committedSequence: 4n });
      const encoded = (last: number) => ({ encodedBatch: toBinary(UsageBatchSchema, testBatch(5, last)) });
      expect((await there.usage.recordUsage(encoded(6))).watermark?.committedSequence).toBe(6n);
      const unreadable = [{ encodedBatch: Uint8Array.of(7) }, encoded(4)];
      for (const request of unreadable) {
        await expect(there.usage.recordUsage(request)).rejects.toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
      }
      for (const call of [here.usage.recordUsage({}), here.usage.getWatermark({ journalId: "x" })]) {
        await expect(call).rejects.toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
      }
    });

    const startTime = timestampFromMs(Date.UTC(2026, 10, 1));
    const endTime = timestampFromMs(Date.UTC(2026, 11, 1));

    async function recordVariety() {
      const day = (number: number) => timestampFromMs(Date.UTC(2026, 10, number, 23, 59, 59, 999));
      const events = [
        testEvent(1, { startTime: day(19), requestId: "a" }),
        testEvent(2, { startTime: day(20), requestId: "b", outcome: AttemptOutcome.FAILED }),
        testEvent(3, { startTime: day(20), requestId: "b", usageSource: UsageSource.ESTIMATED }),
        testEvent(4, { startTime: day(20), requestId: "c", target: { provider: "acme", model: "small" }, priceId: "" }),
        testEvent(5, { startTime: day(20), requestId: "d", principal: { tenant: "zeta", key: "k", user: "u" } }),
      ];
      await here.metering.recorder.record([
        create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }),
      ]);
    }

    test("ListCosts sums by day and model unless asked otherwise, newest first, then the dearest", async () => {
      await recordVariety();
      const { rows, truncated } = await here.usage.listCosts({ startTime, endTime });
      expect(truncated).toBe(false);
      expect(rows.map((row) => ({ ...row }))).toMatchObject([
        {
          day: "2026-11-20",
          model: "large",
          tenant: "",
          key: "",
          alias: "",
          provider: "",
          user: "",
          attemptCount: 3n,
          requestCount: 2n,
          inputTokens: 3000n,
          outputTokens: 150n,
          costNanoUsd: 3n * testEventCost,
          chargeNanoUsd: 2n * testEventCost,
          estimatedCount: 1n,
        },
        {
          day: "2026-11-20",
          model: "small",
          tenant: "",
          key: "",
          alias: "",
          provider: "",
          user: "",
          attemptCount: 1n,
          requestCount: 1n,
          inputTokens: 1000n,
          outputTokens: 50n,
          costNanoUsd: 0n,
          chargeNanoUsd: 0n,
          estimatedCount: 0n,
          unpricedCount: 1n,
        },
        {
          day: "2026-11-19",
          model: "large",
          tenant: "",
          key: "",
          alias: "",
          provider: "",
          user: "",
          attemptCount: 1n,
          requestCount: 1n,
          inputTokens: 1000n,
          outputTokens: 50n,
          costNanoUsd: testEventCost,
          chargeNanoUsd: testEventCost,
          estimatedCount: 0n,
        },
      ]);
    });

    test("ListCosts sums every class of tokens, and apart what providers did not report", async () => {
      const startTimeOf = timestampFromMs(Date.UTC(2026, 10, 20));
      const usage = {
        inputTokens: 100,
        cachedInputTokens: 40,
        cacheWriteTokens: 30,
        cacheWriteLongTokens: 20,
        outputTokens: 10,
        reasoningTokens: 5,
      };
      const events = [
        testEvent(1, { startTime: startTimeOf, usage }),
        testEvent(2, { startTime: startTimeOf, usage, usageSource: UsageSource.COUNTED }),
        testEvent(3, { startTime: startTimeOf, usage, usageSource: UsageSource.ESTIMATED }),
        testEvent(4, { startTime: startTimeOf, usage, outcome: AttemptOutcome.FAILED }),
        testEvent(5, {
          startTime: startTimeOf,
          usage: { inputTokens: 0, outputTokens: 0 },
          usageSource: UsageSource.COUNTED,
          outcome: AttemptOutcome.REJECTED,
        }),
      ];
      await here.metering.recorder.record([
        create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events }),
      ]);
      const { rows } = await there.usage.listCosts({ startTime, endTime });
      expect(rows).toHaveLength(1);
      const cost = rows[0]?.costNanoUsd ?? 0n;
      expect(cost).toBeGreaterThan(0n);
      expect(rows[0]).toMatchObject({
        attemptCount: 5n,
        inputTokens: 400n,
        cachedInputTokens: 160n,
        cacheWriteTokens: 120n,
        cacheWriteLongTokens: 80n,
        outputTokens: 40n,
        reasoningTokens: 20n,
        estimatedCount: 1n,
        countedCount: 2n,
        unservedCount: 1n,
        unreported: {
          inputTokens: 200n,
          cachedInputTokens: 80n,
          cacheWriteTokens: 60n,
          cacheWriteLongTokens: 40n,
          outputTokens: 20n,
          reasoningTokens: 10n,
          costNanoUsd: cost / 2n,
        },
      });
    });

    test("ListCosts sums by any dimension, bounds its rows and says so", async () => {
      await recordVariety();
      const by = async (...dimensions: CostDimension[]) =>
        (await here.usage.listCosts({ startTime, endTime, dimensions })).rows.map((row) =>
          [row.day, row.tenant, row.key, row.alias, row.provider, row.model, row.user]
            .filter((text) => text !== "")
            .join(" "),
        );
      expect(await by(CostDimension.TENANT)).toEqual(["default", "zeta"]);
      expect(await by(CostDimension.KEY, CostDimension.USER)).toEqual(["abcdefghijklmnop", "k u"]);
      expect(await by(CostDimension.ALIAS, CostDimension.PROVIDER)).toEqual(["large acme"]);
      const cut = await here.usage.listCosts({ startTime, endTime, rowCountMax: 2 });
      expect([cut.rows.length, cut.truncated]).toEqual([2, true]);
      const late = await here.usage.listCosts({ startTime: timestampFromMs(Date.UTC(2026, 10, 20)), endTime });
      expect(late.rows).toHaveLength(2);
      expect(
        (await here.usage.listCosts({ startTime: endTime, endTime: timestampFromMs(Date.UTC(2027, 0, 1)) })).rows,
      ).toEqual([]);
      await expect(here.usage.listCosts({ startTime: endTime, endTime: startTime })).rejects.toMatchObject({
        reason: ErrorReason.INVALID_REQUEST,
      });
    });

    test("the views say the same as the ledger", async () => {
      await recordVariety();
      const total = String(4n * testEventCost);
      for (const view of ["hour", "day", "tenant", "key", "user", "alias", "provider", "model"]) {
        const [sums] = await db.query(
          `select sum(cost_nano_usd)::text as cost, sum(cost_usd)::text as usd, sum(charge_nano_usd)::text as charge,
             sum(attempts)::int as attempts, sum(estimated_attempts)::int as estimated, sum(unpriced_attempts)::int as unpriced
           from cost_by_${view}`,
        );
        expect(sums, view).toEqual({
          cost: total,
          usd: "0.009000000",
          charge: String(3n * testEventCost),
          attempts: 5,
          estimated: 1,
          unpriced: 1,
        });
      }
      expect(
        await db.query("select day::text, model, requests::int, cost_usd from cost_by_model order by 1, 2"),
      ).toEqual([
        { day: "2026-11-19", model: "large", requests: 1, cost_usd: "0.002250000" },
        { day: "2026-11-20", model: "large", requests: 2, cost_usd: "0.006750000" },
        { day: "2026-11-20", model: "small", requests: 1, cost_usd: "0.000000000" },
      ]);
      expect(await db.query("select request_id, cost_usd from attempts_estimated")).toEqual([
        { request_id: "b", cost_usd: "0.002250000" },
      ]);
      expect(
        await db.query(
          "select request_id, attempts::int, outcome, cost_nano_usd, estimated from requests where request_id = 'b'",
        ),
      ).toEqual([
        {
          request_id: "b",
          attempts: 2,
          outcome: "completed",
          cost_nano_usd: String(2n * testEventCost),
          estimated: true,
        },
      ]);
    });
  });
});
