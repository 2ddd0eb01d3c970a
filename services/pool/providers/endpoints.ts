import { conversePath } from "@weir/dialect/bedrock-converse/path";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import type { TargetCodec } from "./plugin.ts";

/** How calls in one dialect reach a provider. */
export interface Endpoint {
  readonly dialect: Dialect;
  /** The format of a dialect that only the provider knows; its `dialect` is UNSPECIFIED, so that no client's is like it. */
  readonly codec?: TargetCodec;
  /** Path and query of a call. */
  path(model: string, stream: boolean): string;
  /** Whether the tokens of a request are counted below the path, at `/input_tokens`, in a dialect that knows no such call. */
  readonly countsInputTokens?: boolean;
}

type PathOf = (base: string, config: ProviderConfig) => (model: string, stream: boolean) => string;

const fixed =
  (path: string): PathOf =>
  (base) =>
  () =>
    base + path;

/** OpenAI's dialects under one base URL. */
const openaiPaths: ReadonlyMap<Dialect, PathOf> = new Map([
  [Dialect.OPENAI_CHAT, fixed("/chat/completions")],
  [Dialect.OPENAI_RESPONSES, fixed("/responses")],
  [Dialect.OPENAI_COMPLETIONS, fixed("/completions")],
  [Dialect.ANTHROPIC_MESSAGES, fixed("/messages")],
]);

/** https://learn.microsoft.com/azure/ai-foundry/openai/reference: with a version by deployment, without one its v1 API. */
export const azurePath =
  (path: string): PathOf =>
  (base, { apiVersion }) => {
    if (apiVersion === "") return () => `${base}/openai/v1${path}`;
    const query = `?api-version=${encodeURIComponent(apiVersion)}`;
    if (path === "/responses") return () => `${base}/openai${path}${query}`;
    return (model) => `${base}/openai/deployments/${encodeURIComponent(model)}${path}${query}`;
  };

/** A model below the Gemini API's version; its name may bring its collection (`tunedModels/x`). https://ai.google.dev/api/models */
export function geminiModel(model: string): string {
  return model.includes("/")
    ? model.split("/").map(encodeURIComponent).join("/")
    : `models/${encodeURIComponent(model)}`;
}

/** https://ai.google.dev/api/generate-content */
const geminiPath: PathOf = (base) => (model, stream) =>
  `${base}/${geminiModel(model)}:${stream ? "streamGenerateContent?alt=sse" : "generateContent"}`;

/** A model below Vertex AI's version; without a project, as its express mode has it. */
export function vertexModel({ project, region }: ProviderConfig, model: string): string {
  const scope = project === "" ? "" : `/projects/${project}/locations/${region || "global"}`;
  return `${scope}/publishers/google/models/${encodeURIComponent(model)}`;
}

/** https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference */
const vertexPath: PathOf = (base, config) => (model, stream) =>
  `${base}${vertexModel(config, model)}:${stream ? "streamGenerateContent?alt=sse" : "generateContent"}`;

/** https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html */
const bedrockPath: PathOf = (base) => (model, stream) => base + conversePath({ model, stream });

/** What a kind speaks, the dialect for translated requests first. */
const kinds: Readonly<Partial<Record<ProviderKind, ReadonlyMap<Dialect, PathOf>>>> = {
  [ProviderKind.OPENAI]: openaiPaths,
  [ProviderKind.DEMO]: new Map([[Dialect.OPENAI_CHAT, fixed("/chat/completions")]]),
  [ProviderKind.LOCAL]: new Map([[Dialect.OPENAI_CHAT, fixed("/chat/completions")]]),
  [ProviderKind.ANTHROPIC]: new Map([[Dialect.ANTHROPIC_MESSAGES, fixed("/messages")]]),
  [ProviderKind.AZURE]: new Map([
    [Dialect.OPENAI_CHAT, azurePath("/chat/completions")],
    [Dialect.OPENAI_RESPONSES, azurePath("/responses")],
    [Dialect.OPENAI_COMPLETIONS, azurePath("/completions")],
  ]),
  [ProviderKind.GEMINI]: new Map([[Dialect.GEMINI, geminiPath]]),
  [ProviderKind.VERTEX]: new Map([[Dialect.GEMINI, vertexPath]]),
  [ProviderKind.BEDROCK]: new Map([[Dialect.BEDROCK_CONVERSE, bedrockPath]]),
  [ProviderKind.OLLAMA]: new Map([
    [Dialect.OLLAMA, fixed("/api/chat")],
    [Dialect.OPENAI_CHAT, fixed("/v1/chat/completions")],
    [Dialect.OPENAI_COMPLETIONS, fixed("/v1/completions")],
  ]),
};

/** Dialects of a kind's table that a provider does not speak unless it is said. */
const onDemand: ReadonlySet<Dialect> = new Set([Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES]);

/**
 * The ways to call a provider, the one for translated requests first.
 * @param base path of the base URL, without a slash at its end
 * @param named dialects that the configuration names
 * @throws RangeError for a dialect that the kind has no way for
 */
export function endpointsOf(
  id: string,
  config: ProviderConfig,
  base: string,
  named: readonly Dialect[],
): readonly Endpoint[] {
  const paths = kinds[config.kind] ?? openaiPaths;
  const isOpenai = config.kind === ProviderKind.OPENAI;
  const usual = [...paths.keys()].filter(
    (dialect) => !isOpenai || !onDemand.has(dialect) || (id === "openai" && dialect === Dialect.OPENAI_RESPONSES),
  );
  return (named.length > 0 ? named : usual).map((dialect) => {
    const pathOf = paths.get(dialect);
    if (pathOf === undefined) throw new RangeError(`providers.${id}.dialects: the kind has no way for one of them`);
    const path = pathOf(base, config);
    return config.kind === ProviderKind.LOCAL ? { dialect, path, countsInputTokens: true } : { dialect, path };
  });
}
