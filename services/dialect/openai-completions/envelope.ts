import type { Envelope } from "../codec.ts";
import { invalid } from "../faults.ts";
import { readFlag, readObject, readText, readWhole, required } from "../fields.ts";
import type { JsonObject } from "../json.ts";

const modelLengthMax = 512;
const userLengthMax = 256;
const choicesMax = 128;

/** Longest reply that may be asked for, in tokens. */
export const outputTokensMax = 10_000_000;

/**
 * Reads what limits and routing need. Every prompt is answered with `n` choices, and `best_of` of them are made and billed.
 * @throws WeirError INVALID_REQUEST with `param`
 */
export function readEnvelope(body: JsonObject): Envelope {
  const prompts = countPrompts(body["prompt"]);
  const choices = readWhole(body["n"], "n", 1, choicesMax) ?? 1;
  const made = Math.max(choices, readWhole(body["best_of"], "best_of", 1, choicesMax) ?? 1);
  if (prompts * choices > choicesMax) {
    throw invalid(`Ask for at most ${choicesMax} choices over all prompts.`, "prompt");
  }
  // 0 asks for the probabilities of the prompt alone.
  const maxTokens = readWhole(body["max_tokens"], "max_tokens", 0, outputTokensMax);
  const user = readUser(body);
  return {
    model: readModel(body),
    stream: readFlag(body["stream"], "stream") ?? false,
    includeUsage: readIncludeUsage(body),
    ...(maxTokens === undefined ? {} : { maxOutputTokens: Math.max(maxTokens, 1) * prompts * made }),
    choiceCount: prompts * choices,
    ...(user === "" ? {} : { user }),
  };
}

/** The model that the caller names. */
export function readModel(body: JsonObject): string {
  const model = required(readText(body["model"], "model", modelLengthMax), "model");
  if (model === "") throw invalid("`model` must not be empty.", "model");
  return model;
}

/** The end user; empty when none is named. */
export function readUser(body: JsonObject): string {
  return readText(body["user"], "user", userLengthMax) ?? "";
}

function readIncludeUsage(body: JsonObject): boolean {
  const options = readObject(body["stream_options"], "stream_options");
  return readFlag(options?.["include_usage"], "stream_options.include_usage") ?? false;
}

/** A prompt is a text or a list of tokens; there may be a list of either. */
function countPrompts(prompt: unknown): number {
  if (prompt == null || typeof prompt === "string") return 1;
  const list: readonly unknown[] = Array.isArray(prompt) ? prompt : [];
  if (isTokens(list)) return 1;
  if (list.length > 0 && (list.every((item) => typeof item === "string") || list.every(isTokens))) return list.length;
  throw invalid("`prompt` must be a text, a list of texts, a list of tokens or a list of such lists.", "prompt");
}

function isTokens(value: unknown): boolean {
  return Array.isArray(value) && value.length > 0 && value.every(Number.isInteger);
}
