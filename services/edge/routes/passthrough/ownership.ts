import { isObject } from "@weir/dialect/json";
import { parseJson } from "@weir/dialect/parse-json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { Resource, ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Client, Metadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import type { WholeAnswer } from "./answer.ts";
import type { ResourceKind } from "./operations.ts";

export type Resources = Client<typeof ResourceService>;

const timeoutMs = 5_000;
const idsMax = 1_000;

/**
 * Where the resources are that a call names.
 * @returns undefined: it names none
 * @throws WeirError NOT_FOUND when one is not the tenant's, as if it were not there; INVALID_REQUEST when they are not together
 */
export async function placeOf(
  resources: Resources,
  resourceIds: readonly string[],
  metadata: Metadata,
): Promise<Place | undefined> {
  if (resourceIds.length === 0) return undefined;
  if (resourceIds.length > idsMax)
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The request names too many files." });
  const found = await resources.findResources({ resourceIds: [...resourceIds] }, { metadata, timeoutMs });
  const [first, ...rest] = found.resources.map(({ place }) => place);
  if (rest.some((place) => place?.provider !== first?.provider || place?.account !== first?.account)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "The request names things that different providers, or different accounts of one, keep.",
    });
  }
  return first;
}

/** Files that a batch or a fine-tuning job made; an upload that is complete has its file as an object. */
const madeFiles = ["output_file_id", "error_file_id", "result_files"];

/**
 * Puts on record what an answer tells was made: the object itself, when the call made it, and the files that it came to have.
 * @throws WeirError STORE_UNAVAILABLE; INTERNAL when what was made is another tenant's
 */
export async function recordMade(
  resources: Resources,
  { head, body }: WholeAnswer,
  made: { readonly kind: ResourceKind; readonly isNew: boolean; readonly alias: string },
  metadata: Metadata,
): Promise<void> {
  const { place } = head;
  const json = head.status < 300 ? parse(body) : undefined;
  if (place === undefined || !isObject(json)) return;
  const record = (resourceId: unknown, kind: ResourceKind, alias = "") =>
    typeof resourceId === "string" && resourceId !== ""
      ? resources
          .recordResource({ resource: { resourceId, kind, place, alias } }, { metadata, timeoutMs })
          .catch((thrown: unknown) => {
            // Nobody may get at what another tenant has.
            if (thrown instanceof WeirError && thrown.reason === ErrorReason.ALREADY_EXISTS) {
              throw new WeirError(ErrorReason.INTERNAL, { cause: thrown });
            }
            throw thrown;
          })
      : undefined;
  if (made.isNew) await record(json["id"], made.kind, made.alias);
  if (made.kind === "upload" && isObject(json["file"])) await record(json["file"]["id"], "file");
  if (made.kind === "batch" || made.kind === "fine_tuning_job") {
    for (const id of madeFiles.flatMap((name) => json[name])) await record(id, "file");
  }
}

/** A page of what the tenant owns. */
export interface Page {
  readonly resources: readonly Resource[];
  readonly hasMore: boolean;
}

/** @throws WeirError NOT_FOUND when `after` is not the tenant's */
export async function listOwn(
  resources: Resources,
  page: { readonly kind: ResourceKind; readonly pageSize: number; readonly after: string },
  metadata: Metadata,
): Promise<Page> {
  return resources.listResources(page, { metadata, timeoutMs });
}

export async function forget(resources: Resources, resourceId: string, metadata: Metadata): Promise<void> {
  await resources.forgetResource({ resourceId }, { metadata, timeoutMs });
}

function parse(body: Buffer): unknown {
  try {
    return parseJson(body.toString());
  } catch {
    return undefined;
  }
}
