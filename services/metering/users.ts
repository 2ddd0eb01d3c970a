import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type UserService, UserSchema } from "@weir/gen/weir/account/v1/user_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { WeirError } from "@weir/kit/weir-error";
import { confinementOf, noSuch, tenantFor } from "./confinement.ts";
import { checkGrant, granterOf } from "./granting.ts";
import { limitsField, limitsJson } from "./key-messages.ts";
import type { KeyStore } from "./key-store.ts";
import { readPage } from "./list-page.ts";
import { roleOf, roleWord } from "./role-words.ts";
import { changedFields } from "./update-mask.ts";
import type { UserRow, UserStore } from "./user-store.ts";
import type { Waiting } from "./waiting.ts";

export interface UsersDependencies {
  readonly store: UserStore;
  readonly keys: Pick<KeyStore, "get">;
  readonly clock: Clock;
  /** Of the streams of WatchKeys. */
  readonly waiting: Waiting;
}

export function createUsers({ store, keys, clock, waiting }: UsersDependencies): ServiceImpl<typeof UserService> {
  return {
    async createUser(request, context) {
      const by = confinementOf(context);
      const tenantId = tenantFor(by, request.tenant);
      const userId = `${tenantId}.${request.userId}`;
      checkGrant(await granterOf(by, keys, clock), { role: request.role, everyTenant: false });
      const made = await store.create(by, {
        userId,
        tenantId,
        displayName: request.displayName.toWellFormed(),
        email: request.email.toWellFormed(),
        role: roleWord(request.role),
        teamId: teamIdOf(request.team),
        limits: limitsJson(request.limits),
      });
      if (made === "no tenant") throw noSuch(`tenants/${tenantId}`);
      if (made === "no team") throw noTeam(request.team);
      if (made === "taken")
        throw new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: `users/${userId}` } });
      waiting.wakeAll();
      return { user: toProtoUser(made) };
    },

    async listUsers(request, context) {
      const by = confinementOf(context);
      const filter = {
        tenantId: request.tenant.replace(/^tenants\//, ""),
        teamId: request.team.replace(/^teams\//, ""),
      };
      const { rows, nextPageToken } = await readPage(
        request,
        ["users", ...Object.values(filter)],
        ([after = ""], countMax) => store.list(by, filter, after, countMax),
        (row) => [row.userId],
      );
      return { users: rows.map(toProtoUser), nextPageToken };
    },

    async getUser({ name }, context) {
      const row = await store.get(confinementOf(context), idOf(name));
      if (!row) throw noSuch(name);
      return { user: toProtoUser(row) };
    },

    async updateUser(request, context) {
      const by = confinementOf(context);
      const { name, displayName, email, role, team, limits, disabled } = request;
      const fields = changedFields(request.updateMask, {
        display_name: displayName !== undefined,
        email: email !== undefined,
        role: role !== undefined,
        team: team !== undefined,
        limits: limits !== undefined,
        disabled: disabled !== undefined,
      });
      const granter = await granterOf(by, keys, clock);
      const newRole = fields.has("role") ? (role ?? Role.MEMBER) : undefined;
      const change = {
        ...(fields.has("display_name") && { displayName: displayName?.toWellFormed() ?? "" }),
        ...(fields.has("email") && { email: email?.toWellFormed() ?? "" }),
        ...(newRole !== undefined && { role: roleWord(newRole) }),
        ...(fields.has("team") && { teamId: teamIdOf(team ?? "") }),
        ...(fields.has("limits") && { limits: limitsJson(limits) }),
        ...(fields.has("disabled") && { disabled: disabled ?? false }),
      };
      const row = await store.update(by, idOf(name), change, (before) => {
        checkGrant(granter, { role: roleOf(before.role), everyTenant: false });
        if (newRole !== undefined) checkGrant(granter, { role: newRole, everyTenant: false });
      });
      if (row === undefined) throw noSuch(name);
      if (row === "no team") throw noTeam(team ?? "");
      waiting.wakeAll();
      return { user: toProtoUser(row) };
    },

    async deleteUser({ name }, context) {
      const by = confinementOf(context);
      const granter = await granterOf(by, keys, clock);
      const wasThere = await store.remove(by, idOf(name), (before) => {
        checkGrant(granter, { role: roleOf(before.role), everyTenant: false });
      });
      if (!wasThere) throw noSuch(name);
      waiting.wakeAll();
      return {};
    },
  };
}

function idOf(name: string): string {
  return name.slice("users/".length);
}

function teamIdOf(name: string): string | null {
  return name === "" ? null : name.slice("teams/".length);
}

function noTeam(name: string): WeirError {
  return noSuch(name, "There is no such team in the tenant.");
}

function toProtoUser(row: UserRow) {
  return create(UserSchema, {
    name: `users/${row.userId}`,
    tenant: `tenants/${row.tenantId}`,
    displayName: row.displayName,
    email: row.email,
    role: roleOf(row.role),
    team: row.teamId === null ? "" : `teams/${row.teamId}`,
    ...limitsField(row.limits),
    disabled: row.disabled,
    createTime: timestampFromDate(row.createTime),
  });
}
