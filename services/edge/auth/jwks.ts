import { parseJson } from "@weir/dialect/parse-json";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { createLocalJWKSet, errors, type JWK, type JWSHeaderParameters, type JWTVerifyGetKey } from "jose";
import { type IdentityProvider, isKeyUrl } from "./identity-provider.ts";

type Key = Awaited<ReturnType<JWTVerifyGetKey>>;

/** The public keys of one issuer. */
export interface Jwks {
  /**
   * The key that a token names by its `kid` and algorithm; whatever else its header says of keys is not read. Fetches the
   * keys when there are none yet, or none of that name, but not twice within 30 s.
   * @throws JOSEError when the issuer has no such key; KeysAway when that cannot be known
   */
  find(header: JWSHeaderParameters): Promise<Key>;
  close(): void;
}

/** The issuer does not answer, and no key that fits is known from before. */
export class KeysAway extends Error {
  override readonly name = "KeysAway";
}

export interface JwksDeps {
  readonly provider: Pick<IdentityProvider, "issuer" | "jwksUrl">;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: that of Node. */
  readonly fetch?: typeof fetch;
}

/** Between two fetches that unknown keys ask for: otherwise whoever sends tokens could make the edge storm the issuer. */
const cooldownMs = 30_000;
/** Keys are fetched again in the background when they are older, so that one that the issuer took back is gone. */
const freshMs = 600_000;
/** Keys of an issuer that is away hold no longer. */
const staleMaxMs = 86_400_000;
const fetchTimeoutMs = 5_000;
const bytesMax = 262_144;
const keysMax = 100;
const publicTypes = new Set(["RSA", "EC", "OKP"]);

interface KeySet {
  readonly find: ReturnType<typeof createLocalJWKSet>;
  readonly fetchedMs: number;
}

export function createJwks({ provider, clock, log, fetch: load = fetch }: JwksDeps): Jwks {
  const ended = new AbortController();
  let keys: KeySet | undefined;
  let fetching: Promise<void> | undefined;
  let triedMs = Number.NEGATIVE_INFINITY;
  let isAway = false;

  /** Fetches, unless that was tried just now. Never rejects. */
  function refresh(): Promise<void> {
    if (fetching !== undefined) return fetching;
    if (ended.signal.aborted || clock.monotonic() - triedMs < cooldownMs) return Promise.resolve();
    triedMs = clock.monotonic();
    fetching = fetchKeys().finally(() => {
      fetching = undefined;
    });
    return fetching;
  }

  async function fetchKeys(): Promise<void> {
    try {
      const url = provider.jwksUrl ?? (await discover());
      keys = { find: createLocalJWKSet(usable(await readJson(url))), fetchedMs: clock.monotonic() };
      isAway = false;
    } catch (error) {
      isAway = true;
      log.warn({ issuer: provider.issuer, error }, "the keys of an identity provider cannot be fetched");
    }
  }

  /** https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig */
  async function discover(): Promise<string> {
    const document = await readJson(`${provider.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
    const { issuer, jwks_uri: url } = document;
    if (issuer !== provider.issuer) throw new Error("the OpenID configuration is that of another issuer");
    if (typeof url !== "string" || !isKeyUrl(url)) throw new Error("the OpenID configuration names no https JWKS");
    return url;
  }

  async function readJson(url: string): Promise<Record<string, unknown>> {
    const timeout = new AbortController();
    const cancel = clock.after(fetchTimeoutMs, () => timeout.abort());
    try {
      const response = await load(url, {
        headers: { accept: "application/json" },
        redirect: "error",
        signal: AbortSignal.any([timeout.signal, ended.signal]),
      });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new Error(`the answer's status is ${response.status}`);
      }
      return asObject(parseJson(await readText(response)));
    } finally {
      cancel();
    }
  }

  return {
    async find(header) {
      if (keys === undefined) await refresh();
      else if (clock.monotonic() - keys.fetchedMs > freshMs) void refresh();
      const known = usableNow();
      try {
        return await known.find(header);
      } catch (thrown) {
        if (!(thrown instanceof errors.JWKSNoMatchingKey)) throw thrown;
        await refresh();
        const now = usableNow();
        if (now === known && isAway) throw new KeysAway();
        if (now === known) throw thrown;
        return now.find(header);
      }
    },
    close: () => ended.abort(),
  };

  function usableNow(): KeySet {
    if (keys === undefined || (isAway && clock.monotonic() - keys.fetchedMs > staleMaxMs)) throw new KeysAway();
    return keys;
  }
}

/** Only public keys for signatures: of a secret one, which has no place in a JWKS, nothing is ever used. */
function usable({ keys }: Record<string, unknown>): { keys: JWK[] } {
  if (!Array.isArray(keys)) throw new Error("the JWKS has no list of keys");
  if (keys.length > keysMax) throw new Error(`the JWKS has more than ${keysMax} keys`);
  return {
    keys: keys.filter((key: unknown): key is JWK => {
      if (typeof key !== "object" || key === null) return false;
      const { kty, d } = key as JWK;
      return typeof kty === "string" && publicTypes.has(kty) && d === undefined;
    }),
  };
}

async function readText(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop early gives the connection up.
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > bytesMax) throw new Error(`the answer is larger than ${bytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("the answer is no object");
  return value as Record<string, unknown>;
}
