import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/config_pb";

/** What proves to a provider who calls. Never log one. */
export type Credential =
  | { readonly kind: "none" }
  /** One header, as undici takes it. */
  | { readonly kind: "header"; readonly name: string; readonly value: string }
  /** Several: name, value, name, value. */
  | { readonly kind: "headers"; readonly headers: readonly string[] }
  /** Each call is signed: AWS Signature Version 4. */
  | {
      readonly kind: "aws";
      readonly region: string;
      readonly accessKeyId: string;
      readonly secretAccessKey: string;
      readonly sessionToken: string | undefined;
    };

const noCredential: Credential = { kind: "none" };

/** All credentials of a provider; at least one, which may be none. */
export function credentialsOf(config: ProviderConfig): readonly Credential[] {
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
