import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Principal, PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { UsageBatchSchema, type UsageEvent } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { callMetadata, hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList, type Price, priceId } from "@weir/price/price";
import { afterAll, beforeAll, expect, test } from "vitest";
import { keepMonths } from "./months.ts";
import type { Metering } from "./service.ts";
import {
  journalA,
  journalB,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testPrice,
} from "./testing.ts";

const day = Date.UTC(2026, 10, 20);
const doubled: Price = (() => {
  const named = { ...testPrice, effectiveTime: day };
  const nanoUsdPerMillion = { ...testPrice.nanoUsdPerMillion, input: 4_000_000_000n };
  return { ...named, id: priceId(named), nanoUsdPerMillion };
})();

let db: TestDatabase;
let metering: Metering;

beforeAll(async () => {
  db = await openTestDatabase("embedded");
  metering = meteringOn(db.database);
});
afterAll(() => db.end());

/** @param metadata of those who change the ledger; pools name nobody */
const clients = (metadata = operatorMetadata) => {
  const services = [hostService(LedgerService, metering.ledger), hostService(UsageService, metering.usage)];
  const door = createLocalDoor(services);
  return { ledger: bearing(createClient(LedgerService, door), metadata), usage: createClient(UsageService, door) };
};

const ada = create(PrincipalSchema, { tenant: "acme", key: "abcdefgh234567ab", role: Role.ADMIN, everyTenant: true });
const metadataOf = (principal: Principal) =>
  callMetadata(Buffer.from(toBinary(PrincipalSchema, principal)).toString("base64"), "req_1", undefined);

const batchOf = (journalId: string, ...events: UsageEvent[]) =>
  create(UsageBatchSchema, { journalId, firstSequence: 1n, events });

let seen = 0;

/** What was written down since the last look. @param actor who did it, each time. @param tenantId whom it is about */
async function deeds(
  actor: object = { actor_kind: "operator", actor_key: "operator" },
  tenantId: string | null = null,
) {
  const rows = await db.query("select * from audit_records order by time, audit_record_id");
  const since = rows.slice(seen);
  seen = rows.length;
  for (const row of since) expect(row).toMatchObject({ ...actor, tenant_id: tenantId });
  return since.map(({ action, resource, changes }) => [
    action,
    resource,
    Object.fromEntries(
      (changes as { field: string; before: string; after: string }[]).map((each) => [
        each.field,
        [each.before, each.after],
      ]),
    ),
  ]);
}

test("prices that come into force are written down once, with what is new and what is gone", async () => {
  await metering.prepare(createPriceList([testPrice]));
  expect(await deeds()).toEqual([
    ["prices.apply", "prices", { count: ["", "1"], ids: ["", JSON.stringify([testPrice.id])] }],
  ]);
  await metering.prepare(createPriceList([testPrice]));
  expect(await deeds()).toEqual([]);
  await metering.prepare(createPriceList([doubled]));
  expect(await deeds()).toEqual([
    ["prices.apply", "prices", { ids: [JSON.stringify([testPrice.id]), JSON.stringify([doubled.id])] }],
  ]);
});

test("usage of calls is nobody's deed; a journal that the command line brings is one, the first time", async () => {
  const { usage } = clients();
  await usage.recordUsage({ batch: batchOf(journalA, testEvent(1)) });
  expect(await deeds()).toEqual([]);
  const adopted = { batch: batchOf(journalB, testEvent(2, { usageSource: UsageSource.ESTIMATED }), testEvent(3)) };
  await bearing(usage, operatorMetadata).recordUsage(adopted);
  await bearing(usage, operatorMetadata).recordUsage(adopted);
  expect(await deeds()).toEqual([["ledger.adopt", `journals/${journalB}`, { attempts: ["", "2"] }]]);
});

test("pricing anew is written down when it is applied and changes something, with what it comes to", async () => {
  const { ledger } = clients();
  const asOf = timestampFromMs(Date.now());
  await ledger.rerate({ asOf });
  expect(await deeds()).toEqual([]);
  await ledger.rerate({ asOf, apply: true });
  const [deed, ...others] = await deeds();
  expect(others).toEqual([]);
  expect(deed).toMatchObject(["ledger.rerate", "ledger", { attempts: ["", "3"] }]);
  expect(deed?.[2]).toMatchObject({ cost_nano_usd: [`"${3 * 2_250_000}"`, `"${3 * 4_050_000}"`] });
  await ledger.rerate({ asOf, apply: true });
  expect(await deeds()).toEqual([]);
});

test("pricing one tenant's attempts anew stands in its own log, and says nothing of others", async () => {
  const principals = [{ tenant: "acme" }, { tenant: "acme" }, { tenant: "zeta" }];
  const events = principals.map((principal, index) => testEvent(10 + index, { principal }));
  await metering.recorder.record([batchOf("44444444-4444-4444-8444-444444444444", ...events)]);
  const { ledger } = clients();
  const asked = { asOf: timestampFromMs(Date.now()), apply: true };
  await ledger.rerate({ ...asked, tenant: "acme" });
  const own = await deeds(undefined, "acme");
  expect(own).toMatchObject([
    [
      "ledger.rerate",
      "ledger",
      { attempts: ["", "2"], tenant: ["", '"acme"'], cost_nano_usd: [`"4500000"`, `"8100000"`] },
    ],
  ]);
  const audit = bearing(
    createClient(AuditService, createLocalDoor([hostService(AuditService, metering.audit)])),
    metadataOf(create(PrincipalSchema, { tenant: "acme", key: "bcdefgh234567abc", role: Role.ADMIN })),
  );
  const seenByAcme = await audit.listAuditRecords({});
  expect(seenByAcme.auditRecords.map(({ action, tenant }) => [action, tenant])).toEqual([
    ["ledger.rerate", "tenants/acme"],
  ]);
  await ledger.rerate(asked);
  expect(await deeds()).toMatchObject([["ledger.rerate", "ledger", { attempts: ["", "1"] }]]);
});

test("a true-up is written down when it changes something, under the name of the key that asked for it", async () => {
  const { ledger } = clients(metadataOf(ada));
  const question = { provider: "acme", model: "large", day: "2026-11-20", counts: { inputTokens: 4_000n } };
  expect(await ledger.trueUp(question)).toMatchObject({ adjustedCount: 1n });
  const byAda = {
    actor_kind: "caller",
    actor_key: ada.key,
    actor_role: "admin",
    actor_tenant: "acme",
    request_id: "req_1",
  };
  expect(await deeds(byAda)).toMatchObject([["ledger.true_up", "ledger", { attempts: ["", "1"] }]]);
  await ledger.trueUp(question);
  expect(await deeds()).toEqual([]);
});

test.each<[string, Principal | undefined]>([
  ["nobody", undefined],
  ["an owner of one tenant", create(PrincipalSchema, { ...ada, role: Role.OWNER, everyTenant: false })],
  ["an auditor of every tenant", create(PrincipalSchema, { ...ada, role: Role.AUDITOR })],
])("%s changes nothing in the ledger", async (_, principal) => {
  const { ledger } = clients(principal === undefined ? {} : metadataOf(principal));
  const refused = { reason: ErrorReason.FORBIDDEN };
  await expect(ledger.rerate({ asOf: timestampFromMs(Date.now()), apply: true })).rejects.toMatchObject(refused);
  const question = { provider: "acme", model: "large", day: "2026-11-20", counts: { inputTokens: 1n } };
  await expect(ledger.trueUp(question)).rejects.toMatchObject(refused);
  expect(await deeds()).toEqual([]);
});

test("attempts that get a price late are written down", async () => {
  const target = { provider: "acme", model: "small" };
  await metering.recorder.record([
    batchOf("33333333-3333-4333-8333-333333333333", testEvent(4, { target, priceId: "" })),
  ]);
  const small = { ...testPrice, ...target, id: priceId({ ...target, effectiveTime: testPrice.effectiveTime }) };
  await metering.prepare(createPriceList([doubled, small]));
  expect((await deeds()).slice(1)).toMatchObject([["ledger.backfill", "ledger", { attempts: ["", "1"] }]]);
});

test("a month that is retired is written down", async () => {
  await keepMonths(db.database, day, undefined);
  expect(await deeds()).toEqual([]);
  const { retired } = await keepMonths(db.database, day + 200 * 86_400_000, 1);
  expect(retired).toContain("attempts_2026_11");
  expect((await deeds()).map(([action, resource]) => [action, resource])).toContainEqual([
    "ledger.retire",
    "months/2026_11",
  ]);
});
