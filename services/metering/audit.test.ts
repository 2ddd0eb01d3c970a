import { type DescMethod, getOption } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditActorKind, AuditOutcome } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService, WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import { access, Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { actionOf } from "@weir/kit/action";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { denied, forbidden, type Identity, missing, openIdentity } from "./identity-under-test.ts";

const changes: ReadonlySet<Permission> = new Set([
  Permission.ACCOUNTS_WRITE,
  Permission.BUDGETS_WRITE,
  Permission.TENANTS_WRITE,
]);
const permissionOf = (method: DescMethod) => getOption(method, access).permission;

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let identity: Identity;
  beforeAll(async () => {
    identity = await openIdentity(engine);
  });
  afterAll(() => identity.db.end());
  beforeEach(() => identity.reset());

  test("every change is in the audit log, with who, what and when, and without secrets", async () => {
    const owner = await identity.keyOf("acme", Role.OWNER);
    const { accounts, teams, users, budgets } = owner.calls;
    const { key, secret } = await accounts.createKey({ tenant: "tenants/acme", displayName: "ci" });
    const name = key?.name ?? "";
    await accounts.updateKey({ name, displayName: "build", scope: { models: ["gpt-*"] } });
    const rotated = await accounts.rotateKey({ name });
    await accounts.revokeKey({ name });
    await accounts.revokeKey({ name });
    await teams.createTeam({ teamId: "a" });
    await teams.updateTeam({ name: "teams/acme.a", limits: { requestsPerDay: 5n } });
    await teams.deleteTeam({ name: "teams/acme.a" });
    await users.createUser({ userId: "ada" });
    await users.updateUser({ name: "users/acme.ada", displayName: "Ada" });
    await users.deleteUser({ name: "users/acme.ada" });
    await budgets.createBudget({ budgetId: "acme.b", limitNanoUsd: 5n, window: { kind: WindowKind.MONTH } });
    await budgets.updateBudget({ name: "budgets/acme.b", limitNanoUsd: 6n });
    await budgets.deleteBudget({ name: "budgets/acme.b" });
    const found = (await identity.records({ actor: owner.id })).toReversed();
    const actions = found.map(({ action }) => action);
    // Two records of one transaction, which may have one time.
    expect(actions.splice(2, 2).toSorted()).toEqual(["keys.create", "keys.rotate"]);
    expect(actions).toEqual([
      "keys.create",
      "keys.update",
      "keys.revoke",
      "teams.create",
      "teams.update",
      "teams.delete",
      "users.create",
      "users.update",
      "users.delete",
      "budgets.create",
      "budgets.update",
      "budgets.delete",
    ]);
    expect(found[1]).toMatchObject({
      tenant: "tenants/acme",
      resource: name,
      requestId: "req_1",
      actor: { kind: AuditActorKind.CALLER, key: owner.id, role: Role.OWNER, tenant: "acme" },
      changes: [
        { field: "display_name", before: '"ci"', after: '"build"' },
        { field: "scope", before: "", after: '{"models":["gpt-*"]}' },
      ],
    });
    expect(found.every((record) => record.refusal === undefined && record.time !== undefined)).toBe(true);
    const stored = JSON.stringify(await identity.db.query("select audit_records::text from audit_records"));
    for (const text of [secret, rotated.secret]) expect(stored).not.toContain(text.slice(22, 54));
    const created = await identity.records({ actor: "operator", action: "tenants.*" });
    expect(created.map(({ resource }) => resource)).toEqual(["tenants/zeta", "tenants/acme"]);
    await identity.operator.accounts.updateTenant({ name: "tenants/acme", displayName: "Acme" });
    // What was done is called what it is called at any door that refuses it.
    const services = [AccountService, TeamService, UserService, BudgetService];
    const writing = services.flatMap(({ methods }) => methods.filter((method) => changes.has(permissionOf(method))));
    const done = (await identity.records()).filter(({ refusal }) => refusal === undefined);
    const called = new Set(done.map(({ action }) => action));
    expect([...called].toSorted()).toEqual([...new Set(writing.map(actionOf))].toSorted());
    const firstPage = await identity.operator.audit.listAuditRecords({ pageSize: 3 });
    const nextPage = await identity.operator.audit.listAuditRecords({
      pageSize: 1,
      pageToken: firstPage.nextPageToken,
    });
    expect(nextPage.auditRecords[0]?.auditRecordId).toBe((await identity.records())[3]?.auditRecordId);
  });

  test("a change whose record cannot be written is not made", async () => {
    await identity.db.query(
      "alter table audit_records add constraint full_disk check (action <> 'teams.create') not valid",
    );
    try {
      await expect(identity.operator.teams.createTeam({ tenant: "tenants/acme", teamId: "a" })).rejects.toEqual(
        denied(ErrorReason.STORE_UNAVAILABLE),
      );
      expect((await identity.operator.teams.listTeams({})).teams).toEqual([]);
    } finally {
      await identity.db.query("alter table audit_records drop constraint full_disk");
    }
  });

  test("what is refused, and what is looked for in other tenants, is in the audit log, counted", async () => {
    const admin = await identity.keyOf("acme", Role.ADMIN);
    const other = await identity.keyOf("zeta", Role.MEMBER);
    for (let count = 0; count < 3; count++) {
      await expect(admin.calls.accounts.getKey({ name: other.name })).rejects.toEqual(missing);
      const greedy = { tenant: "tenants/acme", role: Role.OWNER };
      await expect(admin.calls.accounts.createKey(greedy)).rejects.toEqual(forbidden);
    }
    const refused = await identity.records({ outcome: AuditOutcome.REFUSED });
    const told = refused.map(({ action, resource, tenant, actor, refusal }) => [
      action,
      resource,
      tenant,
      actor?.key,
      refusal?.reason,
      refusal?.detail,
    ]);
    const count = refused.reduce((total, { refusal }) => total + (refusal?.count ?? 0n), 0n);
    expect(count).toBe(6n);
    expect(told).toContainEqual(["keys.get", other.name, "tenants/acme", admin.id, "NOT_FOUND", ""]);
    expect(told).toContainEqual(["keys.create", "tenants/acme", "tenants/acme", admin.id, "FORBIDDEN", "role"]);
    // The tenant that was looked into does not learn of it, nor does the one who looked lose sight of it.
    expect((await admin.calls.audit.listAuditRecords({ outcome: AuditOutcome.REFUSED })).auditRecords.length).toBe(
      told.length,
    );
    const theirs = await identity.keyOf("zeta", Role.AUDITOR);
    expect((await theirs.calls.audit.listAuditRecords({ outcome: AuditOutcome.REFUSED })).auditRecords).toEqual([]);
  });

  test("refusals that edges tell are written once, however often they are told", async () => {
    const refusal = {
      refusalId: "018f3d5a-1111-7000-8000-000000000001",
      firstTime: timestampFromMs(Date.now() - 2_000),
      lastTime: timestampFromMs(Date.now() + 3_600_000),
      count: 7n,
      actor: { kind: AuditActorKind.CALLER, key: "aaaaaaaaaaaaaaaa", tenant: "acme", role: Role.MEMBER },
      action: "chat",
      reason: "MODEL_FORBIDDEN",
      detail: "a\0b",
      address: "192.0.2.1",
    };
    const unknown = {
      ...refusal,
      refusalId: "018f3d5a-1111-7000-8000-000000000002",
      actor: { kind: AuditActorKind.UNKNOWN },
    };
    for (let count = 0; count < 2; count++)
      await identity.operator.audit.recordRefusals({ refusals: [refusal, unknown] });
    const found = await identity.records({ action: "chat" });
    expect(found.map(({ tenant, refusal: told }) => [tenant, told?.count, told?.address, told?.detail])).toEqual([
      ["", 7n, "192.0.2.1", "ab"],
      ["tenants/acme", 7n, "192.0.2.1", "ab"],
    ]);
    expect(
      timestampMs(found[0]?.refusal?.lastTime ?? { $typeName: "google.protobuf.Timestamp", seconds: 0n, nanos: 0 }),
    ).toBeLessThanOrEqual(Date.now());
    const auditor = await identity.keyOf("acme", Role.AUDITOR);
    expect((await auditor.calls.audit.listAuditRecords({ action: "chat" })).auditRecords).toHaveLength(1);
  });

  test("records are kept for 400 days, and no longer", async () => {
    const [before] = await identity.records({ action: "tenants.create", resource: "tenants/acme" });
    const old = (days: number) =>
      identity.db.query(
        `insert into audit_records (audit_record_id, time, actor_kind, actor_key, actor_user, actor_role, actor_tenant, action,
           resource, request_id, record_time)
         select gen_random_uuid(), t, 'operator', '', '', 'owner', '', 'old', $1::text, '', t
         from (select now() - make_interval(days => $1::int) as t) s`,
        [days],
      );
    for (const days of [399, 401, 900]) await old(days);
    const sweeper = identity.metering.startAuditSweeper();
    await vi.waitFor(
      async () => {
        expect(await identity.db.query("select resource from audit_records where action = 'old'")).toEqual([
          { resource: "399" },
        ]);
      },
      { timeout: 5_000, interval: 20 },
    );
    sweeper.stop();
    expect(await identity.records({ resource: "tenants/acme" })).toMatchObject([
      { auditRecordId: before?.auditRecordId },
    ]);
  });
});
