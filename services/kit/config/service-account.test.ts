import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { ConfigError } from "./fault.ts";
import { parseConfig } from "./load.ts";
import { isTokenUrl, readServiceAccount } from "./service-account.ts";

const pem = (type: "rsa" | "ed25519") =>
  (type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ed25519")).privateKey
    .export({ type: "pkcs8", format: "pem" })
    .toString();
const rsa = pem("rsa");
const file = {
  type: "service_account",
  project_id: "p",
  private_key_id: "kid",
  private_key: rsa,
  client_email: "weir@p.iam.gserviceaccount.com",
  token_uri: "https://oauth2.googleapis.com/token",
};

test("a key as Google writes it", () => {
  const key = { email: file.client_email, keyId: "kid", privateKey: rsa, tokenUri: file.token_uri };
  expect(readServiceAccount(JSON.stringify(file))).toEqual(key);
  const { token_uri: _, private_key_id: __, ...bare } = file;
  expect(readServiceAccount(JSON.stringify(bare))).toEqual({ ...key, keyId: "" });
});

test.each([
  ["no JSON", "-----BEGIN", "expected the JSON"],
  ["a list", "[]", "`type`"],
  ["a user's own credentials", { ...file, type: "authorized_user" }, "`type`"],
  ["no account", { ...file, client_email: "" }, "client_email"],
  ["no key", { ...file, private_key: "SECRET" }, "private_key"],
  ["another kind of key", { ...file, private_key: pem("ed25519") }, "private_key"],
  ["an address without TLS", { ...file, token_uri: "http://oauth2.googleapis.com/token" }, "token_uri"],
  ["an address elsewhere", { ...file, token_uri: "https://oauth2.googleapis.com.example.com/token" }, "token_uri"],
  ["an address on this machine", { ...file, token_uri: "https://127.0.0.1/token" }, "token_uri"],
  ["an address with a user", { ...file, token_uri: "https://a@oauth2.googleapis.com/" }, "token_uri"],
  ["too long", { ...file, more: "x".repeat(20_000) }, "expected the JSON"],
])("%s is refused without a word of it", (_, value, part) => {
  const fault = readServiceAccount(typeof value === "string" ? value : JSON.stringify(value));
  expect(fault).toContain(part);
  expect(fault).not.toMatch(/SECRET|BEGIN|example\.com/);
});

test.each([
  ["https://sts.example.com/token", true],
  ["http://127.0.0.1:8080/token", true],
  ["http://localhost/token", true],
  ["http://[::1]:1/token", true],
  ["http://sts.example.com/token", false],
  ["http://127.0.0.1.example.com/", false],
  ["https://a:b@sts.example.com/", false],
  ["file:///etc/passwd", false],
  ["", false],
])("a token may be fetched from %s: %s", (url, allowed) => {
  expect(isTokenUrl(url)).toBe(allowed);
});

/** Where something is wrong with a provider of kind vertex. */
function faultsOf(provider: object): readonly string[] {
  const text = JSON.stringify({ providers: { v: { kind: "vertex", project: "p", ...provider } } });
  try {
    parseConfig(text, { env: {}, readFile: () => "" });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults.map(({ path }) => path);
    throw error;
  }
}

test("weir.yaml takes a service account in a project, and nothing that contradicts it", () => {
  const credentials = JSON.stringify(file);
  expect(faultsOf({ credentials })).toEqual([]);
  expect(faultsOf({ credentials, token_url: "http://127.0.0.1:1/" })).toEqual([]);
  expect(faultsOf({ credentials, project: "" })).toEqual(["providers.v.project"]);
  expect(faultsOf({ credentials, api_key: "k" })).toEqual(["providers.v.credentials"]);
  expect(faultsOf({ credentials: "{}" })).toEqual(["providers.v.credentials"]);
  expect(faultsOf({ credentials, token_url: "http://example.com" })).toEqual(["providers.v.token_url"]);
  expect(faultsOf({ token_url: "https://example.com" })).toEqual(["providers.v.token_url"]);
  expect(faultsOf({ kind: "gemini", credentials })).toEqual(["providers.v.credentials"]);
});
