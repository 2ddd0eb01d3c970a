import type { TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { noBytes } from "../bytes.ts";
import { isRawNumber } from "../fields.ts";
import { isObject, type JsonObject } from "../json.ts";

/** Reads `logprobs.content` or `logprobs.refusal`; empty when there is nothing of OpenAI's form. */
export function readLogprobs(value: unknown): TokenLogprob[] {
  const list: TokenLogprob[] = [];
  if (!Array.isArray(value)) return list;
  for (const entry of value as unknown[]) {
    if (isObject(entry)) list.push(readToken(entry, readLogprobs(entry["top_logprobs"])));
  }
  return list;
}

function readToken(entry: JsonObject, top: TokenLogprob[]): TokenLogprob {
  const { token, logprob, bytes } = entry;
  return {
    $typeName: "weir.chat.v1.TokenLogprob",
    token: typeof token === "string" ? token : "",
    logprob: readLogprob(logprob),
    bytes: Array.isArray(bytes) ? Uint8Array.from(bytes as number[]) : noBytes,
    top,
  };
}

/** A number that has more digits than a double is rounded. */
function readLogprob(value: unknown): number {
  const logprob = isRawNumber(value) ? Number(value.rawJSON) : value;
  return typeof logprob === "number" ? logprob : unlikely;
}

/** Writes `logprobs.content` or `logprobs.refusal`. */
export function writeLogprobs(list: readonly TokenLogprob[]): JsonObject[] {
  return list.map((entry) => ({ ...writeToken(entry), top_logprobs: entry.top.map(writeToken) }));
}

function writeToken({ token, logprob, bytes }: TokenLogprob): JsonObject {
  return {
    token,
    logprob: Number.isFinite(logprob) ? logprob : unlikely,
    bytes: bytes.length === 0 ? null : [...bytes],
  };
}

/** OpenAI's number for a token that is very unlikely. */
const unlikely = -9999;
