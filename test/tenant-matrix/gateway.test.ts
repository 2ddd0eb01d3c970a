import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { examplePath } from "./example-path.ts";
import { startWholeGateway, type WholeGateway } from "./gateway.ts";

// Two tenants with the same content in a real gateway: what the one asks for by name and the other has reads as if it were
// not there, and nothing that the one is told has a word of the other.

type Facts = Readonly<Record<"tenant" | "key" | "team" | "user" | "budget" | "response" | "resource", string>>;

/** What a route addresses: one of the facts, as the path or the request names it. */
type Addressed = keyof Facts;

/** By the part of the path that names a thing. What is no row here and has a name in its path fails the test. */
const addressed: readonly (readonly [template: RegExp, what: Addressed | "nobody's"])[] = [
  [/\{name=keys\/\*\}/, "key"],
  [/\{name=teams\/\*\}/, "team"],
  [/\{name=users\/\*\}/, "user"],
  [/\{name=tenants\/\*\}/, "tenant"],
  [/\{name=budgets\/\*\}/, "budget"],
  [/\/responses\/\{id\}/, "response"],
  [/\{(?:file_id|upload_id|batch_id|job_id|store_id)\}/, "resource"],
  // Aliases and models are the gateway's.
  [/\{name=routes\/\*\*\}|\/models\/\{id=\*\*\}|\{model=models\/\*\*\}|\/deployments\/\{deployment\}/, "nobody's"],
];

/** By the resource of a method of gRPC, whose request names it. */
const named: readonly (readonly [method: RegExp, what: Addressed, prefix: string])[] = [
  [/\/(?:Get|Update|Revoke|Rotate)Key$/, "key", "keys/"],
  [/\/(?:Get|Update|Delete)Team$/, "team", "teams/"],
  [/\/(?:Get|Update|Delete)User$/, "user", "users/"],
  [/\/(?:Get|Update)Tenant$/, "tenant", "tenants/"],
  [/\/(?:Get|Update|Delete)Budget$/, "budget", "budgets/"],
];

/** Methods for callers alone whose role holds in every tenant. */
const everyTenants = /\.LedgerService\/(?:Rerate|TrueUp)$/;

const missing: Facts = {
  tenant: "nosuch",
  key: "aaaaaaaaaaaaaaaa",
  team: "acme.nosuch",
  user: "acme.nosuch",
  budget: "acme.nosuch",
  response: "resp_nosuch",
  resource: "file-nosuch",
};

let gateway: WholeGateway;
let own: Facts & { readonly secret: string };
let other: Facts & { readonly secret: string };

async function call(method: string, path: string, secret: string, body: unknown = {}) {
  const response = await fetch(`${gateway.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    signal: AbortSignal.timeout(15_000),
    ...(method !== "GET" && method !== "DELETE" && { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}

async function fill(tenant: string): Promise<Facts & { readonly secret: string }> {
  await gateway.createTenant(tenant);
  const { secret, id } = await gateway.createKey(tenant, Role.OWNER, `canary of ${tenant}`);
  const make = async (path: string, body: object) => {
    const { status, text } = await call("POST", path, secret, body);
    if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
    return JSON.parse(text) as { id?: string };
  };
  await make("/v1/teams", { teamId: "search", displayName: `canary of ${tenant}` });
  await make("/v1/users", { userId: "ada", displayName: `canary of ${tenant}` });
  const limitNanoUsd = "1000000000000";
  await make("/v1/budgets", { budgetId: `${tenant}.month`, limitNanoUsd, window: { kind: "WINDOW_KIND_MONTH" } });
  const { id: response = "" } = await make("/v1/responses", { model: "small", input: "the same question" });
  const resource = `file-of-${tenant}`;
  for (const kind of ["file", "batch", "vector_store", "fine_tuning_job"]) {
    await gateway.query(
      `insert into resources (provider, resource_id, tenant, key, kind, account, alias) values ('sim', $1, $2, $3, $4, 'a', 'small')`,
      [kind === "file" ? resource : `${kind}-of-${tenant}`, tenant, id, kind],
    );
  }
  return {
    tenant,
    key: id,
    team: `${tenant}.search`,
    user: `${tenant}.ada`,
    budget: `${tenant}.month`,
    response,
    resource,
    secret,
  };
}

beforeAll(async () => {
  gateway = await startWholeGateway("sk-provider");
  own = await fill("acme");
  other = await fill("globex");
}, 90_000);

afterAll(() => gateway.stop());

/** Without what differs between any two answers, and without the names that were asked for. */
function withoutNames(text: string, asked: Facts): string {
  const names = Object.values(asked).toSorted((a, b) => b.length - a.length);
  const anonymous = names.reduce((rest, name) => rest.replaceAll(name, "NAME"), text);
  // Details of errors stand there twice, once in base 64.
  return anonymous.replaceAll(/"value":"[^"]*"/g, "").replaceAll(/req_[0-9a-f]{32}/g, "REQUEST");
}

function isGrpc(path: string): boolean {
  return path.startsWith("/weir.");
}

/** The path and the request that ask a route for one thing. Undefined: it names none. */
function requestFor(path: string, facts: Facts): { path: string; body: object } | undefined {
  if (isGrpc(path)) {
    const row = named.find(([method]) => method.test(path));
    return row === undefined ? undefined : { path, body: { name: `${row[2]}${facts[row[1]]}` } };
  }
  const row = addressed.find(([template]) => template.test(path));
  if (row === undefined || row[1] === "nobody's") return undefined;
  return { path: examplePath(path, facts[row[1]]), body: {} };
}

test("every route that names something says what: no route is without a row", () => {
  const unknown = gateway.services.publicRoutes
    .filter(({ path, access }) => access !== "open" && path.includes("{"))
    .filter(({ path }) => !addressed.some(([template]) => template.test(path)))
    .map(({ method, path }) => `${method} ${path}`);
  expect(unknown).toEqual([]);
  const methods = gateway.services.publicRoutes.filter(({ path }) => isGrpc(path)).map(({ path }) => path);
  const unnamed = /\/(?:List|Create|Export)[A-Z]\w*$|\.ChatService\/|\.RouteService\//;
  const strange = methods.filter(
    (path) => ![unnamed, everyTenants, ...named.map(([it]) => it)].some((it) => it.test(path)),
  );
  expect(strange).toEqual([]);
});

test("what is about every tenant is not for the owner of one, by any door", async () => {
  const grpc = gateway.services.publicRoutes.map(({ path }) => path).filter((path) => everyTenants.test(path));
  expect(grpc).toHaveLength(2);
  for (const path of [...grpc, "/v1/ledger:rerate", "/v1/ledger:trueUp"]) {
    const body = { provider: "sim", day: "2026-11-20", apply: true };
    expect((await call("POST", path, own.secret, body)).status, path).toBe(403);
  }
});

// Before anything of the other is asked for by name: one's own audit log tells of that.
test("no list, sum or page that the one is shown has a word of the other", async () => {
  const lists = gateway.services.publicRoutes.filter(
    ({ method, path, access }) =>
      access !== "open" &&
      (isGrpc(path)
        ? /\/(?:List|Export)/.test(path)
        : (method === "GET" && !path.includes("{")) || path.endsWith(":export")),
  );
  expect(lists.length).toBeGreaterThan(25);
  const strange = [other.key, other.team, other.user, other.budget, other.response, other.resource, "globex"];
  for (const { method, path } of lists) {
    if (/\/ws$|\/realtime$/.test(path)) continue;
    const { text } = await call(method, path, own.secret);
    expect(
      strange.filter((name) => text.includes(name)),
      `${method} ${path}`,
    ).toEqual([]);
  }
});

test("what another tenant has reads as if it were not there, at every route that names a thing, and is not touched", async () => {
  const wrong: string[] = [];
  let asked = 0;
  for (const { method, path, access } of gateway.services.publicRoutes) {
    const theirs = access === "open" ? undefined : requestFor(path, other);
    const nobodys = requestFor(path, missing);
    if (theirs === undefined || nobodys === undefined) continue;
    asked += 1;
    const ofOther = await call(method, theirs.path, own.secret, theirs.body);
    const ofNobody = await call(method, nobodys.path, own.secret, nobodys.body);
    const told = withoutNames(ofOther.text, other);
    if (ofOther.status !== ofNobody.status || told !== withoutNames(ofNobody.text, missing) || ofOther.status < 400) {
      wrong.push(`${method} ${path}: ${ofOther.status} ${ofOther.text} / ${ofNobody.status} ${ofNobody.text}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(asked).toBeGreaterThan(40);
  for (const [path, name] of [
    ["/v1/keys", other.key],
    ["/v1/teams", other.team],
    ["/v1/users", other.user],
    ["/v1/budgets", other.budget],
  ] as const) {
    const { status, text } = await call("GET", path, other.secret);
    expect([status, text.includes(name)], path).toEqual([200, true]);
  }
  expect((await call("GET", `/v1/responses/${other.response}`, other.secret)).status).toBe(200);
});

test("the own things are there: the rows above are asked as those who have them ask", async () => {
  for (const [path, fact] of [
    ["/v1/{name=keys/*}", own.key],
    ["/v1/{name=teams/*}", own.team],
    ["/v1/{name=users/*}", own.user],
    ["/v1/{name=tenants/*}", own.tenant],
    ["/v1/{name=budgets/*}", own.budget],
    ["/v1/responses/{id}", own.response],
  ] as const) {
    const { status, text } = await call("GET", examplePath(path, fact), own.secret);
    expect([status, text.includes(fact)], path).toEqual([200, true]);
  }
});

test("naming the other tenant in a question widens nothing", async () => {
  for (const path of [
    "/v1/keys?tenant=tenants/globex",
    "/v1/teams?tenant=tenants/globex",
    "/v1/users?tenant=tenants/globex",
    "/v1/budgets?tenant=tenants/globex",
    "/v1/auditRecords?tenant=tenants/globex",
    "/v1/costs?tenant=globex",
    "/v1/attempts?tenant=globex",
  ]) {
    const { text } = await call("GET", path, own.secret);
    expect(
      [other.key, other.team, other.user, other.budget].filter((name) => text.includes(name)),
      path,
    ).toEqual([]);
  }
  const made = await call("POST", "/v1/keys", own.secret, { tenant: "tenants/globex", displayName: "mine" });
  expect(made.status).toBeGreaterThanOrEqual(400);
});
