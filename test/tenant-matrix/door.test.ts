import { randomBytes } from "node:crypto";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { createNetworks } from "@weir/edge/auth/networks";
import { type Issuer, startIssuer } from "@weir/edge/auth/testing/issuer";
import { metricsAccess } from "@weir/edge/routes/metrics";
import { eventually, type Harness, pepper, startEdge, stopEdges } from "@weir/edge/testing/harness";
import { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { createKeyText, keyDigest } from "@weir/kit/api-key";
import { systemClock } from "@weir/kit/clock";
import { createMesh } from "@weir/kit/mesh";
import { permissionsOf } from "@weir/kit/roles";
import { afterAll, beforeAll, expect, test } from "vitest";
import { clientsOfEdge } from "weir/parts/edge";
import { examplePath } from "./example-path.ts";

// Every route of the edge against every kind of caller. Routes come from the edge's own table, so one that is new is asked
// like the others; what is expected follows from what the route asks of its caller, and from nothing else.

type RouteRule = Harness["edge"]["routes"][number];

/** A kind of caller, and the status that the door refuses it with; undefined: it is let in. */
interface Kind {
  readonly name: string;
  readonly authorization: string | undefined;
  readonly refusal: (route: Exclude<RouteRule["access"], "open">) => 401 | 403 | undefined;
}

let harness: Harness;
let issuer: Issuer;
let kinds: readonly Kind[];
let calls = 0;

function newKey(fields: object = {}) {
  const { id, text } = createKeyText(randomBytes);
  return { id, text, record: { id, digest: keyDigest(pepper, text), tenant: "acme", role: Role.OWNER, ...fields } };
}

const roles: readonly (readonly [name: string, role: Role, everyTenant: boolean])[] = [
  ["a key without a role", Role.UNSPECIFIED, false],
  ["a member", Role.MEMBER, false],
  ["an analyst", Role.ANALYST, false],
  ["an auditor", Role.AUDITOR, false],
  ["an admin", Role.ADMIN, false],
  ["an owner", Role.OWNER, false],
  ["an auditor of every tenant", Role.AUDITOR, true],
  ["an admin of every tenant", Role.ADMIN, true],
  ["an owner of every tenant", Role.OWNER, true],
];

function ofRole(role: Role, everyTenant: boolean): Kind["refusal"] {
  const permissions = permissionsOf(role, everyTenant);
  return ({ permission }) => (permissions.has(permission) ? undefined : 403);
}

beforeAll(async () => {
  issuer = await startIssuer(() => Date.now());
  harness = await startEdge({
    deps: { rpc: clientsOfEdge(createMesh({ name: "matrix" }), systemClock, () => ({})).rpc },
    settings: {
      trustedProxies: createNetworks(["127.0.0.1"], () => undefined),
      identityProviders: [issuer.config()],
    },
  });
  const byRole = roles.map(([name, role, everyTenant]) => ({
    name,
    role,
    everyTenant,
    key: newKey({ role, everyTenant }),
  }));
  const revoked = newKey();
  const expired = newKey({ expireTime: timestampFromMs(Date.now() - 1) });
  const ofTenant = newKey({ tenant: "gone" });
  const ofTeam = newKey({ team: "acme.gone" });
  const ofUser = newKey({ user: "acme.gone" });
  const elsewhere = newKey({ scope: { networks: ["198.51.100.0/24"] } });
  const nothing = newKey({ scope: { endpoints: ["nothing"] } });
  const records = [...byRole.map(({ key }) => key), revoked, expired, ofTenant, ofTeam, ofUser, elsewhere, nothing];
  harness.feed({ records: records.map(({ record }) => record) });
  const subjects = ["tenants/gone", "teams/acme.gone", "users/acme.gone"].map((name) => ({ name, disabled: true }));
  harness.feed({ subjects, removed: [revoked.id] });
  const never = () => 401 as const;
  const bearer = (text: string) => `Bearer ${text}`;
  kinds = [
    { name: "nobody", authorization: undefined, refusal: never },
    { name: "an unknown key", authorization: bearer(newKey().text), refusal: never },
    { name: "a wrong key of a known id", authorization: bearer(revoked.text.slice(0, -1)), refusal: never },
    { name: "a revoked key", authorization: bearer(revoked.text), refusal: never },
    { name: "an expired key", authorization: bearer(expired.text), refusal: never },
    { name: "a key of a disabled tenant", authorization: bearer(ofTenant.text), refusal: never },
    { name: "a key of a disabled team", authorization: bearer(ofTeam.text), refusal: never },
    { name: "a key of a disabled user", authorization: bearer(ofUser.text), refusal: never },
    { name: "a token of a stranger", authorization: bearer(await issuer.sign({ iss: "https://x" })), refusal: never },
    { name: "a token of a member", authorization: bearer(await issuer.sign()), refusal: ofRole(Role.MEMBER, false) },
    { name: "a key from elsewhere", authorization: bearer(elsewhere.text), refusal: () => 403 },
    {
      name: "a key whose scope has no such endpoint",
      authorization: bearer(nothing.text),
      refusal: (access) => ofRole(Role.OWNER, false)(access) ?? (access.endpoint === "" ? undefined : 403),
    },
    ...byRole.map(({ name, role, everyTenant, key }) => ({
      name,
      authorization: bearer(key.text),
      refusal: ofRole(role, everyTenant),
    })),
  ];
  const last = { authorization: bearer(ofUser.text), "x-forwarded-for": "203.0.113.1" };
  await eventually(async () => (await fetch(`${harness.url}/v1/models`, { headers: last })).status === 401);
});

afterAll(async () => {
  await stopEdges();
  await issuer.close();
});

/** The page of metrics is open on the machine itself, and asks everybody else: all callers here, who came by a proxy. */
function isMetrics({ path }: RouteRule): boolean {
  return /^(?:\/v1)?\/metrics$/.test(path);
}

/** Each from an address of its own, since whoever guesses too often is slowed down. */
async function call({ method, path }: RouteRule, authorization: string | undefined) {
  calls += 1;
  const response = await fetch(`${harness.url}${examplePath(path, "a1")}`, {
    method,
    headers: {
      "content-type": "application/json",
      "x-forwarded-for": `203.${calls >> 16}.${(calls >> 8) & 255}.${calls & 255}`,
      ...(authorization !== undefined && { authorization }),
    },
    signal: AbortSignal.timeout(10_000),
    ...(method !== "GET" && method !== "HEAD" && { body: "{}" }),
  });
  return { status: response.status, body: await response.text() };
}

test("every route says what it asks of its caller: a permission that the edge may give, and an endpoint", () => {
  const { routes } = harness.edge;
  expect(routes.length).toBeGreaterThan(40);
  for (const { method, path, access } of routes) {
    if (access === "open") continue;
    const what = `${method} ${path}`;
    expect(access.permission, what).not.toBe(Permission.UNSPECIFIED);
    expect(access.permission, what).not.toBe(Permission.PUBLIC);
    expect(access.permission, what).not.toBe(Permission.MESH);
    expect(access.endpoint === "" && access.permission !== Permission.KNOWN, what).toBe(false);
  }
});

test("what is open to everyone is the few pages that operators and clients read without a key", () => {
  const open = harness.edge.routes
    .filter(({ access }) => access === "open")
    .map(({ method, path }) => `${method} ${path}`);
  expect(
    open.filter((route) => !/^GET (?:\/v1)?\/(?:health|metrics|openapi|docs|redoc)(?:[./]|$)/.test(route)),
  ).toEqual([]);
});

test("every kind of caller is let in or refused at every route as the route's rule says", async () => {
  const wrong: string[] = [];
  for (const route of harness.edge.routes) {
    const { access } = route;
    for (const { name, authorization, refusal } of kinds) {
      const rule = isMetrics(route) ? metricsAccess : access;
      const expected = rule === "open" ? undefined : refusal(rule);
      const { status } = await call(route, authorization);
      const refused = status === 401 || status === 403 ? status : undefined;
      if (refused !== expected || status === 429) {
        wrong.push(`${route.method} ${route.path}, ${name}: ${status}, expected ${expected ?? "to be let in"}`);
      }
    }
  }
  expect(wrong).toEqual([]);
}, 60_000);

test("a caller who is not known reads the same at a route whatever is wrong with its key", async () => {
  for (const route of harness.edge.routes) {
    if (route.access === "open") continue;
    const answers = new Set<string>();
    for (const { authorization } of kinds.slice(0, 9)) {
      const { body } = await call(route, authorization);
      answers.add(body.replaceAll(/req_[0-9a-f]{32}/g, "req"));
    }
    expect([...answers], `${route.method} ${route.path}`).toHaveLength(1);
  }
}, 60_000);
