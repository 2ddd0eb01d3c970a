import type { JsonObject } from "../json.ts";

// What `POST /v1/messages/count_tokens` takes; it refuses all other members.
// https://platform.claude.com/docs/en/api/messages-count-tokens
const members: ReadonlySet<string> = new Set([
  "model",
  "messages",
  "system",
  "tools",
  "tool_choice",
  "thinking",
  "output_config",
  "cache_control",
  "speed",
  "output_format",
  "compaction",
  "context_management",
  "mcp_servers",
]);

/** The body that counts the tokens of a request, from the one that would send it. */
export function countTokensBody(body: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(body).filter(([name]) => members.has(name)));
}

/** Reads the answer: input tokens, cached ones included. Undefined when it is none. */
export function readTokenCount(body: JsonObject): number | undefined {
  const count = body["input_tokens"];
  return Number.isInteger(count) && (count as number) >= 0 ? (count as number) : undefined;
}

/** Writes the answer. */
export function writeTokenCount(inputTokens: number): string {
  return JSON.stringify({ input_tokens: inputTokens });
}
