import { sign } from "node:crypto";
import { parseObject } from "@weir/dialect/json";
import type { Clock } from "@weir/kit/clock";
import type { ServiceAccountKey } from "@weir/kit/config/service-account";
import type { Dispatcher } from "undici";

/** A service account as a provider is called with it. Never log it. */
export interface ServiceAccount {
  readonly key: ServiceAccountKey;
  /** Where the key is exchanged for tokens. */
  readonly tokenUrl: string;
}

/** Access tokens of service accounts, each fetched once and renewed before it expires. */
export interface GoogleTokens {
  /**
   * A token that is good for at least half a minute; a promise only when one must be fetched first.
   * @throws TokenFailure
   */
  of(account: ServiceAccount): string | Promise<string>;
  /** A token was refused: the next one is fetched. */
  forget(account: ServiceAccount, token: string): void;
}

/** No token was given. */
export class TokenFailure extends Error {
  override readonly name = "TokenFailure";
  /** Whether it is the key that was refused, and not the service that did not answer. */
  readonly refused: boolean;
  /** HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What Google calls it (`invalid_grant`); empty when it says none. */
  readonly word: string;

  constructor(status: number, word: string) {
    super("no access token");
    this.refused = status >= 400 && status < 500 && status !== 408 && status !== 429;
    this.status = status;
    this.word = word;
  }
}

export interface GoogleTokensDeps {
  readonly clock: Clock;
  readonly dispatcherOf: (origin: string) => Dispatcher;
  /** Told of each exchange that failed. */
  readonly onFailure: (account: ServiceAccount, failure: TokenFailure) => void;
}

interface Held {
  token: string;
  /** Monotonic; until when the token may be used. */
  usableMs: number;
  /** Monotonic; from when on a new one is fetched. */
  renewMs: number;
  /** The exchange under way. */
  fetching: Promise<string> | undefined;
  /** The last exchange failed; until `renewMs` it is not repeated. */
  failure: TokenFailure | undefined;
}

/** How long before its end a token is renewed, while it is still used. */
const renewAheadMs = 300_000;
/** How long before its end a token is used no more. */
const marginMs = 30_000;
/** How long after a failed exchange the next one is tried. */
const retryMs = 2_000;
const timeoutMs = 5_000;
const answerBytesMax = 65_536;
const lifetimeMaxSeconds = 86_400;

/** Creates the tokens of all accounts; a token is kept as long as its account's object is. */
export function createGoogleTokens({ clock, dispatcherOf, onFailure }: GoogleTokensDeps): GoogleTokens {
  const byAccount = new WeakMap<ServiceAccount, Held>();

  function heldOf(account: ServiceAccount): Held {
    const known = byAccount.get(account);
    if (known !== undefined) return known;
    const held: Held = { token: "", usableMs: 0, renewMs: 0, fetching: undefined, failure: undefined };
    byAccount.set(account, held);
    return held;
  }

  async function renew(account: ServiceAccount, held: Held): Promise<string> {
    const startMs = clock.monotonic();
    try {
      const { token, lifetimeMs } = await exchange(account, clock.now(), dispatcherOf);
      held.token = token;
      held.usableMs = startMs + lifetimeMs - marginMs;
      held.renewMs = startMs + Math.max(lifetimeMs - renewAheadMs, lifetimeMs / 2);
      held.failure = undefined;
      return token;
    } catch (thrown) {
      const failure = thrown instanceof TokenFailure ? thrown : new TokenFailure(0, "");
      held.failure = failure;
      held.renewMs = clock.monotonic() + retryMs;
      onFailure(account, failure);
      throw failure;
    } finally {
      held.fetching = undefined;
    }
  }

  function fetchOnce(account: ServiceAccount, held: Held): Promise<string> {
    if (held.fetching === undefined) {
      held.fetching = renew(account, held);
      held.fetching.catch(() => undefined); // while the old token is good, nobody waits
    }
    return held.fetching;
  }

  return {
    of(account) {
      const held = heldOf(account);
      const nowMs = clock.monotonic();
      const usable = held.token !== "" && nowMs < held.usableMs;
      if (nowMs >= held.renewMs || held.fetching !== undefined) {
        const fetching = fetchOnce(account, held);
        return usable ? held.token : fetching;
      }
      if (usable) return held.token;
      return held.failure === undefined ? fetchOnce(account, held) : Promise.reject(held.failure);
    },
    forget(account, token) {
      const held = byAccount.get(account);
      if (held === undefined || held.token !== token) return;
      held.token = "";
      held.renewMs = 0;
    },
  };
}

/** https://developers.google.com/identity/protocols/oauth2/service-account#httprest */
async function exchange(
  { key, tokenUrl }: ServiceAccount,
  nowMs: number,
  dispatcherOf: GoogleTokensDeps["dispatcherOf"],
): Promise<{ readonly token: string; readonly lifetimeMs: number }> {
  const { origin, pathname, search } = new URL(tokenUrl);
  const { statusCode, body } = await dispatcherOf(origin).request({
    method: "POST",
    path: pathname + search,
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json", "user-agent": "weir" },
    body: new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: signAssertion(key, nowMs),
    }).toString(),
    signal: AbortSignal.timeout(timeoutMs),
  });
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > answerBytesMax) throw new TokenFailure(0, "");
    parts.push(part);
  }
  const json = parseObject(Buffer.concat(parts).toString()) ?? {};
  const { access_token: token, expires_in: seconds, error } = json;
  if (statusCode !== 200)
    throw new TokenFailure(statusCode, typeof error === "string" && isWord.test(error) ? error : "");
  if (typeof token !== "string" || !isToken.test(token)) throw new TokenFailure(0, "");
  if (typeof seconds !== "number" || !(seconds > 0)) throw new TokenFailure(0, "");
  return { token, lifetimeMs: Math.min(seconds, lifetimeMaxSeconds) * 1_000 };
}

const isToken = /^[\x21-\x7e]{1,8192}$/;
const isWord = /^[\w.-]{1,64}$/;

const scope = "https://www.googleapis.com/auth/cloud-platform";
const assertionSeconds = 3_600;

/** A JSON Web Token by which the account asks for access. https://www.rfc-editor.org/rfc/rfc7523 */
function signAssertion({ email, keyId, privateKey, tokenUri }: ServiceAccountKey, nowMs: number): string {
  const issued = Math.floor(nowMs / 1_000);
  const header = { alg: "RS256", typ: "JWT", ...(keyId === "" ? {} : { kid: keyId }) };
  const claims = { iss: email, scope, aud: tokenUri, iat: issued, exp: issued + assertionSeconds };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${sign("RSA-SHA256", Buffer.from(text), privateKey).toString("base64url")}`;
}
