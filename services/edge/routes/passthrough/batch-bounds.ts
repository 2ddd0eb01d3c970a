import type { JsonObject } from "@weir/dialect/json";
import { inputTokensToHold } from "@weir/dialect/wire-request";

/** The most that requests to one model may use, as far as they say: weir.passthrough.v1.BatchBound. */
export interface Bound {
  inputTokens: number;
  outputTokens: number;
  /** Choices without a limit that the request names. */
  openChoices: number;
  /** The first line that names none; 0: each names one. */
  openLine: number;
}

/** Members of a request that say how much it may answer with. */
export const limitNames = [
  "n",
  "best_of",
  "prompt",
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
] as const;

/** More than any model answers with. */
const outputTokensMax = 10_000_000;
const choicesMax = 128;
/** A picture that is made: as much as is set aside where it is asked for outside of batches. */
const pictureTokens = 32_768;

/** Where a request goes, however its address is written: `/v1/chat/completions` and `chat/completions` are one. */
export function endpointOf(url: string): string {
  return `/${url.replace(/^\/?(?:v1\/)?/, "")}`;
}

/**
 * Adds one request to a bound.
 * @param endpoint without the version; empty: not said
 * @param bytes the request, whose input counts as a chat's does
 * @returns what is wrong with it; undefined: nothing
 */
export function addToBound(
  bound: Bound,
  endpoint: string,
  body: JsonObject,
  bytes: Buffer,
  line: number,
): string | undefined {
  const choices = choicesOf(endpoint, body);
  if (choices === undefined) return `has an \`n\`, \`best_of\` or \`prompt\` that asks for no number of answers`;
  const limit = limitOf(endpoint, body);
  bound.inputTokens += inputTokensToHold(bytes);
  if (limit !== undefined) bound.outputTokens += limit * choices;
  else {
    bound.openChoices += choices;
    if (bound.openLine === 0) bound.openLine = line;
  }
  return undefined;
}

/** The most tokens of one choice; undefined: it is not said, or not so that every provider reads it alike. */
function limitOf(endpoint: string, body: JsonObject): number | undefined {
  if (endpoint === "/embeddings" || endpoint === "/moderations") return 0;
  if (endpoint.startsWith("/images/")) return pictureTokens;
  const named = (limitMembers[endpoint] ?? []).map((name) => body[name]).filter((value) => value != null);
  if (named.length === 0 || !named.every(isLimit)) return undefined;
  return Math.max(...named);
}

/** Members of another endpoint are no limit: its provider reads over them. */
const limitMembers: Readonly<Record<string, readonly string[]>> = {
  "/chat/completions": ["max_completion_tokens", "max_tokens"],
  "/completions": ["max_tokens"],
  "/responses": ["max_output_tokens"],
};

function isLimit(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= outputTokensMax;
}

/** How many answers are made and billed. @returns undefined: that cannot be told */
function choicesOf(endpoint: string, body: JsonObject): number | undefined {
  const choices = countOf(body["n"]);
  if (choices === undefined || endpoint !== "/completions") return choices;
  const made = countOf(body["best_of"]);
  const prompts = promptsOf(body["prompt"]);
  return made === undefined || prompts === undefined ? undefined : Math.max(choices, made) * prompts;
}

function countOf(value: unknown): number | undefined {
  if (value == null) return 1;
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= choicesMax ? Number(value) : undefined;
}

/** A prompt is a text or a list of tokens; there may be a list of either. */
function promptsOf(prompt: unknown): number | undefined {
  if (prompt == null || typeof prompt === "string") return 1;
  if (!Array.isArray(prompt)) return undefined;
  return prompt.length > 0 && prompt.every(Number.isInteger) ? 1 : Math.max(1, prompt.length);
}
