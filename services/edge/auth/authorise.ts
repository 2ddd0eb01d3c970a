import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Access } from "../routes/route.ts";
import type { Caller } from "./caller.ts";
import { CallerRefused } from "./refused-caller.ts";

/**
 * Lets a caller through, or not, by its role and the scope of its key.
 * @throws CallerRefused FORBIDDEN
 */
export function authorise(caller: Caller, { permission, endpoint }: Access): void {
  if (!caller.permissions.has(permission)) {
    const word = permissionWord(permission);
    throw new CallerRefused(caller, ErrorReason.FORBIDDEN, word, { metadata: { permission: word } });
  }
  // What every known caller may call is no endpoint of anybody's scope.
  if (endpoint !== "" && !caller.mayUse(endpoint)) {
    throw new CallerRefused(caller, ErrorReason.FORBIDDEN, endpoint, { metadata: { endpoint } });
  }
}

const words = new Map<Permission, string>(
  Object.entries(Permission).map(([name, permission]) => [permission, name.toLowerCase()]),
);

function permissionWord(permission: Permission): string {
  return words.get(permission) ?? "";
}
