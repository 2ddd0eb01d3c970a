import { isObject } from "@weir/dialect/json";
import { parseJson } from "@weir/dialect/parse-json";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Resource } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Metadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { collectionKind } from "../../files/collections.ts";
import type { KeyedCall } from "../route.ts";
import { readWhole } from "./answer.ts";
import type { Send } from "./handler.ts";
import type { Operation } from "./operations.ts";
import { forget, listOwn, type Resources } from "./ownership.ts";

export interface ListDeps {
  readonly resources: Resources;
  readonly send: Send;
}

const pageSizeDefault = 20;
const pageSizeMax = 100;
/** Objects that are asked for at once. */
const atOnce = 8;

/**
 * Answers a list with what the tenant owns, each as its provider has it now: the provider's own list would have everybody's. What
 * the provider does not know any more is forgotten and left out.
 * @throws WeirError INVALID_REQUEST for a page that cannot be
 */
export async function answerList(
  deps: ListDeps,
  operation: Operation,
  { exchange, caller }: KeyedCall,
  metadata: Metadata,
): Promise<void> {
  const { kind, path, endpoint } = operation;
  if (kind === undefined) throw new WeirError(ErrorReason.INTERNAL);
  const asked = new URLSearchParams(exchange.request.url?.split("?", 2)[1] ?? "");
  const matching = kind === collectionKind ? caller.collections : [];
  const { resources, hasMore } = await listOwn(deps.resources, { kind, matching, ...pageOf(asked) }, metadata);
  const purpose = kind === "file" ? asked.get("purpose") : null;
  const data: string[] = [];
  for (let at = 0; at < resources.length && !exchange.isOver; at += atOnce) {
    const objects = await Promise.all(resources.slice(at, at + atOnce).map((resource) => fetchOne(resource)));
    for (const object of objects) if (object !== undefined && fits(object, purpose)) data.push(object);
  }
  const ids = { first_id: resources[0]?.resourceId ?? null, last_id: resources.at(-1)?.resourceId ?? null };
  const rest = JSON.stringify({ object: "list", ...ids, has_more: hasMore }).slice(1);
  exchange.answer(200, ["content-type", "application/json"], `{"data":[${data.join(",")}],${rest}`);

  /** The JSON of an object; undefined: it is gone. */
  async function fetchOne({ resourceId, place }: Resource): Promise<string | undefined> {
    if (place === undefined) return undefined;
    const head = { endpoint, method: "GET", path: `${path}/${encodeURIComponent(resourceId)}`, place };
    const answer = await readWhole(deps.send(head, [], metadata));
    if (answer.head.status < 300) return answer.body.toString();
    if (answer.head.status === 404) await forget(deps.resources, resourceId, metadata);
    return undefined;
  }
}

function pageOf(asked: URLSearchParams): { readonly pageSize: number; readonly after: string } {
  const limit = Number(asked.get("limit") ?? pageSizeDefault);
  if (!Number.isInteger(limit) || limit < 1) throw invalid("limit", "`limit` is no positive number.");
  if ((asked.get("order") ?? "desc") !== "desc") throw invalid("order", "Lists are given newest first, `order=desc`.");
  if (asked.has("before")) throw invalid("before", "Lists go on with `after`; `before` is not served.");
  return { pageSize: Math.min(limit, pageSizeMax), after: asked.get("after") ?? "" };
}

function fits(object: string, purpose: string | null): boolean {
  if (purpose === null) return true;
  const json = parseJson(object);
  return isObject(json) && json["purpose"] === purpose;
}

function invalid(param: string, text: string): WeirError {
  return new WeirError(ErrorReason.INVALID_REQUEST, { text, metadata: { param } });
}
