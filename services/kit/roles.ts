import { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";

/** What each role may do in its tenant. docs/identity.md has the same table for people. */
const permissionsByRole: Readonly<Record<Role, readonly Permission[]>> = {
  [Role.UNSPECIFIED]: [Permission.KNOWN, Permission.MODELS_CALL, Permission.COSTS_READ],
  [Role.MEMBER]: [Permission.KNOWN, Permission.MODELS_CALL, Permission.COSTS_READ],
  [Role.ANALYST]: [Permission.KNOWN, Permission.COSTS_READ],
  [Role.AUDITOR]: [
    Permission.KNOWN,
    Permission.COSTS_READ,
    Permission.ACCOUNTS_READ,
    Permission.AUDIT_READ,
    Permission.GATEWAY_READ,
  ],
  [Role.ADMIN]: [
    Permission.KNOWN,
    Permission.MODELS_CALL,
    Permission.COSTS_READ,
    Permission.BUDGETS_WRITE,
    Permission.ACCOUNTS_READ,
    Permission.ACCOUNTS_WRITE,
    Permission.AUDIT_READ,
    Permission.GATEWAY_READ,
  ],
  [Role.OWNER]: [
    Permission.KNOWN,
    Permission.MODELS_CALL,
    Permission.COSTS_READ,
    Permission.BUDGETS_WRITE,
    Permission.ACCOUNTS_READ,
    Permission.ACCOUNTS_WRITE,
    Permission.AUDIT_READ,
    Permission.GATEWAY_READ,
  ],
};

/** Permissions that only a caller has whose role holds in every tenant. */
const everyTenantOnly: ReadonlySet<Permission> = new Set([Permission.TENANTS_WRITE, Permission.LEDGER_WRITE]);

/**
 * What a caller may do. Never PERMISSION_MESH, which no caller has.
 * @param everyTenant whether the role holds in every tenant
 */
export function permissionsOf(role: Role, everyTenant: boolean): ReadonlySet<Permission> {
  const own = permissionsByRole[role] ?? [];
  const changes = everyTenant && (role === Role.OWNER || role === Role.ADMIN);
  return new Set(changes ? [...own, ...everyTenantOnly] : own);
}

/** Whether a caller sees and changes only what belongs to its own key: a member does not see what its tenant's others did. */
export function isConfinedToKey(role: Role): boolean {
  return role === Role.MEMBER || role === Role.UNSPECIFIED;
}

/** The roles that allow no more than each does. */
const rolesWithin: Readonly<Record<Role, readonly Role[]>> = {
  [Role.UNSPECIFIED]: [Role.UNSPECIFIED, Role.MEMBER],
  [Role.MEMBER]: [Role.UNSPECIFIED, Role.MEMBER],
  [Role.ANALYST]: [Role.ANALYST],
  [Role.AUDITOR]: [Role.ANALYST, Role.AUDITOR],
  [Role.ADMIN]: [Role.UNSPECIFIED, Role.MEMBER, Role.ANALYST, Role.AUDITOR, Role.ADMIN],
  [Role.OWNER]: [Role.UNSPECIFIED, Role.MEMBER, Role.ANALYST, Role.AUDITOR, Role.ADMIN, Role.OWNER],
};

/** Whether a role allows nothing that another does not: no permission, no sight of others, no giving of roles. */
export function isRoleWithin(role: Role, most: Role): boolean {
  return (rolesWithin[most] ?? []).includes(role);
}

/**
 * Whether a caller may give a role to somebody else: nobody makes more than they are, only owners make admins and owners,
 * and only who acts in every tenant gives a role that does.
 */
export function mayGrant(
  granter: { readonly role: Role; readonly everyTenant: boolean },
  granted: { readonly role: Role; readonly everyTenant: boolean },
): boolean {
  if (granted.everyTenant && !granter.everyTenant) return false;
  if (granter.role === Role.OWNER) return true;
  return granter.role === Role.ADMIN && granted.role !== Role.OWNER && granted.role !== Role.ADMIN;
}
