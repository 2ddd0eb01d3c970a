import { hash } from "node:crypto";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import type { WeirError } from "@weir/kit/weir-error";
import type { Dispatcher } from "undici";
import { createGoogleTokens, type ServiceAccount, TokenFailure } from "../auth/google-tokens.ts";
import { signPost } from "../auth/sigv4.ts";
import { unavailable } from "../classify.ts";
import type { ProviderSettings } from "../provider-set.ts";
import type { UpstreamCall } from "../upstream.ts";
import type { Credential } from "./credentials.ts";
import { createKeyRing, type KeyRing } from "./key-ring.ts";

/** The credential of one call. */
export interface KeyUse {
  /** For undici: name, value. Never log them. */
  readonly headers: readonly string[];
  /** The call was answered. */
  accepted(): void;
  /**
   * The call failed. A credential that was refused or limited is left alone for a while; as long as the provider can be called
   * with another one, the failure is one that a further attempt at the same target may mend.
   */
  failed(failure: WeirError): WeirError;
}

/** The credentials of all providers. */
export interface Keys {
  /**
   * Chooses a credential for a call, and signs the call or fetches an access token where the credential wants it: a promise only then.
   * @throws WeirError PROVIDER_UNAVAILABLE, `credential` or `connect`, when there is no token to be had
   */
  use(provider: ProviderSettings, call: UpstreamCall): KeyUse | Promise<KeyUse>;
  /**
   * Chooses a credential for a call that is neither signed nor bears a token.
   * @param account where what the call is about was made, as `accountOf` said then; empty: any. One that is not configured any
   *   more has given way to another key of the same account, where only one is configured
   * @throws WeirError PROVIDER_UNAVAILABLE, `credential`, when it is not among those that are configured
   */
  useAccount(provider: ProviderSettings, account: string): AccountUse;
}

/** The credential of one call, and which account it is. */
export interface AccountUse extends KeyUse {
  /** A digest of the credential, in 16 hexadecimal digits. */
  readonly account: string;
}

interface Ring {
  readonly identity: string;
  readonly credentials: readonly Credential[];
  readonly ring: KeyRing;
}

export interface KeysDeps {
  /** Its wall time dates signatures. */
  readonly clock: Clock;
  readonly dispatcherOf: (origin: string) => Dispatcher;
  readonly log: Log;
}

export function createKeys({ clock, dispatcherOf, log }: KeysDeps): Keys {
  const rings = new Map<string, Ring>();
  const tokens = createGoogleTokens({
    clock,
    dispatcherOf,
    onFailure: ({ tokenUrl }, { status, word }) =>
      log.warn({ host: new URL(tokenUrl).host, status, word }, "a service account got no access token"),
  });

  function ringOf({ id, credentials }: ProviderSettings): KeyRing {
    const known = rings.get(id);
    if (known?.credentials === credentials) return known.ring;
    // By content: a reload of the configuration makes new objects, and what is parked stays so.
    const identity = hash("sha256", JSON.stringify(credentials));
    if (known?.identity === identity) return known.ring;
    const ring = createKeyRing(credentials.length);
    rings.set(id, { identity, credentials, ring });
    return ring;
  }

  function keyUse(provider: ProviderSettings, ring: KeyRing, index: number, headers: readonly string[]): KeyUse {
    const takenMs = clock.monotonic();
    return {
      headers,
      accepted: () => ring.accepted(index, takenMs),
      failed(failure) {
        const nowMs = clock.monotonic();
        if (failure.reason === ErrorReason.PROVIDER_RATE_LIMITED) ring.limited(index, nowMs, failure.retryAfterMs);
        else if (failure.metadata["cause"] === "credential") ring.refused(index, nowMs, takenMs);
        else return failure;
        return ring.hasOther(index, nowMs) ? unavailable(provider.id, "key") : failure;
      },
    };
  }

  function bearing(provider: ProviderSettings, ring: KeyRing, index: number, account: ServiceAccount, token: string) {
    const use = keyUse(provider, ring, index, ["authorization", `Bearer ${token}`]);
    return {
      ...use,
      failed(failure: WeirError) {
        if (failure.metadata["cause"] === "credential") tokens.forget(account, token);
        return use.failed(failure);
      },
    };
  }

  /** Calls with an access token; without one the failure is as if the provider had refused it, or did not answer. */
  function bear(
    provider: ProviderSettings,
    ring: KeyRing,
    index: number,
    account: ServiceAccount,
  ): KeyUse | Promise<KeyUse> {
    const token = tokens.of(account);
    if (typeof token === "string") return bearing(provider, ring, index, account, token);
    return token.then(
      (fetched) => bearing(provider, ring, index, account, fetched),
      (thrown: unknown) => {
        if (!(thrown instanceof TokenFailure)) throw thrown;
        const failure = unavailable(provider.id, thrown.refused ? "credential" : "connect");
        throw keyUse(provider, ring, index, []).failed(failure);
      },
    );
  }

  return {
    useAccount(provider, account) {
      const { credentials } = provider;
      const ring = ringOf(provider);
      const known = account === "" ? -1 : credentials.findIndex((credential) => accountOf(credential) === account);
      if (account !== "" && known < 0 && credentials.length > 1) throw unavailable(provider.id, "credential");
      const index = known < 0 ? ring.take(clock.monotonic()) : known;
      const credential = credentials[index] ?? noCredential;
      return { ...keyUse(provider, ring, index, plainHeaders(credential)), account: accountOf(credential) };
    },
    use(provider, call) {
      const ring = ringOf(provider);
      const index = ring.take(clock.monotonic());
      const credential = provider.credentials[index] ?? noCredential;
      switch (credential.kind) {
        case "none":
          return keyUse(provider, ring, index, []);
        case "header":
          return keyUse(provider, ring, index, [credential.name, credential.value]);
        case "headers":
          return keyUse(provider, ring, index, credential.headers);
        case "service-account":
          return bear(provider, ring, index, credential.account);
        case "aws":
          return sign(provider, call, credential, clock.now()).then((headers) =>
            keyUse(provider, ring, index, headers),
          );
      }
    },
  };
}

const noCredential: Credential = { kind: "none" };

function plainHeaders(credential: Credential): readonly string[] {
  if (credential.kind === "header") return [credential.name, credential.value];
  return credential.kind === "headers" ? credential.headers : [];
}

/** Tells accounts of one provider apart, also for those who may not know their credentials. */
function accountOf(credential: Credential): string {
  return hash("sha256", JSON.stringify(credential)).slice(0, 16);
}

/** Signs a call with the headers that say what it is; the others may change on the way. */
function sign(
  { origin, headers }: ProviderSettings,
  { path, body }: UpstreamCall,
  credential: Extract<Credential, { kind: "aws" }>,
  nowMs: number,
): Promise<string[]> {
  const { region, accessKeyId, secretAccessKey, sessionToken } = credential;
  const [plain = "", query] = path.split("?", 2);
  const type = headers.indexOf("content-type");
  return signPost(
    {
      origin,
      path: plain,
      ...(query === undefined ? {} : { query }),
      headers: type < 0 ? [] : headers.slice(type, type + 2),
      body,
    },
    { region, service: "bedrock" },
    { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
    nowMs,
  );
}
