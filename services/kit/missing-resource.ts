import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "./weir-error.ts";

/**
 * What a call is told that names something which a provider keeps and which is not the caller's: another's, nobody's, or one that its
 * key is confined away from, all in the same words.
 */
export function missingResource(resource: string): WeirError {
  return new WeirError(ErrorReason.NOT_FOUND, {
    text: "What the request names is not there: files, vector stores, batches and jobs must have been made through this gateway, by the same tenant, or the operator must list it in `account_tenants` of the provider.",
    metadata: { resource },
  });
}
