import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type AwsCredentials, type PostToSign, type SigningScope, signPost } from "./sigv4.ts";

// AWS's published test suite: https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4
const suiteKeys: AwsCredentials = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};
const suiteScope: SigningScope = { region: "us-east-1", service: "service" };
const suiteTimeMs = Date.parse("2015-08-30T12:36:00Z");
const suitePost: PostToSign = {
  origin: "https://example.amazonaws.com",
  path: "/",
  headers: [],
  body: new Uint8Array(0),
};
const suiteToken =
  "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

const form = new TextEncoder().encode("Param1=value1");

test.each<[string, Partial<PostToSign>, string, string]>([
  ["post-vanilla", {}, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"],
  [
    "post-vanilla-query",
    { query: "Param1=value1" },
    "host;x-amz-date",
    "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
  ],
  [
    "post-x-www-form-urlencoded",
    {
      headers: Object.entries({
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": "13",
        "x-amz-content-sha256": "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
      }).flat(),
      body: form,
    },
    "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
    "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
  ],
])("%s of AWS's test suite is signed as published", async (_, request, signedHeaders, signature) => {
  const headers = await signPost({ ...suitePost, ...request }, suiteScope, suiteKeys, suiteTimeMs);
  expect(headers).toEqual([
    "authorization",
    `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${signedHeaders}, Signature=${signature}`,
    "x-amz-date",
    "20150830T123600Z",
  ]);
});

test("post-sts-header-before of AWS's test suite: a session token is signed and sent", async () => {
  const keys = { ...suiteKeys, sessionToken: suiteToken };
  const headers = await signPost(suitePost, suiteScope, keys, suiteTimeMs);
  expect(headers.slice(2)).toEqual(["x-amz-date", "20150830T123600Z", "x-amz-security-token", suiteToken]);
  expect(headers[1]).toMatch(
    /SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead$/,
  );
});

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/**
 * The signature by AWS's own description, written down once more:
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
function byDescription(request: PostToSign, scope: SigningScope, keys: AwsCredentials, time: string): string {
  const { region, service } = scope;
  const escape = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const headers: [string, string][] = [
    ["host", new URL(request.origin).host],
    ["x-amz-date", time],
  ];
  for (let at = 0; at < request.headers.length; at += 2) {
    headers.push([request.headers[at]?.toLowerCase() ?? "", request.headers[at + 1]?.trim() ?? ""]);
  }
  if (keys.sessionToken !== undefined) headers.push(["x-amz-security-token", keys.sessionToken]);
  headers.sort(([a], [b]) => (a < b ? -1 : 1));
  const names = headers.map(([name]) => name).join(";");
  const canonical = [
    "POST",
    // "Each path segment must be URI-encoded twice", except for S3.
    request.path.split("/").map(escape).join("/"),
    "",
    ...headers.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    sha256(request.body),
  ].join("\n");
  const day = time.slice(0, 8);
  const toSign = ["AWS4-HMAC-SHA256", time, `${day}/${region}/${service}/aws4_request`, sha256(canonical)].join("\n");
  const key = [day, region, service, "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${keys.secretAccessKey}`);
  const signature = createHmac("sha256", key).update(toSign).digest("hex");
  return `AWS4-HMAC-SHA256 Credential=${keys.accessKeyId}/${day}/${region}/${service}/aws4_request, SignedHeaders=${names}, Signature=${signature}`;
}

const word = fc.stringMatching(/^[\w-]{1,20}$/);
const posts = fc.record({
  request: fc.record({
    origin: fc.constantFrom("https://bedrock-runtime.eu-central-1.amazonaws.com", "http://127.0.0.1:4510"),
    path: fc
      .oneof(
        fc.constantFrom(
          "anthropic.claude-3-haiku-20240307-v1:0",
          "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-pro-v1:0",
        ),
        word,
      )
      .map((model) => `/model/${encodeURIComponent(model)}/converse-stream`),
    headers: fc.constantFrom(
      [],
      ["content-type", "application/json"],
      ["Content-Type", "application/json", "accept", "application/vnd.amazon.eventstream"],
    ),
    body: fc.uint8Array({ maxLength: 200 }),
  }),
  scope: fc.record({ region: word, service: fc.constantFrom("bedrock", "bedrock-agent") }),
  keys: fc.record(
    { accessKeyId: word, secretAccessKey: fc.string({ minLength: 1 }), sessionToken: word },
    { requiredKeys: ["accessKeyId", "secretAccessKey"] },
  ),
  timeMs: fc.integer({ min: 0, max: 4_000_000_000 }).map((seconds) => seconds * 1_000 + 999),
});

test("the signature is that of AWS's description, whatever the request", async () => {
  await fc.assert(
    fc.asyncProperty(posts, async ({ request, scope, keys, timeMs }) => {
      const time = new Date(timeMs).toISOString().replace(/[-:]|\.\d+/g, "");
      const headers = await signPost(request, scope, keys, timeMs);
      expect(headers.slice(0, 4)).toEqual([
        "authorization",
        byDescription(request, scope, keys, time),
        "x-amz-date",
        time,
      ]);
      expect(headers.slice(4)).toEqual(
        keys.sessionToken === undefined ? [] : ["x-amz-security-token", keys.sessionToken],
      );
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 500) },
  );
});

test("any change of body, path, host, region or time changes the signature", async () => {
  const scope = { region: "us-east-1", service: "bedrock" };
  const base: PostToSign = { ...suitePost, path: "/model/a%3A0/converse", body: form };
  const signatures = await Promise.all([
    signPost(base, scope, suiteKeys, 0),
    signPost({ ...base, body: new Uint8Array(1) }, scope, suiteKeys, 0),
    signPost({ ...base, path: "/model/a:0/converse" }, scope, suiteKeys, 0),
    signPost({ ...base, origin: "https://example.com" }, scope, suiteKeys, 0),
    signPost(base, { ...scope, region: "us-east-2" }, suiteKeys, 0),
    signPost(base, scope, suiteKeys, 1_000),
  ]);
  expect(new Set(signatures.map(([, authorization]) => authorization)).size).toBe(signatures.length);
});

test("headers of one name are signed as one", async () => {
  const twice = { ...suitePost, headers: ["x-a", "1", "X-A", "2"] };
  const joined = { ...suitePost, headers: ["x-a", "1,2"] };
  expect(await signPost(twice, suiteScope, suiteKeys, 0)).toEqual(await signPost(joined, suiteScope, suiteKeys, 0));
});
