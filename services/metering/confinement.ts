import { create, fromBinary, getOption } from "@bufbuild/protobuf";
import type { HandlerContext } from "@connectrpc/connect";
import { access, Permission, Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Principal, PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { metadataNames, requestMetadata } from "@weir/kit/call";
import { operatorKey } from "@weir/kit/operator";
import { isConfinedToKey, permissionsOf } from "@weir/kit/roles";
import { WeirError } from "@weir/kit/weir-error";
import type { Database, Rows } from "./database.ts";

/** Who calls, and what is theirs to see. */
export interface Confinement {
  readonly principal: Principal;
  /** The one tenant whose rows are there; undefined: every tenant's. */
  readonly tenant: string | undefined;
  /** The one key whose usage is there; undefined: every key's. */
  readonly key: string | undefined;
  /** Id of the client's request; empty: none. */
  readonly requestId: string;
}

/** Who runs the gateway: what it does by its configuration, and what services do that the command line alone may call. */
export const operator: Confinement = {
  principal: create(PrincipalSchema, { key: operatorKey, role: Role.OWNER, everyTenant: true }),
  tenant: undefined,
  key: undefined,
  requestId: "",
};

/**
 * Reads who calls from the metadata that an edge, or the command line, sent along. Edges decide by role and scope who may call;
 * that the role has the permission of the method is asked here once more, since more than edges can reach this service.
 * @throws WeirError FORBIDDEN when there is no principal, or its role lacks the permission
 */
export function confinementOf(context: HandlerContext): Confinement {
  const principal = principalOf(context);
  const isMember = principal !== undefined && isConfinedToKey(principal.role);
  const seesAll = principal?.everyTenant === true && !isMember;
  if (principal === undefined || !(seesAll || isTenant(principal.tenant))) {
    throw new WeirError(ErrorReason.FORBIDDEN, {
      text: `The metadata entry ${metadataNames.principal} must say who calls.`,
    });
  }
  const { role, everyTenant } = principal;
  const { permission } = getOption(context.method, access);
  if (!permissionsOf(role, everyTenant).has(permission)) {
    throw new WeirError(ErrorReason.FORBIDDEN, {
      metadata: { permission: permissionWords.get(permission) ?? "" },
    });
  }
  return {
    principal,
    tenant: seesAll ? undefined : principal.tenant,
    key: isMember ? principal.key : undefined,
    requestId: (requestMetadata(context, metadataNames.requestId) ?? "").slice(0, requestIdLengthMax),
  };
}

/** The rows of a database that a caller may see. */
export function rowsFor(database: Database, { tenant }: Confinement): Rows {
  return tenant === undefined ? database : database.of(tenant);
}

/**
 * The tenant that something is to be made in.
 * @param name `tenants/` and an id; empty: the caller's own
 * @throws WeirError NOT_FOUND for a tenant that the caller may not see; INVALID_REQUEST when none is named by a caller
 *   that has none of its own
 */
export function tenantFor(by: Confinement, name: string): string {
  const wanted = name === "" ? by.principal.tenant : name.slice("tenants/".length);
  if (wanted === "") {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`tenant` must name the tenant.",
      metadata: { param: "tenant" },
    });
  }
  if (by.tenant !== undefined && wanted !== by.tenant) throw noSuch(name);
  return wanted;
}

/** What is not there, and what a caller may not see, answer alike. @param name of the resource, as the caller wrote it */
export function noSuch(name: string, text?: string): WeirError {
  return new WeirError(ErrorReason.NOT_FOUND, {
    metadata: { resource: name },
    ...(text === undefined ? {} : { text }),
  });
}

/** Whether a text can be the id of a tenant. */
export function isTenant(text: string): boolean {
  return /^[a-z][a-z0-9-]{0,62}$/.test(text);
}

/** The principal of a call; undefined: it names none. */
export function principalOf(context: HandlerContext): Principal | undefined {
  const entry = requestMetadata(context, metadataNames.principal);
  if (entry === undefined) return undefined;
  try {
    return fromBinary(PrincipalSchema, Buffer.from(entry, "base64"));
  } catch {
    return undefined; // no message: as if there were none
  }
}

const permissionWords = new Map<Permission, string>(
  Object.entries(Permission).map(([name, permission]) => [permission, name.toLowerCase()]),
);
const requestIdLengthMax = 128;
