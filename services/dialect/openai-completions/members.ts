/** The key of this dialect in `GenerateRequest.extensions`, and its name in warnings. */
export const dialectName = "openai-completions";

/** Members of a request that the canonical form holds, or that are refused in translation; all others are extensions. */
export const bodyMembers: ReadonlySet<string> = new Set([
  "model",
  "prompt",
  "stream",
  "stream_options",
  "max_tokens",
  "temperature",
  "top_p",
  "presence_penalty",
  "frequency_penalty",
  "seed",
  "logit_bias",
  "stop",
  "n",
  "logprobs",
  "user",
  "suffix",
  "echo",
]);

/** Where a field of the canonical request stands in this dialect. */
export const params: Readonly<Record<string, string>> = {
  model: "model",
  messages: "prompt",
  max_output_tokens: "max_tokens",
  "sampling.temperature": "temperature",
  "sampling.top_p": "top_p",
  "sampling.presence_penalty": "presence_penalty",
  "sampling.frequency_penalty": "frequency_penalty",
  "sampling.seed": "seed",
  "sampling.logit_bias": "logit_bias",
  stop_sequences: "stop",
  choice_count: "n",
  top_logprobs: "logprobs",
  user: "user",
};
