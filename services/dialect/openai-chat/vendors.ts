import { compatibleTraits, openaiTraits, type TargetTraits } from "./traits.ts";

// What vendors document of their differences from OpenAI, by the names under which docs/providers/openai.md knows them.

/** https://docs.mistral.ai/api/endpoint/chat: what is not in its list is refused ("Extra inputs are not permitted"). */
const mistral: TargetTraits = {
  ...compatibleTraits,
  streamsUsage: false,
  endUser: "none",
  seed: "random_seed",
  names: false,
  logprobs: false,
  modalities: [],
  refusedMembers: [
    "logit_bias",
    "service_tier",
    "store",
    "verbosity",
    "prompt_cache_key",
    "prompt_cache_retention",
    "metadata",
  ],
};

/** https://console.groq.com/docs/openai#currently-unsupported-openai-features, https://console.groq.com/docs/reasoning */
const groq: TargetTraits = {
  ...compatibleTraits,
  reasoning: "reasoning",
  names: false,
  logprobs: false,
  severalReplies: false,
  refusedMembers: ["logit_bias"],
};

/** Its reasoning must come back beside tool calls: https://api-docs.deepseek.com/guides/thinking_mode */
const deepseek: TargetTraits = { ...compatibleTraits, reasoning: "reasoning_content" };

/**
 * https://openrouter.ai/docs/api/reference/parameters, https://openrouter.ai/docs/guides/best-practices/reasoning-tokens,
 * https://openrouter.ai/docs/guides/best-practices/prompt-caching
 */
const openrouter: TargetTraits = {
  ...compatibleTraits,
  reasoning: "reasoning_details",
  cacheMarks: "cache_control",
  topK: true,
  modalities: ["audio", "image"],
};

/** Gemini's door for OpenAI's clients: https://ai.google.dev/gemini-api/docs/thought-signatures#openai */
const gemini: TargetTraits = { ...compatibleTraits, callSignatures: true };

/** `top_k` and `min_p`, as servers of open models have them. */
const sampling: TargetTraits = { ...compatibleTraits, topK: true };

const vendors: ReadonlyMap<string, TargetTraits> = new Map([
  ["openai", openaiTraits],
  ["mistral", mistral],
  ["groq", groq],
  ["deepseek", deepseek],
  ["openrouter", openrouter],
  ["gemini", gemini],
  ["together", sampling], // https://docs.together.ai/reference/chat-completions
  ["fireworks", sampling], // https://docs.fireworks.ai/api-reference/post-chatcompletions
  ["vllm", sampling], // https://docs.vllm.ai/en/latest/serving/openai_compatible_server/#extra-parameters
]);

/** Origins at which a vendor answers, whatever its provider is called. */
const origins: ReadonlyMap<string, string> = new Map([
  ["https://api.openai.com", "openai"],
  ["https://api.mistral.ai", "mistral"],
  ["https://api.groq.com", "groq"],
  ["https://api.deepseek.com", "deepseek"],
  ["https://openrouter.ai", "openrouter"],
  ["https://generativelanguage.googleapis.com", "gemini"],
  ["https://api.together.xyz", "together"],
  ["https://api.fireworks.ai", "fireworks"],
]);

/**
 * What the vendor behind an origin takes, else the one that goes by a name; undefined when neither is known.
 * @param origin scheme, host and port
 */
export function vendorTraits(origin: string, name: string): TargetTraits | undefined {
  return vendors.get(origins.get(origin) ?? name);
}
