import { create, fromJson, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type KeyScope,
  KeyScopeSchema,
  KeySchema,
  type RateLimits,
  RateLimitsSchema,
  TenantSchema,
} from "@weir/gen/weir/account/v1/account_service_pb";
import type { KeyRow } from "./key-store.ts";
import { roleOf } from "./role-words.ts";
import type { TenantRow } from "./tenant-store.ts";

export function toProtoTenant(row: TenantRow) {
  return create(TenantSchema, {
    name: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    createTime: timestampFromDate(row.createTime),
    disabled: row.disabled,
    ...limitsField(row.limits),
  });
}

export function toProtoKey(row: KeyRow): MessageShape<typeof KeySchema> {
  return create(KeySchema, {
    name: `keys/${row.keyId}`,
    tenant: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    scope: scopeOf(row),
    createTime: timestampFromDate(row.createTime),
    ...(row.expireTime && { expireTime: timestampFromDate(row.expireTime) }),
    ...(row.revokeTime && { revokeTime: timestampFromDate(row.revokeTime) }),
    role: roleOf(row.role),
    everyTenant: row.everyTenant,
    team: row.teamId === null ? "" : `teams/${row.teamId}`,
    user: row.userId === null ? "" : `users/${row.userId}`,
    successor: row.successorId === null ? "" : `keys/${row.successorId}`,
  });
}

/** A scope that a later version wrote may have limits that this one does not know; they cannot be enforced here. */
export function scopeOf(row: Pick<KeyRow, "scope">): KeyScope {
  return fromJson(KeyScopeSchema, row.scope as JsonValue, { ignoreUnknownFields: true });
}

/** As the store keeps a scope. */
export function scopeJson(scope: KeyScope): JsonValue {
  return toJson(KeyScopeSchema, scope);
}

/** The field of a message; none for no limits. */
export function limitsField(limits: unknown): { readonly limits?: RateLimits } {
  if (limits === null) return {};
  return { limits: fromJson(RateLimitsSchema, limits as JsonValue, { ignoreUnknownFields: true }) };
}

/** As the store keeps limits; limits that limit nothing are none. */
export function limitsJson(limits: RateLimits | undefined): JsonValue {
  const json = limits === undefined ? {} : (toJson(RateLimitsSchema, limits) as Record<string, JsonValue>);
  return Object.keys(json).length === 0 ? null : json;
}
