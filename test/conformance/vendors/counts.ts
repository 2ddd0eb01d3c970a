import type { VendorName } from "./kinds.ts";

/** Tokens of an answer: totals of input and output, and what is known of their parts. */
export interface Tokens {
  readonly input: number;
  readonly cached?: number;
  readonly written?: number;
  readonly output: number;
  readonly reasoning?: number;
}

/** All that a vendor counts, and how it says it. */
export interface Counts {
  readonly tokens: Tokens;
  /** Members of the vendor's answers as its reference has them, written by hand. */
  readonly wire: readonly string[];
}

const openaiCounts: Tokens = { input: 1_000, cached: 400, written: 50, output: 300, reasoning: 120 };
const claudeCounts: Tokens = { input: 1_000, cached: 400, written: 50, output: 300 };

/** What every vendor says of the most telling answer. */
export const counts: Readonly<Record<VendorName, Counts>> = {
  // https://platform.openai.com/docs/api-reference/chat/object
  "openai-chat": {
    tokens: openaiCounts,
    wire: [
      '"prompt_tokens":1000',
      '"completion_tokens":300',
      '"total_tokens":1300',
      '"cached_tokens":400',
      '"cache_write_tokens":50',
      '"reasoning_tokens":120',
    ],
  },
  // https://platform.openai.com/docs/api-reference/responses/object
  "openai-responses": {
    tokens: openaiCounts,
    wire: [
      '"input_tokens":1000',
      '"output_tokens":300',
      '"total_tokens":1300',
      '"cached_tokens":400',
      '"cache_write_tokens":50',
      '"reasoning_tokens":120',
    ],
  },
  // https://platform.claude.com/docs/en/build-with-claude/prompt-caching: the cached parts stand beside the input
  anthropic: {
    tokens: claudeCounts,
    wire: [
      '"input_tokens":550',
      '"cache_read_input_tokens":400',
      '"cache_creation_input_tokens":50',
      '"output_tokens":300',
    ],
  },
  // https://ai.google.dev/api/generate-content#UsageMetadata: thoughts stand beside the candidates
  gemini: {
    tokens: { input: 1_000, cached: 400, output: 300, reasoning: 120 },
    wire: [
      '"promptTokenCount":1000',
      '"cachedContentTokenCount":400',
      '"candidatesTokenCount":180',
      '"thoughtsTokenCount":120',
      '"totalTokenCount":1300',
    ],
  },
  // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html
  bedrock: {
    tokens: claudeCounts,
    wire: [
      '"inputTokens":550',
      '"cacheReadInputTokens":400',
      '"cacheWriteInputTokens":50',
      '"outputTokens":300',
      '"totalTokens":1300',
    ],
  },
  // https://docs.ollama.com/api/chat
  ollama: { tokens: { input: 1_000, output: 300 }, wire: ['"prompt_eval_count":1000', '"eval_count":300'] },
};
