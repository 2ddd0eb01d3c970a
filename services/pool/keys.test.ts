import { generateKeyPairSync } from "node:crypto";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { expect, test } from "vitest";
import {
  answerJson,
  createTestPool,
  hello,
  json,
  readAll,
  silent as silentLog,
  startProvider,
} from "./testing/pool-under-test.ts";

test("keys take turns; one that is refused is left alone, and the router is told to try again", async () => {
  const seen: (string | undefined)[] = [];
  await using provider = await startProvider((response, { headers }) => {
    seen.push(headers.authorization);
    const ok = headers.authorization !== "Bearer bad";
    response.writeHead(ok ? 200 : 401, json).end(ok ? answerJson : '{"error":{"message":"no"}}');
  });
  await using pool = createTestPool(provider.url, { apiKey: "good", apiKeys: ["bad", "other"] });
  const run = async () => (await readAll(pool.run(hello))).error;
  expect(await run()).toBeUndefined();
  expect(await run()).toMatchObject({
    reason: ErrorReason.PROVIDER_UNAVAILABLE,
    metadata: { provider: "p", cause: "key" },
  });
  for (let i = 0; i < 4; i += 1) expect(await run()).toBeUndefined();
  expect(seen.slice(2)).not.toContain("Bearer bad");
  expect(new Set(seen.slice(2))).toEqual(new Set(["Bearer good", "Bearer other"]));
});

test("the only key's refusal is the provider's", async () => {
  await using provider = await startProvider((response) => response.writeHead(403, json).end("{}"));
  await using pool = createTestPool(provider.url);
  expect((await readAll(pool.run(hello))).error).toMatchObject({ metadata: { cause: "credential" } });
});

test("a limited key rests while another is left; when all are limited the caller learns when to return", async () => {
  await using provider = await startProvider((response) =>
    response.writeHead(429, { ...json, "retry-after": "7" }).end('{"error":{"message":"slow down"}}'),
  );
  await using pool = createTestPool(provider.url, { apiKey: "a", apiKeys: ["b"] });
  expect((await readAll(pool.run(hello))).error).toMatchObject({ metadata: { cause: "key" } });
  expect((await readAll(pool.run(hello))).error).toMatchObject({
    reason: ErrorReason.PROVIDER_RATE_LIMITED,
    retryAfterMs: 7_000,
  });
  expect(provider.received.map(({ headers }) => headers.authorization)).toEqual(["Bearer a", "Bearer b"]);
});

test("a signed call names its key and region, and never sends the secret", async () => {
  await using provider = await startProvider((response) => response.writeHead(400, json).end('{"message":"no"}'));
  await using pool = createTestPool(provider.url, {
    kind: ProviderKind.BEDROCK,
    apiKey: "",
    region: "eu-central-1",
    aws: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI", sessionToken: "session" },
  });
  expect((await readAll(pool.run(hello))).error).toMatchObject({ reason: ErrorReason.PROVIDER_REJECTED });
  const [got] = provider.received;
  expect(got?.url).toBe("/v1/model/target-model/converse");
  expect(got?.headers.authorization).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-central-1\/bedrock\/aws4_request, SignedHeaders=content-type;host;/,
  );
  expect(got?.headers["x-amz-security-token"]).toBe("session");
  expect(JSON.stringify(got?.headers)).not.toContain("wJalrXUtnFEMI");
  expect(pool.journal.events).toMatchObject([{ outcome: AttemptOutcome.REJECTED }]);
});

const account = JSON.stringify({
  type: "service_account",
  private_key_id: "kid",
  private_key: generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }),
  client_email: "weir@p.iam.gserviceaccount.com",
});

const vertex = (tokenUrl: string) => ({
  kind: ProviderKind.VERTEX,
  apiKey: "",
  project: "my-project",
  region: "global",
  credentials: account,
  tokenUrl,
});

const geminiAnswer = JSON.stringify({
  candidates: [{ content: { role: "model", parts: [{ text: "hi" }] }, finishReason: "STOP", index: 0 }],
  usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 },
});

test("a service account's calls bear its token; one that is refused is fetched anew for the next call", async () => {
  let issued = 0;
  await using issuer = await startProvider((response) => {
    issued += 1;
    response.writeHead(200, json).end(JSON.stringify({ access_token: `token-${issued}`, expires_in: 3_600 }));
  });
  await using provider = await startProvider((response, { headers }) => {
    const revoked = headers.authorization === "Bearer token-1" && provider.received.length > 2;
    response.writeHead(revoked ? 401 : 200, json).end(revoked ? "{}" : geminiAnswer);
  });
  await using pool = createTestPool(provider.url, vertex(issuer.url));
  const run = async () => (await readAll(pool.run(hello))).error;
  expect(await run()).toBeUndefined();
  expect(await run()).toBeUndefined();
  expect(await run()).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { cause: "credential" } });
  expect(await run()).toBeUndefined();
  expect(provider.received.map(({ headers }) => headers.authorization)).toEqual([
    "Bearer token-1",
    "Bearer token-1",
    "Bearer token-1",
    "Bearer token-2",
  ]);
  expect(JSON.stringify(provider.received.map(({ headers }) => headers))).not.toContain("assertion");
});

test.each([
  ["refuses", 400, "credential"],
  ["does not serve", 503, "connect"],
])(
  "an issuer that %s an account fails the call before anything is sent, and gives its place back",
  async (_, status, cause) => {
    await using issuer = await startProvider((response) =>
      response.writeHead(status, json).end('{"error":"SECRET x"}'),
    );
    await using provider = await startProvider();
    const lines: unknown[] = [];
    const log = { ...silentLog, warn: (...line: unknown[]) => void lines.push(line) };
    await using pool = createTestPool(provider.url, vertex(issuer.url), { log });
    const { error } = await readAll(pool.run(hello));
    expect(error).toMatchObject({ reason: ErrorReason.PROVIDER_UNAVAILABLE, metadata: { provider: "p", cause } });
    expect(provider.received).toEqual([]);
    expect(pool.journal.intents.size).toBe(0);
    expect(pool.pool.status().providers).toMatchObject([{ id: "p", calls: 0 }]);
    expect(lines).toMatchObject([[{ status, word: "" }, "a service account got no access token"]]);
    expect(JSON.stringify(lines)).not.toMatch(/SECRET|PRIVATE|gserviceaccount/);
  },
);
