import { type Issuer, startIssuer } from "@weir/edge/auth/testing/issuer";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startWholeGateway, type WholeGateway } from "../tenant-matrix/gateway.ts";

// Callers with JSON Web Tokens in a real gateway, whose issuer may name any tenant.

let issuer: Issuer;
let gateway: WholeGateway;

beforeAll(async () => {
  issuer = await startIssuer(() => Date.now());
  const provider = {
    issuer: issuer.url,
    audiences: ["weir"],
    jwks_url: `${issuer.url}/keys`,
    tenant: { claim: "tenant" },
    role: { claim: "roles", rules: [{ value: "owner", role: "owner" }], otherwise: "member" },
  };
  gateway = await startWholeGateway("sk-provider", {}, { edge: { identity_providers: [provider] } });
  await gateway.createTenant("acme");
  // Whoever has a key is known; so are the tenants that were made before it.
  await gateway.createKey("acme", Role.MEMBER, "a member");
}, 90_000);

afterAll(async () => {
  await gateway.stop();
  await issuer.close();
});

async function call(claims: Record<string, unknown>, path: string, body?: object) {
  const response = await fetch(`${gateway.url}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${await issuer.sign(claims)}`, "content-type": "application/json" },
    signal: AbortSignal.timeout(10_000),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

test("a token that names a tenant that nobody made is refused as a wrong one, and works when it is there", async () => {
  const wrong = await call({ tenant: "late", aud: "somebody else" }, "/v1/models");
  const early = await call({ tenant: "late" }, "/v1/models");
  expect([early.status, early.json["error"]]).toEqual([401, wrong.json["error"]]);
  await gateway.createTenant("late");
  await vi.waitFor(async () => expect((await call({ tenant: "late" }, "/v1/models")).status).toBe(200), {
    timeout: 5_000,
    interval: 100,
  });
});

test("a member reads what was used with its own tokens, and nothing of others in its tenant", async () => {
  const chat = { model: "small", messages: [{ role: "user", content: "a" }] };
  for (const sub of ["ada", "ada", "bob"]) expect((await call({ sub }, "/v1/chat/completions", chat)).status).toBe(200);
  const attempts = async (sub: string) => {
    const { status, json } = await call({ sub }, "/v1/attempts");
    expect(status).toBe(200);
    return (json["attempts"] as { key: string }[] | undefined) ?? [];
  };
  await vi.waitFor(
    async () => expect([(await attempts("ada")).length, (await attempts("bob")).length]).toEqual([2, 1]),
    { timeout: 10_000, interval: 100 },
  );
  const [ada, bob] = [await attempts("ada"), await attempts("bob")];
  expect(new Set(ada.map(({ key }) => key)).size).toBe(1);
  expect(bob[0]?.key).not.toBe(ada[0]?.key);
  expect((await call({ sub: "bob" }, `/v1/attempts?key=${ada[0]?.key ?? ""}`)).json["attempts"] ?? []).toEqual([]);
});

test("an owner with a token makes keys that end with it, and no others", async () => {
  const exp = Math.floor(Date.now() / 1_000) + 300;
  const owner = { sub: "eve", roles: ["owner"], exp };
  const make = (body: object) => call(owner, "/v1/keys", { tenant: "tenants/acme", ...body });
  expect((await make({})).status).toBe(403);
  expect((await make({ expireTime: new Date((exp + 3_600) * 1_000).toISOString() })).status).toBe(403);
  expect((await make({ expireTime: new Date(exp * 1_000).toISOString() })).status).toBe(200);
});
