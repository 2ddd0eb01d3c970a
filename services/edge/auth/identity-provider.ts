import { durationMs } from "@bufbuild/protobuf/wkt";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import type { IdentityProviderConfig } from "@weir/gen/weir/config/v1/identity_provider_pb";

/** An issuer of tokens, as weir.yaml's `edge.identity_providers` has it, with its defaults. */
export interface IdentityProvider {
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Undefined: found by way of the issuer's OpenID configuration. */
  readonly jwksUrl: string | undefined;
  readonly algorithms: readonly string[];
  readonly leewaySeconds: number;
  /** Values of `typ` in lower case without `application/`; the empty one stands for none. */
  readonly types: ReadonlySet<string>;
  /** Undefined: any. */
  readonly maxAgeSeconds: number | undefined;
  readonly tenant: TenantRule;
  readonly role: RoleRule;
  readonly teamClaim: string;
  readonly userClaim: string;
  readonly modelsClaim: string;
  readonly endpointsClaim: string;
  readonly collectionsClaim: string;
}

export type TenantRule =
  | { readonly kind: "fixed"; readonly id: string }
  /** `ids` undefined: the claim has the id itself. */
  | { readonly kind: "claim"; readonly claim: string; readonly ids: ReadonlyMap<string, string> | undefined };

export interface RoleRule {
  readonly claim: string;
  readonly rules: readonly GivenRole[];
  /** Undefined: refused. */
  readonly otherwise: GivenRole | undefined;
}

export interface GivenRole {
  readonly value: string;
  readonly role: Role;
  readonly everyTenant: boolean;
}

const defaultAlgorithms = ["RS256", "ES256"];
const defaultTypes = ["", "jwt", "at+jwt"];
const defaultLeewayMs = 30_000;

/** @throws Error for an issuer that stands twice and for URLs that keys are not fetched from */
export function identityProviders(configs: readonly IdentityProviderConfig[]): readonly IdentityProvider[] {
  const issuers = new Set<string>();
  return configs.map((config, index) => {
    const path = `edge.identity_providers[${index}]`;
    if (issuers.has(config.issuer)) throw new Error(`${path}.issuer: another provider has the same issuer`);
    issuers.add(config.issuer);
    const isFound = config.jwksUrl === "";
    if (!isKeyUrl(isFound ? config.issuer : config.jwksUrl)) {
      const field = isFound ? "issuer" : "jwks_url";
      throw new Error(`${path}.${field}: keys are fetched from https URLs only, or from http ones on this machine`);
    }
    return identityProvider(config);
  });
}

function identityProvider(config: IdentityProviderConfig): IdentityProvider {
  const types = config.types.map((type) => type.toLowerCase().replace(/^application\//, ""));
  return {
    issuer: config.issuer,
    audiences: config.audiences,
    jwksUrl: config.jwksUrl === "" ? undefined : config.jwksUrl,
    algorithms: config.algorithms.length === 0 ? defaultAlgorithms : config.algorithms,
    leewaySeconds: (config.leeway === undefined ? defaultLeewayMs : durationMs(config.leeway)) / 1_000,
    types: new Set(types.length === 0 ? defaultTypes : types),
    maxAgeSeconds: config.maxAge === undefined ? undefined : durationMs(config.maxAge) / 1_000,
    tenant: tenantRule(config),
    role: roleRule(config),
    teamClaim: config.teamClaim,
    userClaim: config.userClaim,
    modelsClaim: config.modelsClaim,
    endpointsClaim: config.endpointsClaim,
    collectionsClaim: config.collectionsClaim,
  };
}

function tenantRule({ tenant }: IdentityProviderConfig): TenantRule {
  if (tenant === undefined || tenant.claim === "") return { kind: "fixed", id: tenant?.id ?? "" };
  const ids = Object.entries(tenant.ids);
  return { kind: "claim", claim: tenant.claim, ids: ids.length === 0 ? undefined : new Map(ids) };
}

function roleRule({ role }: IdentityProviderConfig): RoleRule {
  const claim = role?.claim ?? "";
  const otherwise = role?.otherwise ?? Role.UNSPECIFIED;
  const given = otherwise === Role.UNSPECIFIED && claim === "" ? Role.MEMBER : otherwise;
  return {
    claim,
    rules: role?.rules ?? [],
    otherwise: given === Role.UNSPECIFIED ? undefined : { value: "", role: given, everyTenant: false },
  };
}

/** Whether keys may be fetched from a URL: nobody on the way can put in their own. */
export function isKeyUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== "" || password !== "") return false;
  const isLoopback = hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return protocol === "https:" || (protocol === "http:" && isLoopback);
}
