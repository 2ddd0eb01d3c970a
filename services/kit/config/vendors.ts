/** A provider that Weir knows by name. */
export interface Vendor {
  /** Id in weir.yaml and in the price list. */
  readonly id: string;
  /** Base URL of its OpenAI-compatible door, up to and with the version. */
  readonly baseUrl: string;
  /** Variables that may hold its key, the first one first; none for local servers. */
  readonly keyVariables: readonly string[];
  /** Where the vendor says so. */
  readonly source: string;
}

/** Vendors with an OpenAI-compatible door, reached as soon as their key is in the environment. */
export const vendors: readonly Vendor[] = [
  {
    id: "openai",
    baseUrl: "https://api.openai.com/v1",
    keyVariables: ["OPENAI_API_KEY"],
    source: "https://platform.openai.com/docs/api-reference",
  },
  {
    id: "anthropic",
    baseUrl: "https://api.anthropic.com/v1",
    keyVariables: ["ANTHROPIC_API_KEY"],
    source: "https://docs.anthropic.com/en/api/openai-sdk",
  },
  {
    id: "google",
    baseUrl: "https://generativelanguage.googleapis.com/v1beta/openai",
    keyVariables: ["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    source: "https://ai.google.dev/gemini-api/docs/openai",
  },
  {
    id: "mistral",
    baseUrl: "https://api.mistral.ai/v1",
    keyVariables: ["MISTRAL_API_KEY"],
    source: "https://docs.mistral.ai/api/",
  },
  {
    id: "groq",
    baseUrl: "https://api.groq.com/openai/v1",
    keyVariables: ["GROQ_API_KEY"],
    source: "https://console.groq.com/docs/openai",
  },
  {
    id: "deepseek",
    baseUrl: "https://api.deepseek.com/v1",
    keyVariables: ["DEEPSEEK_API_KEY"],
    source: "https://api-docs.deepseek.com/",
  },
  {
    id: "together",
    baseUrl: "https://api.together.xyz/v1",
    keyVariables: ["TOGETHER_API_KEY"],
    source: "https://docs.together.ai/docs/openai-api-compatibility",
  },
  {
    id: "openrouter",
    baseUrl: "https://openrouter.ai/api/v1",
    keyVariables: ["OPENROUTER_API_KEY"],
    source: "https://openrouter.ai/docs/api-reference/overview",
  },
  {
    id: "fireworks",
    baseUrl: "https://api.fireworks.ai/inference/v1",
    keyVariables: ["FIREWORKS_API_KEY"],
    source: "https://docs.fireworks.ai/tools-sdks/openai-compatibility",
  },
  {
    id: "xai",
    baseUrl: "https://api.x.ai/v1",
    keyVariables: ["XAI_API_KEY"],
    source: "https://docs.x.ai/docs/api-reference",
  },
  {
    id: "cerebras",
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
      baseUrl: "http://127.0.0.1:11434/v1",
      modelsUrl: "http://127.0.0.1:11434/api/tags",
      modelsKey: "models",
      keyVariables: [],
      source: "https://github.com/ollama/ollama/blob/main/docs/openai.md",
    },
    {
      id: "vllm",
      baseUrl: "http://127.0.0.1:8000/v1",
      modelsUrl: "http://127.0.0.1:8000/v1/models",
      modelsKey: "data",
      keyVariables: [],
      source: "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    },
  ];

/** The provider built into Weir. */
export const demoProvider = "demo";
