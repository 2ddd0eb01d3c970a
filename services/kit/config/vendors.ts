import { type ProviderConfig, ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";

/** A provider that Weir knows by name. */
export interface Vendor {
  /** Id in weir.yaml and in the price list. */
  readonly id: string;
  /** How it is called when nobody says otherwise. */
  readonly kind: ProviderKind;
  /** Base URL for that kind. */
  readonly baseUrl: string;
  /** Base URL of its OpenAI-compatible door, where it has one beside that of its kind. */
  readonly openaiBaseUrl?: string;
  /** Variables that may hold its key, the first one first; none for local servers. */
  readonly keyVariables: readonly string[];
  /** Where the vendor says so. */
  readonly source: string;
}

/** Vendors that are reached as soon as their key is in the environment. */
export const vendors: readonly Vendor[] = [
  {
    id: "openai",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.openai.com/v1",
    keyVariables: ["OPENAI_API_KEY"],
    source: "https://platform.openai.com/docs/api-reference",
  },
  {
    id: "anthropic",
    kind: ProviderKind.ANTHROPIC,
    baseUrl: "https://api.anthropic.com/v1",
    openaiBaseUrl: "https://api.anthropic.com/v1",
    keyVariables: ["ANTHROPIC_API_KEY"],
    source: "https://platform.claude.com/docs/en/api/overview",
  },
  {
    id: "google",
    kind: ProviderKind.GEMINI,
    baseUrl: "https://generativelanguage.googleapis.com/v1beta",
    openaiBaseUrl: "https://generativelanguage.googleapis.com/v1beta/openai",
    keyVariables: ["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    source: "https://ai.google.dev/gemini-api/docs/api-key",
  },
  {
    id: "mistral",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.mistral.ai/v1",
    keyVariables: ["MISTRAL_API_KEY"],
    source: "https://docs.mistral.ai/api/",
  },
  {
    id: "groq",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.groq.com/openai/v1",
    keyVariables: ["GROQ_API_KEY"],
    source: "https://console.groq.com/docs/openai",
  },
  {
    id: "deepseek",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.deepseek.com/v1",
    keyVariables: ["DEEPSEEK_API_KEY"],
    source: "https://api-docs.deepseek.com/",
  },
  {
    id: "together",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.together.xyz/v1",
    keyVariables: ["TOGETHER_API_KEY"],
    source: "https://docs.together.ai/docs/openai-api-compatibility",
  },
  {
    id: "openrouter",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://openrouter.ai/api/v1",
    keyVariables: ["OPENROUTER_API_KEY"],
    source: "https://openrouter.ai/docs/api-reference/overview",
  },
  {
    id: "fireworks",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.fireworks.ai/inference/v1",
    keyVariables: ["FIREWORKS_API_KEY"],
    source: "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
  },
  {
    id: "xai",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.x.ai/v1",
    keyVariables: ["XAI_API_KEY"],
    source: "https://docs.x.ai/docs/api-reference",
  },
  {
    id: "cerebras",
    kind: ProviderKind.OPENAI,
    baseUrl: "https://api.cerebras.ai/v1",
    keyVariables: ["CEREBRAS_API_KEY"],
    source: "https://inference-docs.cerebras.ai/openai",
  },
];

/** Servers that run beside Weir, found where they listen unless told otherwise. */
export const localServers: readonly (Vendor & { readonly modelsUrl: string; readonly modelsKey: "models" | "data" })[] =
  [
    {
      id: "ollama",
      kind: ProviderKind.OLLAMA,
      baseUrl: "http://127.0.0.1:11434",
      openaiBaseUrl: "http://127.0.0.1:11434/v1",
      modelsUrl: "http://127.0.0.1:11434/api/tags",
      modelsKey: "models",
      keyVariables: [],
      source: "https://github.com/ollama/ollama/blob/main/docs/api.md",
    },
    {
      id: "vllm",
      kind: ProviderKind.OPENAI,
      baseUrl: "http://127.0.0.1:8000/v1",
      modelsUrl: "http://127.0.0.1:8000/v1/models",
      modelsKey: "data",
      keyVariables: [],
      source: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    },
  ];

/** The provider built into Weir. */
export const demoProvider = "demo";

/**
 * Where a provider is when its configuration does not say: at the vendor that its id names, else where its kind always is. Undefined
 * when neither tells.
 */
export function usualBaseUrl(id: string, { kind, region }: ProviderConfig): string | undefined {
  const vendor = [...vendors, ...localServers].find((known) => known.id === id);
  if (vendor?.kind === kind) return vendor.baseUrl;
  switch (kind) {
    case ProviderKind.OPENAI:
      return vendor?.openaiBaseUrl;
    case ProviderKind.ANTHROPIC:
      return "https://api.anthropic.com/v1";
    case ProviderKind.GEMINI:
      return "https://generativelanguage.googleapis.com/v1beta";
    case ProviderKind.VERTEX:
      return region === "" || region === "global"
        ? "https://aiplatform.googleapis.com/v1"
        : `https://${region}-aiplatform.googleapis.com/v1`;
    case ProviderKind.BEDROCK:
      return region === "" ? undefined : `https://bedrock-runtime.${region}.amazonaws.com`;
    case ProviderKind.OLLAMA:
      return "http://127.0.0.1:11434";
    default:
      return undefined;
  }
}
