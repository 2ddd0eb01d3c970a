import { Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { expect, test } from "vitest";
import { isConfinedToKey, isRoleWithin, mayGrant, permissionsOf } from "./roles.ts";

const roles = [Role.UNSPECIFIED, Role.MEMBER, Role.ANALYST, Role.AUDITOR, Role.ADMIN, Role.OWNER];

test("a role that is not set is a member's", () => {
  expect(permissionsOf(Role.UNSPECIFIED, false)).toEqual(permissionsOf(Role.MEMBER, false));
  expect(isConfinedToKey(Role.UNSPECIFIED)).toBe(isConfinedToKey(Role.MEMBER));
});

test("no role is allowed what is for processes of the gateway", () => {
  for (const role of roles) {
    for (const everyTenant of [false, true]) {
      expect(permissionsOf(role, everyTenant).has(Permission.MESH)).toBe(false);
    }
  }
});

test("tenants are made by admins and owners of the gateway alone", () => {
  const makers = roles.filter((role) => permissionsOf(role, true).has(Permission.TENANTS_WRITE));
  expect(makers).toEqual([Role.ADMIN, Role.OWNER]);
  for (const role of roles) expect(permissionsOf(role, false).has(Permission.TENANTS_WRITE)).toBe(false);
});

test("a granted role never has a permission that its giver lacks", () => {
  for (const granter of roles.flatMap((role) => [false, true].map((everyTenant) => ({ role, everyTenant })))) {
    for (const granted of roles.flatMap((role) => [false, true].map((everyTenant) => ({ role, everyTenant })))) {
      if (!mayGrant(granter, granted)) continue;
      const own = permissionsOf(granter.role, granter.everyTenant);
      for (const permission of permissionsOf(granted.role, granted.everyTenant)) {
        expect(own.has(permission), `${granter.role} gives ${granted.role}`).toBe(true);
      }
    }
  }
});

test("only owners make admins and owners; who may change no accounts gives no role", () => {
  expect(mayGrant({ role: Role.ADMIN, everyTenant: false }, { role: Role.ADMIN, everyTenant: false })).toBe(false);
  expect(mayGrant({ role: Role.OWNER, everyTenant: false }, { role: Role.OWNER, everyTenant: false })).toBe(true);
  expect(mayGrant({ role: Role.OWNER, everyTenant: false }, { role: Role.OWNER, everyTenant: true })).toBe(false);
  expect(mayGrant({ role: Role.AUDITOR, everyTenant: true }, { role: Role.MEMBER, everyTenant: false })).toBe(false);
});

test("a role within another has no permission, no sight and no role to give that the other lacks", () => {
  for (const most of roles) {
    expect(isRoleWithin(most, most)).toBe(true);
    for (const role of roles) {
      if (!isRoleWithin(role, most)) continue;
      for (const permission of permissionsOf(role, false))
        expect(permissionsOf(most, false).has(permission)).toBe(true);
      if (isConfinedToKey(most)) expect(isConfinedToKey(role)).toBe(true);
      for (const given of roles) {
        const granted = { role: given, everyTenant: false };
        if (!mayGrant({ role, everyTenant: false }, granted)) continue;
        expect(mayGrant({ role: most, everyTenant: false }, granted)).toBe(true);
      }
    }
  }
  expect(isRoleWithin(Role.ANALYST, Role.MEMBER)).toBe(false);
  expect(isRoleWithin(Role.OWNER, Role.ADMIN)).toBe(false);
});
