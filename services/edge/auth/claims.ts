import { create } from "@bufbuild/protobuf";
import { KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import { tokenKey } from "@weir/kit/token-key";
import type { JWTPayload } from "jose";
import type { Identity } from "./caller.ts";
import type { GivenRole, IdentityProvider, RoleRule, TenantRule } from "./identity-provider.ts";

/** Ids of tenants, as accounts have them. */
const tenantShape = /^[a-z][a-z0-9-]{0,62}$/;
/** What follows the tenant's id and a point in the ids of its teams and users. */
const memberShape = /^[a-z0-9][a-z0-9-]{0,39}$/;
/** Values of one claim that are looked at. */
const valuesMax = 1_000;
const wordLengthMax = 512;

/**
 * Who a token with these claims is. Pure.
 * @param claims of a token whose signature, issuer, audience and times were verified
 * @returns undefined when they name no subject, no tenant or no role by the provider's rules, or an id that is none
 */
export function identityOf(claims: JWTPayload, provider: IdentityProvider, expireMs: number): Identity | undefined {
  const { sub } = claims;
  if (typeof sub !== "string" || sub === "") return undefined;
  const tenant = tenantOf(claims, provider.tenant);
  const given = roleOf(claims, provider.role);
  if (tenant === undefined || given === undefined) return undefined;
  const team = memberOf(tenant, claims, provider.teamClaim);
  const user = memberOf(tenant, claims, provider.userClaim);
  if (team === undefined || user === undefined) return undefined;
  const models = wordsOf(claims, provider.modelsClaim);
  const endpoints = wordsOf(claims, provider.endpointsClaim);
  const collections = wordsOf(claims, provider.collectionsClaim);
  return {
    id: tokenKey(provider.issuer, sub),
    isToken: true,
    tenant,
    role: given.role,
    everyTenant: given.everyTenant,
    team,
    user,
    scope: create(KeyScopeSchema, { models, endpoints, collections }),
    expireMs,
  };
}

function tenantOf(claims: JWTPayload, rule: TenantRule): string | undefined {
  if (rule.kind === "fixed") return rule.id;
  const value = claimOf(claims, rule.claim);
  if (typeof value !== "string") return undefined;
  const id = rule.ids === undefined ? value : rule.ids.get(value);
  return id !== undefined && tenantShape.test(id) ? id : undefined;
}

function roleOf(claims: JWTPayload, { claim, rules, otherwise }: RoleRule): GivenRole | undefined {
  const values = new Set(claim === "" ? [] : textsOf(claimOf(claims, claim)));
  return rules.find(({ value }) => values.has(value)) ?? otherwise;
}

/**
 * A team or a user, named with the tenant's id and a point or without: nobody is made part of another tenant.
 * @returns empty when no claim is named or the token lacks it; undefined when what it has is no id
 */
function memberOf(tenant: string, claims: JWTPayload, claim: string): string | undefined {
  const value = claim === "" ? undefined : claimOf(claims, claim);
  if (value === undefined) return "";
  if (typeof value !== "string") return undefined;
  const own = value.startsWith(`${tenant}.`) ? value.slice(tenant.length + 1) : value;
  return memberShape.test(own) ? `${tenant}.${own}` : undefined;
}

/** A scope without any word allows everything, so a token that should have words and has none gets one that nothing is called by. */
const nothing = [" "];

/** @returns empty when no claim is named: everything */
function wordsOf(claims: JWTPayload, claim: string): string[] {
  if (claim === "") return [];
  const value = claimOf(claims, claim);
  const words = typeof value === "string" ? value.split(" ") : textsOf(value);
  const good = words.slice(0, valuesMax).filter((word) => word !== "" && word.length <= wordLengthMax);
  return good.length === 0 ? [...nothing] : good;
}

function textsOf(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  return Array.isArray(value) ? value.slice(0, valuesMax).filter((item) => typeof item === "string") : [];
}

/** A claim by its name or, when no claim has the whole name, by a path with dots. Nothing that claims inherit is one. */
function claimOf(claims: JWTPayload, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const part of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}
