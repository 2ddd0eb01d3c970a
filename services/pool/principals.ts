import { fromBinary } from "@bufbuild/protobuf";
import { type Principal, PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { metadataNames } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";

/**
 * Creates what reads the principal of a call from its metadata entry. The same callers come again and again: the last few
 * thousand are kept, and their messages shared, so nobody may change one.
 * @throws WeirError INVALID_REQUEST when there is none, or none that names a tenant
 */
export function createPrincipalReader(keptMax = 4_096): (entry: string | undefined) => Principal {
  const kept = new Map<string, Principal>();

  return (entry) => {
    const known = entry === undefined ? undefined : kept.get(entry);
    if (known !== undefined) return known;
    const principal = decode(entry);
    if (kept.size >= keptMax) kept.clear();
    kept.set(entry ?? "", principal);
    return principal;
  };
}

function decode(entry: string | undefined): Principal {
  let principal: Principal | undefined;
  try {
    principal = entry === undefined ? undefined : fromBinary(PrincipalSchema, Buffer.from(entry, "base64"));
  } catch {
    // Not a message: as if there were none.
  }
  if (principal === undefined || principal.tenant === "") {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: `The metadata entry ${metadataNames.principal} must name the tenant that pays.`,
    });
  }
  return principal;
}
