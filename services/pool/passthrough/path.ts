import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { azurePath } from "../providers/endpoints.ts";

/**
 * Path and query of a call that passes through.
 * @param path below OpenAI's version: `/images/edits`
 * @param query without the question mark
 * @param model the target's
 */
export type PassthroughPath = (path: string, query: string, model: string) => string;

/**
 * How calls of OpenAI's other endpoints reach a provider; undefined for kinds that have none.
 * @param base path of the base URL, without a slash at its end
 * @param search query of the base URL, with its question mark
 */
export function passthroughPathOf(config: ProviderConfig, base: string, search: string): PassthroughPath | undefined {
  switch (config.kind) {
    case ProviderKind.OPENAI:
    case ProviderKind.DEMO:
      return (path, query) => withQuery(base + path + search, query);
    case ProviderKind.AZURE:
      return (path, query, model) => {
        // https://learn.microsoft.com/azure/ai-foundry/openai/reference: only models are reached by deployment.
        const ofModel = /^\/(?:images|audio)\//.test(path);
        const full =
          ofModel || config.apiVersion === ""
            ? azurePath(path)(base, config)(model, false)
            : olderAzure(base, config, path);
        return withQuery(full, query);
      };
    default:
      return undefined;
  }
}

function olderAzure(base: string, { apiVersion }: ProviderConfig, path: string): string {
  return `${base}/openai${path}?api-version=${encodeURIComponent(apiVersion)}`;
}

function withQuery(path: string, query: string): string {
  if (query === "") return path;
  return `${path}${path.includes("?") ? "&" : "?"}${query}`;
}
