import { conversePath } from "@weir/dialect/bedrock-converse/path";
import { bedrockEmbeddings } from "@weir/dialect/embeddings/bedrock";
import type { EmbeddingTarget } from "@weir/dialect/embeddings/embedding";
import { geminiEmbeddings } from "@weir/dialect/embeddings/gemini";
import { ollamaEmbeddings } from "@weir/dialect/embeddings/ollama";
import { openaiEmbeddings } from "@weir/dialect/embeddings/openai";
import { vertexEmbeddings } from "@weir/dialect/embeddings/vertex";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { azurePath, geminiModel, vertexModel } from "../providers/endpoints.ts";

/** How a model's embeddings are asked for. */
export interface EmbeddingRoute {
  readonly target: EmbeddingTarget;
  /** The public dialect that the target speaks, whose bodies go through as they came; undefined: none. */
  readonly dialect: Dialect | undefined;
  /** Path and query of a request for a list of inputs. */
  readonly path: string;
  /** Path and query of a request in its form for one input, where the dialect has such a form. */
  readonly onePath: string;
}

/** @returns undefined when the provider makes no embeddings, or not with this model */
export type EmbeddingRoutes = (model: string) => EmbeddingRoute | undefined;

/**
 * How a provider's embeddings are asked for.
 * @param base path of the base URL, without a slash at its end
 * @param search query of the base URL, which goes with every call; empty or with its `?`
 */
export function embeddingRoutesOf(config: ProviderConfig, base: string, search: string): EmbeddingRoutes {
  const routes = routesOf(config, base);
  if (search === "") return routes;
  const withSearch = (path: string) => (path.includes("?") ? `${path}&${search.slice(1)}` : path + search);
  return (model) => {
    const route = routes(model);
    return route && { ...route, path: withSearch(route.path), onePath: withSearch(route.onePath) };
  };
}

function routesOf(config: ProviderConfig, base: string): EmbeddingRoutes {
  switch (config.kind) {
    case ProviderKind.AZURE: {
      const path = azurePath("/embeddings")(base, config);
      return (model) => route(openaiEmbeddings, path(model, false), Dialect.OPENAI_EMBEDDINGS);
    }
    case ProviderKind.GEMINI:
      return (model) => {
        const at = `${base}/${geminiModel(model)}`;
        const plain = route(geminiEmbeddings, `${at}:batchEmbedContents`, Dialect.GEMINI_EMBEDDINGS);
        return { ...plain, onePath: `${at}:embedContent` };
      };
    case ProviderKind.VERTEX:
      return (model) => {
        const target = vertexEmbeddings(model);
        return route(target, `${base}${vertexModel(config, model)}:${target.verb}`);
      };
    case ProviderKind.OLLAMA:
      return () => route(ollamaEmbeddings, `${base}/api/embed`);
    case ProviderKind.BEDROCK:
      return (model) => {
        const target = bedrockEmbeddings(model);
        return target && route(target, `${base}${invokePath(model)}`);
      };
    case ProviderKind.ANTHROPIC:
      return () => undefined;
    default:
      return () => route(openaiEmbeddings, `${base}/embeddings`, Dialect.OPENAI_EMBEDDINGS);
  }
}

function route(target: EmbeddingTarget, path: string, dialect?: Dialect): EmbeddingRoute {
  return { target, dialect, path, onePath: path };
}

/** https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html: its path is that of Converse, but for the verb. */
function invokePath(model: string): string {
  return conversePath({ model, stream: false }).replace(/converse$/, "invoke");
}
