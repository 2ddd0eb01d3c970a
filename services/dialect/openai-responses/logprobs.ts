import type { TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { isObject, type JsonObject } from "../json.ts";

/** Reads the `logprobs` of a text; what is odd is left out. */
export function readLogprobs(json: unknown): TokenLogprob[] {
  const logprobs: TokenLogprob[] = [];
  if (!Array.isArray(json)) return logprobs;
  for (const entry of json as readonly unknown[]) {
    if (!isObject(entry)) continue;
    const logprob = readToken(entry);
    if (logprob === undefined) continue;
    logprob.top = readLogprobs(entry["top_logprobs"]);
    logprobs.push(logprob);
  }
  return logprobs;
}

function readToken(json: JsonObject): TokenLogprob | undefined {
  const { token, logprob, bytes } = json;
  if (typeof token !== "string" || typeof logprob !== "number") return undefined;
  return {
    $typeName: "weir.chat.v1.TokenLogprob",
    token,
    logprob,
    bytes: Array.isArray(bytes) ? Uint8Array.from(bytes as number[]) : new Uint8Array(0),
    top: [],
  };
}

export function writeLogprobs(logprobs: readonly TokenLogprob[]): JsonObject[] {
  return logprobs.map((logprob) => ({ ...writeToken(logprob), top_logprobs: logprob.top.map(writeToken) }));
}

// What OpenAI reports for a token of no measurable chance; JSON has no infinity.
const leastLogprob = -9999;

function writeToken({ token, logprob, bytes }: TokenLogprob): JsonObject {
  return { token, logprob: Number.isFinite(logprob) ? logprob : leastLogprob, bytes: [...bytes] };
}
