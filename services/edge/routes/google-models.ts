import { invalid } from "@weir/dialect/faults";
import type { Route } from "@weir/gen/weir/routing/v1/route_service_pb";

/** A model as Google lists it, with what the gateway knows of it: https://ai.google.dev/api/models#Model */
interface GoogleModel {
  /** `models/` and the alias. */
  readonly name: string;
  readonly displayName: string;
  /** All that is served for aliases; which of them a target can do, it says itself. */
  readonly supportedGenerationMethods: readonly string[];
}

const methods = ["generateContent", "countTokens", "embedContent", "batchEmbedContents"];
const pageSizeDefault = 50;
const pageSizeMax = 1_000;

export function googleModel(alias: string): GoogleModel {
  return { name: `models/${alias}`, displayName: alias, supportedGenerationMethods: methods };
}

/**
 * One page of models. https://ai.google.dev/api/models#method:-models.list
 * @param target of the request, whose query has `pageSize` and `pageToken`
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function googleList(
  routes: readonly Route[],
  target: string,
): { readonly models: readonly GoogleModel[]; readonly nextPageToken?: string } {
  const query = new URLSearchParams(target.split("?")[1] ?? "");
  const pageSize = readPageSize(query.get("pageSize"));
  const after = Buffer.from(query.get("pageToken") ?? "", "base64url").toString();
  const left = routes.filter(({ alias }) => alias > after).toSorted((a, b) => (a.alias < b.alias ? -1 : 1));
  const page = left.slice(0, pageSize);
  const last = page.at(-1);
  return {
    models: page.map(({ alias }) => googleModel(alias)),
    ...(last !== undefined &&
      left.length > page.length && { nextPageToken: Buffer.from(last.alias).toString("base64url") }),
  };
}

/** Zero and nothing stand for the default, and more than the most for the most. */
function readPageSize(text: string | null): number {
  if (text === null) return pageSizeDefault;
  if (!/^\d{1,9}$/.test(text)) throw invalid("`pageSize` must be a whole number.", "pageSize");
  return Math.min(Number(text) || pageSizeDefault, pageSizeMax);
}
