import { hash } from "node:crypto";
import { withPlainNames } from "@weir/dialect/parse-json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { type Caller, createCaller } from "./caller.ts";
import { identityOf } from "./claims.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import { createJwks, type Jwks, KeysAway } from "./jwks.ts";

/** Recognises JSON Web Tokens of the identity providers of the configuration. */
export interface TokenVerifier {
  /**
   * @param text that `isToken` takes for a token
   * @returns at once when the token was verified before, less than five minutes ago
   * @throws WeirError API_KEY_INVALID, one text for every cause; STORE_UNAVAILABLE when the issuer's keys cannot be
   * fetched; OVERLOADED when too many tokens are being verified. A promise rejects with the same.
   */
  verify(text: string): Caller | Promise<Caller>;
  close(): void;
}

export interface TokenVerifierDeps {
  /** Anew for every token; a new list takes back what was said of tokens by the old one. */
  readonly providers: () => readonly IdentityProvider[];
  /** Whether it is known which tenants, teams and users are disabled. */
  readonly isLoaded: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** For the issuers' keys. Default: that of Node. */
  readonly fetch?: typeof fetch;
}

/** Tokens that are remembered; beyond it the one that came first is forgotten. */
const cacheMax = 65_536;
/** How long a token goes unverified at most: so long may a key live on that its issuer took back. */
const cacheMs = 300_000;
const verifyingMax = 256;
const retryMs = 1_000;
const lengthMax = 8_192;
const shape = /^eyJ[\w-]*\.[\w-]+\.[\w-]*$/;

/** Whether what a caller presents has the form of a signed token (RFC 7515, compact serialisation), and not that of a key. */
export function isToken(text: string): boolean {
  return text.startsWith("eyJ") && text.length <= lengthMax && shape.test(text);
}

interface Verified {
  readonly caller: Caller;
  /** Monotonic. */
  readonly untilMs: number;
}

export function createTokenVerifier(deps: TokenVerifierDeps): TokenVerifier {
  const { clock, log } = deps;
  // By hash of the whole text: two tokens that begin alike are two tokens, and memory holds none.
  let verified = new Map<string, Verified>();
  let issuers: ReadonlyMap<string, { readonly provider: IdentityProvider; readonly jwks: Jwks }> = new Map();
  let inForce: readonly IdentityProvider[] | undefined;
  let verifying = 0;

  function followConfiguration(): void {
    const providers = deps.providers();
    if (providers === inForce) return;
    inForce = providers;
    for (const { caller } of verified.values()) caller.isLive = false;
    verified = new Map();
    for (const { jwks } of issuers.values()) jwks.close();
    issuers = new Map(
      providers.map((provider) => [
        provider.issuer,
        { provider, jwks: createJwks({ provider, clock, log, ...(deps.fetch && { fetch: deps.fetch }) }) },
      ]),
    );
  }

  async function verify(text: string, hashed: string): Promise<Caller> {
    verifying += 1;
    const list = inForce;
    try {
      const claims = await readToken(text);
      // Both that `exp` is a number and that it is yet to come were verified.
      const expireMs = (claims.token.exp ?? 0) * 1_000 + claims.provider.leewaySeconds * 1_000;
      const identity = identityOf(claims.token, claims.provider, expireMs);
      if (identity === undefined) throw new Refused("claims");
      const caller = createCaller(identity);
      if (list === inForce) remember(hashed, caller, expireMs);
      return caller;
    } catch (thrown) {
      throw refusal(thrown);
    } finally {
      verifying -= 1;
    }
  }

  async function readToken(text: string): Promise<{ token: JWTPayload; provider: IdentityProvider }> {
    if (text.split(".", 2).some(hasEscapedName)) throw new Refused("names");
    const issuer = issuers.get(decodeJwt(text).iss ?? "");
    if (issuer === undefined) throw new Refused("issuer");
    const { provider, jwks } = issuer;
    const { typ = "" } = decodeProtectedHeader(text);
    if (
      !provider.types.has(
        String(typ)
          .toLowerCase()
          .replace(/^application\//, ""),
      )
    )
      throw new Refused("typ");
    const { payload } = await jwtVerify(text, (header) => jwks.find(header), {
      issuer: provider.issuer,
      audience: [...provider.audiences],
      algorithms: [...provider.algorithms],
      clockTolerance: provider.leewaySeconds,
      currentDate: new Date(clock.now()),
      requiredClaims: ["exp", "sub"],
      ...(provider.maxAgeSeconds !== undefined && { maxTokenAge: provider.maxAgeSeconds }),
    });
    return { token: payload, provider };
  }

  function remember(hashed: string, caller: Caller, expireMs: number): void {
    if (verified.size >= cacheMax) verified.delete(verified.keys().next().value as string);
    const forMs = Math.min(cacheMs, expireMs - clock.now());
    verified.set(hashed, { caller, untilMs: clock.monotonic() + forMs });
  }

  function refusal(thrown: unknown): WeirError {
    if (thrown instanceof KeysAway) return new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: retryMs });
    if (!(thrown instanceof Refused) && !(thrown instanceof errors.JOSEError) && !(thrown instanceof TypeError)) {
      log.error({ error: thrown }, "a token could not be judged");
    }
    const cause =
      thrown instanceof errors.JOSEError ? thrown.code : thrown instanceof Refused ? thrown.message : "form";
    log.debug({ cause }, "refused a token");
    return new WeirError(ErrorReason.API_KEY_INVALID);
  }

  return {
    verify(text) {
      followConfiguration();
      if (issuers.size === 0) throw new WeirError(ErrorReason.API_KEY_INVALID);
      const hashed = hash("sha256", text, "hex");
      const known = verified.get(hashed);
      if (known !== undefined) {
        if (clock.monotonic() < known.untilMs && clock.now() < known.caller.expireMs) return known.caller;
        verified.delete(hashed);
      }
      if (!deps.isLoaded()) throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: retryMs });
      if (verifying >= verifyingMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: retryMs });
      return verify(text, hashed);
    },
    close() {
      for (const { jwks } of issuers.values()) jwks.close();
    },
  };
}

/**
 * Whether JSON of a token writes the name of a member with an escape. No issuer does, and `JSON.parse`, by which claims are read, takes
 * some such names for others.
 */
function hasEscapedName(part: string): boolean {
  const json = Buffer.from(part, "base64url").toString();
  try {
    return withPlainNames(json) !== json;
  } catch {
    return true; // a backslash where JSON has none
  }
}

/** Why a token is refused that is well signed, or whose signature need not be looked at. */
class Refused extends Error {
  override readonly name = "Refused";
}
