import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { KeyScope } from "@weir/gen/weir/account/v1/account_service_pb";
import type { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { operatorKey } from "@weir/kit/operator";
import { mayGrant } from "@weir/kit/roles";
import { isTokenKey } from "@weir/kit/token-key";
import { WeirError } from "@weir/kit/weir-error";
import type { Confinement } from "./confinement.ts";
import { scopeOf } from "./key-messages.ts";
import type { KeyRow, KeyStore } from "./key-store.ts";
import { roleOf } from "./role-words.ts";
import { type Scope, widerField } from "./scope-within.ts";

/** What a caller has itself, and so may give. */
export interface Granter {
  /** Empty: it came with no key. */
  readonly keyId: string;
  readonly role: Role;
  readonly everyTenant: boolean;
  /** Undefined: no bounds. */
  readonly scope: KeyScope | undefined;
  /** When it ends; null: never by itself. */
  readonly expireTime: Date | null;
}

/** What somebody is to be given. */
export interface Grant {
  readonly role: Role;
  readonly everyTenant: boolean;
  /** Absent: a user, whose keys have scopes of their own. */
  readonly scope?: Scope;
  readonly expireTime?: Date | null;
}

/**
 * What the caller has: of a key, what stands in the store now, not what an edge knew; of a token, what its edge says.
 * @throws WeirError FORBIDDEN when the key has ended, or for a token that was confined, or whose end is not told
 */
export async function granterOf(by: Confinement, keys: Pick<KeyStore, "get">, clock: Clock): Promise<Granter> {
  const { key, role, everyTenant, scoped, expireTime } = by.principal;
  if (key === operatorKey) return { keyId: "", role, everyTenant, scope: undefined, expireTime: null };
  if (isTokenKey(key)) {
    // What the token is confined to is known to the edge alone, so nothing can be compared with it.
    if (scoped) throw beyond("scope");
    // An edge of an earlier version does not say when it ends.
    if (expireTime === undefined) throw beyond("expire_time");
    return { keyId: "", role, everyTenant, scope: undefined, expireTime: timestampDate(expireTime) };
  }
  const row = await keys.get(by, key);
  const isOver = row === undefined || row.revokeTime !== null || (row.expireTime?.getTime() ?? Infinity) <= clock.now();
  if (isOver) throw new WeirError(ErrorReason.FORBIDDEN, { text: "The key that calls has ended." });
  return {
    keyId: row.keyId,
    role: roleOf(row.role),
    everyTenant: row.everyTenant && everyTenant,
    scope: scopeOf(row),
    expireTime: row.expireTime,
  };
}

/** Nobody gives more than they have. @throws WeirError FORBIDDEN that names the field that goes beyond it */
export function checkGrant(granter: Granter, grant: Grant): void {
  if (!mayGrant(granter, grant)) throw beyond("role");
  checkBounds(granter, grant);
}

/** The same for what has the role already, or is the granter's own. */
export function checkBounds(granter: Granter, { scope, expireTime }: Pick<Grant, "scope" | "expireTime">): void {
  const wider = scope === undefined || granter.scope === undefined ? undefined : widerField(scope, granter.scope);
  if (wider !== undefined) throw beyond(`scope.${wider.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`);
  if (expireTime === undefined || granter.expireTime === null) return;
  if (expireTime === null || expireTime > granter.expireTime) throw beyond("expire_time");
}

/** Whether a caller may change a key: its own, or one whose role it may give. @throws WeirError FORBIDDEN */
export function checkMayChange(granter: Granter, { keyId, role, everyTenant }: KeyRow): void {
  if (keyId === granter.keyId) return;
  if (!mayGrant(granter, { role: roleOf(role), everyTenant })) throw beyond("role");
}

function beyond(param: string): WeirError {
  return new WeirError(ErrorReason.FORBIDDEN, {
    text: `\`${param}\` goes beyond what the caller has itself.`,
    metadata: { param },
  });
}
