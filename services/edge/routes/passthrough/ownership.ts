import type { MessageInitShape } from "@bufbuild/protobuf";
import { isObject, parseObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { BatchHold, Place } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type {
  BatchInputSchema,
  Resource,
  ResourceSchema,
  ResourceService,
} from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Client, Metadata } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { missingResource } from "@weir/kit/missing-resource";
import { toWeirError, WeirError } from "@weir/kit/weir-error";
import { checkReach, collectionsAmong, type Reach } from "../../files/collections.ts";
import { modelKind } from "../../files/own-names.ts";
import type { WholeAnswer } from "./answer.ts";
import type { BatchLines } from "./batch-upload.ts";
import type { ResourceKind } from "./operations.ts";

export type Resources = Client<typeof ResourceService>;

const timeoutMs = 5_000;
const idsMax = 1_000;

/**
 * What a call names, each once, in the order of the ids.
 * @param mayLack whether it may name what is not on record, asked when it does; what is missing is left out then
 * @throws WeirError NOT_FOUND when one is not the tenant's, or a collection that the caller is confined away from, as if it were not
 * there
 */
export async function findOwn(
  resources: Resources,
  resourceIds: readonly string[],
  caller: Reach,
  metadata: Metadata,
  mayLack: () => Promise<boolean>,
): Promise<readonly Resource[]> {
  if (resourceIds.length === 0) return [];
  if (resourceIds.length > idsMax)
    throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The request names too many files." });
  const asked = [...new Set(resourceIds)];
  const found = await resources.findResources({ resourceIds: asked, partial: true }, { metadata, timeoutMs });
  const there = new Set(found.resources.map(({ resourceId }) => resourceId));
  const missing = asked.find((id) => !there.has(id));
  if (missing !== undefined && !(await mayLack())) throw missingResource(missing);
  checkReach(collectionsAmong(found.resources), caller);
  return found.resources;
}

/**
 * Where the resources are that a call names.
 * @returns undefined: it names none
 * @throws WeirError INVALID_REQUEST when they are not together
 */
export function placeOf(named: readonly Resource[]): Place | undefined {
  const [first, ...rest] = named.map(({ place }) => place);
  if (rest.some((place) => place?.provider !== first?.provider || place?.account !== first?.account)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "The request names things that different providers, or different accounts of one, keep.",
    });
  }
  return first;
}

/** Files that a batch or a fine-tuning job made; an upload that is complete has its file as an object. */
const madeFiles = ["output_file_id", "error_file_id", "result_files"];

/** Long enough for metering to be started again, and shorter than what is set aside for a batch stays so without a record. */
const recordMs = 20_000;
const recordAgainMinMs = 100;
const recordAgainMaxMs = 2_000;

/**
 * Puts on record what an answer tells was made: the object itself, when the call made it, and the files that it came to have. What is
 * not on record is nobody's, and goes on at its provider: it is tried for 20 s.
 * @throws WeirError STORE_UNAVAILABLE; INTERNAL when what was made is another tenant's
 */
export async function recordMade(
  { resources, clock }: { readonly resources: Pick<Resources, "recordResource">; readonly clock: Clock },
  { head, body }: WholeAnswer,
  made: {
    readonly kind: ResourceKind;
    readonly isNew: boolean;
    readonly alias: string;
    /** What the lines of a batch's input ask for; undefined: this is none. */
    readonly batchLines?: BatchLines | undefined;
  },
  metadata: Metadata,
): Promise<void> {
  const { place } = head;
  const json = head.status < 300 ? parseObject(body.toString()) : undefined;
  if (place === undefined || json === undefined) return;
  const { batchLines } = made;
  const own = batchLines === undefined ? {} : { batchInput: toBatchInput(batchLines) };
  const record = (
    resourceId: unknown,
    kind: ResourceKind,
    more: MessageInitShape<typeof ResourceSchema> = {},
    hold?: BatchHold,
  ) =>
    typeof resourceId === "string" && resourceId !== ""
      ? untilStored(clock, () =>
          resources.recordResource(
            { resource: { resourceId, kind, place, ...more }, ...(hold === undefined ? {} : { hold }) },
            { metadata, timeoutMs },
          ),
        ).catch((thrown: unknown) => {
          // Nobody may get at what another tenant has.
          if (thrown instanceof WeirError && thrown.reason === ErrorReason.ALREADY_EXISTS) {
            throw new WeirError(ErrorReason.INTERNAL, { cause: thrown });
          }
          throw thrown;
        })
      : undefined;
  if (made.isNew) await record(json["id"], made.kind, { alias: made.alias, ...own }, head.batchHold);
  if (made.kind === "upload" && isObject(json["file"])) await record(json["file"]["id"], "file");
  if (made.kind === "batch" || made.kind === "fine_tuning_job") {
    for (const id of madeFiles.flatMap((name) => json[name])) await record(id, "file");
    await record(json["fine_tuned_model"], modelKind);
  }
}

/** What stays as it is however often it is asked. */
const finalReasons: ReadonlySet<ErrorReason> = new Set([
  ErrorReason.ALREADY_EXISTS,
  ErrorReason.INVALID_REQUEST,
  ErrorReason.FORBIDDEN,
]);

/** Calls what may be repeated until it is done. @throws what it failed with last */
async function untilStored(clock: Clock, call: () => Promise<unknown>): Promise<void> {
  const giveUpMs = clock.monotonic() + recordMs;
  for (let pauseMs = recordAgainMinMs; ; pauseMs = Math.min(pauseMs * 2, recordAgainMaxMs)) {
    try {
      await call();
      return;
    } catch (thrown) {
      if (finalReasons.has(toWeirError(thrown).reason) || clock.monotonic() + pauseMs >= giveUpMs) throw thrown;
    }
    await new Promise<void>((resolve) => {
      clock.after(pauseMs, resolve);
    });
  }
}

function toBatchInput({ models, endpoint, collections }: BatchLines): MessageInitShape<typeof BatchInputSchema> {
  return {
    models: Array.from(models, ([model, { line, bound }]) => {
      const { inputTokens, outputTokens, openChoices, openLine } = bound;
      return {
        model,
        line,
        bound: {
          inputTokens: BigInt(inputTokens),
          outputTokens: BigInt(outputTokens),
          openChoices: BigInt(openChoices),
          openLine,
        },
      };
    }),
    endpoint,
    collections: [...collections],
  };
}

/** A page of what the tenant owns. */
export interface Page {
  readonly resources: readonly Resource[];
  readonly hasMore: boolean;
}

/** @throws WeirError NOT_FOUND when `after` is not the tenant's, or not named by `matching` */
export async function listOwn(
  resources: Resources,
  page: {
    readonly kind: ResourceKind;
    readonly pageSize: number;
    readonly after: string;
    /** Only what these name: ids, or prefixes ended by `*`; none: all. */
    readonly matching: readonly string[];
  },
  metadata: Metadata,
): Promise<Page> {
  return resources.listResources({ ...page, matching: [...page.matching] }, { metadata, timeoutMs });
}

export async function forget(resources: Resources, resourceId: string, metadata: Metadata): Promise<void> {
  await resources.forgetResource({ resourceId }, { metadata, timeoutMs });
}
