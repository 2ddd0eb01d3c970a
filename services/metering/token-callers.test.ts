import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { CostDimension, UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { callMetadata, hostService, type Metadata } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { anyToken, tokenKey } from "@weir/kit/token-key";
import { createPriceList } from "@weir/price/price";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  journalA,
  meteringOn,
  openTestDatabase,
  type TestDatabase,
  testEvent,
  testEventCost,
  testPrice,
} from "./testing.ts";

// Callers that came with a JSON Web Token, of which nothing stands in the accounts.

const issuer = "https://login.example.com";
const ada = { tenant: "acme", key: tokenKey(issuer, "ada"), role: Role.MEMBER };
const bob = { tenant: "acme", key: tokenKey(issuer, "bob"), role: Role.MEMBER };
const abroad = { tenant: "zeta", key: tokenKey(issuer, "ada"), role: Role.MEMBER };
const hourMs = 3_600_000;

let db: TestDatabase;
let callers: (metadata: Metadata) => ReturnType<typeof clientsOf>;

function clientsOf(metering: ReturnType<typeof meteringOn>, metadata: Metadata) {
  const door = createLocalDoor([
    hostService(AccountService, metering.accounts),
    hostService(BudgetService, metering.budgets),
    hostService(UsageService, metering.usage),
  ]);
  return {
    accounts: bearing(createClient(AccountService, door), metadata),
    budgets: bearing(createClient(BudgetService, door), metadata),
    usage: bearing(createClient(UsageService, door), metadata),
  };
}

function as(principal: MessageInitShape<typeof PrincipalSchema>) {
  const entry = Buffer.from(toBinary(PrincipalSchema, create(PrincipalSchema, principal))).toString("base64");
  return callers(callMetadata(entry, "req_1", undefined));
}

beforeAll(async () => {
  db = await openTestDatabase("embedded");
  const metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
  callers = (metadata) => clientsOf(metering, metadata);
  const { accounts, budgets } = callers(operatorMetadata);
  for (const tenantId of ["acme", "zeta"]) await accounts.createTenant({ tenantId });
  for (const { key } of [ada, bob]) {
    const budgetId = key === ada.key ? "of-ada" : "of-bob";
    await budgets.createBudget({
      budgetId,
      limitNanoUsd: 1n,
      window: { kind: WindowKind.TOTAL },
      scope: { tenant: "acme", key },
    });
  }
  const events = [ada, ada, bob, abroad, { tenant: "acme", key: anyToken }].map(({ tenant, key }, index) =>
    testEvent(index + 1, { principal: { tenant, key } }),
  );
  await metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
});

afterAll(() => db.end());

const range = { startTime: timestampFromMs(Date.UTC(2026, 10, 20)), endTime: timestampFromMs(Date.UTC(2026, 10, 21)) };

test("a member with a token reads what it used itself, in its tenant, and nobody else's", async () => {
  const costs = async (principal: typeof ada, key = "") => {
    const { rows } = await as(principal).usage.listCosts({ ...range, dimensions: [CostDimension.KEY], key });
    return rows.map(({ costNanoUsd }) => costNanoUsd);
  };
  expect(await costs(ada)).toEqual([2n * testEventCost]);
  expect(await costs(bob)).toEqual([testEventCost]);
  expect(await costs(abroad)).toEqual([testEventCost]);
  expect(await costs(ada, ada.key)).toEqual([2n * testEventCost]);
  for (const other of [bob.key, anyToken]) expect(await costs(ada, other)).toEqual([]);
  const { attempts } = await as(ada).usage.listAttempts(range);
  expect(attempts.map(({ key }) => key)).toEqual([ada.key, ada.key]);
});

test("members whose edge does not tell them apart read none", async () => {
  const { usage } = as({ ...ada, key: anyToken });
  await expect(usage.listCosts(range)).rejects.toMatchObject({ reason: ErrorReason.FORBIDDEN });
});

test("a budget can be about the caller of tokens, who sees it", async () => {
  const { budgets } = await as(ada).budgets.listBudgets({});
  expect(budgets.map(({ name }) => name)).toEqual(["budgets/of-ada"]);
});

test("budgets come in pages, each once, of those that the caller may see", async () => {
  const { budgets } = callers(operatorMetadata);
  const pages: string[][] = [];
  let pageToken = "";
  do {
    const page = await budgets.listBudgets({ tenant: "tenants/acme", pageSize: 1, pageToken });
    pages.push(page.budgets.map(({ name }) => name));
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
    await expect(budgets.listBudgets({ tenant: "tenants/zeta", pageToken })).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
      metadata: { param: "page_token" },
    });
  } while (pages.length < 10);
  expect(pages).toEqual([["budgets/of-ada"], ["budgets/of-bob"]]);
  expect((await budgets.listBudgets({ tenant: "tenants/zeta" })).budgets).toEqual([]);
  expect((await as(abroad).budgets.listBudgets({})).budgets).toEqual([]);
});

test("an owner with a token gives no key that outlives the token, by whatever way", async () => {
  const endMs = Date.now() + hourMs;
  const expireTime = timestampFromMs(endMs);
  const owner = { tenant: "acme", key: tokenKey(issuer, "eve"), role: Role.OWNER, expireTime };
  const { accounts } = as(owner);
  const beyond = { reason: ErrorReason.FORBIDDEN, metadata: { param: "expire_time" } };
  const tenant = "tenants/acme";
  await expect(accounts.createKey({ tenant })).rejects.toMatchObject(beyond);
  const later = timestampFromMs(endMs + 1);
  await expect(accounts.createKey({ tenant, expireTime: later })).rejects.toMatchObject(beyond);
  const { key } = await accounts.createKey({ tenant, expireTime });
  const name = key?.name ?? "";
  await expect(accounts.updateKey({ name, expireTime: later })).rejects.toMatchObject(beyond);
  await expect(accounts.updateKey({ name, updateMask: { paths: ["expire_time"] } })).rejects.toMatchObject(beyond);
  const lasting = await callers(operatorMetadata).accounts.createKey({ tenant, role: Role.MEMBER });
  await expect(accounts.rotateKey({ name: lasting.key?.name ?? "" })).rejects.toMatchObject(beyond);
  await expect(accounts.rotateKey({ name })).resolves.toMatchObject({ key: { expireTime } });
});

test("who is confined by its token, or whose edge does not tell when the token ends, gives no key at all", async () => {
  const expireTime = timestampFromMs(Date.now() + hourMs);
  const admin = { tenant: "acme", key: tokenKey(issuer, "eve"), role: Role.ADMIN };
  for (const [principal, param] of [
    [{ ...admin, expireTime, scoped: true }, "scope"],
    [admin, "expire_time"],
    [{ ...admin, key: anyToken }, "expire_time"],
  ] as const) {
    await expect(as(principal).accounts.createKey({ tenant: "tenants/acme", expireTime })).rejects.toMatchObject({
      reason: ErrorReason.FORBIDDEN,
      metadata: { param },
    });
  }
});

test("a key that is confined to collections gives keys of those alone", async () => {
  const { accounts } = callers(operatorMetadata);
  const scope = { collections: ["vs_hand*"] };
  const { key } = await accounts.createKey({ tenant: "tenants/acme", role: Role.ADMIN, scope });
  expect(key?.scope?.collections).toEqual(["vs_hand*"]);
  const admin = as({ tenant: "acme", key: key?.name.slice("keys/".length) ?? "", role: Role.ADMIN }).accounts;
  for (const collections of [[], ["*"], ["vs_*"], ["vs_handbook", "vs_other"]]) {
    const wider = admin.createKey({ tenant: "tenants/acme", scope: { collections } });
    const beyond = { reason: ErrorReason.FORBIDDEN, metadata: { param: "scope.collections" } };
    await expect(wider, collections.join()).rejects.toMatchObject(beyond);
  }
  const narrower = { collections: ["vs_handbook", "vs_hand-*"] };
  const made = await admin.createKey({ tenant: "tenants/acme", scope: narrower });
  expect(made.key?.scope?.collections).toEqual(narrower.collections);
});
