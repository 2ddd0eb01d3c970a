import type { IncomingHttpHeaders } from "node:http";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import type { Caller } from "./caller.ts";
import { clientAddress } from "./client-address.ts";
import type { GuessLimit } from "./guess-limit.ts";
import { createKeyRecogniser } from "./key-recogniser.ts";
import type { Networks } from "./networks.ts";
import { CallerRefused } from "./refused-caller.ts";
import type { KeySnapshot } from "./snapshot.ts";
import { isToken, type TokenVerifier } from "./tokens.ts";

export interface AuthenticatorDeps {
  readonly keys: KeySnapshot;
  readonly tokens: TokenVerifier;
  /** Secret under which keys are hashed. */
  readonly pepper: Uint8Array;
  readonly clock: Clock;
  readonly guesses: GuessLimit;
  /** Proxies whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: () => Networks | undefined;
}

/**
 * Finds out who calls: at once, but for a JSON Web Token that was not seen before, whose signature is verified on other
 * threads.
 * @param peer the other end of the connection that the call came on
 * @throws WeirError API_KEY_INVALID, one text for every cause; FORBIDDEN when the caller may not call from where it is;
 * STORE_UNAVAILABLE when the key, or the tenant of a token, is not known and that may be for want of news; RATE_LIMITED after too many failures from
 * one address. A valid key is never refused for failures of others. A promise rejects with the same.
 */
export type Authenticate = (headers: IncomingHttpHeaders, peer: string | undefined) => Caller | Promise<Caller>;

const storeRetryMs = 1_000;

export function createAuthenticator(deps: AuthenticatorDeps): Authenticate {
  const { keys, tokens, pepper, clock, guesses } = deps;
  const recognise = createKeyRecogniser(keys, pepper);

  function identify(text: string | undefined): Caller {
    if (text === undefined || text.length > textLengthMax) throw new WeirError(ErrorReason.API_KEY_INVALID);
    const caller = recognise(text);
    if (caller !== undefined) {
      if (caller.expireMs === Number.POSITIVE_INFINITY || clock.now() < caller.expireMs) return caller;
      throw new CallerRefused(caller, ErrorReason.API_KEY_INVALID, "expired");
    }
    if (!keys.isFresh) throw unknownYet();
    throw new WeirError(ErrorReason.API_KEY_INVALID);
  }

  /** Lets a caller through who is known: unless its place, or those it belongs to, say otherwise. */
  function admit(caller: Caller, address: string | undefined): Caller {
    for (const name of caller.subjects) {
      if (keys.subject(name)?.disabled === true) {
        throw new CallerRefused(caller, ErrorReason.API_KEY_INVALID, "disabled");
      }
    }
    if (caller.networks !== undefined && !caller.networks.has(address)) {
      throw new CallerRefused(caller, ErrorReason.FORBIDDEN, "network", {
        text: "This API key may not be used from this network.",
        metadata: { scope: "networks" },
      });
    }
    return caller;
  }

  /** What a refusal becomes where there were too many. */
  function told(thrown: unknown, address: string | undefined): unknown {
    if (!(thrown instanceof WeirError) || thrown.reason !== ErrorReason.API_KEY_INVALID) return thrown;
    const waitMs = guesses.failed(address);
    if (waitMs <= 0) return thrown;
    return new WeirError(ErrorReason.RATE_LIMITED, {
      text: "Too many calls with a wrong API key from this address; retry after the delay in Retry-After.",
      retryAfterMs: waitMs,
    });
  }

  /** Lets a token's caller through whose tenant there is: its provider may name any. */
  function admitToken(caller: Caller, address: string | undefined): Caller {
    if (keys.hasTenant(caller.tenant)) return admit(caller, address);
    throw keys.isFresh ? new WeirError(ErrorReason.API_KEY_INVALID) : unknownYet();
  }

  async function whenVerified(verification: Promise<Caller>, address: string | undefined): Promise<Caller> {
    try {
      return admitToken(await verification, address);
    } catch (thrown) {
      throw told(thrown, address);
    }
  }

  return (headers, peer) => {
    const address = clientAddress(headers, peer, deps.trustedProxies());
    try {
      const text = presentedKey(headers);
      if (text === undefined || !isToken(text)) return admit(identify(text), address);
      const found = tokens.verify(text);
      return found instanceof Promise ? whenVerified(found, address) : admitToken(found, address);
    } catch (thrown) {
      throw told(thrown, address);
    }
  };
}

/** What is not known may be for want of news. */
function unknownYet(): WeirError {
  return new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: storeRetryMs });
}

const textLengthMax = 512;
const bearer = /^bearer +(\S+)$/i;

/**
 * The key that a call presents: `Authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`, the first of them that
 * is there, or the sub-protocol `weir-api-key.KEY` of a WebSocket. Not in the query, which ends up in logs.
 */
function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers;
  if (authorization !== undefined) {
    if (authorization.startsWith("Bearer weir_")) return authorization.slice(7);
    const match = bearer.exec(authorization);
    if (match !== null) return match[1];
  }
  const other = headers["x-api-key"] ?? headers["api-key"] ?? headers["x-goog-api-key"];
  if (other === undefined) return protocolKey.exec(headers["sec-websocket-protocol"] ?? "")?.[1];
  return typeof other === "string" ? other : undefined;
}

/** Browsers let pages set no header of a WebSocket but this one. The second name is OpenAI's, for Realtime. */
const protocolKey = /(?:^|,) *(?:weir-api-key|openai-insecure-api-key)\.([^\s,]+)/;
