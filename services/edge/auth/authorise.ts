import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { Access } from "../routes/route.ts";
import type { Caller } from "./snapshot.ts";

/**
 * Lets a caller through, or not, by its role and the scope of its key.
 * @throws WeirError FORBIDDEN
 */
export function authorise(caller: Caller, { permission, endpoint }: Access): void {
  if (!caller.permissions.has(permission)) {
    throw new WeirError(ErrorReason.FORBIDDEN, { metadata: { permission: permissionWord(permission) } });
  }
  if (!caller.mayUse(endpoint)) throw new WeirError(ErrorReason.FORBIDDEN, { metadata: { endpoint } });
}

const words = new Map<Permission, string>(
  Object.entries(Permission).map(([name, permission]) => [permission, name.toLowerCase()]),
);

function permissionWord(permission: Permission): string {
  return words.get(permission) ?? "";
}
