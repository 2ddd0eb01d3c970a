import { create } from "@bufbuild/protobuf";
import { durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AccountService, type KeyScope, KeyScopeSchema } from "@weir/gen/weir/account/v1/account_service_pb";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { createKeyText, keyDigest, type RandomBytes } from "@weir/kit/api-key";
import type { Clock } from "@weir/kit/clock";
import { isRoleWithin } from "@weir/kit/roles";
import { WeirError } from "@weir/kit/weir-error";
import { confinementOf, noSuch, tenantFor } from "./confinement.ts";
import { checkBounds, checkGrant, checkMayChange, type Granter, granterOf } from "./granting.ts";
import { limitsJson, scopeJson, scopeOf, toProtoKey, toProtoTenant } from "./key-messages.ts";
import type { FoundOwners, KeyRow, KeyStore } from "./key-store.ts";
import { streamKeys } from "./key-stream.ts";
import type { KeyWatchStore } from "./key-watch-store.ts";
import { readPage } from "./list-page.ts";
import { roleOf, roleWord } from "./role-words.ts";
import { isNetwork } from "./scope-within.ts";
import type { TenantStore } from "./tenant-store.ts";
import { changedFields } from "./update-mask.ts";
import type { Waiting } from "./waiting.ts";

export interface AccountsDependencies {
  readonly tenants: TenantStore;
  readonly keys: KeyStore;
  readonly watch: KeyWatchStore;
  /** Key of the HMAC over keys' texts; every edge has the same. */
  readonly pepper: Buffer;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Of the streams of WatchKeys. */
  readonly waiting: Waiting;
}

const graceMsDefault = 3_600_000;

export function createAccounts(dependencies: AccountsDependencies): ServiceImpl<typeof AccountService> {
  const { tenants, keys, watch, pepper, clock, random, waiting } = dependencies;

  function newText(): { readonly keyId: string; readonly digest: Buffer; readonly secret: string } {
    const { id, text } = createKeyText(random);
    return { keyId: id, digest: keyDigest(pepper, text), secret: text };
  }

  /** @throws WeirError INVALID_REQUEST for a time that is over, or too far away to be written down */
  function expireTimeOf(time: Timestamp | undefined): Date | null {
    if (time === undefined) return null;
    const ms = timestampMs(time);
    if (ms > clock.now() && ms < expireTimeMaxMs) return new Date(ms);
    throw invalid("expire_time", "`expire_time` must lie in the future, and before the year 9999.");
  }

  const isOver = (row: KeyRow) =>
    row.revokeTime !== null || (row.expireTime !== null && row.expireTime.getTime() <= clock.now());

  return {
    async createTenant({ tenantId, displayName }, context) {
      const by = confinementOf(context);
      const row = await tenants.create(
        by,
        idOf(`tenants/${tenantId}`, "tenants/", "tenant_id"),
        displayName.toWellFormed(),
      );
      if (!row) throw new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: `tenants/${tenantId}` } });
      return { tenant: toProtoTenant(row) };
    },

    async listTenants(request, context) {
      const by = confinementOf(context);
      const { rows, nextPageToken } = await readPage(
        request,
        ["tenants"],
        ([after = ""], countMax) => tenants.list(by, after, countMax),
        (row) => [row.tenantId],
      );
      return { tenants: rows.map(toProtoTenant), nextPageToken };
    },

    async getTenant({ name }, context) {
      const row = await tenants.get(confinementOf(context), idOf(name, "tenants/", "name"));
      if (!row) throw noSuch(name);
      return { tenant: toProtoTenant(row) };
    },

    async updateTenant({ name, displayName, limits, disabled, updateMask }, context) {
      const by = confinementOf(context);
      const fields = changedFields(updateMask, {
        display_name: displayName !== undefined,
        limits: limits !== undefined,
        disabled: disabled !== undefined,
      });
      const row = await tenants.update(by, idOf(name, "tenants/", "name"), {
        ...(fields.has("display_name") && { displayName: displayName?.toWellFormed() ?? "" }),
        ...(fields.has("limits") && { limits: limitsJson(limits) }),
        ...(fields.has("disabled") && { disabled: disabled ?? false }),
      });
      if (!row) throw noSuch(name);
      waiting.wakeAll();
      return { tenant: toProtoTenant(row) };
    },

    async createKey(request, context) {
      const by = confinementOf(context);
      const owners = {
        tenantId: tenantFor(by, `tenants/${idOf(request.tenant, "tenants/", "tenant")}`),
        teamId: optionalId(request.team, "teams/", "team"),
        userId: optionalId(request.user, "users/", "user"),
      };
      const scope = checkedScope(request.scope);
      const expireTime = expireTimeOf(request.expireTime);
      const granter = await granterOf(by, keys, clock);
      const { keyId, digest, secret } = newText();
      const made = await keys.create(by, owners, (found) => {
        const role = givenRole(request.role, found);
        checkGrant(granter, { role, everyTenant: request.everyTenant, scope, expireTime });
        return {
          keyId,
          digest,
          tenantId: owners.tenantId,
          displayName: request.displayName.toWellFormed(),
          scope: scopeJson(scope),
          expireTime,
          role: roleWord(role),
          everyTenant: request.everyTenant,
          teamId: found.team?.teamId ?? null,
          userId: found.user?.userId ?? null,
        };
      });
      if (typeof made === "string") throw missingOwner(made);
      waiting.wakeAll();
      return { key: toProtoKey(made), secret };
    },

    async listKeys(request, context) {
      const by = confinementOf(context);
      const filter = {
        tenantId: optionalId(request.tenant, "tenants/", "tenant"),
        teamId: optionalId(request.team, "teams/", "team"),
        userId: optionalId(request.user, "users/", "user"),
      };
      const { rows, nextPageToken } = await readPage(
        request,
        ["keys", ...Object.values(filter)],
        (after, countMax) => keys.list(by, filter, after, countMax),
        (row) => row.place,
        ["time", "text"],
      );
      return { keys: rows.map(toProtoKey), nextPageToken };
    },

    async getKey({ name }, context) {
      const row = await keys.get(confinementOf(context), idOf(name, "keys/", "name"));
      if (!row) throw noSuch(name);
      return { key: toProtoKey(row) };
    },

    async updateKey({ name, displayName, scope, expireTime, updateMask }, context) {
      const by = confinementOf(context);
      const fields = changedFields(updateMask, {
        display_name: displayName !== undefined,
        scope: scope !== undefined,
        expire_time: expireTime !== undefined,
      });
      const newScope = fields.has("scope") ? checkedScope(scope) : undefined;
      const newEnd = fields.has("expire_time") ? expireTimeOf(expireTime) : undefined;
      const granter = await granterOf(by, keys, clock);
      const row = await keys.update(by, idOf(name, "keys/", "name"), (before) => {
        checkMayChange(granter, before);
        if (isOver(before)) throw ended();
        checkBounds(granter, {
          ...(newScope && { scope: newScope }),
          ...(newEnd !== undefined && { expireTime: newEnd }),
        });
        return {
          ...(fields.has("display_name") && { displayName: displayName?.toWellFormed() ?? "" }),
          ...(newScope && { scope: scopeJson(newScope) }),
          ...(newEnd !== undefined && { expireTime: newEnd }),
        };
      });
      if (!row) throw noSuch(name);
      waiting.wakeAll();
      return { key: toProtoKey(row) };
    },

    async rotateKey({ name, grace }, context) {
      const by = confinementOf(context);
      const granter = await granterOf(by, keys, clock);
      const { secret, ...text } = newText();
      const rotated = await keys.rotate(
        by,
        idOf(name, "keys/", "name"),
        grace === undefined ? graceMsDefault : durationMs(grace),
        (row) => {
          checkMayRotate(granter, row);
          if (isOver(row)) throw ended();
          if (row.successorId !== null)
            throw invalid("name", "The key was rotated before; its successor can be rotated.");
          const { tenantId, displayName, scope, expireTime, role, everyTenant, teamId, userId } = row;
          return { ...text, tenantId, displayName, scope, expireTime, role, everyTenant, teamId, userId };
        },
      );
      if (!rotated) throw noSuch(name);
      waiting.wakeAll();
      return { key: toProtoKey(rotated.key), secret, replaced: toProtoKey(rotated.replaced) };
    },

    async revokeKey({ name }, context) {
      const by = confinementOf(context);
      const granter = await granterOf(by, keys, clock);
      const row = await keys.revoke(by, idOf(name, "keys/", "name"), (before) => checkMayChange(granter, before));
      if (!row) throw noSuch(name);
      waiting.wakeAll();
      return { key: toProtoKey(row) };
    },

    watchKeys: (_, { signal }) => streamKeys({ store: watch, clock, waiting }, signal),
  };
}

/** A key's successor is a key that is given: all that it may do must be the caller's to give, unless it is the caller's own. */
function checkMayRotate(granter: Granter, row: KeyRow): void {
  if (row.keyId === granter.keyId) return;
  const { everyTenant, expireTime } = row;
  checkGrant(granter, { role: roleOf(row.role), everyTenant, scope: scopeOf(row), expireTime });
}

/** The role that is asked for; of a user's key at most the user's. @throws WeirError FORBIDDEN */
function givenRole(asked: Role, { user }: FoundOwners): Role {
  if (user === undefined || isRoleWithin(asked, roleOf(user.role))) return asked;
  throw new WeirError(ErrorReason.FORBIDDEN, {
    text: "`role` goes beyond what the user is.",
    metadata: { param: "role" },
  });
}

/**
 * A scope that is absent allows everything.
 * @throws WeirError INVALID_REQUEST for a network that is none
 */
function checkedScope(scope: KeyScope | undefined): KeyScope {
  if (scope === undefined) return create(KeyScopeSchema);
  if (scope.networks.every(isNetwork)) return scope;
  throw invalid(
    "scope.networks",
    "`scope.networks` must be networks as CIDR; IPv4 in its own form: 10.0.0.0/8, 2001:db8::/32.",
  );
}

function idOf(name: string, prefix: string, param: string): string {
  const id = name.slice(prefix.length);
  if (name.startsWith(prefix) && /^[a-z0-9.-]{1,104}$/.test(id)) return id;
  throw invalid(param, `\`${param}\` must be \`${prefix}\` and an id.`);
}

function optionalId(name: string, prefix: string, param: string): string {
  return name === "" ? "" : idOf(name, prefix, param);
}

function missingOwner(name: string): WeirError {
  return noSuch(
    name,
    name.startsWith("tenants/")
      ? "There is no such tenant; CreateTenant (`weir tenants create`) makes one."
      : `There is no such ${name.startsWith("teams/") ? "team" : "user"} in the tenant.`,
  );
}

function ended(): WeirError {
  return invalid("name", "The key has ended; CreateKey makes another.");
}

function invalid(param: string, text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param } });
}

const expireTimeMaxMs = Date.UTC(9999, 0, 1);
