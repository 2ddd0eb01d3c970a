import { hash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { keyDigest, parseKeyText } from "@weir/kit/api-key";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { GuessLimit } from "./guess-limit.ts";
import type { Caller, KeySnapshot } from "./snapshot.ts";

export interface AuthenticatorDeps {
  readonly keys: KeySnapshot;
  /** Secret under which keys are hashed. */
  readonly pepper: Uint8Array;
  readonly clock: Clock;
  readonly guesses: GuessLimit;
}

/**
 * Finds out who calls.
 * @param address where the call comes from
 * @throws WeirError API_KEY_INVALID, one text for every cause; STORE_UNAVAILABLE when the key is not known and that may
 * be for want of news; RATE_LIMITED after too many failures from one address. A valid key is never refused for failures
 * of others.
 */
export type Authenticate = (headers: IncomingHttpHeaders, address: string | undefined) => Caller;

/** Texts whose HMAC need not be computed again; beyond it the one that came first is forgotten. */
const cacheMax = 65_536;
/** What is compared when there is no such key, so that the work is the same. */
const noDigest = Buffer.alloc(32);
const storeRetryMs = 1_000;

export function createAuthenticator({ keys, pepper, clock, guesses }: AuthenticatorDeps): Authenticate {
  // By hash, not by text, so that memory holds no key.
  const byHash = new Map<string, Caller>();

  function recognise(text: string): Caller | undefined {
    const hashed = hash("sha256", text, "hex");
    const known = byHash.get(hashed);
    if (known?.isLive) return known;
    if (known !== undefined) byHash.delete(hashed);
    const parsed = parseKeyText(text);
    if (parsed === undefined) throw new WeirError(ErrorReason.API_KEY_INVALID);
    const caller = keys.get(parsed.id);
    const isEqual = equalDigests(keyDigest(pepper, text), caller?.digest ?? noDigest);
    if (caller === undefined || !isEqual) return undefined;
    if (byHash.size >= cacheMax) byHash.delete(byHash.keys().next().value as string);
    byHash.set(hashed, caller);
    return caller;
  }

  function identify(text: string | undefined): Caller {
    if (text === undefined || text.length > textLengthMax) throw new WeirError(ErrorReason.API_KEY_INVALID);
    const caller = recognise(text);
    if (caller !== undefined && clock.now() < caller.expireMs) return caller;
    if (caller === undefined && !keys.isFresh) {
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: storeRetryMs });
    }
    throw new WeirError(ErrorReason.API_KEY_INVALID);
  }

  return (headers, address) => {
    try {
      return identify(presentedKey(headers));
    } catch (thrown) {
      if (thrown instanceof WeirError && thrown.reason === ErrorReason.API_KEY_INVALID) {
        const waitMs = guesses.failed(address);
        if (waitMs > 0) {
          throw new WeirError(ErrorReason.RATE_LIMITED, {
            text: "Too many calls with a wrong API key from this address; retry after the delay in Retry-After.",
            retryAfterMs: waitMs,
          });
        }
      }
      throw thrown;
    }
  };
}

const textLengthMax = 512;
const bearer = /^bearer +(\S+)$/i;

/**
 * The key that a call presents: `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`, the first of them that
 * is there. Not in the query, which ends up in logs.
 */
function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers;
  if (authorization !== undefined) {
    if (authorization.startsWith("Bearer weir_")) return authorization.slice(7);
    const match = bearer.exec(authorization);
    if (match !== null) return match[1];
  }
  const other = headers["x-api-key"] ?? headers["api-key"] ?? headers["x-goog-api-key"];
  return typeof other === "string" ? other : undefined;
}

function equalDigests(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
