import type { MatrixClient } from "./client.ts";
import { aiAnthropicClient, aiCompatibleClient } from "./clients/ai.ts";
import { anthropicClient } from "./clients/anthropic.ts";
import { googleGenaiClient } from "./clients/google-genai.ts";
import { langchainClient } from "./clients/langchain.ts";
import { openaiChatClient } from "./clients/openai-chat.ts";
import { openaiCompletionsClient } from "./clients/openai-completions.ts";
import { openaiResponsesClient } from "./clients/openai-responses.ts";

/** The libraries, by what their users call. */
export const clients = {
  "openai: chat.completions": openaiChatClient,
  "openai: responses": openaiResponsesClient,
  "openai: completions": openaiCompletionsClient,
  "@anthropic-ai/sdk: messages": anthropicClient,
  "@google/genai: models": googleGenaiClient,
  "ai with @ai-sdk/openai-compatible": aiCompatibleClient,
  "ai with @ai-sdk/anthropic": aiAnthropicClient,
  "@langchain/openai: ChatOpenAI": langchainClient,
} as const satisfies Record<string, MatrixClient>;

export type ClientName = keyof typeof clients;

export const clientNames = Object.keys(clients) as ClientName[];
