import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { UsageBatchSchema } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { hostService } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Identity, openIdentity } from "./identity-under-test.ts";
import { journalA, testEvent } from "./testing.ts";

// Anybody can write a page token: whatever it says, it answers with rows of the caller's, or that it is none.

const runs = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 100);
const noon = Date.UTC(2026, 10, 20, 12);
const range = { startTime: timestampFromMs(noon), endTime: timestampFromMs(noon + 86_400_000) };

/** A page of a list: for whom its rows are, and what asks for the next one. */
interface Page {
  readonly tenants: readonly string[];
  readonly nextPageToken: string;
}

let identity: Identity;
let lists: Readonly<Record<string, (pageToken: string) => Promise<Page>>>;
/** What each list was answered with, so far. */
const tokens = new Map<string, string>();

beforeAll(async () => {
  identity = await openIdentity("embedded");
  const { operator, metering } = identity;
  for (const tenantId of ["acme", "zeta"]) {
    const tenant = `tenants/${tenantId}`;
    await operator.accounts.createTenant({ tenantId });
    for (const id of ["a", "b", "c"]) {
      await operator.teams.createTeam({ tenant, teamId: id });
      await operator.users.createUser({ tenant, userId: id });
      await operator.accounts.createKey({ tenant });
      await operator.budgets.createBudget({
        budgetId: `${tenantId}.${id}`,
        limitNanoUsd: 1n,
        window: { kind: WindowKind.TOTAL },
        scope: { tenant: tenantId },
      });
    }
  }
  const events = Array.from({ length: 8 }, (_, index) =>
    testEvent(index + 1, { principal: { tenant: index % 2 === 0 ? "acme" : "zeta", key: `key-${index}` } }),
  );
  await metering.recorder.record([create(UsageBatchSchema, { journalId: journalA, firstSequence: 1n, events })]);
  const { calls } = await identity.keyOf("acme", Role.ADMIN);
  const ledger = bearing(
    createClient(LedgerService, createLocalDoor([hostService(LedgerService, metering.ledger)])),
    operatorMetadata,
  );
  const tenantOf = (name: string) => name.split("/")[1]?.split(".")[0] ?? "";
  const one = { pageSize: 1 };
  lists = {
    async costs(pageToken) {
      const page = await calls.usage.listCosts({ ...range, dimensions: [2, 3], rowCountMax: 1, pageToken });
      return { tenants: page.rows.map(({ tenant }) => tenant), nextPageToken: page.nextPageToken };
    },
    async attempts(pageToken) {
      const page = await calls.usage.listAttempts({ ...range, ...one, pageToken });
      return { tenants: page.attempts.map(({ tenant }) => tenant), nextPageToken: page.nextPageToken };
    },
    async keys(pageToken) {
      const page = await calls.accounts.listKeys({ ...one, pageToken });
      return { tenants: page.keys.map(({ tenant }) => tenantOf(tenant)), nextPageToken: page.nextPageToken };
    },
    async teams(pageToken) {
      const page = await calls.teams.listTeams({ ...one, pageToken });
      return { tenants: page.teams.map(({ name }) => tenantOf(name)), nextPageToken: page.nextPageToken };
    },
    async users(pageToken) {
      const page = await calls.users.listUsers({ ...one, pageToken });
      return { tenants: page.users.map(({ name }) => tenantOf(name)), nextPageToken: page.nextPageToken };
    },
    async budgets(pageToken) {
      const page = await calls.budgets.listBudgets({ ...one, pageToken });
      return { tenants: page.budgets.map(({ name }) => tenantOf(name)), nextPageToken: page.nextPageToken };
    },
    async audit(pageToken) {
      const page = await calls.audit.listAuditRecords({ ...one, pageToken });
      return { tenants: page.auditRecords.map(({ tenant }) => tenantOf(tenant)), nextPageToken: page.nextPageToken };
    },
    async tenants(pageToken) {
      const page = await operator.accounts.listTenants({ ...one, pageToken });
      return { tenants: [], nextPageToken: page.nextPageToken };
    },
    async rerate(pageToken) {
      const asOf = timestampFromMs(noon + 3_600_000);
      const page = await ledger.rerate({ asOf, ...range, tenant: "acme", pageToken });
      return { tenants: page.changes.map(({ tenant }) => tenant), nextPageToken: page.nextPageToken };
    },
  };
});

afterAll(() => identity.db.end());

const odd = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "-1",
    "1e400",
    "NaN",
    "infinity",
    "now",
    "abc",
    "\0",
    "\ud800",
    "9".repeat(200),
    "' or true --",
  ),
  fc.constantFrom("2026-02-31T12:00:00.000000Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2026"),
  fc.constantFrom("00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff", "0000"),
  fc.constantFrom<unknown>(0, -1, 1.5, 1e308, -8.64e15, 8.64e15, 253_402_300_800_000, null, true, [], {}, ["a"]),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.double(),
);

/** Another value in one place, one more or one fewer: the digest of the question stays, as its writer can compute it. */
const crafted = (token: string) =>
  fc.tuple(fc.nat(), odd, fc.constantFrom("replace", "remove", "add")).map(([at, value, change]) => {
    const [digest, ...values] = JSON.parse(Buffer.from(token, "base64url").toString()) as unknown[];
    const index = at % values.length;
    if (change === "replace") values[index] = value;
    else values.splice(index, change === "remove" ? 1 : 0, ...(change === "add" ? [value] : []));
    return Buffer.from(JSON.stringify([digest, ...values])).toString("base64url");
  });

const mangled = (token: string) =>
  fc
    .tuple(fc.nat(), fc.string({ unit: "binary", maxLength: 8 }))
    .map(([at, text]) =>
      `${token.slice(0, at % token.length)}${text}${token.slice((at % token.length) + 1)}`.toWellFormed(),
    );

describe.each(["costs", "attempts", "keys", "teams", "users", "budgets", "audit", "tenants", "rerate"])(
  "%s",
  (name) => {
    const list = (pageToken: string) => lists[name]?.(pageToken) ?? Promise.reject(new Error("no such list"));

    test("whatever a page token says, it is a place in the caller's rows, or refused as none", async () => {
      const { nextPageToken } = await list("");
      expect(nextPageToken).not.toBe("");
      tokens.set(name, nextPageToken);
      const wanted = fc.oneof(
        { weight: 5, arbitrary: crafted(nextPageToken) },
        { weight: 2, arbitrary: mangled(nextPageToken) },
        fc.string({ maxLength: 200 }).filter((text) => text !== ""),
        fc.constantFrom(...tokens.values()),
        fc.constant("[".repeat(8_000)),
      );
      await fc.assert(
        fc.asyncProperty(wanted, async (token) => {
          try {
            const { tenants } = await list(token);
            expect(tenants.filter((tenant) => tenant !== "acme")).toEqual([]);
          } catch (error) {
            if (!(error instanceof WeirError)) throw error;
            expect(error.reason).toBe(ErrorReason.INVALID_REQUEST);
          }
        }),
        { numRuns: runs },
      );
    });
  },
);
