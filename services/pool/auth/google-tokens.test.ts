import { generateKeyPairSync, verify } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { Clock } from "@weir/kit/clock";
import { Pool } from "undici";
import { afterEach, expect, test } from "vitest";
import { freePort, listen, until } from "../testing/pool-under-test.ts";
import { createGoogleTokens, type ServiceAccount, TokenFailure } from "./google-tokens.ts";

const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const tokenUri = "https://oauth2.googleapis.com/token";
const key = {
  email: "weir@p.iam.gserviceaccount.com",
  keyId: "kid",
  privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  tokenUri,
};

const pools: Pool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.destroy()));
});

/** A place that exchanges keys for tokens, and tokens from there. */
async function setUp(answer: (response: ServerResponse, n: number) => unknown) {
  const asked: URLSearchParams[] = [];
  const server = await listen(
    createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        asked.push(new URLSearchParams(Buffer.concat(parts).toString()));
        answer(response, asked.length);
      });
    }),
  );
  return { server, asked, ...tokensFor(`http://127.0.0.1:${server.port}/token?a=b`) };
}

function tokensFor(tokenUrl: string) {
  const time = { ms: 1_000_000 };
  const clock: Clock = {
    now: () => 1_700_000_000_000 + time.ms,
    monotonic: () => time.ms,
    after: () => () => undefined,
  };
  const failures: TokenFailure[] = [];
  const tokens = createGoogleTokens({
    clock,
    dispatcherOf(origin) {
      const pool = new Pool(origin);
      pools.push(pool);
      return pool;
    },
    onFailure: (_, failure) => failures.push(failure),
  });
  const account: ServiceAccount = { key, tokenUrl };
  return { time, tokens, account, failures };
}

const give = (response: ServerResponse, token: unknown, seconds: unknown = 3_600) =>
  response.end(JSON.stringify({ access_token: token, expires_in: seconds, token_type: "Bearer" }));

async function failureOf(asked: string | Promise<string>): Promise<TokenFailure> {
  try {
    await asked;
  } catch (thrown) {
    if (thrown instanceof TokenFailure) return thrown;
    throw thrown;
  }
  throw new Error("a token came");
}

test("an account asks with a signed assertion of an hour, for Google", async () => {
  const { server, asked, tokens, account } = await setUp((response) => give(response, "ya29.t"));
  await using _ = server;
  expect(await tokens.of(account)).toBe("ya29.t");
  const [form] = asked;
  expect(form?.get("grant_type")).toBe("urn:ietf:params:oauth:grant-type:jwt-bearer");
  const [header = "", claims = "", signature = ""] = form?.get("assertion")?.split(".") ?? [];
  const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as unknown;
  expect(read(header)).toEqual({ alg: "RS256", typ: "JWT", kid: "kid" });
  expect(read(claims)).toEqual({
    iss: key.email,
    scope: "https://www.googleapis.com/auth/cloud-platform",
    aud: tokenUri,
    iat: 1_700_001_000,
    exp: 1_700_004_600,
  });
  expect(verify("RSA-SHA256", Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, "base64url"))).toBe(
    true,
  );
});

test("all who need a token at once wait for one exchange; later ones have it at once", async () => {
  const { server, asked, tokens, account } = await setUp((response) => give(response, "t"));
  await using _ = server;
  const waiting = await Promise.all(Array.from({ length: 50 }, async () => tokens.of(account)));
  expect(new Set(waiting)).toEqual(new Set(["t"]));
  expect(tokens.of(account)).toBe("t");
  expect(asked).toHaveLength(1);
});

test("a token is renewed five minutes ahead, by one exchange, while the old one is used", async () => {
  const { server, asked, tokens, account, time } = await setUp((response, n) => give(response, `t${n}`));
  await using _ = server;
  await tokens.of(account);
  time.ms += 3_299_000;
  expect(tokens.of(account)).toBe("t1");
  expect(asked).toHaveLength(1);
  time.ms += 2_000;
  for (let n = 0; n < 10; n += 1) expect(tokens.of(account)).toBe("t1");
  await until(() => tokens.of(account) === "t2");
  expect(asked).toHaveLength(2);
});

test("a renewal that fails leaves the token in use, is repeated after a pause, and is told when the token ends", async () => {
  const { server, asked, tokens, account, time, failures } = await setUp((response, n) => {
    if (n === 1) give(response, "t1");
    else response.writeHead(503).end();
  });
  await using _ = server;
  await tokens.of(account);
  time.ms += 3_400_000;
  expect(tokens.of(account)).toBe("t1");
  await until(() => failures.length === 1);
  for (let n = 0; n < 10; n += 1) expect(tokens.of(account)).toBe("t1");
  expect(asked).toHaveLength(2);
  time.ms += 2_001;
  expect(tokens.of(account)).toBe("t1");
  await until(() => failures.length === 2);
  time.ms += 170_000;
  expect(await failureOf(tokens.of(account))).toMatchObject({ refused: false, status: 503 });
});

test("a failure stands for a moment: a storm of calls is one exchange", async () => {
  const { server, asked, tokens, account, time } = await setUp((response, n) => {
    if (n === 1) response.writeHead(400).end('{"error":"invalid_grant","error_description":"SECRET"}');
    else give(response, "t");
  });
  await using _ = server;
  const told = await Promise.all(Array.from({ length: 20 }, () => failureOf(tokens.of(account))));
  for (const failure of told) expect(failure).toMatchObject({ refused: true, status: 400, word: "invalid_grant" });
  await failureOf(tokens.of(account));
  expect(asked).toHaveLength(1);
  time.ms += 2_001;
  expect(await tokens.of(account)).toBe("t");
});

test("a token that was refused is fetched anew, once, whoever says so", async () => {
  const { server, asked, tokens, account } = await setUp((response, n) => give(response, `t${n}`));
  await using _ = server;
  await tokens.of(account);
  tokens.forget(account, "t1");
  expect(await tokens.of(account)).toBe("t2");
  tokens.forget(account, "t1");
  expect(tokens.of(account)).toBe("t2");
  expect(asked).toHaveLength(2);
});

test.each<[string, (response: ServerResponse) => unknown, number, boolean]>([
  ["a refusal without JSON", (response) => response.writeHead(401).end("SECRET"), 401, true],
  ["a limit", (response) => response.writeHead(429).end("{}"), 429, false],
  ["a redirect", (response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(), 302, false],
  ["a page", (response) => response.end("<html>SECRET"), 0, false],
  ["no token", (response) => response.end("{}"), 0, false],
  ["a token that no header carries", (response) => give(response, "SECRET\r\nx: y"), 0, false],
  ["no lifetime", (response) => give(response, "SECRET", null), 0, false],
  ["a lifetime that is over", (response) => give(response, "SECRET", 0), 0, false],
  ["an answer without end", (response) => response.end("SECRET".repeat(20_000)), 0, false],
  ["a cut", (response) => response.socket?.destroy(), 0, false],
])("%s is no token, and nothing of it is told", async (_, answer, status, refused) => {
  const { server, tokens, account, failures } = await setUp((response) => answer(response));
  await using __ = server;
  const failure = await failureOf(tokens.of(account));
  expect(failure).toMatchObject({ status, refused });
  expect(failures).toEqual([failure]);
  expect(`${failure.stack} ${JSON.stringify(failure)}`).not.toMatch(/SECRET|PRIVATE/);
});

test("a place that cannot be reached is no refusal", async () => {
  const { tokens, account } = tokensFor(`http://127.0.0.1:${await freePort()}/`);
  expect(await failureOf(tokens.of(account))).toMatchObject({ status: 0, refused: false });
});
