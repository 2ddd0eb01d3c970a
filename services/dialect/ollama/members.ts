/** The key of this dialect in `GenerateRequest.extensions`, and its name in warnings. */
export const dialectName = "ollama";

/** Members of a request that the canonical form holds; all others are extensions. */
export const bodyMembers: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "stream",
  "tools",
  "format",
  "think",
  "logprobs",
  "top_logprobs",
  "options",
]);

/** A setting of the sampler: its names here and there, and what may stand in it. */
export interface NumberOption {
  readonly field: "temperature" | "topP" | "minP" | "presencePenalty" | "frequencyPenalty";
  readonly option: string;
  readonly min: number;
  readonly max: number;
}

export const numberOptions: readonly NumberOption[] = [
  { field: "temperature", option: "temperature", min: 0, max: 2 },
  { field: "topP", option: "top_p", min: 0, max: 1 },
  { field: "minP", option: "min_p", min: 0, max: 1 },
  { field: "presencePenalty", option: "presence_penalty", min: -2, max: 2 },
  { field: "frequencyPenalty", option: "frequency_penalty", min: -2, max: 2 },
];

/** Members of `options` that the canonical form holds. */
export const optionMembers: ReadonlySet<string> = new Set([
  ...numberOptions.map(({ option }) => option),
  "top_k",
  "seed",
  "stop",
  "num_predict",
]);

/** Longest reply that may be asked for, in tokens. */
export const outputTokensMax = 10_000_000;
/** Most of the likeliest tokens that may be asked for. */
export const topLogprobsMax = 20;

/** Where a field of the canonical request stands in this dialect. */
export const params: Readonly<Record<string, string>> = {
  model: "model",
  messages: "messages",
  "messages[]": "messages[]",
  tools: "tools",
  max_output_tokens: "options.num_predict",
  output_format: "format",
  reasoning: "think",
  "reasoning.effort": "think",
  "sampling.temperature": "options.temperature",
  "sampling.top_p": "options.top_p",
  "sampling.top_k": "options.top_k",
  "sampling.min_p": "options.min_p",
  "sampling.presence_penalty": "options.presence_penalty",
  "sampling.frequency_penalty": "options.frequency_penalty",
  "sampling.seed": "options.seed",
  stop_sequences: "options.stop",
  // Asks for them; `top_logprobs` need not be there.
  top_logprobs: "logprobs",
};
