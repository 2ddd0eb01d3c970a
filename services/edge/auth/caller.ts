import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { KeyScope } from "@weir/gen/weir/account/v1/account_service_pb";
import type { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { namedEndpoints } from "@weir/kit/named-endpoints";
import { permissionsOf } from "@weir/kit/roles";
import type { Limited } from "../limits/limits.ts";
import { createNetworks, type Networks } from "./networks.ts";

/** Who calls, ready for use: a live key, or a token that was verified. */
export interface Caller extends Limited {
  /** Id of the key, or what stands for the issuer and the subject of a token. */
  readonly id: string;
  /** Id of the tenant that pays. */
  readonly tenant: string;
  /**
   * What the caller belongs to, whose limits hold for it and whose end ends it: `tenants/`, `teams/` and `users/` and
   * an id, the tenant first.
   */
  readonly subjects: readonly string[];
  /** Wall-clock time from which the caller is refused; Infinity: never. */
  readonly expireMs: number;
  /** An encoded weir.common.v1.Principal without `user` and `tags`, and the same in base 64. */
  readonly principal: Uint8Array;
  readonly principalHeader: string;
  /** What the caller's role allows. */
  readonly permissions: ReadonlySet<Permission>;
  /** Whether the scope has an endpoint. */
  readonly mayUse: (endpoint: string) => boolean;
  /** Whether the caller may call an alias. */
  readonly mayCall: (alias: string) => boolean;
  /** The collections of its tenant that the caller is confined to: ids, or prefixes that end in `*`; none: all of them. */
  readonly collections: readonly string[];
  /** Whether the caller may reach a collection of its tenant, by its id. */
  readonly mayReach: (collection: string) => boolean;
  /** Where the caller must call from; undefined: anywhere. */
  readonly networks: Networks | undefined;
  /** False once the key was revoked, its record was replaced, or what was said of tokens has changed. */
  isLive: boolean;
}

/** What a caller is made of. */
export interface Identity {
  /** As in Caller. */
  readonly id: string;
  /** Whether the caller came with a token, of which nothing stands in the accounts. */
  readonly isToken: boolean;
  readonly tenant: string;
  readonly role: Role;
  /** Whether the role holds in every tenant. */
  readonly everyTenant: boolean;
  /** Id of the team; empty: none. */
  readonly team: string;
  /** Id of the account of a person; empty: none. */
  readonly user: string;
  /** Undefined: whatever the role allows. */
  readonly scope: KeyScope | undefined;
  readonly expireMs: number;
}

/** A token may say that it ends at a time that cannot be written down. */
const lastMs = Date.UTC(9999, 11, 31);

export function createCaller(identity: Identity): Caller {
  const { id, tenant, role, everyTenant, team, user, scope, expireMs } = identity;
  const endpoints = scope?.endpoints ?? [];
  const models = scope?.models ?? [];
  const collections = scope?.collections ?? [];
  const networks = scope?.networks ?? [];
  const who = { tenant, key: id, role, everyTenant, team, accountUser: user };
  // What a key is confined to, and when it ends, stands in the accounts; of a token nobody else knows.
  const ofToken = {
    scoped: endpoints.length + networks.length + models.length + collections.length > 0,
    expireTime: timestampFromMs(Math.min(Math.floor(expireMs), lastMs)),
  };
  const principal = toBinary(PrincipalSchema, create(PrincipalSchema, identity.isToken ? { ...who, ...ofToken } : who));
  return {
    id,
    tenant,
    subjects: [
      `tenants/${tenant}`,
      ...(team === "" ? [] : [`teams/${team}`]),
      ...(user === "" ? [] : [`users/${user}`]),
    ],
    expireMs,
    requestsPerMinute: scope?.requestsPerMinute,
    tokensPerMinute: scope?.tokensPerMinute,
    requestsPerDay: scope?.requestsPerDay,
    tokensPerDay: scope?.tokensPerDay,
    concurrentRequests: scope?.concurrentRequests,
    principal,
    principalHeader: base64(principal),
    permissions: permissionsOf(role, everyTenant),
    mayUse: usesOf(endpoints, models),
    mayCall: scopeOf(models),
    collections,
    mayReach: scopeOf(collections),
    // A network that cannot be read lets nobody in: whoever made the key meant to confine it.
    networks: networks.length === 0 ? undefined : createNetworks(networks, () => undefined),
    isLive: true,
  };
}

/** The principal of a call that names its end user or has tags: the caller's principal with more fields. @param tags encoded */
export function principalHeaderFor(caller: Caller, user: string | undefined, tags?: Uint8Array): string {
  if (user === undefined && tags === undefined) return caller.principalHeader;
  const fields = [caller.principal];
  if (user !== undefined) fields.push(new BinaryWriter().tag(3, WireType.LengthDelimited).string(user).finish());
  if (tags !== undefined) fields.push(tags);
  return base64(Buffer.concat(fields));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

function usesOf(endpoints: readonly string[], models: readonly string[]): (endpoint: string) => boolean {
  if (endpoints.length > 0) return (endpoint) => endpoints.includes(endpoint);
  return models.length === 0 ? () => true : (endpoint) => !namedEndpoints.has(endpoint);
}

/** @param patterns names, and prefixes that end in `*`; none: everything */
function scopeOf(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.length === 0) return () => true;
  const names = new Set(patterns.filter((pattern) => !pattern.endsWith("*")));
  const prefixes = patterns.filter((pattern) => pattern.endsWith("*")).map((pattern) => pattern.slice(0, -1));
  return (name) => names.has(name) || prefixes.some((prefix) => name.startsWith(prefix));
}
