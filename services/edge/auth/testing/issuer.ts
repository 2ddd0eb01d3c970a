import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { IdentityProviderConfigSchema } from "@weir/gen/weir/config/v1/identity_provider_pb";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import { type IdentityProvider, identityProviders } from "../identity-provider.ts";

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>;

/** An identity provider on this machine, for tests. */
export interface Issuer {
  readonly url: string;
  /** Requests for its keys so far. */
  readonly fetches: number;
  /** What it publishes. */
  keys: JWK[];
  /** How it answers for its keys; undefined: as it should. */
  answer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** The pair that tokens are signed with unless another is named. */
  readonly pair: KeyPair;
  /** Makes a pair; `publish` adds its public half to what is published. */
  newPair(kid: string, algorithm?: string, publish?: boolean): Promise<KeyPair>;
  /** Signs a token that a provider of `config()` accepts, but for what is changed. `undefined` takes a claim away. */
  sign(
    claims?: Record<string, unknown>,
    header?: Record<string, unknown>,
    key?: KeyPair["privateKey"],
  ): Promise<string>;
  config(changes?: MessageInitShape<typeof IdentityProviderConfigSchema>): IdentityProvider;
  close(): Promise<void>;
}

/** Opens one on a free port. @param now wall-clock milliseconds for `iat` and `exp` */
export async function startIssuer(now: () => number): Promise<Issuer> {
  let fetches = 0;
  const server = createServer((request, response) => {
    if (request.url === "/.well-known/openid-configuration") {
      response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys` }));
      return;
    }
    fetches += 1;
    if (issuer.answer !== undefined) issuer.answer(request, response);
    else response.end(JSON.stringify({ keys: issuer.keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const pair = await generateKeyPair("ES256", { extractable: true });
  const issuer: Issuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get fetches() {
      return fetches;
    },
    keys: [{ ...(await exportJWK(pair.publicKey)), kid: "first", use: "sig" }],
    answer: undefined,
    pair,
    async newPair(kid, algorithm = "ES256", publish = true) {
      const made = await generateKeyPair(algorithm, { extractable: true });
      if (publish) issuer.keys.push({ ...(await exportJWK(made.publicKey)), kid, use: "sig" });
      return made;
    },
    sign(claims = {}, header = {}, key = pair.privateKey) {
      const nowSeconds = Math.floor(now() / 1_000);
      const payload = {
        iss: issuer.url,
        aud: "weir",
        sub: "ada",
        tenant: "acme",
        iat: nowSeconds,
        exp: nowSeconds + 300,
        ...claims,
      };
      return new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid: "first", ...header }).sign(key);
    },
    config(changes = {}) {
      const config = create(IdentityProviderConfigSchema, {
        issuer: issuer.url,
        audiences: ["weir"],
        jwksUrl: `${issuer.url}/keys`,
        ...changes,
        tenant: changes.tenant ?? { claim: "tenant" },
      } as MessageInitShape<typeof IdentityProviderConfigSchema>);
      return identityProviders([config])[0] as IdentityProvider;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return issuer;
}
