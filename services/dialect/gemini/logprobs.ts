import type { TokenLogprob } from "@weir/gen/weir/chat/v1/event_pb";
import { noBytes } from "../bytes.ts";
import { isObject, type JsonObject } from "../json.ts";

/** Reads `logprobsResult`, leniently. https://ai.google.dev/api/generate-content#LogprobsResult */
export function readLogprobs(json: unknown): TokenLogprob[] {
  if (!isObject(json) || !Array.isArray(json["chosenCandidates"])) return [];
  const tops: readonly unknown[] = Array.isArray(json["topCandidates"]) ? json["topCandidates"] : [];
  return (json["chosenCandidates"] as unknown[]).filter(isObject).map((chosen, index) => {
    const top = tops[index];
    const candidates = isObject(top) && Array.isArray(top["candidates"]) ? (top["candidates"] as unknown[]) : [];
    return logprobOf(
      chosen,
      candidates.filter(isObject).map((candidate) => logprobOf(candidate, [])),
    );
  });
}

function logprobOf({ token, logProbability }: JsonObject, top: TokenLogprob[]): TokenLogprob {
  return {
    $typeName: "weir.chat.v1.TokenLogprob",
    token: typeof token === "string" ? token : "",
    logprob: typeof logProbability === "number" ? logProbability : 0,
    bytes: noBytes,
    top,
  };
}

/** Writes `logprobsResult`. */
export function writeLogprobs(logprobs: readonly TokenLogprob[]): JsonObject {
  const hasTop = logprobs.some(({ top }) => top.length > 0);
  return {
    ...(hasTop ? { topCandidates: logprobs.map(({ top }) => ({ candidates: top.map(candidateOf) })) } : {}),
    chosenCandidates: logprobs.map(candidateOf),
  };
}

function candidateOf({ token, logprob }: TokenLogprob): JsonObject {
  return { token, logProbability: logprob };
}
