import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AccountService, type KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { type AuditRecord, AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { callMetadata, hostService, type Metadata } from "@weir/kit/call";
import { bearing, createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { createPriceList } from "@weir/price/price";
import { expect } from "vitest";
import type { Metering } from "./service.ts";
import { meteringOn, openTestDatabase, type TestDatabase, testPrice } from "./testing.ts";

// What the tests of tenants, of who calls and of the audit log share.

export const denied = (reason: ErrorReason, param?: string) =>
  expect.objectContaining({ reason, ...(param === undefined ? {} : { metadata: expect.objectContaining({ param }) }) });
export const forbidden = denied(ErrorReason.FORBIDDEN);
export const missing = denied(ErrorReason.NOT_FOUND);

/** All services, for a caller. */
export type Callers = ReturnType<typeof callersOf>;

function callersOf(metering: Metering, metadata: Metadata) {
  const door = createLocalDoor([
    hostService(AccountService, metering.accounts),
    hostService(TeamService, metering.teams),
    hostService(UserService, metering.users),
    hostService(AuditService, metering.audit),
    hostService(BudgetService, metering.budgets),
    hostService(UsageService, metering.usage),
  ]);
  return {
    accounts: bearing(createClient(AccountService, door), metadata),
    teams: bearing(createClient(TeamService, door), metadata),
    users: bearing(createClient(UserService, door), metadata),
    audit: bearing(createClient(AuditService, door), metadata),
    budgets: bearing(createClient(BudgetService, door), metadata),
    usage: bearing(createClient(UsageService, door), metadata),
  };
}

/** A key, and what calls with it. */
export interface KeyMade {
  readonly name: string;
  readonly id: string;
  readonly calls: Callers;
}

export interface KeyWanted {
  readonly scope?: MessageInitShape<typeof KeyScopeSchema>;
  readonly everyTenant?: boolean;
  readonly expireMs?: number;
}

/** The service with the tenants `acme` and `zeta`. */
export interface Identity {
  readonly db: TestDatabase;
  readonly metering: Metering;
  readonly operator: Callers;
  callers(metadata: Metadata): Callers;
  as(principal: MessageInitShape<typeof PrincipalSchema>): Callers;
  /** Makes a key of a tenant. */
  keyOf(tenant: string, role: Role, wanted?: KeyWanted): Promise<KeyMade>;
  /** What the audit log has, the newest first. */
  records(filter?: Parameters<Callers["audit"]["listAuditRecords"]>[0]): Promise<AuditRecord[]>;
  /** Makes everything as it was at first. */
  reset(): Promise<void>;
}

export async function openIdentity(engine: "embedded" | "postgres"): Promise<Identity> {
  const db = await openTestDatabase(engine);
  const metering = meteringOn(db.database);
  await metering.prepare(createPriceList([testPrice]));
  const callers = (metadata: Metadata) => callersOf(metering, metadata);
  const operator = callers(operatorMetadata);
  const as: Identity["as"] = (principal) => {
    const encoded = Buffer.from(toBinary(PrincipalSchema, create(PrincipalSchema, principal))).toString("base64");
    return callers(callMetadata(encoded, "req_1", undefined));
  };
  return {
    db,
    metering,
    operator,
    callers,
    as,
    async keyOf(tenant, role, { scope, everyTenant = false, expireMs } = {}) {
      const { key } = await operator.accounts.createKey({
        tenant: `tenants/${tenant}`,
        role,
        everyTenant,
        ...(scope && { scope }),
        ...(expireMs && { expireTime: timestampFromMs(expireMs) }),
      });
      const id = key?.name.slice("keys/".length) ?? "";
      return { name: key?.name ?? "", id, calls: as({ tenant, key: id, role, everyTenant }) };
    },
    async records(filter = {}) {
      await metering.endRefusals();
      return (await operator.audit.listAuditRecords(filter)).auditRecords;
    },
    async reset() {
      await db.query(
        "truncate tenants, keys, teams, users, budgets, budget_windows, budget_buckets, budget_leases, attempts, transfers",
      );
      await db.query(
        "alter table audit_records disable trigger user; truncate audit_records; alter table audit_records enable trigger user",
      );
      for (const tenantId of ["acme", "zeta"]) await operator.accounts.createTenant({ tenantId });
    },
  };
}
