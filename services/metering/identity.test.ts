import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { KeyScopeSchema, WatchKeysResponse } from "@weir/gen/weir/account/v1/account_service_pb";
import { WindowKind } from "@weir/gen/weir/account/v1/budget_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { CallCancelled } from "@weir/kit/weir-error";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Callers, denied, forbidden, type Identity, missing, openIdentity } from "./identity-under-test.ts";
import { journalA, testEvent } from "./testing.ts";

describe.each(["embedded", "postgres"] as const)("%s", (engine) => {
  let identity: Identity;
  beforeAll(async () => {
    identity = await openIdentity(engine);
  });
  afterAll(() => identity.db.end());
  beforeEach(() => identity.reset());

  test("a call that does not say who calls is refused, whatever it asks for", async () => {
    for (const metadata of [{}, { "weir-principal-bin": "AAAA" }, { "weir-principal-bin": "" }]) {
      const { accounts, teams, users, audit, budgets, usage } = identity.callers(metadata);
      const asked = [
        () => accounts.listTenants({}),
        () => accounts.listKeys({}),
        () => accounts.createKey({ tenant: "tenants/acme" }),
        () => accounts.revokeKey({ name: "keys/aaaaaaaaaaaaaaaa" }),
        () => teams.listTeams({}),
        () => users.listUsers({}),
        () => audit.listAuditRecords({}),
        () => budgets.listBudgets({}),
        () => usage.listCosts({}),
        () => usage.listAttempts({}),
        () => usage.listConflicts({}),
      ];
      for (const call of asked) await expect(call()).rejects.toEqual(forbidden);
    }
    // Nor does a tenant that is none open every tenant's rows.
    for (const tenant of ["", "*", "Acme"]) {
      await expect(identity.as({ tenant, key: "k", role: Role.OWNER }).accounts.listKeys({})).rejects.toEqual(
        forbidden,
      );
      const member = { tenant, key: "k", role: Role.MEMBER, everyTenant: true };
      await expect(identity.as(member).usage.listCosts({})).rejects.toEqual(forbidden);
    }
  });

  test("each role may do what its permissions say, and nothing else", async () => {
    const member = await identity.keyOf("acme", Role.MEMBER);
    for (const role of [Role.MEMBER, Role.ANALYST, Role.AUDITOR, Role.ADMIN, Role.OWNER]) {
      const { calls } = await identity.keyOf("acme", role);
      const changes = role === Role.ADMIN || role === Role.OWNER;
      const reads = changes || role === Role.AUDITOR;
      const expected: readonly [string, () => Promise<unknown>, boolean][] = [
        ["listKeys", () => calls.accounts.listKeys({}), reads],
        ["listUsers", () => calls.users.listUsers({}), reads],
        ["listAuditRecords", () => calls.audit.listAuditRecords({}), reads],
        ["listCosts", () => calls.usage.listCosts({}), true],
        ["createKey", () => calls.accounts.createKey({ tenant: "tenants/acme" }), changes],
        ["updateKey", () => calls.accounts.updateKey({ name: member.name, displayName: "x" }), changes],
        ["createTeam", () => calls.teams.createTeam({ teamId: `t${role}` }), changes],
        ["createUser", () => calls.users.createUser({ userId: `u${role}` }), changes],
        ["createTenant", () => calls.accounts.createTenant({ tenantId: "mine" }), false],
        ["updateTenant", () => calls.accounts.updateTenant({ name: "tenants/acme", disabled: true }), false],
        ["listConflicts", () => calls.usage.listConflicts({}), false],
      ];
      for (const [name, call, isAllowed] of expected) {
        if (isAllowed) await expect(call(), `${name} by ${role}`).resolves.toBeDefined();
        else await expect(call(), `${name} by ${role}`).rejects.toEqual(forbidden);
      }
    }
  });

  test("nobody gives a role beyond their own, to a key or to a user", async () => {
    const admin = await identity.keyOf("acme", Role.ADMIN);
    for (const role of [Role.ADMIN, Role.OWNER]) {
      await expect(admin.calls.accounts.createKey({ tenant: "tenants/acme", role })).rejects.toEqual(
        denied(ErrorReason.FORBIDDEN, "role"),
      );
      await expect(admin.calls.users.createUser({ userId: "boss", role })).rejects.toEqual(forbidden);
    }
    await admin.calls.users.createUser({ userId: "ada", role: Role.ANALYST });
    await expect(admin.calls.users.updateUser({ name: "users/acme.ada", role: Role.OWNER })).rejects.toEqual(forbidden);
    const owner = await identity.keyOf("acme", Role.OWNER);
    await expect(
      owner.calls.accounts.createKey({ tenant: "tenants/acme", role: Role.MEMBER, everyTenant: true }),
    ).rejects.toEqual(forbidden);
    await expect(owner.calls.accounts.createKey({ tenant: "tenants/acme", role: Role.OWNER })).resolves.toBeDefined();
  });

  test("a key with a scope makes, widens and rotates no key beyond it, itself included", async () => {
    const scope = { models: ["gpt-*"], endpoints: ["keys", "chat"], requestsPerMinute: 60 };
    const { calls, name } = await identity.keyOf("acme", Role.ADMIN, { scope });
    const within = { models: ["gpt-4"], endpoints: ["chat"], requestsPerMinute: 5 };
    const { key: made } = await calls.accounts.createKey({ tenant: "tenants/acme", scope: within });
    const widerOnes: readonly [MessageInitShape<typeof KeyScopeSchema> | undefined, string][] = [
      [undefined, "scope.models"],
      [{ ...within, models: ["*"] }, "scope.models"],
      [{ ...within, endpoints: [] }, "scope.endpoints"],
      [{ ...within, requestsPerMinute: 61 }, "scope.requests_per_minute"],
    ];
    for (const [wider, param] of widerOnes) {
      await expect(
        calls.accounts.createKey({ tenant: "tenants/acme", ...(wider && { scope: wider }) }),
      ).rejects.toEqual(denied(ErrorReason.FORBIDDEN, param));
      for (const target of [made?.name ?? "", name]) {
        await expect(
          calls.accounts.updateKey({ name: target, updateMask: { paths: ["scope"] }, ...(wider && { scope: wider }) }),
        ).rejects.toEqual(denied(ErrorReason.FORBIDDEN, param));
      }
    }
    const wide = await identity.keyOf("acme", Role.MEMBER);
    await expect(calls.accounts.rotateKey({ name: wide.name })).rejects.toEqual(forbidden);
    // Its own key is what it has already.
    await expect(calls.accounts.rotateKey({ name })).resolves.toBeDefined();
  });

  test("a key that ends makes none that outlives it, and does not put off its own end", async () => {
    const expireMs = Date.now() + 60_000;
    const { calls, name } = await identity.keyOf("acme", Role.ADMIN, { expireMs });
    const tenant = "tenants/acme";
    await expect(calls.accounts.createKey({ tenant })).rejects.toEqual(denied(ErrorReason.FORBIDDEN, "expire_time"));
    await expect(calls.accounts.updateKey({ name, expireTime: timestampFromMs(expireMs + 1_000) })).rejects.toEqual(
      denied(ErrorReason.FORBIDDEN, "expire_time"),
    );
    await calls.accounts.createKey({ tenant, expireTime: timestampFromMs(expireMs - 1_000) });
  });

  test("an admin does not touch the keys of owners and other admins", async () => {
    const admin = await identity.keyOf("acme", Role.ADMIN);
    const owner = await identity.keyOf("acme", Role.OWNER);
    const other = await identity.keyOf("acme", Role.ADMIN);
    for (const { name } of [owner, other]) {
      await expect(admin.calls.accounts.revokeKey({ name })).rejects.toEqual(forbidden);
      await expect(admin.calls.accounts.rotateKey({ name })).rejects.toEqual(forbidden);
      await expect(admin.calls.accounts.updateKey({ name, displayName: "x" })).rejects.toEqual(forbidden);
    }
    await owner.calls.accounts.revokeKey({ name: other.name });
    // What the store says counts, whatever an edge still believes.
    await expect(other.calls.accounts.createKey({ tenant: "tenants/acme" })).rejects.toEqual(forbidden);
  });

  test("another tenant's resources answer exactly as missing ones do", async () => {
    const owner = await identity.keyOf("acme", Role.OWNER);
    const other = await identity.keyOf("zeta", Role.MEMBER);
    await identity.operator.teams.createTeam({ tenant: "tenants/zeta", teamId: "a" });
    await identity.operator.users.createUser({ tenant: "tenants/zeta", userId: "a" });
    await identity.operator.budgets.createBudget({
      budgetId: "theirs",
      limitNanoUsd: 1n,
      window: { kind: WindowKind.TOTAL },
      scope: { tenant: "zeta" },
    });
    const { accounts, teams, users, budgets } = owner.calls;
    const failure = (call: Promise<unknown>) =>
      call.then(
        () => "no failure",
        (error: { reason: ErrorReason; message: string; metadata: object }) => [error.reason, error.message],
      );
    const pairs: readonly [(id: string) => Promise<unknown>, string, string][] = [
      [(id) => accounts.getTenant({ name: `tenants/${id}` }), "zeta", "nobody"],
      [(id) => accounts.createKey({ tenant: `tenants/${id}` }), "zeta", "nobody"],
      [(id) => accounts.getKey({ name: `keys/${id}` }), other.id, "aaaaaaaaaaaaaaaa"],
      [(id) => accounts.updateKey({ name: `keys/${id}`, displayName: "x" }), other.id, "aaaaaaaaaaaaaaaa"],
      [(id) => accounts.rotateKey({ name: `keys/${id}` }), other.id, "aaaaaaaaaaaaaaaa"],
      [(id) => accounts.revokeKey({ name: `keys/${id}` }), other.id, "aaaaaaaaaaaaaaaa"],
      [(id) => accounts.createKey({ tenant: "tenants/acme", team: `teams/${id}` }), "zeta.a", "zeta.b"],
      [(id) => accounts.createKey({ tenant: "tenants/acme", user: `users/${id}` }), "zeta.a", "zeta.b"],
      [(id) => teams.createTeam({ tenant: `tenants/${id}`, teamId: "a" }), "zeta", "nobody"],
      [(id) => teams.getTeam({ name: `teams/${id}` }), "zeta.a", "zeta.b"],
      [(id) => teams.updateTeam({ name: `teams/${id}`, disabled: true }), "zeta.a", "zeta.b"],
      [(id) => teams.deleteTeam({ name: `teams/${id}` }), "zeta.a", "zeta.b"],
      [(id) => users.createUser({ tenant: `tenants/${id}`, userId: "a" }), "zeta", "nobody"],
      [(id) => users.getUser({ name: `users/${id}` }), "zeta.a", "zeta.b"],
      [(id) => users.updateUser({ name: `users/${id}`, role: Role.MEMBER }), "zeta.a", "zeta.b"],
      [(id) => users.deleteUser({ name: `users/${id}` }), "zeta.a", "zeta.b"],
      [(id) => budgets.getBudget({ name: `budgets/${id}` }), "theirs", "nobodys"],
      [(id) => budgets.updateBudget({ name: `budgets/${id}`, disabled: true }), "theirs", "nobodys"],
      [(id) => budgets.deleteBudget({ name: `budgets/${id}` }), "theirs", "nobodys"],
    ];
    for (const [call, theirs, nobodys] of pairs) {
      const seen = await failure(call(theirs));
      expect(seen, String(call)).toEqual(await failure(call(nobodys)));
      expect(seen[0], String(call)).toBe(ErrorReason.NOT_FOUND);
    }
    expect((await accounts.listTenants({})).tenants.map(({ name }) => name)).toEqual(["tenants/acme"]);
    expect((await accounts.listKeys({})).keys.map(({ name }) => name)).toEqual([owner.name]);
    expect((await accounts.listKeys({ tenant: "tenants/zeta" })).keys).toEqual([]);
    expect((await budgets.listBudgets({})).budgets).toEqual([]);
    expect((await owner.calls.audit.listAuditRecords({ tenant: "tenants/zeta" })).auditRecords).toEqual([]);
  });

  test("tenants neither take names from each other nor learn of them", async () => {
    const [acme, zeta] = [await identity.keyOf("acme", Role.ADMIN), await identity.keyOf("zeta", Role.ADMIN)];
    for (const { calls } of [acme, zeta]) {
      await calls.teams.createTeam({ teamId: "search" });
      await calls.users.createUser({ userId: "ada", team: `teams/${calls === acme.calls ? "acme" : "zeta"}.search` });
    }
    const budget = { limitNanoUsd: 1n, window: { kind: WindowKind.TOTAL } };
    for (const budgetId of ["monthly", "zeta.monthly"]) {
      await expect(acme.calls.budgets.createBudget({ ...budget, budgetId })).rejects.toEqual(
        denied(ErrorReason.INVALID_REQUEST, "budget_id"),
      );
    }
    const made = await acme.calls.budgets.createBudget({ ...budget, budgetId: "acme.monthly" });
    expect(made.budget?.scope?.tenant).toBe("acme");
    for (const tenant of ["zeta", "*"]) {
      await expect(
        acme.calls.budgets.createBudget({ ...budget, budgetId: "acme.other", scope: { tenant } }),
      ).rejects.toEqual(missing);
    }
  });

  test("usage is the caller's tenant's; of a member, its key's", async () => {
    const member = await identity.keyOf("acme", Role.MEMBER);
    const analyst = await identity.keyOf("acme", Role.ANALYST);
    const events = [
      testEvent(1, { principal: { tenant: "acme", key: member.id } }),
      testEvent(2, { principal: { tenant: "acme", key: analyst.id } }),
      testEvent(3, { principal: { tenant: "zeta", key: "zzzzzzzzzzzzzzzz" } }),
    ];
    await identity.metering.recorder.record([
      { $typeName: "weir.metering.v1.UsageBatch", journalId: journalA, firstSequence: 1n, events },
    ]);
    const range = {
      startTime: timestampFromMs(Date.UTC(2026, 10, 1)),
      endTime: timestampFromMs(Date.UTC(2026, 11, 1)),
    };
    const keysSeen = async ({ usage }: Callers, filter = {}) =>
      (await usage.listAttempts({ ...range, ...filter })).attempts.map(({ key }) => key).toSorted();
    expect(await keysSeen(member.calls)).toEqual([member.id]);
    expect(await keysSeen(member.calls, { key: analyst.id })).toEqual([]);
    expect(await keysSeen(analyst.calls)).toEqual([member.id, analyst.id].toSorted());
    expect(await keysSeen(analyst.calls, { tenant: "zeta" })).toEqual([]);
    expect(await keysSeen(identity.operator)).toHaveLength(3);
    const sum = async ({ usage }: Callers) =>
      (await usage.listCosts(range)).rows.reduce((total, { attemptCount }) => total + attemptCount, 0n);
    expect([await sum(member.calls), await sum(analyst.calls), await sum(identity.operator)]).toEqual([1n, 2n, 3n]);
    let csv = "";
    for await (const part of member.calls.usage.exportUsage({ table: { case: "attempts", value: range } }))
      csv += Buffer.from(part.csv).toString();
    expect(csv).toContain(member.id);
    expect(csv).not.toContain(analyst.id);
  });

  test("a rotated key lives on for its grace, beside one that may do the same", async () => {
    const scope = { models: ["gpt-*"] };
    const { name, calls } = await identity.keyOf("acme", Role.ADMIN, { scope });
    const { key, replaced, secret } = await calls.accounts.rotateKey({ name, grace: durationFromMs(60_000) });
    expect(key).toMatchObject({ tenant: "tenants/acme", role: Role.ADMIN, scope });
    expect(secret).toMatch(/^weir_/);
    expect(replaced).toMatchObject({ name, successor: key?.name });
    const endMs = replaced?.expireTime === undefined ? 0 : timestampMs(replaced.expireTime);
    expect(Math.abs(endMs - Date.now() - 60_000)).toBeLessThan(20_000);
    await expect(identity.operator.accounts.rotateKey({ name })).rejects.toEqual(denied(ErrorReason.INVALID_REQUEST));
    const atOnce = await identity.operator.accounts.rotateKey({ name: key?.name ?? "", grace: {} });
    expect(atOnce.replaced?.revokeTime).toBeDefined();
    // Grace never prolongs a life.
    const short = await identity.keyOf("acme", Role.MEMBER, { expireMs: Date.now() + 30_000 });
    const rotated = await identity.operator.accounts.rotateKey({ name: short.name, grace: durationFromMs(3_600_000) });
    expect(rotated.replaced?.expireTime).toEqual(rotated.key?.expireTime);
  });

  test("a key of a user is at most what the user is, moves with the user, and ends with it", async () => {
    await identity.operator.teams.createTeam({ tenant: "tenants/acme", teamId: "a" });
    await identity.operator.teams.createTeam({ tenant: "tenants/acme", teamId: "b" });
    await identity.operator.users.createUser({
      tenant: "tenants/acme",
      userId: "ada",
      role: Role.ADMIN,
      team: "teams/acme.a",
      email: "ada@example.org",
    });
    const [tenant, user] = ["tenants/acme", "users/acme.ada"];
    await expect(identity.operator.accounts.createKey({ tenant, user, role: Role.OWNER })).rejects.toEqual(forbidden);
    const { key } = await identity.operator.accounts.createKey({ tenant, user, role: Role.ADMIN });
    expect(key).toMatchObject({ team: "teams/acme.a", user, role: Role.ADMIN });
    await identity.operator.users.updateUser({ name: user, role: Role.MEMBER, team: "teams/acme.b" });
    const get = async () => (await identity.operator.accounts.getKey({ name: key?.name ?? "" })).key;
    expect(await get()).toMatchObject({ role: Role.MEMBER, team: "teams/acme.b" });
    await expect(identity.operator.teams.deleteTeam({ name: "teams/acme.b" })).rejects.toEqual(
      denied(ErrorReason.INVALID_REQUEST),
    );
    await identity.operator.users.deleteUser({ name: user });
    expect((await get())?.revokeTime).toBeDefined();
    await expect(identity.operator.users.getUser({ name: user })).rejects.toEqual(missing);
    await expect(identity.operator.users.createUser({ tenant, userId: "ada" })).rejects.toEqual(
      denied(ErrorReason.ALREADY_EXISTS),
    );
    expect(JSON.stringify(await identity.db.query("select * from users"))).not.toContain("example.org");
    await identity.operator.teams.deleteTeam({ name: "teams/acme.b" });
  });

  test("an update changes what its mask names, or else what is there", async () => {
    const name = "tenants/acme";
    const limits = { requestsPerMinute: 5 };
    const update = identity.operator.accounts.updateTenant;
    expect((await update({ name, limits, displayName: "Acme" })).tenant).toMatchObject({ limits, displayName: "Acme" });
    expect((await update({ name, disabled: true })).tenant).toMatchObject({
      limits,
      displayName: "Acme",
      disabled: true,
    });
    const cleared = (await update({ name, displayName: "no", updateMask: { paths: ["limits", "disabled"] } })).tenant;
    expect(cleared).toMatchObject({ displayName: "Acme", disabled: false });
    expect(cleared?.limits).toBeUndefined();
    await expect(update({ name, updateMask: { paths: ["create_time"] } })).rejects.toEqual(
      denied(ErrorReason.INVALID_REQUEST),
    );
    const { key } = await identity.operator.accounts.createKey({ tenant: name, scope: { networks: ["10.0.0.0/8"] } });
    await expect(
      identity.operator.accounts.updateKey({ name: key?.name ?? "", scope: { networks: ["10.0.0.0/99"] } }),
    ).rejects.toEqual(denied(ErrorReason.INVALID_REQUEST, "scope.networks"));
  });

  test("lists come in pages, each row once", async () => {
    for (const id of ["a", "b", "c"]) await identity.operator.teams.createTeam({ tenant: "tenants/acme", teamId: id });
    for (let count = 0; count < 3; count++) await identity.operator.accounts.createKey({ tenant: "tenants/acme" });
    const pages: string[][] = [];
    let pageToken = "";
    do {
      const page = await identity.operator.teams.listTeams({ pageSize: 2, pageToken });
      pages.push(page.teams.map(({ name }) => name));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(pages).toEqual([["teams/acme.a", "teams/acme.b"], ["teams/acme.c"]]);
    const all = (await identity.operator.accounts.listKeys({})).keys.map(({ name }) => name);
    const first = await identity.operator.accounts.listKeys({ pageSize: 2 });
    const second = await identity.operator.accounts.listKeys({ pageSize: 2, pageToken: first.nextPageToken });
    expect([...first.keys, ...second.keys].map(({ name }) => name)).toEqual(all);
    expect(second.nextPageToken).toBe("");
    await expect(identity.operator.teams.listTeams({ pageToken: first.nextPageToken })).rejects.toEqual(
      denied(ErrorReason.INVALID_REQUEST, "page_token"),
    );
  });

  test("edges learn of roles, owners, limits and ends within a second", async () => {
    await identity.operator.teams.createTeam({ tenant: "tenants/acme", teamId: "a", limits: { requestsPerMinute: 5 } });
    await identity.operator.accounts.updateTenant({ name: "tenants/zeta", disabled: true });
    const made = await identity.operator.accounts.createKey({
      tenant: "tenants/acme",
      role: Role.ADMIN,
      everyTenant: true,
      team: "teams/acme.a",
    });
    const id = made.key?.name.slice(5) ?? "";
    const heard: WatchKeysResponse[] = [];
    const hangUp = new AbortController();
    const watching = (async () => {
      for await (const message of identity.operator.accounts.watchKeys({}, { signal: hangUp.signal }))
        heard.push(message);
    })();
    const hungUp = expect(watching).rejects.toThrow(CallCancelled);
    const until = (find: (message: WatchKeysResponse) => boolean) =>
      vi.waitFor(() => expect(heard.some(find)).toBe(true), { timeout: 5_000, interval: 10 });
    await until(({ complete }) => complete);
    expect(heard.flatMap(({ subjects }) => subjects)).toMatchObject([
      { name: "teams/acme.a", limits: { requestsPerMinute: 5 }, disabled: false },
      { name: "tenants/acme", disabled: false },
      { name: "tenants/zeta", disabled: true },
    ]);
    expect(heard.map(({ complete, allTenants }) => [complete, allTenants])).toContainEqual([true, true]);
    expect(heard.flatMap(({ records: live }) => live)).toMatchObject([
      { id, role: Role.ADMIN, everyTenant: true, team: "acme.a", user: "" },
    ]);
    heard.length = 0;
    await identity.operator.accounts.createTenant({ tenantId: "late" });
    await until(({ subjects }) => subjects.some(({ name }) => name === "tenants/late"));
    await identity.operator.accounts.updateTenant({ name: "tenants/zeta", disabled: false });
    await until(({ subjects }) => subjects.some(({ name, disabled }) => name === "tenants/zeta" && !disabled));
    await identity.operator.users.createUser({ tenant: "tenants/acme", userId: "ada" });
    await identity.operator.users.updateUser({ name: "users/acme.ada", disabled: true });
    await until(({ subjects }) => subjects.some(({ name, disabled }) => name === "users/acme.ada" && disabled));
    await identity.operator.users.updateUser({ name: "users/acme.ada", disabled: false });
    heard.length = 0;
    // A token may still name one who is gone.
    await identity.operator.users.deleteUser({ name: "users/acme.ada" });
    await until(({ subjects }) => subjects.some(({ name, disabled }) => name === "users/acme.ada" && disabled));
    await identity.operator.accounts.updateKey({ name: `keys/${id}`, scope: { models: ["gpt-*"] } });
    await until(({ records: live }) => live.some(({ scope }) => scope?.models[0] === "gpt-*"));
    await identity.operator.accounts.revokeKey({ name: `keys/${id}` });
    await until(({ removed }) => removed.includes(id));
    hangUp.abort();
    await hungUp;
  });
});
