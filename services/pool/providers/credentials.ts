import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { readServiceAccount } from "@weir/kit/config/service-account";
import type { ServiceAccount } from "../auth/google-tokens.ts";

/** What proves to a provider who calls. Never log one. */
export type Credential =
  | { readonly kind: "none" }
  /** One header, as undici takes it. */
  | { readonly kind: "header"; readonly name: string; readonly value: string }
  /** Several: name, value, name, value. */
  | { readonly kind: "headers"; readonly headers: readonly string[] }
  /** Calls bear an access token, which is fetched for an account of Google's. */
  | { readonly kind: "service-account"; readonly account: ServiceAccount }
  /** Each call is signed: AWS Signature Version 4. */
  | {
      readonly kind: "aws";
      readonly region: string;
      readonly accessKeyId: string;
      readonly secretAccessKey: string;
      readonly sessionToken: string | undefined;
    };

const noCredential: Credential = { kind: "none" };

/**
 * All credentials of a provider; at least one, which may be none.
 * @throws RangeError when `credentials` are no key of a service account
 */
export function credentialsOf(id: string, config: ProviderConfig): readonly Credential[] {
  if (config.credentials !== "") return [serviceAccount(id, config)];
  const keys = [...new Set([config.apiKey, ...config.apiKeys])].filter((key) => key !== "");
  if (keys.length > 0) return keys.map((key) => header(config, key));
  if (config.aws === undefined) return [noCredential];
  const { accessKeyId, secretAccessKey, sessionToken } = config.aws;
  return [
    {
      kind: "aws",
      region: config.region,
      accessKeyId,
      secretAccessKey,
      sessionToken: sessionToken === "" ? undefined : sessionToken,
    },
  ];
}

function serviceAccount(id: string, { credentials, tokenUrl }: ProviderConfig): Credential {
  const key = readServiceAccount(credentials);
  if (typeof key === "string") throw new RangeError(`providers.${id}.credentials: ${key}`);
  return { kind: "service-account", account: { key, tokenUrl: tokenUrl || key.tokenUri } };
}

function header({ kind, project }: ProviderConfig, key: string): Credential {
  switch (kind) {
    case ProviderKind.ANTHROPIC:
      return { kind: "header", name: "x-api-key", value: key };
    case ProviderKind.AZURE:
      return { kind: "header", name: "api-key", value: key };
    case ProviderKind.GEMINI:
      return { kind: "header", name: "x-goog-api-key", value: key };
    case ProviderKind.VERTEX:
      // Express mode has keys; a project is called with an access token.
      if (project === "") return { kind: "header", name: "x-goog-api-key", value: key };
      break;
    default:
      break;
  }
  return { kind: "header", name: "authorization", value: `Bearer ${key}` };
}
