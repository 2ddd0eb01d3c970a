import { createHmac, generateKeyPairSync } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { createLog } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import { exportJWK, exportSPKI } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createManualClock, type ManualClock } from "../testing/manual-clock.ts";
import type { Caller } from "./caller.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import { type Issuer, startIssuer } from "./testing/issuer.ts";
import { createTokenVerifier, isToken, type TokenVerifier } from "./tokens.ts";

let clock: ManualClock;
let issuer: Issuer;
let tokens: TokenVerifier;
let providers: readonly IdentityProvider[];
let logs: string[];

beforeEach(async () => {
  clock = createManualClock(1_700_000_000_000);
  issuer = await startIssuer(() => clock.now());
  providers = [issuer.config()];
  logs = [];
  tokens = createTokenVerifier({
    providers: () => providers,
    isLoaded: () => true,
    clock,
    log: createLog({ service: "edge", level: "debug", destination: { write: (line) => void logs.push(line) } }),
  });
});

afterEach(async () => {
  tokens.close();
  await issuer.close();
});

async function verify(text: string): Promise<Caller> {
  return tokens.verify(text);
}

async function reasonOf(text: string): Promise<ErrorReason | undefined> {
  try {
    await verify(text);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof WeirError) return thrown.reason;
    throw thrown;
  }
}

const invalid = ErrorReason.API_KEY_INVALID;
const away = ErrorReason.STORE_UNAVAILABLE;

function encoded(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

test("a token becomes a caller of its tenant, and its second use waits for nothing", async () => {
  providers = [issuer.config({ teamClaim: "team", userClaim: "name", modelsClaim: "models" })];
  const text = await issuer.sign({ team: "search", name: "acme.ada", models: ["small", "big*"] });
  const caller = await verify(text);
  expect(fromBinary(PrincipalSchema, caller.principal)).toMatchObject({
    tenant: "acme",
    key: caller.id,
    role: Role.MEMBER,
    everyTenant: false,
    team: "acme.search",
    accountUser: "acme.ada",
  });
  expect(caller.subjects).toEqual(["tenants/acme", "teams/acme.search", "users/acme.ada"]);
  expect(["small", "bigger", "other"].map((alias) => caller.mayCall(alias))).toEqual([true, true, false]);
  expect(tokens.verify(text)).toBe(caller);
  const again = await verify(await issuer.sign({ jti: "another" }));
  expect(again.id).toBe(caller.id);
  expect(caller.id).toMatch(/^jwt-[0-9a-f]{32}$/);
  expect((await verify(await issuer.sign({ sub: "bob" }))).id).not.toBe(caller.id);
  expect(issuer.fetches).toBe(1);
});

test("a principal says when its token ends, whatever a token says of that", async () => {
  const ends = async (exp: number) => {
    const { principal } = await verify(await issuer.sign({ exp }));
    const { expireTime } = fromBinary(PrincipalSchema, principal);
    return expireTime && timestampMs(expireTime);
  };
  const now = Math.floor(clock.now() / 1_000);
  expect(await ends(now + 60)).toBe((now + 90) * 1_000);
  expect(await ends(now + 60.0005)).toBe((now + 90) * 1_000);
  expect(await ends(1e15)).toBe(Date.UTC(9999, 11, 31));
});

test("keys are found by the issuer's OpenID configuration", async () => {
  providers = [issuer.config({ jwksUrl: "" })];
  expect((await verify(await issuer.sign())).tenant).toBe("acme");
});

test("a token is remembered no longer than it lives, and verified anew after five minutes", async () => {
  const short = await issuer.sign({ exp: Math.floor(clock.now() / 1_000) + 60 });
  await verify(short);
  clock.advance(89_000);
  expect((await verify(short)).tenant).toBe("acme");
  clock.advance(1_000);
  expect(await reasonOf(short)).toBe(invalid);
  const long = await issuer.sign({ exp: Math.floor(clock.now() / 1_000) + 3_600 });
  await verify(long);
  clock.advance(299_000);
  expect(tokens.verify(long)).not.toBeInstanceOf(Promise);
  clock.advance(1_000);
  const again = tokens.verify(long);
  expect(again).toBeInstanceOf(Promise);
  await again;
});

test("the first rule that fits gives the role, and a caller without one is refused", async () => {
  const rules = [
    { value: "weir-admins", role: Role.ADMIN },
    { value: "weir-finance", role: Role.ANALYST },
  ];
  providers = [issuer.config({ role: { claim: "realm_access.roles", rules } })];
  const roles = (...names: string[]) => issuer.sign({ realm_access: { roles: names } });
  const admin = await verify(await roles("weir-finance", "weir-admins"));
  expect(admin.permissions.has(Permission.ACCOUNTS_WRITE)).toBe(true);
  expect(admin.permissions.has(Permission.TENANTS_WRITE)).toBe(false);
  expect((await verify(await roles("weir-finance"))).permissions.has(Permission.MODELS_CALL)).toBe(false);
  expect(await reasonOf(await roles("other"))).toBe(invalid);
  expect(await reasonOf(await issuer.sign())).toBe(invalid);
});

test("a tenant comes from the map where there is one, and a value beside it is nobody's", async () => {
  providers = [issuer.config({ tenant: { claim: "org", ids: { "org-1": "acme" } } })];
  expect((await verify(await issuer.sign({ org: "org-1" }))).tenant).toBe("acme");
  for (const org of ["acme", "org-2", "__proto__", "constructor", "", 7, ["org-1"], null]) {
    expect(await reasonOf(await issuer.sign({ org }))).toBe(invalid);
  }
  providers = [issuer.config()];
  for (const tenant of ["Acme", "../x", "acme'--", "a\nb", "x".repeat(64), {}, undefined]) {
    expect(await reasonOf(await issuer.sign({ tenant }))).toBe(invalid);
  }
});

test("nobody becomes part of another tenant by a claim", async () => {
  providers = [issuer.config({ teamClaim: "team" })];
  expect((await verify(await issuer.sign())).subjects).toEqual(["tenants/acme"]);
  for (const team of ["globex.search", "acme.globex.search", "Search", "", 7, ["search"]]) {
    expect(await reasonOf(await issuer.sign({ team }))).toBe(invalid);
  }
});

test("a token without the words that its scope is made of may call nothing", async () => {
  providers = [issuer.config({ modelsClaim: "models", endpointsClaim: "scope", collectionsClaim: "stores" })];
  const none = await verify(await issuer.sign({ models: [] }));
  expect([none.mayCall("small"), none.mayCall(""), none.mayUse("chat")]).toEqual([false, false, false]);
  expect([none.mayReach("vs_1"), none.mayReach("")]).toEqual([false, false]);
  const some = await verify(
    await issuer.sign({ models: "small", scope: "chat embeddings", stores: ["vs_1", "vs_a*"] }),
  );
  expect([some.mayCall("small"), some.mayUse("embeddings"), some.mayUse("keys")]).toEqual([true, true, false]);
  expect(["vs_1", "vs_abc", "vs_2"].map((id) => some.mayReach(id))).toEqual([true, true, false]);
});

test("claims that are wrong, missing or out of their time are refused alike", async () => {
  providers = [issuer.config({ maxAge: { seconds: 600n } })];
  const nowSeconds = Math.floor(clock.now() / 1_000);
  const bad = await Promise.all([
    issuer.sign({ iss: "https://elsewhere.example" }),
    issuer.sign({ iss: undefined }),
    issuer.sign({ aud: "another" }),
    issuer.sign({ aud: undefined }),
    issuer.sign({ sub: undefined }),
    issuer.sign({ sub: "" }),
    issuer.sign({ exp: undefined }),
    issuer.sign({ exp: nowSeconds - 31 }),
    issuer.sign({ nbf: nowSeconds + 31 }),
    issuer.sign({ iat: nowSeconds - 631 }),
    issuer.sign({ iat: undefined }),
    issuer.sign({}, { typ: "logout+jwt" }),
  ]);
  const errors = await Promise.all(bad.map((text) => verify(text).catch((thrown: unknown) => thrown as WeirError)));
  for (const error of errors) {
    expect(error).toMatchObject({ reason: invalid, message: new WeirError(invalid).message, metadata: {} });
  }
  const fine = [
    issuer.sign({ exp: nowSeconds - 29 }),
    issuer.sign({ nbf: nowSeconds + 29 }),
    issuer.sign({ aud: ["another", "weir"] }),
    issuer.sign({}, { typ: "application/AT+JWT" }),
  ];
  for (const text of await Promise.all(fine)) expect((await verify(text)).tenant).toBe("acme");
});

test("two tokens that begin alike are two tokens", async () => {
  const [header, payload, signature = ""] = (await issuer.sign()).split(".");
  await verify(`${header}.${payload}.${signature}`);
  for (const other of [signature.slice(0, -4), "A".repeat(signature.length), ""]) {
    expect(await reasonOf(`${header}.${payload}.${other}`)).toBe(invalid);
  }
  const admin = encoded({ iss: issuer.url, aud: "weir", sub: "eve", tenant: "acme", exp: 2e9 });
  expect(await reasonOf(`${header}.${admin}.${signature}`)).toBe(invalid);
});

test("no algorithm is taken from a token: none, a shared secret made of the public key, and one beside the list", async () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });
  issuer.keys.push({ ...(await exportJWK(rsa.publicKey)), kid: "rsa" });
  const payload = encoded({ iss: issuer.url, aud: "weir", sub: "eve", tenant: "acme", exp: 2e9 });
  const none = `${encoded({ alg: "none" })}.${payload}.`;
  const head = `${encoded({ alg: "HS256", kid: "rsa" })}.${payload}`;
  const secrets = [
    rsa.publicKey.export({ format: "pem", type: "spki" }),
    await exportSPKI(issuer.pair.publicKey),
    JSON.stringify(issuer.keys[0]),
  ];
  const forged = secrets.map((secret) => `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`);
  const es384 = await issuer.newPair("wide", "ES384");
  const beside = await issuer.sign({}, { alg: "ES384", kid: "wide" }, es384.privateKey);
  for (const text of [none, ...forged, beside]) expect(await reasonOf(text)).toBe(invalid);
  providers = [issuer.config({ algorithms: ["ES384"] })];
  expect((await verify(beside)).tenant).toBe("acme");
  expect(await reasonOf(await issuer.sign())).toBe(invalid);
});

test("a token's own word on its key is not read: jku, x5u, jwk, and a kid that is a path or a query", async () => {
  const own = await issuer.newPair("own", "ES256", false);
  const { publicKey, privateKey } = own;
  const jwk = await exportJWK(publicKey);
  const elsewhere = await startIssuer(() => clock.now());
  elsewhere.keys = [{ ...jwk, kid: "own" }];
  const headers = [
    { kid: "own", jku: `${elsewhere.url}/keys` },
    { kid: "own", x5u: `${elsewhere.url}/keys` },
    { kid: "own", jwk },
    { jwk, kid: undefined },
    { kid: "../../../../dev/null" },
    { kid: "first' OR '1'='1" },
    { kid: "__proto__" },
    { kid: { toString: "first" } },
  ];
  for (const header of headers) {
    const text = await issuer.sign({ sub: "eve" }, header, privateKey);
    expect(await reasonOf(text)).toBe(invalid);
  }
  expect(elsewhere.fetches).toBe(0);
  expect(issuer.fetches).toBe(1);
  await elsewhere.close();
});

test("a new key is fetched when a token names it, once in thirty seconds whatever is sent", async () => {
  await verify(await issuer.sign());
  const second = await issuer.newPair("second");
  const stranger = await issuer.newPair("nobody", "ES256", false);
  for (let index = 0; index < 20; index++) {
    expect(await reasonOf(await issuer.sign({}, { kid: `unknown-${index}` }, stranger.privateKey))).toBe(invalid);
  }
  expect(issuer.fetches).toBe(1);
  clock.advance(30_000);
  const rotated = await Promise.all([1, 2, 3].map((n) => issuer.sign({ n }, { kid: "second" }, second.privateKey)));
  for (const caller of await Promise.all(rotated.map(verify))) expect(caller.tenant).toBe("acme");
  expect(issuer.fetches).toBe(2);
});

test("a key that the issuer took back ends with the next fetch", async () => {
  const text = await issuer.sign({ exp: Math.floor(clock.now() / 1_000) + 7_200 });
  await verify(text);
  const second = await issuer.newPair("second");
  issuer.keys.shift();
  clock.advance(600_001);
  // Fetched in the background: the token itself is still judged by what is known.
  expect(await reasonOf(text)).toBeUndefined();
  const next = await issuer.sign({}, { kid: "second" }, second.privateKey);
  expect(await reasonOf(next)).toBeUndefined();
  clock.advance(300_000);
  expect(await reasonOf(text)).toBe(invalid);
});

test.each<[string, NonNullable<Issuer["answer"]>]>([
  ["fails", (_, response) => void response.writeHead(500).end()],
  ["sends its client elsewhere", (_, response) => void response.writeHead(302, { location: "/keys" }).end()],
  ["answers too much", (_, response) => void response.end(`{"keys":[],"x":"${"x".repeat(300_000)}"}`)],
  ["answers too many keys", (_, response) => void response.end(JSON.stringify({ keys: Array(101).fill({}) }))],
  ["answers no JSON", (_, response) => void response.end("<html>")],
  ["answers another form", (_, response) => void response.end("[]")],
  ["breaks off", (_, response) => void response.writeHead(200, { "content-length": "100" }).end("{}").destroy()],
])(
  "while an issuer %s, tokens are not said to be wrong, keys that are known hold, and it is left in peace",
  async (_, answer) => {
    issuer.answer = answer;
    const text = await issuer.sign();
    expect(await reasonOf(text)).toBe(away);
    expect(await reasonOf(text)).toBe(away);
    expect(issuer.fetches).toBe(1);
    issuer.answer = undefined;
    clock.advance(30_000);
    expect((await verify(text)).tenant).toBe("acme");
    issuer.answer = answer;
    const later = await issuer.sign({ jti: "later", exp: Math.floor(clock.now() / 1_000) + 200_000 });
    const unknown = await issuer.sign({}, { kid: "second" }, (await issuer.newPair("second")).privateKey);
    clock.advance(31_000);
    expect(await reasonOf(unknown)).toBe(away);
    clock.advance(86_000_000);
    expect((await verify(later)).tenant).toBe("acme");
    clock.advance(700_000);
    await reasonOf(await issuer.sign());
    expect(await reasonOf(await issuer.sign())).toBe(away);
  },
);

test("an issuer that does not answer is waited for five seconds", async () => {
  issuer.answer = () => undefined;
  const refused = reasonOf(await issuer.sign());
  await expect.poll(() => issuer.fetches).toBe(1);
  clock.advance(5_000);
  expect(await refused).toBe(away);
});

test("secret keys in a JWKS are not used, and one that is broken does not spoil the others", async () => {
  const leaked = await issuer.newPair("leaked", "ES256", false);
  issuer.keys.push({ ...(await exportJWK(leaked.privateKey)), kid: "leaked" });
  issuer.keys.push({ kty: "oct", k: "c2VjcmV0", kid: "shared" }, { kty: "EC", kid: "broken" });
  expect((await verify(await issuer.sign())).tenant).toBe("acme");
  expect(await reasonOf(await issuer.sign({}, { kid: "leaked" }, leaked.privateKey))).toBe(invalid);
});

test("a new configuration holds at once, for tokens that were verified before as well", async () => {
  const text = await issuer.sign();
  const caller = await verify(text);
  providers = [issuer.config({ audiences: ["other"] })];
  expect(await reasonOf(text)).toBe(invalid);
  expect(caller.isLive).toBe(false);
  providers = [];
  expect(() => tokens.verify(text)).toThrow(WeirError);
});

test("until it is known who is disabled no token is taken", async () => {
  const early = createTokenVerifier({
    providers: () => providers,
    isLoaded: () => false,
    clock,
    log: createLog({ service: "edge", level: "silent" }),
  });
  const text = await issuer.sign();
  expect(() => early.verify(text)).toThrow(expect.objectContaining({ reason: away }));
  early.close();
});

test("at most 256 tokens are verified at once", async () => {
  issuer.answer = () => undefined;
  const texts = await Promise.all(Array.from({ length: 257 }, (_, n) => issuer.sign({ n })));
  const reasons = texts.map(reasonOf);
  expect(await reasons[256]).toBe(ErrorReason.OVERLOADED);
  await expect.poll(() => issuer.fetches).toBe(1);
  clock.advance(5_000);
  expect(new Set(await Promise.all(reasons.slice(0, 256)))).toEqual(new Set([away]));
});

test("nothing of a token is in the log", async () => {
  const good = await issuer.sign({ sub: "canary-subject" });
  await verify(good);
  await reasonOf(`${good.slice(0, -4)}AAAA`);
  await reasonOf(await issuer.sign({ sub: "canary-subject", aud: "canary-audience" }, { kid: "canary-kid" }));
  const text = logs.join("");
  expect(text).toContain("ERR_JWS_SIGNATURE_VERIFICATION_FAILED");
  for (const part of [...good.split("."), "canary-subject", "canary-audience", "canary-kid"]) {
    expect(text).not.toContain(part);
  }
});

test.each([
  ["eyJhbGciOiJub25lIn0.e30.", true],
  ["eyJh.e30.c2ln", true],
  ["weir_aaaaaaaaaaaaaaaa_b_c", false],
  ["eyJh.e30", false],
  ["eyJh.e30.c2ln.x", false],
  [`eyJ.${"x".repeat(8_192)}.x`, false],
  ["eyJh.e 30.c2ln", false],
])("whether %s has the form of a token: %s", (text, is) => {
  expect(isToken(text)).toBe(is);
});

test("a token that writes the name of a claim with an escape is refused before its signature is looked at", async () => {
  const [head = "", claims = "", signature = ""] = (await issuer.sign({})).split(".");
  const rewritten = (part: string, change: (json: string) => string) =>
    Buffer.from(change(Buffer.from(part, "base64url").toString())).toString("base64url");
  const escaped = (json: string) =>
    json.replace(/"(\w)(\w*)":/, (_, first: string, rest: string) => {
      return `"\\u00${first.charCodeAt(0).toString(16)}${rest}":`;
    });
  const ofHead = `${rewritten(head, escaped)}.${claims}.${signature}`;
  const ofClaims = `${head}.${rewritten(claims, escaped)}.${signature}`;
  const broken = `${head}.${rewritten(claims, () => '{"\\x":1}')}.${signature}`;
  for (const text of [ofHead, ofClaims, broken]) {
    logs.length = 0;
    expect(await reasonOf(text)).toBe(invalid);
    expect(logs.join("")).toContain('"cause":"names"');
  }
});
