import { createPrivateKey } from "node:crypto";

/** The key of a Google Cloud service account. Never log one. */
export interface ServiceAccountKey {
  readonly email: string;
  /** Id of the key; empty when the file has none. */
  readonly keyId: string;
  /** RSA, as PEM. */
  readonly privateKey: string;
  /** Whom the key speaks to, which is also where it is exchanged for tokens unless the configuration says otherwise. */
  readonly tokenUri: string;
}

const lengthMax = 16_384;

/**
 * Reads the JSON file of a service account's key. https://cloud.google.com/iam/docs/keys-create-delete
 * @returns a text that says what is wrong, and holds nothing of the file, when it is no such key
 */
export function readServiceAccount(text: string): ServiceAccountKey | string {
  const json = text.length > lengthMax ? undefined : parse(text);
  if (json === undefined) return "expected the JSON of a service account's key, such as file:secrets/account.json";
  const { type, client_email: email, private_key: privateKey, private_key_id: keyId, token_uri: tokenUri } = json;
  if (type !== "service_account") return "its `type` is not `service_account`; other credentials are not supported";
  if (typeof email !== "string" || email === "") return "its `client_email` is missing";
  if (typeof privateKey !== "string" || !isRsa(privateKey)) return "its `private_key` is no RSA key";
  const uri = tokenUri ?? googleTokenUri;
  if (typeof uri !== "string" || !isGoogle(uri)) return "its `token_uri` is not Google's";
  return { email, keyId: typeof keyId === "string" ? keyId : "", privateKey, tokenUri: uri };
}

/** https://developers.google.com/identity/protocols/oauth2/service-account */
const googleTokenUri = "https://oauth2.googleapis.com/token";

function isGoogle(uri: string): boolean {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url === undefined || url.protocol !== "https:" || url.port !== "" || url.username !== "" || url.password !== "") {
    return false;
  }
  return url.hostname === "accounts.google.com" || url.hostname.endsWith(".googleapis.com");
}

function isRsa(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === "rsa";
  } catch {
    return false;
  }
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a token may be fetched from an address of the configuration: https, or this machine. */
export function isTokenUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.username !== "" || url.password !== "" || url.hash !== "") return false;
  return url.protocol === "https:" || (url.protocol === "http:" && loopback.test(url.hostname));
}

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;
