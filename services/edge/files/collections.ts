import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Resource } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { missingResource } from "@weir/kit/missing-resource";
import type { Caller } from "../auth/caller.ts";
import { CallerRefused, type KnownCaller } from "../auth/refused-caller.ts";

// A collection is a store of documents that callers search and change. Those that there are, are vector stores that providers keep.

/** What a caller says of the collections it may reach. */
export type Reach = KnownCaller & Pick<Caller, "mayReach" | "collections">;

/** The kind under which collections are on record, see weir.passthrough.v1.Resource. */
export const collectionKind = "vector_store";

/** The ids of those that are collections. */
export function collectionsAmong(named: readonly Pick<Resource, "resourceId" | "kind">[]): string[] {
  return named.filter(({ kind }) => kind === collectionKind).map(({ resourceId }) => resourceId);
}

/**
 * Lets a call name its tenant's collections: one that its caller is confined away from is not there for it.
 * @throws WeirError NOT_FOUND, as for what the tenant does not own
 */
export function checkReach(collections: readonly string[], { mayReach }: Reach): void {
  const resource = collections.find((id) => !mayReach(id));
  if (resource !== undefined) throw missingResource(resource);
}

/** Whether a caller may not reach all collections of its tenant. */
export function isConfined({ collections }: Reach): boolean {
  return collections.length > 0 && !collections.includes("*");
}

/**
 * Its provider chooses the id of a new one, so a caller that is confined to some makes none.
 * @throws CallerRefused FORBIDDEN
 */
export function checkMayMake(caller: Caller): void {
  if (!isConfined(caller)) return;
  throw new CallerRefused(caller, ErrorReason.FORBIDDEN, "collections", {
    text: "This API key is confined to some collections, and makes no others.",
    metadata: { scope: "collections" },
  });
}
