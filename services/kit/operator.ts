import { create, toBinary } from "@bufbuild/protobuf";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { type Metadata, metadataNames } from "./call.ts";

/** What a principal names in the place of a key when whoever runs the gateway calls. No key has such an id. */
export const operatorKey = "operator";

/**
 * Metadata of calls that the command line and the gateway's own start make: those of an owner in every tenant. Whoever can
 * reach the mesh may act as the operator; an edge removes such entries from what comes from outside.
 */
export const operatorMetadata: Metadata = {
  [metadataNames.principal]: Buffer.from(
    toBinary(PrincipalSchema, create(PrincipalSchema, { key: operatorKey, role: Role.OWNER, everyTenant: true })),
  ).toString("base64"),
};
