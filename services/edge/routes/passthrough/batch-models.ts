import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { JsonObject } from "@weir/dialect/json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type NewBatch, type NewBatchModelSchema, NewBatchSchema } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { BatchModel, Resource } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Route } from "@weir/gen/weir/routing/v1/route_service_pb";
import { WeirError } from "@weir/kit/weir-error";
import { findRoute } from "../models.ts";
import { endpointOf } from "./batch-bounds.ts";

/** What whoever makes a batch may name. */
export interface BatchMaker {
  readonly mayCall: (alias: string) => boolean;
  /** Whether a model, as its provider names it, was not made by others. */
  readonly isOwn: (model: string) => boolean;
}

/**
 * Asks whether a batch may be made: of an input file that was checked, and of models at its provider that aliases lead to which the
 * caller may call. Its provider reads the file by itself, so its lines name models as the provider does.
 * @param json the body of the call
 * @param named what of the caller's own it names
 * @returns what it is to be made of, each model with the alias by which the caller may call it: the one of its own name, else the first
 * @throws WeirError INVALID_REQUEST, MODEL_FORBIDDEN, MODEL_NOT_FOUND; the text tells the line
 */
export function checkBatch(
  json: JsonObject,
  named: readonly Resource[],
  maker: BatchMaker,
  routes: readonly Route[],
): NewBatch {
  // Azure's other way to say what to read: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch-blob-storage
  if (json["input_blob"] !== undefined) {
    throw invalid("The input of a batch must be a file that was uploaded to /v1/files; `input_blob` is not served.");
  }
  if (json["output_folder"] !== undefined) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "The output of a batch is a file of /v1/files; `output_folder` is not served.",
      metadata: { param: "output_folder" },
    });
  }
  const input = named.find(({ resourceId }) => resourceId === json["input_file_id"]);
  if (input?.batchInput === undefined) {
    throw invalid("`input_file_id` names no file that was uploaded to /v1/files with `purpose` `batch`; upload it so.");
  }
  const { endpoint, models } = input.batchInput;
  const asked = json["endpoint"];
  if (endpoint !== "" && (typeof asked !== "string" || endpointOf(asked) !== endpoint)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: "`endpoint` is another one than the `url` of the lines of the input file.",
      metadata: { param: "endpoint" },
    });
  }
  const provider = input.place?.provider ?? "";
  return create(NewBatchSchema, {
    endpoint,
    models: models.map((model) => readModel(model, provider, maker, routes)),
  });
}

function readModel(
  { model, line, bound }: BatchModel,
  provider: string,
  { mayCall, isOwn }: BatchMaker,
  routes: readonly Route[],
): MessageInitShape<typeof NewBatchModelSchema> {
  // What somebody made is for others only where the operator gives it a name.
  const given = isOwn(model) ? routes : routes.filter(({ alias }) => !alias.endsWith("*"));
  const aliases = aliasesOf(provider, model, given);
  const open = aliases.filter(({ alias }) => mayCall(alias));
  const called = open.find(({ alias }) => alias === model) ?? open[0];
  if (called !== undefined) return { model, ...called, ...(bound === undefined ? {} : { bound }) };
  const where = `Line ${line} of the batch's input file names a model`;
  const metadata = { model, param: "input_file_id" };
  if (aliases.length > 0) {
    throw new WeirError(ErrorReason.MODEL_FORBIDDEN, {
      text: `${where} that this API key may not use; leave the line out, or ask for a key whose scope names the model.`,
      metadata,
    });
  }
  const meant = mayCall(model)
    ? findRoute(routes, model)?.targets.find((target) => target.provider === provider)
    : undefined;
  if (meant !== undefined && meant.model !== "") {
    throw invalid(
      `${where} by its alias; the provider reads the file by itself and knows it as \`${meant.model}\`: write that.`,
    );
  }
  throw new WeirError(ErrorReason.MODEL_NOT_FOUND, {
    text: `${where} to which no alias leads at the provider that keeps the file; name one that GET /v1/models lists and that it has.`,
    metadata,
  });
}

/** Names by which a caller would reach a model of a provider, and whether they may lead to what has no price. */
function aliasesOf(
  provider: string,
  model: string,
  routes: readonly Route[],
): { readonly alias: string; readonly allowUnpriced: boolean }[] {
  return routes.flatMap((route) => {
    const { alias, targets, allowUnpriced } = route;
    // Of a pattern, a target without a model calls what stands in the place of the star.
    const leads = targets.some((target) => target.provider === provider && ["", model].includes(target.model));
    if (!leads) return [];
    if (!alias.endsWith("*")) return [{ alias, allowUnpriced }];
    const name = alias.slice(0, -1) + model;
    // A pattern gives way to whatever fits the name better.
    return findRoute(routes, name) === route ? [{ alias: name, allowUnpriced }] : [];
  });
}

function invalid(text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param: "input_file_id" } });
}
