import type { TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { noBytes } from "../bytes.ts";
import { isObject, type JsonObject } from "../json.ts";

/** OpenAI's number for a token that is very unlikely; it also stands where there is none. */
const unlikely = -9999;

/** Reads `logprobs` of a choice: lists side by side. The likeliest tokens of a place come in falling order. */
export function readLogprobs(value: unknown): TokenLogprob[] {
  if (!isObject(value) || !Array.isArray(value["tokens"])) return [];
  const chosen = listOf(value["token_logprobs"]);
  const top = listOf(value["top_logprobs"]);
  return value["tokens"].map((token, index) => entry(token, chosen[index], readTop(top[index])));
}

function readTop(value: unknown): TokenLogprob[] {
  if (!isObject(value)) return [];
  const list = Object.entries(value).map(([token, logprob]) => entry(token, logprob, []));
  return list.sort((a, b) => b.logprob - a.logprob);
}

function entry(token: unknown, logprob: unknown, top: TokenLogprob[]): TokenLogprob {
  return {
    $typeName: "weir.chat.v1.TokenLogprob",
    token: typeof token === "string" ? token : "",
    logprob: typeof logprob === "number" ? logprob : unlikely,
    bytes: noBytes,
    top,
  };
}

/**
 * Writes `logprobs` of a choice. Of likeliest tokens whose texts are the same, parts of characters say, only the likeliest has a place.
 * @param offset characters of the prompt and of the text so far
 */
export function writeLogprobs(list: readonly TokenLogprob[], offset: number): JsonObject {
  let at = offset;
  const offsets = list.map(({ token }) => {
    const start = at;
    at += characters(token);
    return start;
  });
  return {
    tokens: list.map(({ token }) => token),
    token_logprobs: list.map(writeNumber),
    ...(list.some(({ top }) => top.length > 0) ? { top_logprobs: list.map(({ top }) => writeTop(top)) } : {}),
    text_offset: offsets,
  };
}

function writeTop(top: readonly TokenLogprob[]): JsonObject {
  const likeliest = new Map<string, number>();
  for (const it of top.toSorted((a, b) => b.logprob - a.logprob)) {
    if (!likeliest.has(it.token)) likeliest.set(it.token, writeNumber(it));
  }
  return Object.fromEntries(likeliest);
}

function writeNumber({ logprob }: TokenLogprob): number {
  return Number.isFinite(logprob) ? logprob : unlikely;
}

/** Characters as OpenAI counts them: code points. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
