/**
 * What a target of this dialect knows. OpenAI and the vendors that call themselves compatible with it differ in these
 * points, and most refuse what they do not know.
 */
export interface TargetTraits {
  /** The member for the longest reply. OpenAI's reasoning models refuse `max_tokens`; many vendors know nothing else. */
  readonly outputLimit: "max_completion_tokens" | "max_tokens";
  /** The member for the end user. OpenAI has deprecated `user`, which is the only one that others know; Mistral refuses either. */
  readonly endUser: "safety_identifier" | "user" | "none";
  /** Whether it knows the role `developer`; where not, `system` says the same. */
  readonly developerRole: boolean;
  /** Whether it knows `stream_options.include_usage`. */
  readonly streamsUsage: boolean;
  /**
   * How reasoning of earlier turns goes back: as text, or in OpenRouter's list, which also holds signatures and sealed
   * reasoning. With `none` it is left out, with a warning. OpenAI refuses messages that hold any of these members;
   * DeepSeek demands `reasoning_content` beside tool calls.
   */
  readonly reasoning: "none" | "reasoning_content" | "reasoning" | "reasoning_details";
  /**
   * How a part of the input is marked for the prompt cache: by OpenAI's own member, which models before GPT-5.6 do not
   * know, or by Anthropic's, which OpenRouter takes. With `none` marks are left out, with a warning.
   */
  readonly cacheMarks: "none" | "prompt_cache_breakpoint" | "cache_control";
  /** Whether tool calls may carry `extra_content.google.thought_signature`, as Gemini demands. */
  readonly callSignatures: boolean;
  /** Whether it knows `top_k` and `min_p`. */
  readonly topK: boolean;
  /** What it can answer with besides text. */
  readonly modalities: readonly string[];
  /** The member for the seed. */
  readonly seed: "seed" | "random_seed";
  /** Whether messages may have a `name`. */
  readonly names: boolean;
  /** Whether it reports probabilities; a request for them is refused where not. */
  readonly logprobs: boolean;
  /** Whether it makes more than one reply; a request for more is refused where not. */
  readonly severalReplies: boolean;
  /** Further members of the body that it refuses; left out, with a warning. */
  readonly refusedMembers: readonly RefusableMember[];
}

/** Members that say how to answer, not what; each holds one field of the canonical request. */
export type RefusableMember =
  | "logit_bias"
  | "service_tier"
  | "store"
  | "verbosity"
  | "prompt_cache_key"
  | "prompt_cache_retention"
  | "metadata";

/** https://platform.openai.com/docs/api-reference/chat/create */
export const openaiTraits: TargetTraits = {
  outputLimit: "max_completion_tokens",
  endUser: "safety_identifier",
  developerRole: true,
  streamsUsage: true,
  reasoning: "none",
  cacheMarks: "none",
  callSignatures: false,
  topK: false,
  modalities: ["audio"],
  seed: "seed",
  names: true,
  logprobs: true,
  severalReplies: true,
  refusedMembers: [],
};

/** A server of which nothing more is known than that it calls itself compatible: the older names, which all of them know. */
export const compatibleTraits: TargetTraits = {
  ...openaiTraits,
  outputLimit: "max_tokens",
  endUser: "user",
  developerRole: false,
};
